"""How outputs are cut, in integers and in NumPy: no process, no MLX."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core import ConvSpec
from conv3d_core.engine.memory import CPU_GRAIN, GPU_GRAIN, grain_for
from conv3d_core.engine.phases import phase_count, phases, undilated, worth_splitting
from conv3d_core.engine.slabs import cut_slab, plane_cut
from conv3d_core.engine.tiles import Grain, box_cost, box_sizes, cut, gradient_cost, gradient_slab, tiling, whole_box
from conv3d_core.spec import Shape
from tests.core.strategies import layers_and_inputs

SIZES = st.tuples(*[st.integers(1, 12)] * 3)


def definition(spec: ConvSpec, x: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The layer by its definition, in integers, so that nothing is rounded: x (1, D, H, W, C), no bias."""
    padded = np.pad(x, [(0, 0), *((p, p) for p in spec.padding), (0, 0)])
    windows = np.lib.stride_tricks.sliding_window_view(padded, spec.effective_kernel_size, axis=(1, 2, 3))
    (sd, sh, sw), (dd, dh, dw) = spec.stride, spec.dilation
    taps = windows[:, ::sd, ::sh, ::sw, :, ::dd, ::dh, ::dw]
    return np.einsum("ndhwcijk,oijkc->ndhwo", taps, weight)


def numbers(spec: ConvSpec, shape: Shape) -> tuple[np.ndarray, np.ndarray]:
    random = np.random.default_rng(0)
    return random.integers(-9, 10, shape)[:1], random.integers(-9, 10, spec.weight_shape)


def spans(draw: st.DataObject, sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
    found = []
    for size in sizes:
        first = draw.draw(st.integers(0, size - 1))
        found.append((first, draw.draw(st.integers(first, size - 1))))
    return tuple(found)


@given(SIZES, SIZES, st.data())
def test_tiles_are_the_box_and_none_overlaps(sizes: tuple[int, int, int], tile: tuple, data: st.DataObject) -> None:
    box = spans(data, sizes)
    covered = np.zeros(sizes, int)
    for part in cut(box, tile):
        assert all(n <= most for n, most in zip(box_sizes(part), tile, strict=True))
        covered[tuple(slice(first, last + 1) for first, last in part)] += 1
    wanted = np.zeros(sizes, int)
    wanted[tuple(slice(first, last + 1) for first, last in box)] = 1
    assert np.array_equal(covered, wanted)


def test_tiles_come_in_the_order_of_memory() -> None:
    parts = list(cut(whole_box((4, 4, 4)), (2, 2, 4)))
    firsts = [tuple(first for first, _ in part) for part in parts]
    assert firsts == sorted(firsts)


@given(layers_and_inputs(), st.integers(0, 20), st.integers(0, 20), st.integers(1, 4))
def test_a_tile_keeps_to_the_grain_or_is_one_output(
    layer: tuple[ConvSpec, Shape], nbytes: int, macs: int, lanes: int
) -> None:
    spec, shape = layer
    box = spec.output_shape(shape)[1:4]
    grain = Grain(2 ** (nbytes + 4), 2 ** (nbytes + 6), 2**macs, 2**macs, splits=False)
    found = tiling(spec, box, grain, lanes)
    assert all(1 <= n <= most for n, most in zip(found.sizes, box, strict=True))
    cost = box_cost(spec, found.sizes)
    assert found.together >= 1
    assert found.nbytes == cost.nbytes + found.together * 4 * math.prod(found.sizes) * spec.out_channels
    if math.prod(found.sizes) > 1:
        assert cost.unfolded <= grain.unfolded
        assert cost.nbytes <= grain.nbytes
        assert math.prod(found.sizes) * math.prod(spec.weight_shape) <= grain.macs


def test_tiles_are_cut_along_depth_first_and_evenly() -> None:
    spec = ConvSpec(1, 8, 3)
    # A plane of 94 x 94 outputs unfolds into 94 * 94 * 27 * 4 B = 954 kB, so 8 MiB are eight planes.
    assert tiling(spec, (94, 94, 94), CPU_GRAIN).sizes == (8, 94, 94)
    # Nine planes are two tiles of five and four, not of eight and one.
    assert tiling(spec, (9, 94, 94), CPU_GRAIN).sizes == (5, 94, 94)
    # A plane of 25 MB is cut along height, a row of 11 MB along width.
    assert tiling(ConvSpec(1, 8, 7), (9, 128, 143), CPU_GRAIN).sizes == (1, 32, 143)
    assert tiling(ConvSpec(64, 1, 9), (5, 5, 60), CPU_GRAIN).sizes == (1, 1, 30)


def test_small_tiles_are_asked_for_together_while_there_are_four_messages_a_lane() -> None:
    # A tile of 8 planes is 8 * 94 * 94 * 216 = 15 million MACs: eight make the 134 million of a message.
    assert tiling(ConvSpec(1, 8, 3), (800, 94, 94), CPU_GRAIN).together == 1, "their answers have 2.3 MB each"
    assert tiling(ConvSpec(8, 8, 3), (800, 94, 94), CPU_GRAIN).together == 8
    # 94 tiles of 15 million MACs are 23 messages a lane; of 40 tiles four messages are left for each of two lanes.
    assert tiling(ConvSpec(8, 8, 3), (40, 94, 94), CPU_GRAIN, lanes=2).together == 5
    assert tiling(ConvSpec(8, 8, 3), (7, 94, 94), CPU_GRAIN, lanes=2).together == 1
    assert tiling(ConvSpec(8, 64, 9), (40, 94, 94), CPU_GRAIN).together == 1, "one alone takes long enough"


def test_a_box_of_one_tile_is_shared_between_the_lanes_unless_it_is_small() -> None:
    spec = ConvSpec(1, 8, 5)
    assert tiling(spec, (1, 92, 92), CPU_GRAIN, lanes=1).sizes == (1, 92, 92)
    assert tiling(spec, (1, 92, 92), CPU_GRAIN, lanes=2).sizes == (1, 46, 92)
    assert tiling(spec, (1, 20, 20), CPU_GRAIN, lanes=2).sizes == (1, 20, 20)


def test_large_slabs_bound_a_tile_where_the_unfolded_data_would_not() -> None:
    # Stride 8 and one tap: 100 x 100 outputs unfold into 640 kB, and their slab has 793 x 793 x 16 x 4 B = 40 MB.
    spec, sizes = ConvSpec(16, 1, 1, stride=8), (40, 100, 100)
    assert box_cost(spec, (1, 100, 100)).unfolded == 640_000
    tile = tiling(spec, sizes, CPU_GRAIN)
    assert tile.sizes == (1, 34, 100)
    assert tile.nbytes <= CPU_GRAIN.nbytes * 5 / 4


def test_where_mlx_loops_slowly_a_tile_has_fewer_multiplications() -> None:
    far = ConvSpec(1, 8, 3, dilation=30)
    found = tiling(far, (60, 60, 60), CPU_GRAIN)
    assert not found.split
    assert math.prod(found.sizes) * 27 * 8 <= CPU_GRAIN.dilated_macs
    near = tiling(ConvSpec(1, 8, 3, dilation=2), (60, 60, 60), CPU_GRAIN)
    assert near.split
    assert math.prod(near.sizes) * 27 * 4 > CPU_GRAIN.unfolded / 2


def test_only_a_dilated_layer_in_float32_on_the_cpu_is_split() -> None:
    spec, sizes = ConvSpec(1, 8, 3, dilation=2), (60, 60, 60)
    assert tiling(spec, sizes, grain_for("cpu")).split
    assert not tiling(spec, sizes, grain_for("cpu", "float16")).split
    assert not tiling(spec, sizes, grain_for("gpu")).split
    assert not tiling(ConvSpec(1, 8, 3), sizes, grain_for("cpu")).split
    assert grain_for("gpu", "bfloat16") == GPU_GRAIN


def test_the_cost_of_a_box_by_hand() -> None:
    spec = ConvSpec(2, 3, (1, 2, 3), stride=(1, 2, 1), dilation=(1, 1, 2))
    # 2 x 2 x 2 outputs of 6 taps in 2 channels; a slab of 2 x 4 x 6 voxels; 3 output channels.
    unfolded, slab, out = 8 * 6 * 2, 2 * 4 * 6 * 2, 8 * 3
    assert box_cost(spec, (2, 2, 2)) == (4 * unfolded, 4 * (unfolded + 4 * slab + 4 * out))
    slab = 2 * 5 * 6 * 2  # one row more, see `gradient_slab`
    assert gradient_cost(spec, (2, 2, 2)) == (0, 4 * (4 * slab + 4 * out))
    plain = ConvSpec(2, 3, (1, 2, 3))
    slab = 2 * 3 * 4
    assert gradient_cost(plain, (2, 2, 2)) == (4 * slab * 18, 4 * (slab * 18 + 4 * slab * 2 + 4 * out))


@pytest.mark.parametrize(("kernel", "dilation"), [(1, 1), (3, 1), (2, 4)])
@pytest.mark.parametrize("size", [2, 5])
def test_what_lies_behind_the_last_window_of_a_gradient_tells_the_stride(kernel: int, dilation: int, size: int) -> None:
    specs = [ConvSpec(1, 1, kernel, stride=stride, dilation=dilation) for stride in range(1, 9)]
    # The padding with which MLX computes a gradient: input - (stride * (outputs - 1) + 1).
    behind = {gradient_slab(spec, (size,) * 3)[0] - spec.stride[0] * (size - 1) - 1 for spec in specs}
    assert len(behind) == len(specs)
    assert {spec.output_shape((1, *gradient_slab(spec, (size,) * 3), 1))[1] for spec in specs} == {size}


def test_the_gradient_of_one_output_needs_its_window_alone() -> None:
    assert gradient_slab(ConvSpec(1, 1, 3, stride=2**31 - 1, dilation=2), (1, 1, 1)) == (5, 5, 5)


@settings(max_examples=60)
@given(layers_and_inputs(channels=2), st.data())
def test_a_slab_gives_its_box_of_the_whole(layer: tuple[ConvSpec, Shape], data: st.DataObject) -> None:
    spec, shape = layer
    x, weight = numbers(spec, shape)
    whole = definition(spec, x, weight)
    box = spans(data, whole.shape[1:4])
    slab_spec, slab = cut_slab(spec, x, box)
    assert slab_spec.padding == (0, 0, 0)
    inside = tuple(slice(first, last + 1) for first, last in box)
    assert np.array_equal(definition(slab_spec, slab, weight)[0], whole[0][inside])
    for axis, (first, _), position in zip("DHW", box, range(3), strict=True):
        slab_spec, slab = cut_slab(spec, x, plane_cut(axis, first))
        assert slab_spec.padding == tuple(0 if p == position else spec.padding[p] for p in range(3))
        assert np.array_equal(definition(slab_spec, slab, weight)[0].squeeze(position), whole[0].take(first, position))


def test_a_slab_inside_the_input_is_no_copy() -> None:
    x = np.zeros((1, 20, 20, 20, 1), np.float32)
    spec = ConvSpec(1, 1, 3, padding=1)
    assert np.shares_memory(cut_slab(spec, x, ((5, 6), (5, 6), (5, 6)))[1], x)
    assert not np.shares_memory(cut_slab(spec, x, ((0, 6), (5, 6), (5, 6)))[1], x)


@pytest.mark.parametrize("outputs", [(-9, -3), (14, 15)])
def test_a_slab_in_the_padding_alone_is_zeros(outputs: tuple[int, int]) -> None:
    spec = ConvSpec(1, 1, 1, padding=(9, 0, 0))
    first, last = (at + 9 for at in outputs)
    _, slab = cut_slab(spec, np.ones((1, 5, 2, 2, 1)), ((first, last), None, None))
    assert slab.shape == (1, last - first + 1, 2, 2, 1)
    assert not slab.any()


@settings(max_examples=100)
@given(layers_and_inputs(channels=2), st.data())
def test_the_phases_of_a_dilated_layer_are_the_layer(layer: tuple[ConvSpec, Shape], data: st.DataObject) -> None:
    spec, shape = layer
    x, weight = numbers(spec, shape)
    whole = definition(spec, x, weight)
    box = spans(data, whole.shape[1:4])
    _, slab = cut_slab(spec, x, box)
    sizes = box_sizes(box)
    pieces, written = np.zeros((*sizes, spec.out_channels), int), np.zeros(sizes, int)
    found = list(phases(spec, sizes))
    for reads, gives in found:
        part = slab[:, *reads]
        assert undilated(spec).output_shape(part.shape)[1:4] == pieces[gives].shape[:3]
        pieces[gives] = definition(undilated(spec), part, weight)[0]
        written[gives] += 1
    assert np.array_equal(pieces, whole[0][tuple(slice(first, last + 1) for first, last in box)])
    assert (written == 1).all()
    assert len(found) == phase_count(spec, sizes)


def test_phases_by_hand() -> None:
    # Every output reads each second voxel; with stride 2 all of them read the even ones, so there is one phase.
    assert phase_count(ConvSpec(1, 1, 3, stride=2, dilation=2), (9, 9, 9)) == 1
    assert phase_count(ConvSpec(1, 1, 3, dilation=2), (9, 9, 9)) == 8
    assert phase_count(ConvSpec(1, 1, 3, stride=2, dilation=3), (9, 9, 9)) == 27
    assert phase_count(ConvSpec(1, 1, 3, dilation=(1, 4, 4)), (9, 3, 1)) == 3
    assert undilated(ConvSpec(1, 1, 3, stride=(2, 2, 6), padding=1, dilation=(2, 3, 4))) == ConvSpec(
        1, 1, 3, stride=(1, 2, 3)
    )


def test_a_split_pays_only_where_a_phase_has_enough_to_do() -> None:
    assert worth_splitting(ConvSpec(1, 8, 3, dilation=2), (20, 20, 20))
    assert not worth_splitting(ConvSpec(1, 8, 3, dilation=20), (20, 20, 20))
    assert not worth_splitting(ConvSpec(1, 8, 3), (20, 20, 20))


def test_every_tile_of_a_large_layer_keeps_to_the_grain() -> None:
    for kernel, channels, stride, dilation in itertools.product((1, 3, 7), (1, 16), (1, 3), (1, 2)):
        spec = ConvSpec(channels, 16, kernel, stride=stride, padding=3, dilation=dilation)
        sizes = spec.output_shape((1, 128, 128, 128, channels))[1:4]
        found = tiling(spec, sizes, CPU_GRAIN, lanes=2)
        assert box_cost(spec, found.sizes).nbytes <= CPU_GRAIN.nbytes
        assert box_cost(spec, found.sizes).unfolded <= CPU_GRAIN.unfolded
