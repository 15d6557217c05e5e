"""What a layer costs and why its output has the size it has. Integers only.

Sizes are in voxels, `*_bytes` in bytes (MiB = 2**20 B on screen), 1 MAC is one multiply-accumulate = 2 FLOP.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.spec import ConvSpec

FLOAT32_BYTES = 4


class AxisShape(NamedTuple):
    """Where the output size of one axis comes from; all in voxels.

    Attributes:
        letter: "D", "H" or "W".
        axis: the layer along this axis.
        input_size: voxels of the input.
        output_size: outputs; 0 where the kernel does not fit.
        leftover: padded positions at the end that no window reaches (the floor drops them).
        unread: input voxels that no tap reads, anywhere along the axis.
    """

    letter: str
    axis: Axis
    input_size: int
    output_size: int
    leftover: int
    unread: int

    @property
    def name(self) -> str:
        """The axis in words."""
        return AXIS_NAMES[self.letter]

    @property
    def formula(self) -> str:
        """The size formula with this axis' numbers.

        >>> explain_shape(ConvSpec(1, 8, 3, stride=2, padding=1), (1, 9, 8, 8, 1))[1].formula
        'floor((8 + 2*1 - 3) / 2) + 1 = floor(3.5) + 1 = 4'
        """
        k, s, p = self.axis.effective_kernel_size, self.axis.stride, self.axis.padding
        span = self.axis.padded_size(self.input_size) - k
        # Two digits are for reading, cut and not rounded: 2.997 shown as 3 would contradict its own floor.
        quotient = f"{span // s}.{span % s * 100 // s:02d}".rstrip("0").rstrip(".")
        return f"floor(({self.input_size} + 2*{p} - {k}) / {s}) + 1 = floor({quotient}) + 1 = {span // s + 1}"


def explain_shape(spec: ConvSpec, input_shape: Sequence[int]) -> tuple[AxisShape, AxisShape, AxisShape]:
    """How the output size arises along D, H and W.

    Args:
        spec: the layer.
        input_shape: (N, D, H, W, C).

    Raises:
        ShapeError: the input does not fit the layer.

    Source: Dumoulin & Visin 2016, relationship 15.
    """
    spec.output_shape(input_shape)
    d, h, w = (
        AxisShape(
            letter,
            axis,
            size,
            axis.output_size(size),
            axis.leftover(size),
            axis.readers_per_voxel(size).count(0),
        )
        for letter, axis, size in zip(AXES, spec.axes, map(int, input_shape[1:4]), strict=True)
    )
    return d, h, w


def parameter_count(spec: ConvSpec) -> int:
    """Numbers that training would change: ``O * KD * KH * KW * I``, and O biases.

    >>> parameter_count(ConvSpec(1, 8, 3))
    224
    """
    return math.prod(spec.weight_shape) + (spec.out_channels if spec.bias else 0)


def macs(spec: ConvSpec, input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of one pass, taps in the padding counted: outputs times taps times input channels.

    Raises:
        ShapeError: the input does not fit the layer.

    >>> macs(ConvSpec(1, 8, 3), (1, 5, 5, 5, 1))
    5832
    """
    return math.prod(spec.output_shape(input_shape)) * _taps_per_output(spec)


def input_bytes(input_shape: Sequence[int]) -> int:
    """Bytes of a float32 array of this shape."""
    return math.prod(input_shape) * FLOAT32_BYTES


def weight_bytes(spec: ConvSpec) -> int:
    """Bytes of the float32 weight and bias."""
    return parameter_count(spec) * FLOAT32_BYTES


def output_bytes(spec: ConvSpec, input_shape: Sequence[int]) -> int:
    """Bytes of the float32 output.

    Raises:
        ShapeError: the input does not fit the layer.
    """
    return math.prod(spec.output_shape(input_shape)) * FLOAT32_BYTES


def unfolded_bytes(spec: ConvSpec, input_shape: Sequence[int]) -> int:
    """Bytes of the unfolded input that MLX's CPU build makes while it runs: one row of taps per output position.

    With a dilation above 1 MLX takes a loop that does not unfold, and this is 0.

    Raises:
        ShapeError: the input does not fit the layer.

    >>> unfolded_bytes(ConvSpec(1, 8, 7), (1, 128, 128, 128, 1)) // 2**20
    2375
    """
    batch, *sizes, _ = spec.output_shape(input_shape)
    if max(spec.dilation) > 1:
        return 0
    return batch * math.prod(sizes) * _taps_per_output(spec) * FLOAT32_BYTES


def peak_bytes(spec: ConvSpec, input_shape: Sequence[int]) -> int:
    """Upper bound of what MLX's CPU build holds at once: unfolded + padded input + two outputs + input + weight.

    Measured use is 0.47 to 1.00 of this bound (MLX 0.32.4, dilation 1).

    Raises:
        ShapeError: the input does not fit the layer.
    """
    batch, *sizes, channels = input_shape
    padded = [axis.padded_size(size) for axis, size in zip(spec.axes, sizes, strict=True)]
    return (
        unfolded_bytes(spec, input_shape)
        + input_bytes((batch, *padded, channels))
        + 2 * output_bytes(spec, input_shape)
        + input_bytes(input_shape)
        + weight_bytes(spec)
    )


def format_bytes(count: int) -> str:
    """Bytes to read, in the power of 1024 that suits them.

    >>> format_bytes(864), format_bytes(5 * 2**20), format_bytes(3 * 2**30)
    ('864 B', '5.00 MiB', '3.00 GiB')
    """
    for unit, step in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if count >= step:
            return f"{count / step:.2f} {unit}"
    return f"{count} B"


def _taps_per_output(spec: ConvSpec) -> int:
    return math.prod(spec.kernel_size) * spec.in_channels
