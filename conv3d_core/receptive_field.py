"""Which input voxels an output reads, and which outputs an input voxel feeds, in one layer and in a stack.

All of it is the theoretical receptive field: the window that the taps span. Indices are of the unpadded
input, so a window may begin below 0 or end beyond the input: there it reads padding.
"""

from __future__ import annotations

import functools
import itertools
import math
import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.errors import ShapeError, SpecError
from conv3d_core.spec import ConvSpec, Triple

Window = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
# Along an axis of a stack: a set of outputs for each position is then some megabytes.
MAX_FOLLOWED = 4096


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


class Coverage(NamedTuple):
    """How many outputs reach each input voxel. Axes are independent, so the counts along D, H and W multiply.

    Attributes:
        along: per axis, for each input index, how many outputs reach it.

    >>> coverage([ConvSpec(1, 1, 2, stride=3)], (8, 8, 8)).unreached
    296
    """

    along: tuple[list[int], list[int], list[int]]

    def at(self, voxel: Sequence[int]) -> int:
        """Outputs that reach the voxel (d, h, w)."""
        return math.prod(counts[index] for counts, index in zip(self.along, voxel, strict=True))

    @property
    def voxels(self) -> int:
        """All voxels of the input."""
        return math.prod(len(counts) for counts in self.along)

    @property
    def unreached(self) -> int:
        """Voxels that no output reaches."""
        return self.voxels - math.prod(len(counts) - counts.count(0) for counts in self.along)

    @property
    def most(self) -> int:
        """Outputs of the voxel that most reach."""
        return math.prod(max(counts) for counts in self.along)

    @property
    def least(self) -> int:
        """Outputs of the voxel that fewest reach, of those that any does; 0 where there is none."""
        if not self.most:
            return 0
        return math.prod(min(count for count in counts if count) for counts in self.along)


def coverage(specs: Sequence[ConvSpec], input_size: Sequence[int]) -> Coverage:
    """How many outputs of the last layer can reach each voxel of an input of (D, H, W), through all layers between.

    An output reaches a voxel where a chain of taps leads from the one to the other, layer by layer, inside every
    layer's output: what lies in the padding of a layer between is a zero and no unit. Of one layer these are the
    outputs that read the voxel. Each output counts once, by however many chains it reaches the voxel.

    Raises:
        ShapeError: a stack along whose axis so many positions lie that they cannot be followed one by one.

    >>> coverage([ConvSpec(1, 1, (3, 1, 1)), ConvSpec(1, 1, 1, stride=2)], (7, 1, 1)).along[0]
    [1, 1, 2, 1, 2, 1, 1]
    """
    d, h, w = (
        _coverage_along(letter, layers, size)
        for letter, size, *layers in zip(AXES, input_size, *(spec.axes for spec in specs), strict=True)
    )
    return Coverage((d, h, w))


def _coverage_along(letter: str, layers: Sequence[Axis], size: int) -> list[int]:
    if len(layers) == 1:
        return layers[0].readers_per_voxel(size)
    sizes = [size]
    for axis in layers:
        sizes.append(axis.output_size(sizes[-1]))
    longest = max(sizes)
    if longest > MAX_FOLLOWED:
        raise ShapeError(
            AXIS_NAMES[letter],
            f"{longest:,} positions in a layer are too many to follow through a stack",
            f"use a smaller padding or volume, to stay at or below {MAX_FOLLOWED:,}, or look at the first layer alone",
            field="coverage",
            axis=letter,
            value=longest,
        )
    # From the last layer back: for each index of a layer's input the set of outputs that it leads to, as bits.
    reached = [1 << output for output in range(sizes[-1])]
    for axis, before in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        reached = [_union(reached[output] for output in axis.readers(index, before)) for index in range(before)]
    return [outputs.bit_count() for outputs in reached]


def _union(sets: Iterable[int]) -> int:
    return functools.reduce(operator.or_, sets, 0)


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


def describe_window(
    window: Window, input_size: Sequence[int], spacing_mm: Sequence[float] | None = None, what: str = "The window"
) -> str:
    """Where a window lies, how large it is in voxels and millimetres, and how much of it is padding: one sentence.

    Args:
        window: first and last input index per axis, inclusive.
        input_size: (D, H, W) of the input.
        spacing_mm: size of a voxel (D, H, W), or None where it is not known.
        what: the beginning of the sentence.

    >>> describe_window(((-1, 1), (3, 5), (3, 5)), (8, 8, 8), (2.0, 1.0, 0.5), "Output (0, 2, 2)")
    'Output (0, 2, 2) spans 3 x 3 x 3 voxels (6 x 3 x 1.5 mm): depth -1 to 1, height 3 to 5, width 3 to 5;
    ... lie in the padding.'
    """
    sizes = [last - first + 1 for first, last in window]
    millimetres = ""
    if spacing_mm is not None:
        lengths = (f"{size * step:.4g}" for size, step in zip(sizes, spacing_mm, strict=True))
        millimetres = f" ({' x '.join(lengths)} mm)"
    spans = [
        f"{AXIS_NAMES[letter]} {first}" + (f" to {last}" if last > first else "")
        for letter, (first, last) in zip(AXES, window, strict=True)
    ]
    positions = math.prod(sizes)
    outside = positions - voxels_inside(window, input_size)
    share = f"{outside:,} of {positions:,} positions ({100 * outside / positions:.3g} %) "
    padding = f"{share}{'lies' if outside == 1 else 'lie'} in the padding" if outside else "none of it in the padding"
    return f"{what} spans {' x '.join(map(str, sizes))} voxels{millimetres}: {', '.join(spans)}; {padding}."


def describe_coverage(found: Coverage, voxel: Sequence[int], layers: int, of_stack: bool = False) -> str:
    """How many outputs reach the voxels of an input, in two sentences.

    Args:
        found: the counts.
        voxel: (d, h, w), of which the count is said.
        layers: how many layers it is of.
        of_stack: whether there are more of which it is not, so that "the first" must be said.

    >>> describe_coverage(coverage([ConvSpec(1, 1, 2, stride=3)], (8, 8, 8)), (0, 0, 2), 1)
    'The layer never reads 296 of 512 voxels (57.8 %); each of the others is read by 1 output. Voxel (0, 0, 2) is read
    by none.'
    """
    whole = layers > 1
    who = f"The stack of {layers} layers" if whole else "The first layer alone" if of_stack else "The layer"
    verb, done = ("reaches", "reached") if whole else ("reads", "read")
    if not found.most:
        return f"{who} {verb} no voxel at all: every tap falls in the padding."
    counts = f"{found.least:,} to {found.most:,} outputs"
    if found.least == found.most:
        counts = f"{found.most:,} output{'s' * (found.most > 1)}"
    share = f"{100 * found.unreached / found.voxels:.3g} %"
    if found.unreached:
        text = f"{who} never {verb} {found.unreached:,} of {found.voxels:,} voxels ({share}); each of the others is"
    else:
        text = f"{who} {verb} all {found.voxels:,} voxels; each is"
    here = found.at(voxel)
    there = f"{here:,} output{'s' * (here > 1)}" if here else "none"
    position = f"({', '.join(str(index) for index in voxel)})"
    return f"{text} {done} by {counts}. Voxel {position} is {done} by {there}."


def voxels_inside(window: Window, input_size: Sequence[int]) -> int:
    """How many positions of a window are voxels of the input; the others are padding.

    >>> voxels_inside(((-1, 1), (0, 2), (0, 2)), (8, 8, 8))
    18
    """
    return math.prod(
        max(0, min(last, size - 1) - max(first, 0) + 1) for (first, last), size in zip(window, input_size, strict=True)
    )


def central_voxel_of(window: Window, input_size: Sequence[int]) -> Triple:
    """The voxel in the middle of a window, of an even number the first of two; the nearest one where that is padding.

    >>> central_voxel_of(((-3, 0), (2, 4), (7, 12)), (8, 8, 8))
    (0, 3, 7)
    """
    return _triple(
        [min(max((first + last) // 2, 0), size - 1) for (first, last), size in zip(window, input_size, strict=True)]
    )


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
