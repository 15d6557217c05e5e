"""What a single layer does without a word."""

from __future__ import annotations

from collections.abc import Iterator

from conv3d_core.chain.trace import Report, Row
from conv3d_core.diagnosis import padded, unread
from conv3d_core.diagnosis.axes import Wrong
from conv3d_core.diagnosis.finding import Draft
from conv3d_core.diagnosis.windows import along


def row_drafts(report: Report, row: Row) -> Iterator[Draft]:
    """All that is found about one layer."""
    axes = along(row)
    for is_wrong, explain in (
        (unread.is_dropped, unread.dropped),
        (lambda axis: axis.skipped > 0, unread.skipped),
        (lambda axis: padded.is_shifted(row, axis), padded.shifted),
        (padded.is_beyond, padded.beyond),
    ):
        wrong = tuple(axis for axis in axes if is_wrong(axis))
        if wrong:
            yield explain(Wrong(report, row, axes, wrong))
    added = padded.output_padding(report, row)
    if added:
        yield added
