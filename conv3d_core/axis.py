"""The integer arithmetic of a convolution along one axis. Everything else stands on it.

A convolution treats its axes independently, so the whole geometry of a layer is three of these:
the pictures (`receptive_field`), the numbers (`shapes`) and the engine's slabs all ask here.

Source: Dumoulin & Visin 2016, "A guide to convolution arithmetic for deep learning", relationships 6 and 15.
"""

from __future__ import annotations

import math
from typing import NamedTuple

AXES = ("D", "H", "W")
AXIS_NAMES = {"D": "depth", "H": "height", "W": "width"}


class Axis(NamedTuple):
    """One axis of a layer: all lengths in voxels, all indices of the unpadded input (so they may be negative).

    >>> axis = Axis(kernel_size=3, stride=2, padding=1, dilation=2)
    >>> axis.effective_kernel_size, axis.output_size(9), list(axis.taps(0))
    (5, 4, [-1, 1, 3])
    """

    kernel_size: int
    stride: int = 1
    padding: int = 0
    dilation: int = 1

    @property
    def effective_kernel_size(self) -> int:
        """Length from the first to the last tap: ``dilation * (kernel_size - 1) + 1``."""
        return self.dilation * (self.kernel_size - 1) + 1

    def padded_size(self, size: int) -> int:
        """Length of the input with its zeros on both sides."""
        return size + 2 * self.padding

    def fits(self, size: int) -> bool:
        """Whether the effective kernel fits into the padded input at least once."""
        return self.effective_kernel_size <= self.padded_size(size)

    def output_size(self, size: int) -> int:
        """How many outputs: ``floor((i + 2p - k_e) / s) + 1``, and 0 where the kernel does not fit.

        Source: Dumoulin & Visin 2016, relationship 15.
        """
        if not self.fits(size):
            return 0
        return (self.padded_size(size) - self.effective_kernel_size) // self.stride + 1

    def leftover(self, size: int) -> int:
        """Padded positions at the end that no window reaches, because the floor drops them; all where none fits.

        >>> Axis(3, stride=2).leftover(8)
        1
        """
        if not self.fits(size):
            return self.padded_size(size)
        return (self.padded_size(size) - self.effective_kernel_size) % self.stride

    def first_tap(self, output: int) -> int:
        """Input index of the first tap of an output; below 0 in the padding."""
        return output * self.stride - self.padding

    def window(self, first: int, last: int | None = None) -> tuple[int, int]:
        """First and last input index that outputs ``first`` to ``last`` reach, both inclusive.

        >>> Axis(3, stride=2, padding=1).window(0)
        (-1, 1)
        """
        end = first if last is None else last
        return self.first_tap(first), self.first_tap(end) + self.effective_kernel_size - 1

    def taps(self, output: int) -> range:
        """Input indices that one output multiplies, one per tap."""
        first, last = self.window(output)
        return range(first, last + 1, self.dilation)

    def taps_inside(self, output: int, size: int) -> range:
        """The part of `taps` that falls on an input of ``size``, without the taps in the padding.

        >>> list(Axis(3, padding=2, dilation=2).taps_inside(1, size=9))
        [1, 3]
        """
        begin = self.first_tap(output)
        skipped = max(0, -(begin // self.dilation))
        first, last = begin + skipped * self.dilation, min(begin + self.effective_kernel_size, size)
        return range(first, max(first, last), self.dilation)

    def readers(self, index: int, size: int) -> list[int]:
        """Outputs that read one input index, for an input of ``size``: the inverse of `taps`.

        >>> Axis(3, stride=2, padding=1).readers(3, size=8)
        [1, 2]
        """
        at = index + self.padding
        return [(at - tap * self.dilation) // self.stride for tap in reversed(self._reading_taps(index, size))]

    def readers_per_voxel(self, size: int) -> list[int]:
        """For each input index, how many taps read it: 0 means that the layer never sees that voxel.

        >>> Axis(2, stride=3).readers_per_voxel(8)
        [1, 1, 0, 1, 1, 0, 1, 1]
        """
        return [len(self._reading_taps(index, size)) for index in range(size)]

    def _reading_taps(self, index: int, size: int) -> range:
        """The taps that some output lays on an input index: those with ``index + p - tap * d`` in 0, s, 2s, ...

        Solved, not searched: a typed kernel or padding may be a million times longer than the input.
        """
        at = index + self.padding
        common = math.gcd(self.dilation, self.stride)
        if at % common:
            return range(0)
        step = self.stride // common
        furthest = (self.output_size(size) - 1) * self.stride
        low = max(0, -((furthest - at) // self.dilation))
        high = min(self.kernel_size - 1, at // self.dilation)
        # The smallest tap from `low` on with tap * d = at (mod s).
        residue = at // common * pow(self.dilation // common, -1, step)
        return range(low + (residue - low) % step, high + 1, step)
