"""MLX's own gradients through the layer: what an output voxel answers to, and how often an input voxel is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core import ConvSpec, EngineError, ShapeError, SpecError
from conv3d_core.engine import Engine
from conv3d_core.receptive_field import coverage, readers, receptive_field, taps, unread_voxels
from conv3d_core.spec import Shape
from conv3d_core.stack import stack_shapes
from tests.core.strategies import layers_and_inputs


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(device="cpu", accelerate=False) as running:
        yield running


@settings(max_examples=60)
@given(layers_and_inputs(), st.data())
def test_a_voxel_answers_to_its_taps_and_to_nothing_else(
    engine: Engine, layer: tuple[ConvSpec, Shape], data: st.DataObject
) -> None:
    spec, shape = layer
    outputs = spec.output_shape(shape)
    voxel = tuple(data.draw(st.integers(0, size - 1)) for size in outputs[1:4])
    channel = data.draw(st.integers(0, spec.out_channels - 1))
    weight = np.random.default_rng(0).normal(size=spec.weight_shape).astype(np.float32)
    found = engine.voxel_gradient(spec, shape, voxel, channel, weight)

    wanted = np.zeros(shape[1:], np.float32)
    for tap in taps(spec, voxel, shape[1:4]):
        if not tap.in_padding:
            wanted[tap.voxel] += weight[channel, *tap.tap]
    whole = np.zeros(shape[1:], np.float32)
    whole[tuple(slice(first, last + 1) for first, last in found.window)] = found.values
    assert np.array_equal(whole, wanted)
    for span, (low, high), size in zip(found.window, receptive_field([spec]).window(voxel), shape[1:4], strict=True):
        assert span == ((0, -1) if high < 0 or low >= size else (max(low, 0), min(high, size - 1)))


@settings(max_examples=40)
@given(layers_and_inputs())
def test_each_voxel_is_read_by_as_many_outputs_as_there_are_readers(
    engine: Engine, layer: tuple[ConvSpec, Shape]
) -> None:
    spec, shape = layer
    counts = engine.read_counts(spec, shape)
    assert counts.shape == shape[1:4]
    for voxel in itertools.islice(itertools.product(*map(range, shape[1:4])), 0, None, 7):
        assert counts[voxel] == len(readers(spec, voxel, shape[1:4]))
    assert np.count_nonzero(counts == 0) == unread_voxels(spec, shape[1:4])


def test_counts_by_hand(engine: Engine) -> None:
    # Two taps, stride 3: two of every three voxels are read, once, and the last two of 8 by the third output.
    counts = engine.read_counts(ConvSpec(4, 9, (1, 1, 2), stride=(1, 1, 3)), (1, 2, 2, 8, 4))
    assert counts[0, 0].tolist() == [1, 1, 0, 1, 1, 0, 1, 1]
    counts = engine.read_counts(ConvSpec(1, 1, (1, 1, 3)), (1, 1, 1, 5, 1))
    assert counts[0, 0].tolist() == [1, 2, 3, 2, 1]


@pytest.mark.parametrize(
    "spec", [ConvSpec(1, 1, 5), ConvSpec(1, 1, 5, stride=2, padding=2), ConvSpec(1, 1, 3, dilation=3)]
)
def test_many_tiles_add_up(engine: Engine, spec: ConvSpec) -> None:
    counts = engine.read_counts(spec, (1, 61, 50, 50, 1))
    d, h, w = (axis.readers_per_voxel(size) for axis, size in zip(spec.axes, (61, 50, 50), strict=True))
    assert np.array_equal(counts, np.einsum("i,j,k->ijk", d, h, w))


def test_a_voxel_in_the_padding_answers_to_nothing(engine: Engine) -> None:
    spec = ConvSpec(1, 1, 1, padding=3)
    found = engine.voxel_gradient(spec, (1, 4, 4, 4, 1), (0, 5, 5), weight=[[[[[2]]]]])
    assert found.values.size == 0
    assert engine.voxel_gradient(spec, (1, 4, 4, 4, 1), (3, 4, 5), weight=[[[[[2]]]]]).values.ravel().tolist() == [2]


def test_initial_weights_are_taken_where_none_are_given(engine: Engine) -> None:
    spec = ConvSpec(2, 3, 3)
    found = engine.voxel_gradient(spec, (1, 5, 5, 5, 2), (1, 1, 1), channel=2)
    assert np.array_equal(found.values, engine.initial_weights(spec)[0][2])


def test_a_gradient_that_would_unfold_too_much_is_refused(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "2GiB")
    with pytest.raises(
        EngineError, match=r"^memory: the gradient of nn\.Conv3d\(1, 1, kernel_size=31, bias=False\) needs"
    ):
        engine.voxel_gradient(ConvSpec(1, 4, 31), (1, 40, 40, 40, 1), (0, 0, 0))


def test_a_layer_that_reads_nothing_but_padding(engine: Engine) -> None:
    # The outputs span the input, but each of them, tile by tile, lies beside it.
    spec = ConvSpec(1, 1, 1, stride=(10, 1, 1), padding=(5, 0, 0))
    counts = engine.read_counts(spec, (1, 3, 640, 640, 1))
    assert (counts.shape, counts.max()) == ((3, 640, 640), 0)
    assert not engine._supervisor.store._pinned


# --- stacks ---------------------------------------------------------------------------------------------------------


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[ConvSpec], Shape]:
    """Two or three small layers, each with channels of its own, and an input that they take."""
    channels = [draw(st.integers(1, 2)) for _ in range(draw(st.integers(3, 4)))]
    number, size = st.integers(1, 3), draw(st.tuples(*[st.integers(3, 7)] * 3))
    shape = (1, *size, channels[0])
    layers: list[ConvSpec] = []
    for before, after in itertools.pairwise(channels):
        kernel, dilation = draw(st.tuples(number, number, number)), draw(st.integers(1, 2))
        stride, padding = draw(st.tuples(number, number, number)), draw(st.integers(0, 2))
        sizes = (stack_shapes(layers, shape) or [shape])[-1][1:4]
        # Enough zeros that the kernel fits.
        least = max(-(-(dilation * (k - 1) + 1 - n) // 2) for k, n in zip(kernel, sizes, strict=True))
        layers.append(ConvSpec(before, after, kernel, stride, max(padding, least, 0), dilation))
    return layers, shape


def by_hand(layers: list[ConvSpec], shape: Shape, voxel: tuple[int, ...], channel: int, weights: list) -> np.ndarray:
    """The chain rule, tap by tap."""
    shapes = [shape, *stack_shapes(layers, shape)]
    answer = np.zeros(shapes[-1][1:])
    answer[(*voxel, channel)] = 1
    for spec, weight, before in zip(reversed(layers), reversed(weights), reversed(shapes[:-1]), strict=True):
        further = np.zeros(before[1:])
        for output in zip(*np.nonzero(answer.any(axis=3)), strict=True):
            for tap in taps(spec, output, before[1:4]):
                if not tap.in_padding:
                    further[tap.voxel] += answer[output] @ weight[:, *tap.tap]
        answer = further
    return answer


@settings(max_examples=40, deadline=None)
@given(stacks(), st.data())
def test_a_stack_answers_as_the_chain_rule_by_hand(
    engine: Engine, stack: tuple[list[ConvSpec], Shape], data: st.DataObject
) -> None:
    layers, shape = stack
    *_, outputs = stack_shapes(layers, shape)
    voxel = tuple(data.draw(st.integers(0, size - 1)) for size in outputs[1:4])
    channel = data.draw(st.integers(0, outputs[4] - 1))
    random = np.random.default_rng(1)
    # Small integers: exact in float32.
    weights = [random.integers(-3, 4, spec.weight_shape).astype(np.float32) for spec in layers]
    found = engine.stack_gradient(layers, shape, voxel, channel, weights)

    whole = np.zeros(shape[1:], np.float32)
    whole[tuple(slice(first, last + 1) for first, last in found.window)] = found.values
    assert np.array_equal(whole, by_hand(layers, shape, voxel, channel, weights))
    theoretical = receptive_field(layers).window(voxel)
    for place, (first, last) in zip(np.nonzero(whole.any(axis=3)), theoretical, strict=True):
        assert not place.size or first <= place.min() <= place.max() <= last


@settings(max_examples=25, deadline=None)
@given(layers_and_inputs())
def test_coverage_is_what_the_engine_counts(engine: Engine, layer: tuple[ConvSpec, Shape]) -> None:
    spec, shape = layer
    d, h, w = coverage([spec], shape[1:4]).along
    assert np.array_equal(engine.read_counts(spec, shape), np.einsum("i,j,k->ijk", d, h, w))


@settings(max_examples=15, deadline=None)
@given(stacks(), st.data())
def test_an_impulse_arrives_at_as_many_outputs_as_its_coverage(
    engine: Engine, stack: tuple[list[ConvSpec], Shape], data: st.DataObject
) -> None:
    layers, shape = stack
    voxel = tuple(data.draw(st.integers(0, size - 1)) for size in shape[1:4])
    x = np.zeros(shape, np.float32)
    x[(0, *voxel)] = 1
    for spec in layers:
        x = engine.run(spec, x, np.ones(spec.weight_shape, np.float32))
    assert np.count_nonzero(x[0, ..., 0]) == coverage(layers, shape[1:4]).at(voxel)


def test_two_smoothings_by_hand(engine: Engine) -> None:
    # [1 2 1] twice is [1 4 6 4 1]; at the border the first layer has no unit before its first.
    spec = ConvSpec(1, 1, (1, 1, 3), padding=(0, 0, 1))
    weight = np.array([1, 2, 1], np.float32).reshape(1, 1, 1, 3, 1)
    found = engine.stack_gradient([spec, spec], (1, 1, 1, 9, 1), (0, 0, 4), weights=[weight, weight])
    assert (found.values.ravel().tolist(), found.window[2]) == ([1, 4, 6, 4, 1], (2, 6))
    found = engine.stack_gradient([spec, spec], (1, 1, 1, 9, 1), (0, 0, 0), weights=[weight, weight])
    assert (found.values.ravel().tolist(), found.window[2]) == ([5, 4, 1], (0, 2))


def test_a_stack_whose_output_lies_in_the_padding_of_a_layer_answers_to_nothing(engine: Engine) -> None:
    layers = [ConvSpec(1, 2, 3, padding=2), ConvSpec(2, 1, 1, padding=3)]
    assert engine.stack_gradient(layers, (1, 4, 4, 4, 1), (0, 5, 5)).values.size == 0
    assert not engine._supervisor.store._pinned


def test_a_stack_of_many_tiles_adds_up(engine: Engine) -> None:
    layers = [ConvSpec(1, 8, 5, padding=2), ConvSpec(8, 8, 7, padding=3), ConvSpec(8, 1, 5)]
    weights = [np.ones(spec.weight_shape, np.float32) for spec in layers]
    found = engine.stack_gradient(layers, (1, 40, 40, 40, 1), (12, 12, 12), weights=weights)
    row = np.convolve(np.convolve(np.ones(5), np.ones(7)), np.ones(5))
    assert np.array_equal(found.values[..., 0], (64 * np.einsum("i,j,k->ijk", row, row, row)).astype(np.float32))


def test_stacks_that_do_not_fit_are_refused_before_anything_is_computed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr(engine._dispatcher, "gradient", lambda *given: asked.append(given))
    spec, other = ConvSpec(1, 4, 3), ConvSpec(3, 1, 3)
    with pytest.raises(SpecError, match=r"^in_channels: layer 2 takes 3 and layer 1 gives 4"):
        engine.stack_gradient([spec, other], (1, 9, 9, 9, 1), (0, 0, 0))
    layers = [spec, ConvSpec(4, 1, 3)]
    with pytest.raises(ShapeError, match=r"^layer 2, depth: effective kernel 3 does not fit the padded input of 1 "):
        engine.stack_gradient(layers, (1, 3, 9, 9, 1), (0, 0, 0))
    with pytest.raises(ShapeError, match=r"^width: output 5 is not among the 5 outputs; use 0 to 4\.$"):
        engine.stack_gradient(layers, (1, 9, 9, 9, 1), (0, 0, 5))
    with pytest.raises(ShapeError, match=r"^channel: output channel 1 is not in 0\.\.0; use 0 to 0\.$"):
        engine.stack_gradient(layers, (1, 9, 9, 9, 1), (0, 0, 0), channel=1)
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "2GiB")
    wide = [ConvSpec(1, 4, 31, padding=15), ConvSpec(4, 4, 31, padding=15), ConvSpec(4, 1, 1)]
    with pytest.raises(EngineError, match=r"^memory: the gradient of nn\.Conv3d\(4, 4, kernel_size=31.* needs up to"):
        engine.stack_gradient(wide, (1, 60, 60, 60, 1), (30, 30, 30))
    assert asked == []
