"""A layer with windows and the axes along which something is wrong with it: what its findings are made of."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from conv3d_core.axis import AXES
from conv3d_core.chain.trace import Report, Row
from conv3d_core.diagnosis.edits import Change, settings
from conv3d_core.diagnosis.finding import Draft, Finding, Severity
from conv3d_core.diagnosis.windows import Along, with_axes
from conv3d_core.diagnosis.wording import axis_names, called, sentence


class Wrong(NamedTuple):
    """A layer, and some of its axes.

    Attributes:
        report: the trace.
        row: the layer in it.
        axes: all three.
        wrong: those along which something is wrong; at least one.
    """

    report: Report
    row: Row
    axes: tuple[Along, ...]
    wrong: tuple[Along, ...]

    @property
    def who(self) -> str:
        """What a reader calls the layer, at the beginning of a sentence."""
        return sentence(called(self.report.case.chain, self.row.index))

    @property
    def first(self) -> Along:
        """The first axis that is wrong."""
        return self.wrong[0]

    @property
    def letters(self) -> list[str]:
        """Of the axes that are wrong."""
        return [axis.letter for axis in self.wrong]

    @property
    def also(self) -> str:
        """The axes beside the first one that are wrong, if any: a sentence without its end."""
        if len(self.wrong) == 1:
            return ""
        alike = all(axis[1:] == self.first[1:] for axis in self.wrong)
        return f"{' The same' if alike else ' So it is'} along {axis_names(self.letters[1:])}"

    @property
    def unread(self) -> tuple[int, int]:
        """Voxels that no output reads, and all."""
        whole = math.prod(axis.size for axis in self.axes)
        return whole - math.prod(axis.size - axis.dropped - axis.skipped for axis in self.axes), whole

    def set(self, name: str, numbers: Sequence[int]) -> Change:
        """An argument set along the axes that are wrong."""
        least = 0 if name == "padding" else 1
        values = {AXES.index(letter): max(least, n) for letter, n in zip(self.letters, numbers, strict=True)}
        return settings(self.row.index, **{name: with_axes([getattr(a.axis, name) for a in self.axes], values)})

    def draft(self, code: str, severity: Severity, words: str, changes: Callable[[], Iterable[Change]]) -> Draft:
        """A finding about the layer."""
        return Draft(
            Finding(code, severity, self.row.index, self.first.letter, words, self.first.formula),
            changes,
        )
