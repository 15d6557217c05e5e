"""What a diagnosis is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple

from conv3d_core.chain.layer import Case
from conv3d_core.chain.trace import Report
from conv3d_core.diagnosis.edits import Change

# What raises or cannot be computed; what runs and is probably not what was meant; what is worth knowing.
Severity = Literal["error", "silent", "hint"]
SEVERITIES: tuple[Severity, ...] = ("error", "silent", "hint")


class Fix(NamedTuple):
    """A change after which the finding is gone.

    Attributes:
        words: in the imperative, with the numbers: "Set padding=1".
        case: all of it after the change.
    """

    words: str
    case: Case


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is wrong, or that may be.

    Attributes:
        code: its kind: "kernel-too-large".
        severity: see `Severity`.
        layer: index of the layer; None where it is the whole.
        axis: "D", "H" or "W": the first axis that it is about; None where it is about none.
        words: what it is, in plain sentences with the numbers.
        formula: the numbers put into the formula; may be empty.
        fixes: at most four, the smallest first.
    """

    code: str
    severity: Severity
    layer: int | None
    axis: str | None
    words: str
    formula: str = ""
    fixes: tuple[Fix, ...] = ()


class Draft(NamedTuple):
    """A finding before its fixes: the changes that may do are made and tried only where somebody wants them.

    Attributes:
        finding: without fixes.
        changes: gives candidates, in the order in which they are preferred where all else is equal.
    """

    finding: Finding
    changes: Callable[[], Iterable[Change]]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A case, followed through its layers, and what is wrong with it.

    Attributes:
        report: see `trace`.
        findings: errors first, then what is silent, then hints; each by layer.
    """

    report: Report
    findings: tuple[Finding, ...]
