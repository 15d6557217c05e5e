"""How a box of outputs is cut into tiles: what one evaluation computes, holds in memory, and cannot be interrupted in.

Tiles are boxes of outputs, so borders, strides and dilation stay exact (`slabs`). They are cut along D first, where
a slab is one run of memory, then H, then W.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from conv3d_core.engine.phases import worth_splitting
from conv3d_core.shapes import FLOAT32_BYTES
from conv3d_core.spec import ConvSpec, Triple

Span = tuple[int, int]
Box = tuple[Span, Span, Span]


@dataclass(frozen=True, slots=True)
class Grain:
    """How large a tile may be.

    Attributes:
        unfolded: bytes of one row of taps per output, as MLX's CPU build makes them: speed depends on it.
        nbytes: bytes that its evaluation may hold in all.
        macs: multiply-accumulates, so that a cancel is answered soon.
        dilated_macs: the same where MLX's slow loop for dilation runs.
        splits: whether a dilated layer may be split into phases instead, see `phases`.
    """

    unfolded: int
    nbytes: int
    macs: int
    dilated_macs: int
    splits: bool


class Cost(NamedTuple):
    """What one evaluation of a box of outputs holds, in bytes: at most so much unfolded, and in all."""

    unfolded: int
    nbytes: int


class Tiling(NamedTuple):
    """How a box is cut.

    Attributes:
        sizes: outputs of a tile along D, H, W.
        split: whether each tile is split into phases.
        together: tiles that are asked for in one message and evaluated one by one: a message takes time, too.
        nbytes: what the evaluation of one holds, and the answer for all that are asked for together.
    """

    sizes: Triple
    split: bool
    together: int
    nbytes: int


def whole_box(sizes: Triple) -> Box:
    """The box of all outputs.

    >>> whole_box((4, 5, 6))
    ((0, 3), (0, 4), (0, 5))
    """
    d, h, w = ((0, size - 1) for size in sizes)
    return d, h, w


def box_sizes(box: Box) -> Triple:
    """Outputs along each axis.

    >>> box_sizes(((2, 2), (0, 4), (1, 3)))
    (1, 5, 3)
    """
    d, h, w = (last - first + 1 for first, last in box)
    return d, h, w


def box_cost(spec: ConvSpec, sizes: Triple) -> Cost:
    """Upper bound of what a box of outputs takes: on the CPU the input is unfolded.

    One row of taps per output; four slabs (cut out, given to MLX, cast, padded by MLX); four outputs (the product,
    with the bias, cast, on its way back).

    >>> box_cost(ConvSpec(1, 8, 3), (1, 1, 1)) == (4 * 27, 4 * (27 + 4 * 27 + 4 * 8))
    True
    """
    outputs = math.prod(sizes)
    unfolded = outputs * math.prod(spec.kernel_size) * spec.in_channels
    slab = _reached(spec, sizes) * spec.in_channels
    return _cost(unfolded, 4 * slab + 4 * outputs * spec.out_channels)


def gradient_cost(spec: ConvSpec, sizes: Triple) -> Cost:
    """As `box_cost`, for MLX's gradient of a box of outputs: there each input voxel is unfolded into its taps.

    Only without stride and dilation; otherwise MLX takes its slow loop, which needs no memory.

    >>> gradient_cost(ConvSpec(1, 1, 3), (1, 1, 1)) == (4 * 27 * 27, 4 * (27 * 27 + 4 * 27 + 4))
    True
    """
    reached = math.prod(gradient_slab(spec, sizes))
    taps = math.prod(spec.kernel_size) * spec.out_channels
    unfolded = reached * taps if max(spec.stride) == max(spec.dilation) == 1 else 0
    return _cost(unfolded, 4 * reached * spec.in_channels + 4 * math.prod(sizes) * spec.out_channels)


def gradient_slab(spec: ConvSpec, sizes: Triple) -> Triple:
    """Voxels along D, H, W for which the gradient of a box of outputs is computed.

    They are those that it reads, and behind them those that the next stride would pass over: MLX's CUDA build (0.32)
    keeps its plans for gradients by what lies there, not by the stride, and so takes that of another stride. Along an
    axis of one output a stride changes nothing.

    >>> gradient_slab(ConvSpec(1, 1, 3, stride=(1, 2, 3)), (4, 4, 1))
    (6, 10, 3)
    """
    windows = (axis.window(0, size - 1) for axis, size in zip(spec.axes, sizes, strict=True))
    d, h, w = (
        last - first + 1 + (stride - 1 if size > 1 else 0)
        for (first, last), stride, size in zip(windows, spec.stride, sizes, strict=True)
    )
    return d, h, w


def tiling(
    spec: ConvSpec, sizes: Triple, grain: Grain, lanes: int = 1, cost: Callable[[ConvSpec, Triple], Cost] = box_cost
) -> Tiling:
    """The largest tiles of a box of these sizes that the grain allows, at least one output each, evenly cut.

    Args:
        spec: the layer.
        sizes: outputs of the box along D, H, W.
        grain: how large a tile may be.
        lanes: evaluations that run at a time: a box that would be one tile is shared between them.
        cost: what a box holds.

    >>> grain = Grain(unfolded=2**23, nbytes=2**26, macs=2**27, dilated_macs=2**24, splits=True)
    >>> tiling(ConvSpec(1, 8, 3), (94, 94, 94), grain).sizes
    (8, 94, 94)
    """
    # A share of at least an eighth of a grain: below that, starting a tile costs more than it saves.
    share = max(grain.unfolded // 8, -(-cost(spec, sizes).unfolded // lanes))
    grain = replace(grain, unfolded=min(grain.unfolded, share))
    most_macs = grain.macs
    tile = _largest(spec, sizes, grain, most_macs, cost)
    split = grain.splits and worth_splitting(spec, tile)
    if max(spec.dilation) > 1 and not split:
        most_macs = grain.dilated_macs
        tile = _largest(spec, sizes, grain, most_macs, cost)
    answer = math.prod(tile) * spec.out_channels * FLOAT32_BYTES
    tiles = math.prod(-(-size // part) for size, part in zip(sizes, tile, strict=True))
    # Answers of 4 MiB with the CPU's grain; at least four messages a lane, so that all are done at about the same time.
    together = min(
        most_macs // (math.prod(tile) * math.prod(spec.weight_shape)),
        grain.nbytes // (16 * answer),
        tiles // (4 * lanes),
    )
    return Tiling(tile, split, max(together, 1), cost(spec, tile).nbytes + max(together, 1) * answer)


def cut(box: Box, sizes: Triple) -> Iterator[Box]:
    """The box as tiles of at most these sizes, in the order of memory; together they are the box, none overlaps.

    >>> list(cut(((0, 0), (3, 7), (0, 8)), (1, 2, 9)))
    [((0, 0), (3, 4), (0, 8)), ((0, 0), (5, 6), (0, 8)), ((0, 0), (7, 7), (0, 8))]
    """
    along = [
        [(begin, min(begin + size - 1, last)) for begin in range(first, last + 1, size)]
        for (first, last), size in zip(box, sizes, strict=True)
    ]
    d, h, w = along
    yield from itertools.product(d, h, w)


def _cost(unfolded: int, others: int) -> Cost:
    return Cost(FLOAT32_BYTES * unfolded, FLOAT32_BYTES * (unfolded + others))


def _reached(spec: ConvSpec, sizes: Triple) -> int:
    """Input voxels between the first and the last tap of a box of outputs, the padding's zeros among them."""
    windows = (axis.window(0, size - 1) for axis, size in zip(spec.axes, sizes, strict=True))
    return math.prod(last - first + 1 for first, last in windows)


def _largest(
    spec: ConvSpec, sizes: Triple, grain: Grain, most_macs: int, cost: Callable[[ConvSpec, Triple], Cost]
) -> Triple:
    macs = math.prod(spec.weight_shape)

    def fits(d: int, h: int, w: int) -> bool:
        unfolded, nbytes = cost(spec, (d, h, w))
        return unfolded <= grain.unfolded and nbytes <= grain.nbytes and d * h * w * macs <= most_macs

    d, h, w = sizes
    if fits(1, h, w):
        return _even(d, lambda n: fits(n, h, w)), h, w
    if fits(1, 1, w):
        return 1, _even(h, lambda n: fits(1, n, w)), w
    return 1, 1, _even(w, lambda n: fits(1, 1, n))


def _even(size: int, fits: Callable[[int], bool]) -> int:
    """The largest n <= size that fits, at least 1, made smaller where the same number of pieces allows it."""
    low, high = 1, size
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if fits(middle) else (low, middle - 1)
    pieces = -(-size // low)
    return -(-size // pieces)
