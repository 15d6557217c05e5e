"""Sizes that were divided and do not come back, so that a decoder cannot be joined with its encoder."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.chain.reach import Reading, Spread, Taps
from conv3d_core.chain.trace import Report, Row
from conv3d_core.diagnosis.edits import Change, settings
from conv3d_core.diagnosis.finding import Draft, Finding
from conv3d_core.diagnosis.fitting import even_inputs
from conv3d_core.diagnosis.windows import three_of, with_axes
from conv3d_core.diagnosis.wording import axis_names, called, sentence


class Down(NamedTuple):
    """A layer that divided a size.

    Attributes:
        layer: its index.
        stride: by how much.
        before: the size.
        after: what became of it.
    """

    layer: int
    stride: int
    before: int
    after: int


class Return(NamedTuple):
    """A size that was divided and does not come back.

    Attributes:
        letter: of the axis.
        downs: what divided it.
        up: index of the layer that multiplied it.
        between: the size that this layer got.
        after: the size that it gives.
    """

    letter: str
    downs: tuple[Down, ...]
    up: int
    between: int
    after: int

    @property
    def before(self) -> int:
        """The size that there was."""
        return self.downs[0].before

    @property
    def path(self) -> str:
        """The sizes in a row."""
        return " -> ".join(str(size) for size in (*(down.before for down in self.downs), self.between, self.after))


def off_by_one(report: Report) -> Draft | None:
    """The first layer behind which a size has not come back, and does so for rounding alone."""
    found = [each for place in range(len(AXES)) if (each := _return(report, place))]
    if not found:
        return None
    up = min(each.up for each in found)
    found = [each for each in found if each.up == up]
    first, chain = found[0], report.case.chain
    words = f"Along {axis_names([each.letter for each in found])} the size does not come back: {first.path}."
    words += f" {sentence(called(chain, up))} makes {first.after} where {called(chain, first.downs[0].layer)} got"
    words += f" {first.before}, so the two cannot be joined or compared."
    factor = math.prod(down.stride for down in first.downs)
    if first.before % factor:
        words += f" The {AXIS_NAMES[first.letter]} of {first.before} is no multiple of {factor}."

    def changes() -> Iterator[Change]:
        layer = chain.layers[up]
        added = three_of(layer.arguments.get("output_padding", 0))
        if layer.kind == "ConvTranspose3d" and added:
            lacking = {AXES.index(each.letter): each.before - each.after for each in found}
            more = {place: added[place] + number for place, number in lacking.items()}
            if min(more.values()) >= 0:
                yield settings(up, output_padding=with_axes(added, more))
        yield from even_inputs(report.case, up, [each.letter for each in found])
        yield from even_inputs(report.case, up, AXES)

    return Draft(Finding("unet-off-by-one", "silent", up, first.letter, words, first.path), changes)


def _return(report: Report, place: int) -> Return | None:
    downs: list[Down] = []
    for row in report.rows:
        if not set(AXES) <= set(row.letters) or len(row.input_shape) != len(row.output_shape):
            return None
        position, reading = row.letters.index(AXES[place]), row.readings[place]
        before, after = row.input_shape[position], row.output_shape[position]
        left = _factor(row, reading)
        if isinstance(reading, Taps) and reading.axis.stride > 1:
            downs.append(Down(row.index, reading.axis.stride, before, after))
        elif left > 1 and downs:
            undone: list[Down] = []
            while downs and left > 1 and left % downs[-1].stride == 0:
                undone.insert(0, downs.pop())
                left //= undone[0].stride
            if left == 1 and undone and _only_rounding(undone, before, after):
                return Return(AXES[place], tuple(undone), row.index, before, after)
        elif before != after:
            downs = []
    return None


def _factor(row: Row, reading: Reading | None) -> int:
    """By how much a layer makes an axis longer, where that is a whole number; else 1."""
    if isinstance(reading, Spread):
        return reading.axis.stride
    if row.layer.kind != "Upsample" or reading is None or not reading.jump:
        return 1
    factor = 1 / reading.jump
    return int(factor) if factor.denominator == 1 else 1


def _only_rounding(undone: list[Down], between: int, after: int) -> bool:
    """Whether nothing but rounding keeps the size from coming back."""
    stayed = undone[-1].after == between and all(one.after == next_.before for one, next_ in pairwise(undone))
    before, factor = undone[0].before, math.prod(down.stride for down in undone)
    return stayed and after != before and abs(after - before) < factor
