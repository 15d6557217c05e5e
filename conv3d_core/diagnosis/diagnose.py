"""All findings of a case."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from conv3d_core.chain.layer import Case
from conv3d_core.chain.trace import Report, trace
from conv3d_core.diagnosis.biases import dead_biases
from conv3d_core.diagnosis.channels import on_width
from conv3d_core.diagnosis.errors import error_draft
from conv3d_core.diagnosis.finding import SEVERITIES, Diagnosis, Draft, Finding
from conv3d_core.diagnosis.gaps import gridding
from conv3d_core.diagnosis.inputs import layout_draft
from conv3d_core.diagnosis.memory import memory_draft
from conv3d_core.diagnosis.ranking import Seen, fixes
from conv3d_core.diagnosis.returns import off_by_one
from conv3d_core.diagnosis.silent import row_drafts
from conv3d_core.diagnosis.unread import merged

# What is so whatever was passed over before.
SHAPELESS = ("dead-bias",)


def diagnose(case: Case, memory_bytes: int | None = None) -> Diagnosis:
    """A case followed through its layers, and all that is found wrong with it, with the changes that would work.

    Each fix was tried: with it the finding is gone and its layer takes what comes to it; of what ran before, nothing
    is broken.

    Args:
        case: the layers and the input.
        memory_bytes: what a layer may hold at once; None where it does not matter.

    >>> from conv3d_core.chain.reading import read_chain
    >>> found = diagnose(Case(read_chain("nn.Conv3d(1, 8, 5)"), (1, 4, 64, 64, 1))).findings[0]
    >>> found.code, found.axis, found.formula
    ('kernel-too-large', 'D', 'floor((4 + 2*0 - 5) / 1) + 1 = floor(-1) + 1 = 0')
    >>> [fix.words for fix in found.fixes]
    ['Set padding=(1, 0, 0)', 'Set kernel_size=(4, 5, 5)', 'Use an input of (1, 5, 64, 64, 1) or more along depth']
    """

    def look(of: Case) -> Seen:
        report = trace(of)
        return Seen(report, tuple(_drafts(report, memory_bytes)))

    seen = look(case)
    findings = []
    for draft in seen.drafts:
        hedged = _hedged(draft.finding, case)
        findings.append(hedged or replace(draft.finding, fixes=fixes(seen, draft, look)))
    return Diagnosis(seen.report, tuple(sorted(findings, key=_order)))


def _drafts(report: Report, memory_bytes: int | None) -> Iterator[Draft]:
    error, layout = error_draft(report), layout_draft(report)
    if error:
        yield error
    if layout and not (error and error.finding.code == layout.finding.code):
        yield layout
    memory = memory_draft(report, memory_bytes) if memory_bytes is not None else None
    if memory:
        yield memory
    found = [draft for row in report.rows for draft in row_drafts(report, row)]
    rounded = off_by_one(report)
    if rounded:
        yield rounded
        # It tells of the same sizes.
        found = [draft for draft in found if not _goes_with(draft.finding, rounded.finding)]
    yield from merged(report, found)
    # A layer whose own gaps are told of needs no other word on them.
    grid = None if any(draft.finding.code == "dilation-gaps" for draft in found) else gridding(report)
    yield from filter(None, (grid, dead_biases(report)))
    yield from on_width(report)


def _goes_with(finding: Finding, rounded: Finding) -> bool:
    """Whether voxels are dropped on the way to a size that does not come back."""
    return finding.code == "dropped-voxels" and (finding.layer or 0) < (rounded.layer or 0)


def _hedged(finding: Finding, case: Case) -> Finding | None:
    """What comes after something that was passed over holds only if that changes no axis: a hint, without fixes."""
    chain = case.chain
    if finding.layer is None or not chain.is_uncertain(finding.layer) or finding.code in SHAPELESS:
        return None
    passed = next(item for item in chain.passed if item.before == chain.uncertain_from and not item.keeps_shape)
    words = f"If line {passed.line}, which is passed over, leaves the array as it is: {finding.words}"
    return replace(finding, severity="hint", words=words)


def _order(finding: Finding) -> tuple[int, int]:
    return SEVERITIES.index(finding.severity), -1 if finding.layer is None else finding.layer
