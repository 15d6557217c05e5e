"""How the outputs of a layer read its input along one axis, and what that makes of a chain of layers."""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple, Protocol

from conv3d_core.axis import Axis
from conv3d_core.spec import Triple

# Windows through one layer that are looked at for a largest one: of more outputs, so many spread evenly.
MAX_WINDOWS = 10_000
# Taps of a dilated transposed convolution that are tried, from either end, for one that meets an output; of more, the
# gaps between them are not looked at.
MAX_TAPS = 256
Ends = tuple[int, int]


class Reading(Protocol):
    """How outputs read an input along one axis. Indices are of the unpadded input; those outside it are padding."""

    @property
    def jump(self) -> Fraction:
        """Input voxels between what neighbouring outputs read."""

    def window(self, first: int, last: int) -> Ends | None:
        """First and last input index that outputs ``first`` to ``last`` read; None where they read none."""


@dataclass(frozen=True, slots=True)
class Taps:
    """A convolution's or a pooling's.

    >>> Taps(Axis(3, stride=2, padding=1)).window(0, 1)
    (-1, 3)
    """

    axis: Axis

    @property
    def jump(self) -> Fraction:
        """See `Reading`."""
        return Fraction(self.axis.stride)

    def window(self, first: int, last: int) -> Ends | None:
        """See `Reading`."""
        return self.axis.window(first, last)


@dataclass(frozen=True, slots=True)
class Spread:
    """A transposed convolution's: input i goes to the outputs ``i*s - p + t*d`` for its taps t.

    >>> Spread(Axis(2, stride=2)).window(0, 3), Spread(Axis(1, stride=2)).window(1, 1)
    ((0, 1), None)
    """

    axis: Axis

    @property
    def jump(self) -> Fraction:
        """See `Reading`."""
        return Fraction(1, self.axis.stride)

    def window(self, first: int, last: int) -> Ends | None:
        """See `Reading`."""
        taps, stride, padding, dilation = self.axis
        reach = self.axis.effective_kernel_size - 1
        ends = -((reach - first - padding) // stride), (last + padding) // stride
        # The last taps lead to the first inputs. Taps a stride apart meet the same outputs: one round is enough.
        tried = min(taps, stride, MAX_TAPS)
        if dilation > 1 and tried == min(taps, stride):
            low = self._first_hit(range(taps - 1, taps - 1 - tried, -1), first, last)
            high = self._first_hit(range(tried), first, last)
            return (low[0], high[-1]) if low and high else None
        return ends if ends[0] <= ends[1] else None

    def _first_hit(self, taps: range, first: int, last: int) -> range:
        """The inputs of the first of some taps that brings any."""
        return next(filter(None, (self._inputs(tap, first, last) for tap in taps)), range(0))

    def _inputs(self, tap: int, first: int, last: int) -> range:
        """The inputs that a tap brings to some of the outputs."""
        _, stride, padding, dilation = self.axis
        at = padding - tap * dilation
        return range(-(-(first + at) // stride), (last + at) // stride + 1)


@dataclass(frozen=True, slots=True)
class Resampled:
    """Interpolation's: output o looks at ``o * jump + offset`` and reads up to so many voxels around it.

    Attributes:
        jump: input voxels between neighbouring outputs.
        offset: where output 0 looks.
        how: "floor" or "round" (to even) for the one voxel there; "linear" and "cubic" for those nearer than `radius`,
            or the one there alone where a voxel is; "smooth" for all nearer than `radius`.
        radius: of the interpolation's kernel: 1 linear, 2 cubic, more where it also smooths.

    >>> Resampled(Fraction(1, 2), Fraction(-1, 4), "linear").window(1, 1)
    (0, 1)
    """

    jump: Fraction
    offset: Fraction = Fraction(0)
    how: str = "floor"
    radius: Fraction = Fraction(1)

    def window(self, first: int, last: int) -> Ends | None:
        """See `Reading`."""
        (low, _), (_, high) = self._voxels(first), self._voxels(last)
        # A place on a voxel reads that one alone, so the next may reach further out.
        if first < last:
            low = min(low, self._voxels(first + 1)[0])
            high = max(high, self._voxels(last - 1)[1])
        return low, high

    def _voxels(self, output: int) -> Ends:
        place = output * self.jump + self.offset
        if self.how == "floor":
            return math.floor(place), math.floor(place)
        if self.how == "round" or (place.denominator == 1 and self.how != "smooth"):
            return round(place), round(place)
        return math.floor(place - self.radius) + 1, math.ceil(place + self.radius) - 1


@dataclass(frozen=True, slots=True)
class Averaged:
    """PyTorch's mode "area": output o is the mean from ``floor(o*jump)`` to before ``ceil((o+1)*jump)``.

    >>> Averaged(Fraction(3, 2)).window(0, 0)
    (0, 1)
    """

    jump: Fraction

    def window(self, first: int, last: int) -> Ends | None:
        """See `Reading`."""
        return math.floor(first * self.jump), math.ceil((last + 1) * self.jump) - 1


class Reach(NamedTuple):
    """The receptive field of a layer's outputs in the chain's input, along D, H and W.

    Attributes:
        size: voxels of the input that the largest window of an output spans, padding included.
        jump: input voxels between the windows of neighbouring outputs, on average: below 1 after an upsampling.
    """

    size: Triple
    jump: tuple[Fraction, Fraction, Fraction]


def window_along(readings: Sequence[Reading], output: int) -> Ends | None:
    """First and last input index that an output of the last of some layers spans; None where it reads none.

    >>> window_along([Taps(Axis(3)), Taps(Axis(2, stride=2))], 1)
    (2, 5)
    """
    ends: Ends | None = (output, output)
    for reading in reversed(readings):
        if ends is None:
            break
        ends = reading.window(*ends)
    return ends


@functools.lru_cache(maxsize=1024)
def reach_along(readings: tuple[Reading, ...], outputs: int) -> tuple[int, Fraction]:
    """Size of the largest window of so many outputs, and their mean distance.

    Outputs read alike a period apart: after as many as make a whole number of steps in every layer before.

    >>> reach_along((Taps(Axis(3)), Spread(Axis(2, stride=2)), Taps(Axis(3))), 8)
    (4, Fraction(1, 2))
    """
    jump, period = Fraction(1), 1
    for reading in reversed(readings):
        jump *= reading.jump
        period = math.lcm(period, jump.denominator)
    count, most = min(period, outputs), max(16, MAX_WINDOWS // max(1, len(readings)))
    looked_at = range(count) if count <= most else [place * count // most for place in range(most)]
    windows = (window_along(readings, output) for output in looked_at)
    return max((last - first + 1 for first, last in filter(None, windows)), default=0), jump
