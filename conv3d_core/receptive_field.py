"""Which input voxels an output reads, and which outputs an input voxel feeds, in one layer and in a stack.

All of it is the theoretical receptive field: the window that the taps span. Indices are of the unpadded
input, so a window may begin below 0 or end beyond the input: there it reads padding.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.errors import ShapeError, SpecError
from conv3d_core.spec import ConvSpec, Triple

Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]


class Tap(NamedTuple):
    """One kernel element at work: which tap, on which input voxel, and whether that voxel is padding."""

    tap: Triple
    voxel: Triple
    in_padding: bool


@dataclass(frozen=True, slots=True)
class ReceptiveField:
    """The window arithmetic of a stack of layers, per axis (D, H, W).

    Attributes:
        size: voxels of the input that one output of the stack spans.
        jump: input voxels between the windows of neighbouring outputs: the product of the strides.
        effective_padding: how far the first output's window begins before the input.

    Source: Araujo, Norris & Sim 2019, "Computing receptive fields of convolutional neural networks", eq. 1-3.
    """

    size: Triple
    jump: Triple
    effective_padding: Triple

    def window(self, output: Sequence[int]) -> Window:
        """First and last input index per axis, inclusive, that the output (d, h, w) spans; < 0 in the padding.

        >>> receptive_field([ConvSpec(1, 1, 3, stride=2, padding=1)]).window((0, 1, 2))
        ((-1, 1), (1, 3), (3, 5))
        """
        d, h, w = (
            (index * jump - padding, index * jump - padding + size - 1)
            for index, size, jump, padding in zip(output, self.size, self.jump, self.effective_padding, strict=True)
        )
        return d, h, w


def receptive_field(specs: Sequence[ConvSpec]) -> ReceptiveField:
    """The receptive field of the last layer's outputs in the first layer's input.

    Per axis, from the input on: ``size += (k_e - 1) * jump``, ``effective_padding += p * jump``, ``jump *= s``.

    Raises:
        SpecError: no layer, or a layer that does not take its predecessor's channels.

    Source: Araujo, Norris & Sim 2019, eq. 1-3.

    >>> spec = ConvSpec(1, 1, 3, stride=2, padding=1)
    >>> receptive_field([spec, spec]).size
    (7, 7, 7)
    """
    if not specs:
        raise SpecError("layers", "there is none", "give at least one ConvSpec")
    for number, (before, after) in enumerate(itertools.pairwise(specs), start=2):
        if after.in_channels != before.out_channels:
            raise SpecError(
                "in_channels",
                f"layer {number} takes {after.in_channels} and layer {number - 1} gives {before.out_channels}",
                f"use in_channels={before.out_channels} in layer {number}",
                value=after.in_channels,
            )
    size, jump, padding = [1, 1, 1], [1, 1, 1], [0, 0, 0]
    for spec in specs:
        for i, axis in enumerate(spec.axes):
            size[i] += (axis.effective_kernel_size - 1) * jump[i]
            padding[i] += axis.padding * jump[i]
            jump[i] *= axis.stride
    return ReceptiveField(_triple(size), _triple(jump), _triple(padding))


def taps(spec: ConvSpec, output: Sequence[int], input_size: Sequence[int]) -> list[Tap]:
    """Every tap of one output voxel, padding taps included, in the order of the kernel (D, H, W).

    Args:
        spec: the layer.
        output: (d, h, w) of the output voxel.
        input_size: (D, H, W) of the input, to tell padding from voxels.

    Raises:
        ShapeError: no such output voxel.

    >>> [tap.voxel for tap in taps(ConvSpec(1, 1, (1, 1, 2), dilation=3), (0, 0, 1), (4, 4, 9))]
    [(0, 0, 1), (0, 0, 4)]
    """
    check_output(spec, output, input_size)
    along = [list(enumerate(axis.taps(index))) for axis, index in zip(spec.axes, output, strict=True)]
    found = []
    for (kd, d), (kh, h), (kw, w) in itertools.product(*along):
        inside = all(0 <= index < size for index, size in zip((d, h, w), input_size, strict=True))
        found.append(Tap((kd, kh, kw), (d, h, w), not inside))
    return found


def readers(spec: ConvSpec, voxel: Sequence[int], input_size: Sequence[int]) -> list[Triple]:
    """Every output voxel that reads an input voxel: the inverse of `taps`.

    Raises:
        ShapeError: no such input voxel.

    >>> readers(ConvSpec(1, 1, 2, stride=3), (2, 0, 0), (8, 8, 8))
    []
    """
    for letter, index, size in zip(AXES, voxel, input_size, strict=True):
        if not 0 <= index < size:
            raise ShapeError(
                AXIS_NAMES[letter],
                f"input voxel {index} is not in 0..{size - 1}",
                f"use 0 to {size - 1}",
                field="voxel",
                axis=letter,
                value=index,
            )
    along = [axis.readers(index, size) for axis, index, size in zip(spec.axes, voxel, input_size, strict=True)]
    return [(d, h, w) for d, h, w in itertools.product(*along)]


def central_voxel(spec: ConvSpec, output: Sequence[int], input_size: Sequence[int]) -> Triple:
    """The input voxel under the middle tap of an output: the matching place in the input.

    Of an even number of taps the first of the two in the middle, as in the identity kernel. Where it lies in the
    padding, the nearest voxel of the input.

    >>> central_voxel(ConvSpec(1, 1, 3, stride=2), (4, 0, 1), (10, 10, 10))
    (9, 1, 3)
    """
    middle = []
    for axis, index, size in zip(spec.axes, output, input_size, strict=True):
        tap = axis.taps(index)[(axis.kernel_size - 1) // 2]
        middle.append(min(max(tap, 0), size - 1))
    return _triple(middle)


def output_spacing(spec: ConvSpec, spacing_mm: Sequence[float] | None) -> tuple[float, float, float]:
    """Distance of neighbouring outputs (D, H, W): the stride times the input's spacing in mm; in voxels without one.

    >>> output_spacing(ConvSpec(1, 1, 3, stride=2), (3.0, 1.0, 0.5))
    (6.0, 2.0, 1.0)
    """
    spacing = (1.0, 1.0, 1.0) if spacing_mm is None else spacing_mm
    d, h, w = (step * stride for step, stride in zip(spacing, spec.stride, strict=True))
    return d, h, w


def unread_voxels(spec: ConvSpec, input_size: Sequence[int]) -> int:
    """How many input voxels no output reads.

    >>> unread_voxels(ConvSpec(1, 1, 2, stride=3), (8, 8, 8))
    296
    """
    read = [size - axis.readers_per_voxel(size).count(0) for axis, size in zip(spec.axes, input_size, strict=True)]
    return math.prod(input_size) - math.prod(read)


def describe(spec: ConvSpec, output: Sequence[int], input_size: Sequence[int], channel: int = 0) -> str:
    """What an output voxel reads, in one sentence.

    Raises:
        ShapeError: no such output voxel or channel.

    >>> describe(ConvSpec(1, 8, 3, stride=2, padding=1), (8, 11, 9), (96, 112, 96))
    'Output (8, 11, 9) of channel 0 reads 27 voxels: depth 15-17, height 21-23, width 17-19; none in the padding.'
    """
    check_output(spec, output, input_size)
    check_channel(spec, channel)
    # Counted, not listed: a kernel of 500 has 125 million taps.
    hits = [axis.taps_inside(index, size) for axis, index, size in zip(spec.axes, output, input_size, strict=True)]
    inside = math.prod(len(hit) for hit in hits)
    outside = math.prod(spec.kernel_size) - inside
    spans = [f"{AXIS_NAMES[letter]} {_span(hit)}" for letter, hit in zip(AXES, hits, strict=True)]
    each = f" in each of {spec.in_channels} channels" if spec.in_channels > 1 else ""
    where = f": {', '.join(spans)}" if inside else ""
    padding = (
        f"{outside:,} {'tap falls' if outside == 1 else 'taps fall'} in the padding"
        if outside
        else "none in the padding"
    )
    voxels = "voxel" if inside == 1 else "voxels"
    position = f"({', '.join(str(index) for index in output)})"
    return f"Output {position} of channel {channel} reads {inside:,} {voxels}{each}{where}; {padding}."


def check_output(spec: ConvSpec, output: Sequence[int], input_size: Sequence[int]) -> None:
    """Raises ShapeError where the layer has no such output voxel (d, h, w) on an input of (D, H, W)."""
    for letter, axis, index, size in zip(AXES, spec.axes, output, input_size, strict=True):
        outputs = axis.output_size(size)
        if not 0 <= index < outputs:
            raise ShapeError(
                AXIS_NAMES[letter],
                f"output {index} is not among the {outputs} outputs",
                f"use 0 to {outputs - 1}" if outputs else "make the kernel fit first",
                field="output",
                axis=letter,
                value=index,
            )


def check_channel(spec: ConvSpec, channel: int) -> None:
    """Raises ShapeError where the layer has no such output channel."""
    if not 0 <= channel < spec.out_channels:
        last = spec.out_channels - 1
        problem = f"output channel {channel} is not in 0..{last}"
        raise ShapeError("channel", problem, f"use 0 to {last}", value=channel)


def _span(indices: range) -> str:
    if not indices:
        return "none"
    if len(indices) == 1:
        return str(indices[0])
    text = f"{indices[0]}-{indices[-1]}"
    return text if indices.step == 1 else f"{text} in steps of {indices.step}"


def _triple(numbers: Sequence[int]) -> Triple:
    d, h, w = numbers
    return d, h, w
