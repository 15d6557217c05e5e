"""MLX's own gradients through the layer: what an output voxel answers to, and how often an input voxel is read."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core import ConvSpec, EngineError
from conv3d_core.engine import Engine
from conv3d_core.receptive_field import readers, receptive_field, taps, unread_voxels
from conv3d_core.spec import Shape
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
