"""Weights changed by hand: a few taps over where the weights come from, as values that a link can carry.

MLX's layout (O, KD, KH, KW, I) throughout. A value is what float32 makes of it, so that text and weight are the same
number.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import SpecError, shown

Floats = NDArray[np.float32]
Tap = tuple[int, int, int, int, int]
# More than this in one layer are no work of a hand: each is listed in the program and in the name of the result.
MAX_EDITS = 4096
# More than this make an address that is cut off on its way.
MAX_IN_LINK = 64
_BETWEEN = "~"
# Bounded, because Python takes long over long numbers.
_EDIT = re.compile(
    r"(\d{1,9})\.(\d{1,9})\.(\d{1,9})\.(\d{1,9})\.(\d{1,9})_(-?\d{1,50}(?:\.\d{1,50})?(?:e-?\d{1,3})?)", re.ASCII
)


class Edit(NamedTuple):
    """A tap that has another value than its source gives it.

    Attributes:
        tap: (o, kd, kh, kw, i).
        value: of the weight there; exact in float32.
    """

    tap: Tap
    value: float


# Sorted, one a tap.
Edits = tuple[Edit, ...]


def edited(weight: Floats, edits: Edits) -> Floats:
    """The weight with the edits in it: a copy, or the weight itself where there are none.

    Args:
        weight: float32 (O, KD, KH, KW, I).
        edits: what differs.

    Raises:
        SpecError: a tap that the weight does not have.

    >>> edited(np.zeros((1, 1, 1, 2, 1), np.float32), (Edit((0, 0, 0, 1, 0), 2.5),)).ravel().tolist()
    [0.0, 2.5]
    """
    if not edits:
        return weight
    changed = weight.copy()
    for tap, value in edits:
        if not _is_in(tap, weight.shape):
            sizes = ", ".join(map(str, weight.shape))
            raise SpecError(
                "edits",
                f"there is no tap {tap} in a weight of ({sizes})",
                "reset the edits, or go back to the layer that they were made in",
                value=tap,
            )
        changed[tap] = value
    return changed


def fit(edits: Edits, shape: Sequence[int]) -> bool:
    """Whether a weight of this shape (O, KD, KH, KW, I) has all these taps."""
    return all(_is_in(edit.tap, shape) for edit in edits)


def with_kernel(edits: Edits, weight: Floats, channel: int, input_channel: int, kernel: Floats) -> Edits:
    """The edits that give one kernel these taps; a tap that its source has as well is no edit.

    Args:
        edits: so far, of all kernels.
        weight: the source's, float32 (O, KD, KH, KW, I).
        channel: of the output.
        input_channel: on which the kernel lies.
        kernel: all its taps, float32 (KD, KH, KW).

    Raises:
        SpecError: a changed tap that is not finite, or too many of them.
    """
    source = weight[channel, ..., input_channel]
    others = [edit for edit in edits if not _is_of(edit, channel, input_channel)]
    places = np.argwhere((kernel != source) & ~(np.isnan(kernel) & np.isnan(source)))
    if len(others) + len(places) > MAX_EDITS:
        problem = f"{len(others) + len(places):,} taps of this layer would be changed by hand"
        raise SpecError("edits", problem, f"change at most {MAX_EDITS:,}, or bring such weights in a file")
    own = []
    for d, h, w in places.tolist():
        value = tap_value(float(kernel[d, h, w]))
        own.append(Edit((channel, d, h, w, input_channel), value))
    return tuple(sorted(others + own))


def of_kernel(edits: Edits, channel: int, input_channel: int) -> Edits:
    """Those of one kernel."""
    return tuple(edit for edit in edits if _is_of(edit, channel, input_channel))


def tap_value(value: float) -> float:
    """A number as float32 holds it.

    Raises:
        SpecError: it is not finite, or beyond float32.

    >>> tap_value(0.1)
    0.10000000149011612
    """
    with np.errstate(over="ignore"):
        number = np.float32(value)
    if not np.isfinite(number):
        what = "is beyond float32" if np.isfinite(value) else "is not finite"
        raise SpecError("tap", f"{shown(value)} {what}", "use a number such as -0.5", value=value)
    return float(number)


def sum_to_one(kernel: Floats) -> Floats:
    """The kernel (KD, KH, KW) divided by the sum of its taps.

    Raises:
        SpecError: they sum to 0, or to nothing finite.
    """
    total = float(kernel.sum(dtype=np.float64))
    # A sum that is rounding alone would blow the kernel up.
    magnitude = float(np.abs(kernel).sum(dtype=np.float64))
    if not np.isfinite(total) or abs(total) <= 1e-6 * magnitude:
        problem = "its taps sum to nothing finite" if not np.isfinite(total) else "its taps sum to 0"
        raise SpecError("kernel", problem, "change a tap first, so that there is a sum to divide by")
    return (kernel / total).astype(np.float32)


def to_text(edits: Edits) -> str:
    """The edits as a link has them, with nothing in it that an address must escape.

    >>> to_text((Edit((0, 1, 1, 1, 0), 2.5), Edit((3, 0, 0, 2, 1), -1.0)))
    '0.1.1.1.0_2.5~3.0.0.2.1_-1'
    """
    return _BETWEEN.join(f"{'.'.join(map(str, tap))}_{number_text(value)}" for tap, value in edits)


def from_text(text: str) -> Edits:
    """The inverse of `to_text`, in any order.

    Raises:
        SpecError: it is no such text, a value is beyond float32, a tap stands there twice, or there are too many.

    >>> from_text("0.1.1.1.0_2.5")
    (Edit(tap=(0, 1, 1, 1, 0), value=2.5),)
    """
    if not text:
        return ()
    parts = text.split(_BETWEEN, MAX_EDITS)
    if len(parts) > MAX_EDITS:
        raise SpecError("edits", f"the text has more than {MAX_EDITS:,} of them", f"use at most {MAX_EDITS:,}")
    found: dict[Tap, float] = {}
    for part in parts:
        match = _EDIT.fullmatch(part)
        if match is None:
            raise SpecError(
                "edits",
                f"{shown(part)} is no tap and value",
                "write o.kd.kh.kw.i_value, as in 0.1.1.1.0_2.5, and ~ between two",
                value=part,
            )
        o, kd, kh, kw, i = (int(index) for index in match.groups()[:5])
        if (o, kd, kh, kw, i) in found:
            raise SpecError("edits", f"tap {(o, kd, kh, kw, i)} is given twice", "give each tap once", value=part)
        found[o, kd, kh, kw, i] = tap_value(float(match[6]))
    return tuple(Edit(tap, value) for tap, value in sorted(found.items()))


def number_text(value: float) -> str:
    """The shortest text that float32 reads as this number.

    >>> number_text(0.10000000149011612), number_text(1e20), number_text(-3.0)
    ('0.1', '1e20', '-3')
    """
    return str(np.float32(value)).replace("e+", "e").removesuffix(".0")


def describe(edits: Edits, channel: int, input_channel: int, taps: int) -> str:
    """How much of a kernel is changed, in words.

    >>> describe((Edit((0, 1, 1, 1, 0), 2.5), Edit((3, 0, 0, 2, 0), -1.0)), 0, 0, 27)
    'edited: 1 of 27 taps, and 1 in other kernels'
    """
    own = len(of_kernel(edits, channel, input_channel))
    others = len(edits) - own
    if not edits:
        return "as the source gives it"
    here = f"edited: {own:,} of {taps:,} taps" if own else "as the source gives it"
    if not others:
        return here
    return f"{here}, and {others:,} in other kernels" if own else f"{here}; edited: {others:,} in other kernels"


def _is_in(tap: Tap, shape: Sequence[int]) -> bool:
    return all(index < size for index, size in zip(tap, shape, strict=True))


def _is_of(edit: Edit, channel: int, input_channel: int) -> bool:
    return edit.tap[0] == channel and edit.tap[4] == input_channel
