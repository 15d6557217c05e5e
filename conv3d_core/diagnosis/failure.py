"""A layer, and what it does not take: what the trace of a case ended with."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from conv3d_core.chain.layer import Case, Framework, Layer, Sizes
from conv3d_core.chain.trace import Report
from conv3d_core.diagnosis.edits import Change
from conv3d_core.diagnosis.finding import Draft, Finding
from conv3d_core.diagnosis.wording import called, sentence
from conv3d_core.errors import Conv3dError


@dataclass(frozen=True, slots=True)
class Failure:
    """A layer and what it does not take.

    Attributes:
        report: the trace that ended there.
        index: of the layer.
        error: what the trace says.
    """

    report: Report
    index: int
    error: Conv3dError

    @property
    def case(self) -> Case:
        """What was traced."""
        return self.report.case

    @property
    def framework(self) -> Framework:
        """In whose terms it is."""
        return self.case.chain.framework

    @property
    def layer(self) -> Layer:
        """The layer."""
        return self.case.chain.layers[self.index]

    @property
    def shape(self) -> Sizes:
        """What comes to the layer."""
        return self.report.output_shape

    @property
    def who(self) -> str:
        """What a reader calls the layer, at the beginning of a sentence."""
        return sentence(called(self.case.chain, self.index))

    @property
    def problem(self) -> str:
        """What the trace says is wrong, without what would work: that is tried out."""
        where, problem, _ = self.error.args
        return f"{self.who}, {where}: {problem}."

    def draft(
        self, code: str, words: str, changes: Callable[[], Iterable[Change]], formula: str = "", axis: str | None = None
    ) -> Draft:
        """A finding at this layer."""
        return Draft(Finding(code, "error", self.index, axis or self.error.axis, words, formula), changes)
