"""From changes that may do to the few fixes that do: each is tried on the layers, and the best are made in the text."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from typing import NamedTuple

from conv3d_core.chain.layer import Case
from conv3d_core.chain.trace import Report
from conv3d_core.diagnosis.edits import Change, applied, together, tried, words
from conv3d_core.diagnosis.finding import Draft, Finding, Fix

MOST_FIXES = 4
# Of one finding; the first are the likelier ones.
MOST_TRIED = 40
# Further things that may be wrong with the same layer, and how many ways out of each are followed.
MOST_STEPS = 5
WAYS = 3


class Seen(NamedTuple):
    """A case, followed through its layers, and what is found in it.

    Attributes:
        report: the trace.
        drafts: what is found.
    """

    report: Report
    drafts: tuple[Draft, ...]

    @property
    def troubles(self) -> int:
        """How many findings are more than hints."""
        return sum(draft.finding.severity != "hint" for draft in self.drafts)


Look = Callable[[Case], Seen]


class _Works(NamedTuple):
    """A change that does what it is for.

    Attributes:
        worse: how many troubles there are with it.
        change: the change.
    """

    worse: int
    change: Change


def fixes(seen: Seen, draft: Draft, look: Look) -> tuple[Fix, ...]:
    """The best changes of a draft that work, one for an idea: those that leave the least trouble, in its own order.

    Args:
        seen: the case as it is.
        draft: the finding.
        look: gives another case's trace and what is found in it.
    """
    case, finding = seen.report.case, draft.finding
    found = _best(seen, finding, islice(draft.changes(), MOST_TRIED), look)
    if not found and finding.severity == "error":
        # Nothing alone is enough: the same layer has something else that is wrong with it.
        wholes = (_completed(case, finding, change, look) for change in islice(draft.changes(), MOST_TRIED))
        found = _best(seen, finding, filter(None, wholes), look)
    made: list[Fix] = []
    for works in sorted(found, key=lambda works: works.worse):
        after = applied(case, works.change)
        if after is not None and not any(_same(after, fix.case) for fix in made):
            made.append(Fix(words(works.change, finding.layer, case.chain), after))
        if len(made) == MOST_FIXES:
            break
    return tuple(made)


def _best(seen: Seen, finding: Finding, changes: Iterator[Change], look: Look) -> list[_Works]:
    """Those that work, until there are enough that leave no trouble."""
    found: dict[str, _Works] = {}
    for change in changes:
        known = found.get(change.idea)
        if known and known.worse == 0:
            continue
        after = look(tried(seen.report.case, change))
        if not after.report.case.chain.layers or not _suits(seen, finding, change, after):
            continue
        worse = after.troubles + (after.report.failed is not None)
        if known is None or worse < known.worse:
            found[change.idea] = _Works(worse, change)
        if sum(works.worse == 0 for works in found.values()) == MOST_FIXES:
            break
    return list(found.values())


def _suits(seen: Seen, finding: Finding, change: Change, after: Seen) -> bool:
    """Whether the finding is gone, its layer takes what comes to it, and nothing that ran before is broken."""
    place = _place(finding, change)
    before, failed = seen.report.failed, after.report.failed
    if failed is not None:
        if before is None or failed < before + (change.moved or 0):
            return False
        if finding.severity == "error" and (failed <= place if place is not None else failed == before):
            return False
    here = [draft.finding.code for draft in after.drafts if draft.finding.layer == place]
    if place is not None and finding.code in here:
        return False
    return finding.severity == "error" or after.troubles <= seen.troubles - (finding.severity == "silent")


def _completed(case: Case, finding: Finding, change: Change, look: Look, steps: int = MOST_STEPS) -> Change | None:
    """The change, with what else must change in the same layer for it to work; None where that is not found."""
    place = _place(finding, change)
    after = look(tried(case, change))
    failed = after.report.failed
    if place is None or failed is None or failed > place:
        return change
    further = next((draft for draft in after.drafts if draft.finding.severity == "error"), None)
    # The same complaint again is no step forward; another value of that argument is tried by others.
    if failed < place or not steps or change.layers or further is None or _again(finding, further.finding):
        return None
    for more in islice(further.changes(), WAYS):
        if not (more.layers or (more.input_shape and change.input_shape) or _overlap(change, more)):
            whole = _completed(case, finding, together(change, more), look, steps - 1)
            if whole:
                return whole
    return None


def _again(finding: Finding, further: Finding) -> bool:
    return (further.code, further.words) == (finding.code, finding.words) or further.layer != finding.layer


def _overlap(first: Change, second: Change) -> bool:
    return any(set(values) & set(second.settings.get(index, ())) for index, values in first.settings.items())


def _place(finding: Finding, change: Change) -> int | None:
    """Where the layer of a finding is after a change; None where it is gone."""
    if finding.layer is None or change.moved is None:
        return None
    return finding.layer + change.moved


def _same(one: Case, other: Case) -> bool:
    return (one.chain.text, one.input_shape, one.layout) == (other.chain.text, other.input_shape, other.layout)
