"""What is asked of a layer, as the steps that the worker takes and what becomes of their answers."""

from __future__ import annotations

import itertools
import math
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from conv3d_core.engine.blocks import Stored
from conv3d_core.engine.jobs import Step
from conv3d_core.engine.operands import Floats
from conv3d_core.engine.slabs import Cut, cut_slab
from conv3d_core.engine.tiles import Box, Tiling, box_sizes, cut, whole_box
from conv3d_core.shapes import FLOAT32_BYTES
from conv3d_core.spec import ConvSpec, Triple


class Source(NamedTuple):
    """Where a part of an output comes from: the box of outputs of a layer on an array (N, D, H, W, C)."""

    spec: ConvSpec
    array: NDArray[Any]
    box: Box


class Target(NamedTuple):
    """A source in shared memory, how it is tiled, and where the outputs go: (N, d, h, w, O)."""

    spec: ConvSpec
    stored: Stored
    box: Box
    tiling: Tiling
    output: Floats


class Weights(NamedTuple):
    """A layer's weights as the worker gets them, and what it computes in."""

    stored: Stored
    bias: bytes | None
    dtype: str = "float32"


def source_of(spec: ConvSpec, array: NDArray[Any], wanted: Cut, whole: bool) -> Source:
    """Where a part of the output comes from.

    Args:
        spec: the layer.
        array: (N, D, H, W, C).
        wanted: per axis the first and last output, or None for all.
        whole: whether the array is sent as it is, because it was or will be needed again, or only the slab that
            this part reads.
    """
    if not whole:
        spec, array = cut_slab(spec, array, wanted)
        wanted = (None, None, None)
    outputs = whole_box(spec.output_shape(array.shape)[1:4])
    d, h, w = (span or every for span, every in zip(wanted, outputs, strict=True))
    return Source(spec, array, (d, h, w))


def box_steps(targets: Sequence[Target], weights: Weights) -> Iterator[Step]:
    """The tiles of each target, batch item by batch item."""
    for target in targets:
        channels = target.spec.out_channels
        for item in range(len(target.output)):
            tiles = cut(target.box, target.tiling.sizes)
            while boxes := tuple(itertools.islice(tiles, target.tiling.together)):
                arguments = {
                    "spec": target.spec,
                    "x": target.stored.reference,
                    "item": item,
                    "boxes": boxes,
                    "weight": weights.stored.reference,
                    "bias": weights.bias,
                    "dtype": weights.dtype,
                    "split": target.tiling.split,
                }
                outputs = sum(math.prod(box_sizes(box)) for box in boxes)
                accept = _assign(target.output[item], target.box, boxes)
                yield Step("boxes", arguments, outputs * channels * FLOAT32_BYTES, outputs, accept)


def gradient_steps(
    spec: ConvSpec, box: Box, tile: Triple, weight: Stored, factors: Stored | None, gradient: Floats, window: Box
) -> Iterator[Step]:
    """The tiles of a box of outputs, whose gradients add up.

    Args:
        spec: the layer.
        box: the outputs.
        tile: outputs of a tile.
        weight: of the layer.
        factors: what each output of the box counts, (d, h, w, O); None for once.
        gradient: zeros (d, h, w, C), over the window.
        window: the part of the input that is wanted.
    """
    lock = threading.Lock()  # the slabs of neighbouring tiles overlap
    for part in cut(box, tile):
        slab = [axis.window(*span) for axis, span in zip(spec.axes, part, strict=True)]
        inside = [(max(a, c), min(b, d)) for (a, b), (c, d) in zip(slab, window, strict=True)]
        if any(last < first for first, last in inside):
            continue  # nothing but padding
        # The layer is linear: where the box lies matters to its factors alone.
        d, h, w = (first - origin for (first, _), (origin, _) in zip(part, box, strict=True))
        arguments = {
            "spec": spec,
            "sizes": box_sizes(part),
            "weight": weight.reference,
            "factors": factors.reference if factors else None,
            "at": (d, h, w),
        }
        reply_bytes = math.prod(last - first + 1 for first, last in slab) * spec.in_channels * FLOAT32_BYTES
        accept = _add(gradient, _inside(inside, window), _inside(inside, slab), lock)
        yield Step("gradient", arguments, reply_bytes, math.prod(box_sizes(part)), accept)


def _inside(box: Sequence[tuple[int, int]], frame: Sequence[tuple[int, int]]) -> tuple[slice, ...]:
    """Where a box lies in an array that stands for the frame."""
    return tuple(
        slice(first - origin, last - origin + 1) for (first, last), (origin, _) in zip(box, frame, strict=True)
    )


def _assign(output: Floats, frame: Box, boxes: Sequence[Box]) -> Callable[[Any], None]:
    def accept(answer: Floats) -> None:
        begin = 0
        for box in boxes:
            sizes = box_sizes(box)
            end = begin + math.prod(sizes)
            output[_inside(box, frame)] = answer[begin:end].reshape(*sizes, -1)
            begin = end

    return accept


def _add(
    gradient: Floats, place: tuple[slice, ...], part: tuple[slice, ...], lock: threading.Lock
) -> Callable[[Any], None]:
    def accept(answer: Floats) -> None:
        with lock:
            gradient[place] += answer[part]

    return accept
