"""The sum behind one output voxel: by hand, and against MLX."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError
from conv3d_core.arithmetic import Arithmetic, arithmetic
from conv3d_core.engine import Engine
from conv3d_core.receptive_field import taps
from tests.core.strategies import layers_and_inputs

Floats = np.ndarray


@pytest.fixture(scope="module")
def engine() -> Iterator[Engine]:
    with Engine(device="cpu") as running:
        yield running


def ramp(*sizes: int) -> Floats:
    """``100 d + 10 h + w``: every value is its own place."""
    d, h, w = np.indices(sizes)
    return (100 * d + 10 * h + w).astype(np.float32)[..., None]


def counted(spec: ConvSpec) -> Floats:
    """Weights 1, 2, 3, ... in the order (O, KD, KH, KW, I)."""
    return np.arange(1, math.prod(spec.weight_shape) + 1, dtype=np.float32).reshape(spec.weight_shape)


# By hand


def test_a_patch_times_a_kernel_by_hand() -> None:
    spec = ConvSpec(1, 1, (2, 1, 2))
    found = arithmetic(spec, ramp(3, 3, 3), counted(spec), np.array([0.5], np.float32), (1, 2, 0), 0)
    assert found.rows == (range(1, 3), range(2, 3), range(2))
    assert found.patch.ravel().tolist() == [120, 121, 220, 221]
    assert found.kernel.ravel().tolist() == [1, 2, 3, 4]
    assert found.products.ravel().tolist() == [120, 242, 660, 884]
    assert found.subtotals.tolist() == [[362], [1544]]
    assert (found.bias, found.total, found.magnitude) == (0.5, 1906.5, 1906)
    assert not found.in_padding.any()


def test_padding_reads_zeros_and_is_marked() -> None:
    spec = ConvSpec(1, 1, (1, 2, 3), padding=(0, 1, 1), bias=False)
    found = arithmetic(spec, ramp(1, 4, 4) + 1, counted(spec), None, (0, 0, 3), 0)
    assert found.rows == (range(1), range(-1, 1), range(2, 5))
    assert found.in_padding.tolist() == [[[True, True, True], [False, False, True]]]
    assert found.patch[0, ..., 0].tolist() == [[0, 0, 0], [3, 4, 0]]
    assert found.products[0, ..., 0].tolist() == [[0, 0, 0], [12, 20, 0]]
    assert (found.bias, found.total) == (None, 32)


def test_dilation_strides_and_channels_by_hand() -> None:
    spec = ConvSpec(2, 2, (2, 1, 2), stride=(3, 1, 2), padding=(1, 0, 2), dilation=(4, 1, 3))
    plain = ramp(6, 2, 5)[..., 0]
    array = np.stack([plain, -plain], axis=-1)
    found = arithmetic(spec, array, counted(spec), np.array([7, 1000], np.float32), (1, 1, 1), 1)
    assert [list(row) for row in found.rows] == [[2, 6], [1], [0, 3]]  # 1*3-1, +4; 1; 1*2-2, +3
    assert found.in_padding.ravel().tolist() == [False, False, True, True]
    assert found.patch.reshape(4, 2).tolist() == [[210, -210], [213, -213], [0, 0], [0, 0]]
    assert found.kernel.reshape(4, 2).tolist() == [[9, 10], [11, 12], [13, 14], [15, 16]]
    assert found.subtotals.tolist() == [[210 * 9 + 213 * 11, -210 * 10 - 213 * 12], [0, 0]]
    assert found.total == 1000 - 210 - 213


def test_the_largest_products_come_first_of_equal_ones_the_first_and_none_that_is_zero() -> None:
    spec = ConvSpec(1, 1, (1, 1, 6), stride=2, bias=False)
    array = np.array([9, 9, 1, -4, 4, 0, 2, 4], np.float32).reshape(1, 1, 8, 1)
    weight = np.array([1, 2, -2, 5, 5, 1], np.float32).reshape(spec.weight_shape)
    found = arithmetic(spec, array, weight, None, (0, 0, 1), 0)
    assert found.products.ravel().tolist() == [1, -8, -8, 0, 10, 4]
    assert [c.product for c in found.largest] == [10, -8, -8, 4, 1]
    assert [c.tap[2] for c in found.largest] == [4, 1, 2, 5, 0]
    assert [c.voxel for c in found.largest] == [(0, 0, w) for w in (6, 3, 4, 7, 2)]
    assert [(c.value, c.weight) for c in found.largest[:2]] == [(2, 5), (-4, 2)]
    assert [c.share for c in found.largest] == [10 / 31, 8 / 31, 8 / 31, 4 / 31, 1 / 31]
    (one, two) = arithmetic(spec, array, weight, None, (0, 0, 1), 0, largest=2).largest
    assert (one.tap[2], two.tap[2]) == (4, 1)


def test_a_window_of_padding_is_a_sum_of_nothing() -> None:
    spec = ConvSpec(1, 1, 1, padding=2)
    found = arithmetic(spec, ramp(2, 2, 2), counted(spec), np.array([3], np.float32), (0, 0, 0), 0)
    assert (found.total, found.magnitude, found.largest) == (3, 0, ())
    assert found.in_padding.all()


def test_products_are_exact() -> None:
    """In float32 the sum of these is 0."""
    spec = ConvSpec(1, 1, (1, 1, 3), bias=False)
    array = np.array([1, 2**-30, -1], np.float32).reshape(1, 1, 3, 1)
    found = arithmetic(spec, array, np.ones(spec.weight_shape, np.float32), None, (0, 0, 0), 0)
    assert found.total == 2**-30
    assert found.closes_with(0)
    assert not found.closes_with(1e-5)


def test_the_input_is_left_as_it_is() -> None:
    array = ramp(3, 3, 3) + 1
    array.flags.writeable = False
    spec = ConvSpec(1, 1, 3, padding=1)
    assert arithmetic(spec, array, counted(spec), None, (0, 0, 0), 0).patch[0, 0, 0, 0] == 0
    assert array.min() == 1


# What does not exist


@pytest.mark.parametrize(
    ("output", "channel", "field", "message"),
    [
        ((3, 0, 0), 0, "output", "depth: output 3 is not among the 3 outputs; use 0 to 2."),
        ((0, 0, -1), 0, "output", "width: output -1 is not among the 3 outputs; use 0 to 2."),
        ((0, 0, 0), 2, "channel", "channel: output channel 2 is not in 0..1; use 0 to 1."),
        ((0, 0, 0), -1, "channel", "channel: output channel -1 is not in 0..1; use 0 to 1."),
    ],
)
def test_no_such_voxel_or_channel(output: tuple[int, int, int], channel: int, field: str, message: str) -> None:
    spec = ConvSpec(1, 2, 3)
    with pytest.raises(ShapeError) as caught:
        arithmetic(spec, ramp(5, 5, 5), counted(spec), None, output, channel)
    assert (caught.value.field, str(caught.value)) == (field, message)


@pytest.mark.parametrize(
    ("sizes", "weight", "bias", "message"),
    [
        ((5, 5, 2), (2, 3, 3, 3, 1), (2,), "width: effective kernel 3 does not fit the padded input of 2"),
        ((5, 5, 5), (2, 1, 3, 3, 3), (2,), "weight: shape (2, 1, 3, 3, 3) is not (O, KD, KH, KW, I)"),
        ((5, 5, 5), (2, 3, 3, 3, 1), (1,), "bias: shape (1,) is not (O,) = (2,); use shape (2,)."),
    ],
)
def test_what_does_not_fit_the_layer(
    sizes: tuple[int, int, int], weight: tuple[int, ...], bias: tuple[int, ...], message: str
) -> None:
    with pytest.raises(ShapeError) as caught:
        arithmetic(
            ConvSpec(1, 2, 3), ramp(*sizes), np.ones(weight, np.float32), np.ones(bias, np.float32), (0, 0, 0), 0
        )
    assert str(caught.value).startswith(message)


# What is not finite


def one_row(values: list[float], weights: list[float], **options: int) -> tuple[ConvSpec, Floats, Floats]:
    spec = ConvSpec(1, 1, (1, 1, len(weights)), bias=False, **options)
    array = np.array(values, np.float32).reshape(1, 1, -1, 1)
    return spec, array, np.array(weights, np.float32).reshape(spec.weight_shape)


NOT_FINITE = {
    "a NaN times 0": ([math.nan, 1], [0, 1], math.nan),
    "an infinite voxel": ([math.inf, 1], [2, 1], math.inf),
    "a negative weight of it": ([math.inf, 1], [-2, 1], -math.inf),
    "infinity against infinity": ([math.inf, math.inf], [1, -1], math.nan),
    "infinity times 0": ([0, 1], [math.inf, 1], math.nan),
}


@pytest.mark.parametrize(("values", "weights", "total"), NOT_FINITE.values(), ids=NOT_FINITE)
def test_what_is_not_finite_is_in_the_total_as_in_mlx(
    engine: Engine, values: list[float], weights: list[float], total: float
) -> None:
    spec, array, weight = one_row(values, weights)
    found = arithmetic(spec, array, weight, None, (0, 0, 0), 0)
    assert repr(found.total) == repr(total)
    (mlx,) = engine.voxel(spec, array[None], (0, 0, 0), weight).tolist()
    assert repr(mlx) == repr(total)
    assert found.closes_with(mlx)
    assert not found.closes_with(1.0)
    assert not np.isfinite(found.largest[0].product)
    assert all(math.isnan(c.share) for c in found.largest)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("weight", [math.nan, math.inf])
def test_a_weight_that_is_not_finite_makes_nan_of_the_padding_as_in_mlx(
    engine: Engine, weight: float, dilation: int
) -> None:
    spec = ConvSpec(1, 1, 2, padding=1, dilation=dilation, bias=False)
    kernel = np.ones(spec.weight_shape, np.float32)
    kernel[0, 0, 0, 0, 0] = weight
    found = arithmetic(spec, ramp(4, 4, 4), kernel, None, (0, 0, 0), 0)
    assert math.isnan(found.total)
    assert np.isnan(engine.voxel(spec, ramp(4, 4, 4)[None], (0, 0, 0), kernel)).all()


def test_beyond_float32_the_total_is_finite_and_mlx_is_not(engine: Engine) -> None:
    spec, array, weight = one_row([3e38, 3e38], [1, 1])
    found = arithmetic(spec, array, weight, None, (0, 0, 0), 0)
    assert found.total == pytest.approx(6e38)
    (mlx,) = engine.voxel(spec, array[None], (0, 0, 0), weight).tolist()
    assert mlx == math.inf
    assert found.closes_with(mlx)
    assert not arithmetic(spec, array / 4, weight, None, (0, 0, 0), 0).closes_with(mlx)


# Against MLX


@st.composite
def sums(draw: st.DrawFn) -> tuple[ConvSpec, Floats, Floats, Floats | None, tuple[int, int, int], int]:
    """A layer with its numbers, and one of its output voxels."""
    spec, shape = draw(layers_and_inputs())
    random = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scale = draw(st.sampled_from([1e-3, 1.0, 1e4]))
    array = (random.normal(size=shape[1:]) * scale + draw(st.sampled_from([0, 5]))).astype(np.float32)
    weight = random.normal(size=spec.weight_shape).astype(np.float32)
    bias = random.normal(size=spec.out_channels).astype(np.float32) if spec.bias else None
    d, h, w = (draw(st.integers(0, size - 1)) for size in spec.output_shape(shape)[1:4])
    return spec, array, weight, bias, (d, h, w), draw(st.integers(0, spec.out_channels - 1))


@settings(max_examples=400)
@given(sums())
def test_the_total_is_mlxs_value_to_float32_rounding(
    engine: Engine, case: tuple[ConvSpec, Floats, Floats, Floats | None, tuple[int, int, int], int]
) -> None:
    spec, array, weight, bias, output, channel = case
    found = arithmetic(spec, array, weight, bias, output, channel)
    value = float(engine.voxel(spec, array[None], output, weight, bias)[channel])
    # Higham's bound holds whatever happens. It grows with n, the errors themselves, of either sign, with its root: of
    # the at most 192 products here they reach 192**0.5 * 2**-24 = 8e-7 of the sum of |product|.
    assert found.closes_with(value)
    assert abs(value - found.total) <= 2e-6 * (found.magnitude + abs(found.bias or 0))
    assert np.float32(found.total) == pytest.approx(found.subtotals.sum() + (found.bias or 0), rel=1e-6)


@given(sums())
def test_the_parts_are_those_of_the_taps(
    case: tuple[ConvSpec, Floats, Floats, Floats | None, tuple[int, int, int], int],
) -> None:
    """One by one, by the list that the pictures are drawn from."""
    spec, array, weight, bias, output, channel = case
    found: Arithmetic = arithmetic(spec, array, weight, bias, output, channel)
    listed = taps(spec, output, array.shape[:3])
    assert found.in_padding.sum() == sum(tap.in_padding for tap in listed)
    for tap in listed:
        assert tuple(row[k] for row, k in zip(found.rows, tap.tap, strict=True)) == tap.voxel
        assert found.in_padding[tap.tap] == tap.in_padding
        read = np.zeros(spec.in_channels) if tap.in_padding else array[tap.voxel].astype(np.float64)
        np.testing.assert_array_equal(found.patch[tap.tap], read)
        np.testing.assert_array_equal(found.products[tap.tap], read * weight[channel][tap.tap])
    magnitudes = np.sort(np.abs(found.products[found.products != 0]))[::-1]
    assert [abs(c.product) for c in found.largest] == magnitudes[:10].tolist()
    for c in found.largest:
        assert c.value * c.weight == c.product == found.products[(*c.tap, c.channel)]


def test_only_the_taps_are_gathered() -> None:
    """The volume is 4 GB long and takes no memory; the kernel has 85,184 products."""
    array = np.broadcast_to(np.float32(2), (1000, 1000, 1000, 1))
    spec = ConvSpec(1, 1, 44, padding=20)
    begin = time.perf_counter()
    found = arithmetic(spec, array, np.ones(spec.weight_shape, np.float32), None, (0, 500, 500), 0)
    assert time.perf_counter() - begin < 1
    assert found.total == 2 * 24 * 44 * 44
