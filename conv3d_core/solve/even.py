"""The input sizes for which layers divide evenly.

Along an axis each layer is a line, ``size -> size * scale + offset``, as long as nothing is rounded; where a stride
divides, one residue of the size leaves nothing over. So the sizes asked for are those of one residue class,
``M n + a``; where a stride may leave zeros of the padding over, of some.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from typing import Literal, NamedTuple

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.errors import SpecError
from conv3d_core.spec import ConvSpec

# What a stride may leave over of the padding's zeros; of voxels none at all. "quotient": as many as make the output the
# size divided by the stride, exactly.
Leftover = Literal["nothing", "quotient", "zeros"]
MAX_CLASSES = 4096
MAX_LISTED = 4  # residues in a rule


class Down(NamedTuple):
    """Windows along an axis: a convolution or a pooling, of which the floor may drop something."""

    effective_kernel_size: int
    stride: int = 1
    padding: int = 0


class Up(NamedTuple):
    """What makes an axis longer: ``size * scale + offset``, as an upsampling or a transposed convolution does."""

    scale: Fraction
    offset: int = 0


Step = Down | Up


class EvenSizes(NamedTuple):
    """The input sizes along one axis for which every layer divides evenly.

    Attributes:
        sizes: the nearest ones, ascending: as many below as above where there are, and the size itself if it is one.
        rule: all of them in words: "multiples of 16", "16n + 5", "every size from 3 on".
        smallest: of them all.
    """

    sizes: tuple[int, ...]
    rule: str
    smallest: int


class _Class(NamedTuple):
    """Sizes ``period * n + first`` that have passed all layers so far, and what became of them.

    Attributes:
        least: the smallest size for which all kernels fitted.
        scale, offset: the size here is ``size * scale + offset``.
        before: each size before a stride that nothing has brought back yet: the stride, and its scale and offset.
    """

    period: int
    first: int
    least: int
    scale: Fraction
    offset: Fraction
    before: tuple[tuple[int, Fraction, Fraction], ...]

    def at_least(self, scale: Fraction, offset: Fraction, least: int) -> _Class:
        """Those of the sizes whose ``size * scale + offset`` is not below `least`."""
        return self._replace(least=max(self.least, math.ceil((least - offset) / scale)))

    def divided(self, divisor: int, remainder: Fraction) -> _Class | None:
        """Those of the sizes with ``size * scale + remainder`` a multiple of the divisor; None where none is."""
        step, begin = self.period * self.scale, self.first * self.scale + remainder
        common = math.lcm(step.denominator, begin.denominator)
        # a n + b = 0 (mod m), all integers
        a, b, m = int(step * common), int(begin * common), divisor * common
        shared = math.gcd(a, m)
        if b % shared:
            return None
        every = m // shared
        n = -(b // shared) * pow(a // shared, -1, every) % every
        return self._replace(period=self.period * every, first=self.first + self.period * n)


def even_sizes(
    specs: Sequence[ConvSpec], around: int | Sequence[int], count: int = 5, leftover: Leftover = "nothing"
) -> tuple[EvenSizes, EvenSizes, EvenSizes]:
    """Per axis, the input sizes for which no layer has anything left over.

    Args:
        specs: the layers, the first one first.
        around: a size, or (D, H, W); the nearest ones to it are listed.
        count: how many, at most, below and as many above.
        leftover: which zeros of the padding a stride may leave over.

    Raises:
        SpecError: no size is even, or there is no layer.

    >>> even_sizes([ConvSpec(1, 1, 3, padding=1), ConvSpec(1, 1, 2, stride=2)] * 2, 30, count=2)[0]
    EvenSizes(sizes=(24, 28, 32, 36), rule='multiples of 4', smallest=4)
    """
    if not specs:
        raise SpecError("layers", "there is none", "give at least one ConvSpec")
    d, h, w = (
        even_along(
            [Down(axis.effective_kernel_size, axis.stride, axis.padding) for axis in along],
            size,
            count,
            leftover,
            letter,
        )
        for letter, along, size in zip(
            AXES,
            zip(*(spec.axes for spec in specs), strict=True),
            [around] * len(AXES) if isinstance(around, int) else around,
            strict=True,
        )
    )
    return d, h, w


def even_along(
    steps: Sequence[Step], around: int, count: int = 5, leftover: Leftover = "nothing", letter: str = "D"
) -> EvenSizes:
    """The input sizes along one axis for which nothing is left over, and what was divided comes back.

    A step up by some factor answers the steps down before it by the same factor in all, the last one first, and must
    come back to the size that was there before them: else it could not be joined with it, as a U-Net does.

    Args:
        steps: what the layers do to the axis.
        around: the sizes nearest to it are listed.
        count: how many, at most, below and as many above.
        leftover: see `Leftover`.
        letter: of the axis, for an error.

    Raises:
        SpecError: no size is even.

    >>> even_along([Down(3, 2, 1), Up(Fraction(2))], 33, 2, leftover="quotient")
    EvenSizes(sizes=(30, 32, 34, 36), rule='even sizes', smallest=2)
    """
    classes = [_Class(1, 0, 1, Fraction(1), Fraction(0), ())]
    for number, step in enumerate(steps, start=1):
        classes = [after for before in classes for after in _passed(before, step, leftover)]
        if not classes:
            what = "comes back to the size before its stride" if isinstance(step, Up) else "leaves nothing over"
            raise SpecError(
                AXIS_NAMES[letter],
                f"there is no size at which layer {number} {what}",
                "change its padding, or that of the layers before it",
                field="input",
                axis=letter,
            )
        if len(classes) > MAX_CLASSES:
            raise SpecError(
                AXIS_NAMES[letter],
                f"layer {number} makes more than {MAX_CLASSES:,} rules of it",
                "use smaller strides",
                field="input",
                axis=letter,
            )
    smallest = min(found.least + (found.first - found.least) % found.period for found in classes)
    return EvenSizes(_nearest(classes, around, count), _rule(classes, smallest), smallest)


def _passed(sizes: _Class, step: Step, leftover: Leftover) -> list[_Class]:
    """The sizes that pass a layer evenly, by what is left over."""
    if isinstance(step, Up):
        return _up(sizes, step)
    kernel, stride, padding = step
    # size + 2p - k_e, which the stride divides
    span = sizes.offset + 2 * padding - kernel
    fitting = sizes.at_least(sizes.scale, span, 0)
    before = (*sizes.before, (stride, sizes.scale, sizes.offset)) if stride > 1 else sizes.before
    passed = []
    for left in _lefts(step, leftover):
        found = fitting.divided(stride, span - left)
        if found:
            offset = (span - left) / stride + 1
            passed.append(found._replace(scale=sizes.scale / stride, offset=offset, before=before))
    return passed


def _lefts(step: Down, leftover: Leftover) -> Sequence[int]:
    """How many zeros of the padding may be left over."""
    kernel, stride, padding = step
    zeros = range(min(padding, stride - 1) + 1)
    if stride == 1 or leftover == "nothing":
        return zeros[:1]
    # (size + 2p - k_e - left) / s + 1 = size / s
    exact = 2 * padding - kernel + stride
    return zeros if leftover == "zeros" else [left for left in zeros if left == exact]


def _up(sizes: _Class, step: Up) -> list[_Class]:
    scale, offset = sizes.scale * step.scale, sizes.offset * step.scale + step.offset
    whole = sizes._replace(scale=scale, offset=offset).divided(1, offset)
    if whole is None:
        return []
    up = whole.at_least(scale, offset, 1)
    left, before = step.scale, list(sizes.before)
    while before and left > 1:
        stride, *line = before.pop()
        left /= stride
        if left == 1:
            return _where_equal(up._replace(before=tuple(before)), *line)
    return [up]


def _where_equal(sizes: _Class, scale: Fraction, offset: Fraction) -> list[_Class]:
    """Those of the sizes that are ``size * scale + offset`` here; the scales agree, or no two sizes do."""
    return [sizes] if (sizes.scale, sizes.offset) == (scale, offset) else []


def _nearest(classes: Sequence[_Class], around: int, count: int) -> tuple[int, ...]:
    below, above = set(), set()
    for period, first, least, *_ in classes:
        begin = least + (first - least) % period
        # The first one that is not below `around`.
        at = max(begin, around + (first - around) % period)
        above |= {at + period * n for n in range(count + 1)}
        below |= {size for n in range(1, count + 1) if (size := at - period * n) >= begin and size < around}
    here = {around} & above
    return tuple(sorted(below)[-count:] * bool(count) + sorted(here) + sorted(above - here)[:count])


def _rule(classes: Sequence[_Class], smallest: int) -> str:
    period = math.lcm(*(found.period for found in classes))
    if sum(period // found.period for found in classes) > MAX_CLASSES:
        return "no short rule"
    residues = {residue for found in classes for residue in range(found.first % found.period, period, found.period)}
    # The shortest period: the one of which the most copies fill the one that is known.
    for copies in range(len(residues), 0, -1):
        shorter = period // copies
        if period % copies == 0 and {(residue + shorter) % period for residue in residues} == residues:
            period, residues = shorter, {residue % shorter for residue in residues}
            break
    if len(residues) == period:
        return "every size" if smallest == 1 else f"every size from {smallest:,} on"
    if residues == {0}:
        text = "even sizes" if period == 2 else f"multiples of {period:,}"
    elif residues == {1} and period == 2:
        text = "odd sizes"
    elif len(residues) > MAX_LISTED:
        text = f"{len(residues):,} of every {period:,} sizes"
    else:
        text = " or ".join(f"{period:,}n + {residue:,}" if residue else f"{period:,}n" for residue in sorted(residues))
    regular = min(residue or period for residue in residues)
    return text if smallest <= regular else f"{text}, from {smallest:,} on"
