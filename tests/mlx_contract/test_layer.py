"""What we say about the layer that MLX runs: a cross-correlation, its layouts, its start values, its reach."""

import inspect

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from conv3d_core import ConvSpec
from conv3d_core.kernels import kernel_weights
from conv3d_core.receptive_field import readers, receptive_field, taps
from conv3d_core.spec import Shape
from tests.core.strategies import layers_and_inputs, specs
from tests.mlx_contract.reference import layer_of, random_arrays, run

# --- the constructor ------------------------------------------------------------------------------------------------


def test_arguments_are_those_of_the_spec_in_this_order() -> None:
    theirs, ours = (list(inspect.signature(kind).parameters.values()) for kind in (nn.Conv3d, ConvSpec))
    assert [parameter.name for parameter in theirs] == [
        "in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "bias",
    ]  # fmt: skip
    assert [(parameter.name, parameter.default) for parameter in theirs] == [
        (parameter.name, parameter.default) for parameter in ours
    ]


@given(specs())
def test_our_text_makes_this_layer(spec: ConvSpec) -> None:
    layer = eval(spec.to_mlx(), {"nn": nn})
    assert type(layer) is nn.Conv3d
    assert layer.weight.shape == spec.weight_shape
    assert (tuple(layer.stride), tuple(layer.padding)) == (spec.stride, spec.padding)
    dilation = layer.dilation  # kept as given: int or triple
    assert (dilation if isinstance(dilation, tuple) else (dilation,) * 3) == spec.dilation
    assert ("bias" in layer) == spec.bias
    assert ConvSpec.parse(repr(layer)) == spec


def test_repr_has_changed_before_so_text_is_never_built_from_it() -> None:
    assert repr(nn.Conv3d(1, 8, 3, stride=(2, 1, 1), padding=1, dilation=2)) == (
        "Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(2, 1, 1), padding=(1, 1, 1), dilation=2, bias=True)"
    )


def test_there_are_no_groups_in_3d() -> None:
    assert "groups" not in inspect.signature(nn.Conv3d).parameters
    with pytest.raises(ValueError, match=r"Can only handle groups != 1 in 1D or 2D convolutions"):
        mx.conv3d(mx.zeros((1, 3, 3, 3, 2)), mx.zeros((2, 1, 1, 1, 1)), groups=2)


def test_no_padding_mode_wraps() -> None:
    for mode in ("constant", "edge", "reflect", "symmetric"):
        assert mx.pad(mx.zeros((3,)), 1, mode=mode).shape == (5,)
    with pytest.raises(ValueError, match="wrap"):
        mx.pad(mx.zeros((3,)), 1, mode="wrap")


# --- start values ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("channels", "kernel", "bound"), [(1, 3, 27), (4, 2, 32), (2, (1, 3, 5), 30)])
def test_weights_start_uniform_within_one_over_the_root_of_fan_in(channels: int, kernel: int, bound: int) -> None:
    mx.random.seed(3)
    layer = nn.Conv3d(channels, 64, kernel)
    weight = np.array(layer.weight) * bound**0.5
    assert weight.dtype == np.float32
    assert 0.99 < np.abs(weight).max() <= 1 + 1e-6
    assert abs(weight.mean()) < 0.05
    assert weight.var() == pytest.approx(1 / 3, rel=0.1)
    assert not np.array(layer.bias).any()
    assert layer.bias.shape == (64,)


def test_without_bias_there_is_none() -> None:
    assert "bias" not in nn.Conv3d(1, 1, 1, bias=False)


def test_same_seed_same_weights_and_each_layer_draws_on() -> None:
    def weights(seed: int | None) -> list[float]:
        if seed is not None:
            mx.random.seed(seed)
        return np.array(nn.Conv3d(1, 2, 3).weight).ravel().tolist()

    first = weights(7)
    assert weights(None) != first
    assert weights(8) != first
    assert weights(7) == first


# --- the arithmetic -------------------------------------------------------------------------------------------------


def test_it_is_a_cross_correlation() -> None:
    x, weight = np.arange(5, dtype=np.float32) ** 2, np.array([1, 10, 100], np.float32)
    out = run(ConvSpec(1, 1, (1, 1, 3), bias=False), x.reshape(1, 1, 1, 5, 1), weight.reshape(1, 1, 1, 3, 1))
    assert out.ravel().tolist() == [0 + 10 + 400, 1 + 40 + 900, 4 + 90 + 1600]  # flipped it would be 14, 149, 586


def test_weights_lie_as_out_d_h_w_in() -> None:
    spec = ConvSpec(2, 3, (2, 3, 4), bias=False)
    _, weight, _ = random_arrays(spec, (1, 2, 3, 4, 2), seed=0)
    for position in [(2, 0, 0, 0, 0), (0, 1, 0, 0, 1), (0, 0, 2, 0, 0), (1, 1, 2, 3, 1)]:
        out_channel, d, h, w, in_channel = position
        impulse = np.zeros((1, 2, 3, 4, 2), np.float32)
        impulse[0, d, h, w, in_channel] = 1
        assert run(spec, impulse, weight)[0, 0, 0, 0, out_channel] == weight[position]


def test_it_agrees_with_scipy() -> None:
    spec = ConvSpec(1, 1, 3, padding=1)
    x, weight, bias = random_arrays(spec, (1, 5, 6, 7, 1), seed=0)
    expected = ndimage.correlate(x[0, ..., 0].astype(np.float64), weight[0, ..., 0], mode="constant") + bias[0]
    np.testing.assert_allclose(run(spec, x, weight, bias)[0, ..., 0], expected, rtol=1e-5, atol=1e-5)


def test_named_kernels_do_in_mlx_what_their_names_say() -> None:
    spec = ConvSpec(1, 8, 3, padding=1)
    volume = np.random.default_rng(0).normal(size=(6, 7, 8)).astype(np.float32)
    weight, bias = kernel_weights("each", spec)
    out = run(spec, volume[None, ..., None], weight, bias)[0]
    expected = [
        volume,
        ndimage.uniform_filter(volume, 3, mode="constant"),
        *[ndimage.sobel(volume, axis, mode="constant") for axis in range(3)],
        ndimage.laplace(volume, mode="constant"),
        np.diff(volume, axis=0, prepend=0),
    ]
    for channel, wanted in zip((0, 1, 3, 4, 5, 6, 7), expected, strict=True):
        np.testing.assert_allclose(out[..., channel], wanted, atol=1e-5)


@settings(max_examples=60)
@given(layers_and_inputs(kernel=3), st.integers(0, 99))
def test_ones_in_the_weight_sum_comes_out_where_no_tap_is_in_the_padding(
    layer: tuple[ConvSpec, Shape], seed: int
) -> None:
    spec, shape = layer
    _, weight, bias = random_arrays(spec, shape, seed)
    out = run(spec, np.ones(shape, np.float32), weight, bias)
    expected = weight.sum(axis=(1, 2, 3, 4)) + (bias if spec.bias else 0)
    for d, h, w in np.ndindex(out.shape[1:4]):
        if not any(tap.in_padding for tap in taps(spec, (d, h, w), shape[1:4])):
            np.testing.assert_allclose(out[:, d, h, w], np.tile(expected, (shape[0], 1)), atol=1e-4)


@settings(max_examples=60)
@given(layers_and_inputs(kernel=3), st.data())
def test_an_impulse_in_the_kernel_comes_out_at_its_readers(layer: tuple[ConvSpec, Shape], data: st.DataObject) -> None:
    spec, shape = layer
    _, *sizes, _ = shape
    voxel = tuple(data.draw(st.integers(0, size - 1)) for size in sizes)
    channel = data.draw(st.integers(0, spec.in_channels - 1))
    _, weight, _ = random_arrays(spec, shape, seed=1)
    impulse = np.zeros(shape, np.float32)
    impulse[(0, *voxel, channel)] = 1
    expected = np.zeros(spec.output_shape(shape), np.float32)
    for reader in readers(spec, voxel, sizes):
        (tap,) = (tap.tap for tap in taps(spec, reader, sizes) if tap.voxel == voxel)
        expected[(0, *reader)] = weight[(slice(None), *tap, channel)]
    np.testing.assert_array_equal(run(spec, impulse, weight), expected)


# --- the reach ------------------------------------------------------------------------------------------------------


@settings(max_examples=60)
@given(layers_and_inputs(kernel=3), st.data())
def test_the_gradient_of_one_output_lies_on_its_taps(layer: tuple[ConvSpec, Shape], data: st.DataObject) -> None:
    spec, shape = layer
    _, *sizes, _ = shape
    _, *outputs, _ = spec.output_shape(shape)
    d, h, w = (data.draw(st.integers(0, size - 1)) for size in outputs)
    convolve = layer_of(spec)
    convolve.weight = mx.ones(spec.weight_shape)
    gradient = np.array(mx.grad(lambda x: convolve(x)[0, d, h, w, 0])(mx.zeros(shape)))
    expected = np.zeros(shape, np.float32)
    for tap in taps(spec, (d, h, w), sizes):
        if not tap.in_padding:
            expected[(0, *tap.voxel)] = 1
    np.testing.assert_array_equal(gradient, expected)


@settings(max_examples=40)
@given(st.lists(specs(channels=1, kernel=3, padding=1), min_size=2, max_size=3), st.data())
def test_the_gradient_of_a_stack_lies_in_its_window(layers: list[ConvSpec], data: st.DataObject) -> None:
    shape = [1, 1, 1, 1, 1]
    for spec in reversed(layers):  # the smallest input that leaves one output, and up to one voxel more
        for i, axis in enumerate(spec.axes):
            least = (shape[1 + i] - 1) * axis.stride + axis.effective_kernel_size - 2 * axis.padding
            shape[1 + i] = max(1, least) + data.draw(st.integers(0, 1))
    if np.prod(shape) > 40_000:
        return
    convolve = nn.Sequential(*[layer_of(spec) for spec in layers])
    for layer in convolve.layers:
        layer.weight = mx.ones(layer.weight.shape)
    gradient = np.array(mx.grad(lambda x: convolve(x)[0, 0, 0, 0, 0])(mx.zeros(shape)))
    window = receptive_field(layers).window((0, 0, 0))
    inside = tuple(slice(max(0, first), last + 1) for first, last in window)
    outside = gradient.copy()
    outside[(0, *inside)] = 0
    assert not outside.any()
    gap_free = all(k >= s and d == 1 for spec in layers for k, s, _, d in spec.axes)
    unpadded = all(spec.padding == (0, 0, 0) for spec in layers)
    if gap_free and unpadded:
        assert gradient[(0, *inside)].all()


def test_stacked_layers_reach_the_whole_window() -> None:
    layers = [ConvSpec(1, 1, 3), ConvSpec(1, 1, 3, stride=2), ConvSpec(1, 1, 2)]
    convolve = nn.Sequential(*[layer_of(spec) for spec in layers])
    for layer in convolve.layers:
        layer.weight = mx.ones(layer.weight.shape)
    gradient = np.array(mx.grad(lambda x: convolve(x)[0, 0, 0, 1, 0])(mx.zeros((1, 7, 8, 9, 1))))
    assert receptive_field(layers).window((0, 0, 1)) == ((0, 6), (0, 6), (2, 8))
    assert (gradient[0, 0:7, 0:7, 2:9] > 0).all()
    assert (gradient > 0).sum() == 7**3
