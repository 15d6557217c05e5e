"""Why a trace ended before the last layer: one draft for its error."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from conv3d_core.axis import AXES
from conv3d_core.chain.trace import Report
from conv3d_core.diagnosis.arguments import argument_draft, other_values
from conv3d_core.diagnosis.channels import channels_draft
from conv3d_core.diagnosis.edits import Change, removed
from conv3d_core.diagnosis.failure import Failure
from conv3d_core.diagnosis.finding import Draft
from conv3d_core.diagnosis.fitting import fitting, larger_input
from conv3d_core.diagnosis.ranks import ranks_draft
from conv3d_core.diagnosis.sizes import sizes_draft
from conv3d_core.diagnosis.wording import named
from conv3d_core.errors import SpecError

# By what a layer does not take: sizes, a number of axes, a number of channels.
EXPLAIN: tuple[Callable[[Failure], Draft | None], ...] = (sizes_draft, ranks_draft, channels_draft)


def error_draft(report: Report) -> Draft | None:
    """Why the trace ended before the last layer; None where it did not."""
    if report.error is None or report.failed is None:
        return None
    failure = Failure(report, report.failed, report.error)
    if isinstance(report.error, SpecError):
        return argument_draft(failure)
    for explain in EXPLAIN:
        found = explain(failure)
        if found:
            return found
    return failure.draft("does-not-fit", failure.problem, lambda: _any(failure))


def _any(failure: Failure) -> Iterator[Change]:
    """Whatever may do, where nothing better is known."""
    if failure.error.field in failure.layer.arguments:
        yield from other_values(failure, failure.error.field)
    yield from fitting(failure.case, failure.index, failure.shape)
    yield from larger_input(failure.case, failure.index, AXES)
    yield removed(failure.index, f"remove {named(failure.layer)}")
