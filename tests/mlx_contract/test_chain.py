"""Every kind of layer beside MLX's own: the same shape, the same number of parameters, an error where it has one.

Where MLX raises nothing and computes nonsense, we raise all the same: `HOLES` has each of these cases.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import mlx.core as mx
import mlx.nn as nn
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from mlx.utils import tree_flatten

from conv3d_core import Conv3dError
from conv3d_core.chain import KINDS, Case, Chain, Layer
from conv3d_core.chain.layer import Sizes
from conv3d_core.chain.trace import Report, trace, window
from tests.core.chain_strategies import layers_and_shapes

FUNCTIONS: dict[str, Callable[..., mx.array]] = {
    "Flatten": lambda x, start_dim=1, end_dim=-1: mx.flatten(x, start_dim, end_dim),
    "Transpose": lambda x, axes: mx.transpose(x, axes),
    "ExpandDims": lambda x, axis: mx.expand_dims(x, axis),
    "Mean": mx.mean,
    "Max": mx.max,
}
KINDS_BY_FAMILY = [
    tuple(kind for kind in KINDS if KINDS[kind].family in families)
    for families in (
        ("convolution",),
        ("pooling", "upsample"),
        ("norm", "linear"),
        ("activation", "dropout", "shape"),
    )
]


def mlx_outcome(layer: Layer, shape: Sizes) -> tuple[Sizes, int] | Exception:
    """The shape that MLX announces and the number of its parameters, or what it raises. Nothing is evaluated."""
    mx.random.seed(0)
    signature = KINDS[layer.kind].mlx
    x = mx.zeros(shape)
    try:
        if signature is None:
            return FUNCTIONS[layer.kind](x, **layer.arguments).shape, 0
        module = getattr(nn, signature.call)(**layer.arguments)
        # PReLU's compiled function does not look at sizes again after its first call.
        y = mx.maximum(0, x) + module.weight * mx.minimum(0, x) if layer.kind == "PReLU" else module(x)
        return y.shape, sum(values.size for _, values in tree_flatten(module.trainable_parameters()))
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return error


def ours(layer: Layer, shape: Sizes) -> Report:
    return trace(Case(Chain((layer,)), shape))


# What MLX takes without a word: a name, a layer, an input, and what MLX announces.
HOLES: list[tuple[str, Layer, Sizes, Sizes]] = [
    (
        "a window that does not fit, at a stride above what is missing",
        Layer("Conv3d", {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "stride": 2}),
        (1, 2, 2, 2, 1),
        (1, 1, 1, 1, 1),
    ),
    (
        "padding below 0 crops",
        Layer("Conv3d", {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "padding": -1}),
        (1, 4, 4, 4, 1),
        (1, 2, 2, 2, 1),
    ),
    (
        "padding below 0 grows",
        Layer("ConvTranspose3d", {"in_channels": 1, "out_channels": 1, "kernel_size": 1, "padding": -1}),
        (1, 4, 4, 4, 1),
        (1, 6, 6, 6, 1),
    ),
    (
        "output_padding below 0 crops",
        Layer("ConvTranspose3d", {"in_channels": 1, "out_channels": 1, "kernel_size": 3, "output_padding": -1}),
        (1, 4, 4, 4, 1),
        (1, 5, 5, 5, 1),
    ),
    (
        "padding beyond the kernel's reach at a stride cuts inputs off: 10 outputs are meant",
        Layer(
            "ConvTranspose3d",
            {"in_channels": 1, "out_channels": 1, "kernel_size": (2, 1, 1), "stride": (3, 1, 1), "padding": (2, 0, 0)},
        ),
        (1, 5, 1, 1, 1),
        (1, 6, 1, 1, 1),
    ),
    (
        "no output channels",
        Layer("Conv3d", {"in_channels": 1, "out_channels": 0, "kernel_size": 1}),
        (1, 2, 2, 2, 1),
        (1, 2, 2, 2, 0),
    ),
    ("no outputs of a pooling", Layer("MaxPool3d", {"kernel_size": 3}), (1, 2, 2, 2, 1), (1, 0, 0, 0, 1)),
    ("no outputs of an upsampling", Layer("Upsample", {"scale_factor": 0}), (1, 2, 2, 2, 1), (1, 0, 0, 0, 1)),
    (
        "a scale below 0",
        Layer("Upsample", {"scale_factor": -1.5, "mode": "linear"}),
        (1, 2, 2, 2, 1),
        (1, 0, 0, 0, 1),
    ),
    ("no outputs of a Linear", Layer("Linear", {"input_dims": 2, "output_dims": 0}), (1, 2), (1, 0)),
    ("one channel is broadcast by a norm", Layer("BatchNorm", {"num_features": 3}), (2, 4, 1), (2, 4, 3)),
    ("a norm of one channel is broadcast", Layer("GroupNorm", {"num_groups": 1, "dims": 1}), (2, 4, 3), (2, 4, 3)),
    ("one channel is broadcast", Layer("InstanceNorm", {"dims": 3, "affine": True}), (2, 4, 1), (2, 4, 3)),
    ("one channel is broadcast by slopes", Layer("PReLU", {"num_parameters": 3}), (2, 1), (2, 3)),
    (
        "groups that do not divide the channels",
        Layer("GroupNorm", {"num_groups": 2, "dims": 4, "affine": False}),
        (1, 4, 3),
        (1, 4, 3),
    ),
    ("a norm without channels", Layer("LayerNorm", {"dims": 0, "affine": False}), (2, 3), (2, 3)),
    ("slopes without channels", Layer("PReLU", {"num_parameters": 0}), (2, 1), (2, 0)),
    ("truth values as numbers", Layer("MaxPool3d", {"kernel_size": True}), (1, 2, 2, 2, 1), (1, 2, 2, 2, 1)),
    ("text as a number", Layer("Upsample", {"scale_factor": "2"}), (1, 2, 2, 2, 1), (1, 4, 4, 4, 1)),
    ("numbers as truth values", Layer("Linear", {"input_dims": 2, "output_dims": 3, "bias": 0}), (1, 2), (1, 3)),
    ("a probability that is none", Layer("Dropout", {"p": float("nan")}), (1, 2), (1, 2)),
    ("sizes of 0", Layer("ReLU", {}), (1, 0), (1, 0)),
    ("a number without axes", Layer("Mean", {"axis": (0, 1)}), (2, 3), ()),
    ("a mean over no axes", Layer("Mean", {"axis": ()}), (2, 3), (2, 3)),
    ("truth values as axes", Layer("Max", {"axis": True}), (2, 3), (2,)),
]


@pytest.mark.parametrize(("layer", "shape", "theirs"), [hole[1:] for hole in HOLES], ids=[hole[0] for hole in HOLES])
def test_what_mlx_takes_without_a_word(layer: Layer, shape: Sizes, theirs: Sizes) -> None:
    outcome = mlx_outcome(layer, shape)
    assert not isinstance(outcome, Exception)
    assert outcome[0] == theirs
    report = ours(layer, shape)
    assert report.failed == 0
    assert report.error is not None


def test_the_hole_of_a_large_stride_is_told_by_field_and_axis() -> None:
    _, layer, _, _ = HOLES[0]
    error = ours(layer, (1, 4, 4, 2, 1)).error
    assert error is not None
    assert (error.field, error.axis) == ("kernel_size", "W")


def test_prelu_looks_at_sizes_in_its_first_call_only() -> None:
    nn.PReLU(3)(mx.zeros((2, 3)))
    assert nn.PReLU(2)(mx.zeros((2, 3))).shape == (2, 3)


FEATURES = ("num_features", "dims", "num_parameters")


def is_hole(layer: Layer, shape: Sizes, theirs: Sizes, error: Conv3dError) -> bool:
    """Whether what MLX makes of it is one of `HOLES`, from the numbers alone."""
    flat = [
        number
        for value in layer.arguments.values()
        for number in (value if isinstance(value, list | tuple) else [value])
    ]
    negative = any(number < 0 for number in flat if not isinstance(number, str | None))
    if layer.kind in ("Mean", "Max") and (theirs == () or layer.arguments["axis"] == ()):
        return True
    if 0 in theirs or negative or 0 in [layer.arguments.get(name) for name in FEATURES]:
        return True
    one = 1 in [shape[-1], *(layer.arguments.get(name) for name in FEATURES)]
    match layer.kind:
        case "Conv3d":
            # One of the outputs is only there because C++ rounds -0.5 up.
            return 1 in theirs[1:4]
        case "ConvTranspose3d":
            return str(error).startswith("padding: ") and "MLX then cuts inputs off" in str(error)
        case "BatchNorm" | "InstanceNorm" | "PReLU":
            return one
        case "GroupNorm":
            return one or shape[-1] % layer.arguments["num_groups"] != 0
    return False


@pytest.mark.parametrize("kinds", KINDS_BY_FAMILY, ids=" ".join)
@given(data=st.data())
def test_shapes_parameters_and_errors_are_those_of_mlx(kinds: tuple[str, ...], data: st.DataObject) -> None:
    layer, shape = data.draw(layers_and_shapes("mlx", kinds))
    report, theirs = ours(layer, shape), mlx_outcome(layer, shape)
    if report.error:
        assert isinstance(theirs, Exception) or is_hole(layer, shape, theirs[0], report.error), (
            str(report.error),
            theirs,
        )
    else:
        assert not isinstance(theirs, Exception), theirs
        assert (report.output_shape, report.parameters) == theirs


def along_depth(name: str, **arguments: Any) -> Layer:
    """A layer that does something along D alone."""
    plain = {"kernel_size": 1, "stride": 1, "padding": 0, "dilation": 1, "output_padding": 0, "scale_factor": 1}
    triples = {key: (value, plain[key], plain[key]) if key in plain else value for key, value in arguments.items()}
    channels = {"in_channels": 1, "out_channels": 1, "bias": False} if name.startswith("Conv") else {}
    return Layer(name, channels | triples)


@st.composite
def chains(draw: st.DrawFn, gaps: bool) -> tuple[Layer, ...]:
    """Layers along D; without gaps only such whose outputs read every voxel of their windows."""
    kinds = ["Conv3d", "ConvTranspose3d", "AvgPool3d", "Upsample", *(["MaxPool3d"] if gaps else [])]
    layers = []
    for name in draw(st.lists(st.sampled_from(kinds), min_size=1, max_size=5)):
        stride, dilation = draw(st.integers(1, 3)), draw(st.integers(1, 3)) if gaps else 1
        kernel = draw(st.integers(1 if gaps else stride, 4))
        if name == "Upsample":
            scale = draw(st.sampled_from([2, 3, 1.5, 2.5, 1.3, *([0.5, 0.7] if gaps else [])]))
            mode = draw(st.sampled_from(["nearest", "linear", *(["cubic"] if gaps else [])]))
            corners = mode != "nearest" and draw(st.booleans())
            smooth = gaps and mode != "nearest" and not corners and draw(st.booleans())
            layers.append(along_depth(name, scale_factor=scale, mode=mode, align_corners=corners, antialias=smooth))
        elif name.startswith("Conv"):
            # More would be cut off, which MLX does wrongly.
            padding = min(draw(st.integers(0, 2)), dilation * (kernel - 1))
            layers.append(along_depth(name, kernel_size=kernel, stride=stride, padding=padding, dilation=dilation))
        else:
            padding = draw(st.integers(0, kernel // 2))
            layers.append(along_depth(name, kernel_size=kernel, stride=stride, padding=padding))
    return tuple(layers)


def gradient_support(layers: tuple[Layer, ...], size: int, output: int) -> list[int]:
    """Indices along D of the input that change an output of the chain, all weights 1."""
    modules = [getattr(nn, layer.kind)(**layer.arguments) for layer in layers]
    for module in modules:
        if "weight" in module:
            module.weight = mx.ones_like(module.weight)

    def value(x: mx.array) -> mx.array:
        for module in modules:
            x = module(x)
        return x[0, output, 0, 0, 0]

    slope = mx.grad(value)(mx.arange(size, dtype=mx.float32).reshape(1, size, 1, 1, 1))
    return [index for index, number in enumerate(slope.reshape(-1).tolist()) if number]


def inside(report: Report, output: int) -> bool:
    """Whether an output's window lies inside the input of every layer, where nothing is clipped."""
    ends: tuple[int, int] | None = (output, output)
    for row in reversed(report.rows):
        assert ends is not None
        reading = row.readings[0]
        ends = reading.window(*ends) if reading else ends
        if ends is None or ends[0] < 0 or ends[1] >= row.input_shape[1]:
            return False
    return True


def through(layers: tuple[Layer, ...], size: int) -> Report:
    report = trace(Case(Chain(layers), (1, size, 1, 1, 1)))
    assume(report.error is None and report.output_shape[1] <= 200)
    return report


@given(layers=chains(gaps=True), size=st.integers(1, 14), data=st.data())
def test_gradients_lie_in_the_window(layers: tuple[Layer, ...], size: int, data: st.DataObject) -> None:
    report = through(layers, size)
    output = data.draw(st.integers(0, report.output_shape[1] - 1))
    found, support = window(report, len(layers) - 1, (output, 0, 0)), gradient_support(layers, size, output)
    if found is None:
        assert not support
    else:
        assert all(found[0][0] <= index <= found[0][1] for index in support)


@given(layers=chains(gaps=False), size=st.integers(4, 20), data=st.data())
def test_gradients_fill_the_window_where_there_are_no_gaps(
    layers: tuple[Layer, ...], size: int, data: st.DataObject
) -> None:
    report = through(layers, size)
    outputs = [output for output in range(report.output_shape[1]) if inside(report, output)]
    assume(outputs)
    output = data.draw(st.sampled_from(outputs))
    found, support = window(report, len(layers) - 1, (output, 0, 0)), gradient_support(layers, size, output)
    assert found is not None
    assert (support[0], support[-1]) == found[0]


@given(layers=chains(gaps=True), size=st.integers(1, 14))
def test_the_reach_is_the_largest_window_of_all_outputs(layers: tuple[Layer, ...], size: int) -> None:
    report = through(layers, size)
    windows = [window(report, len(layers) - 1, (output, 0, 0)) for output in range(report.output_shape[1])]
    reach = report.rows[-1].reach
    assert reach is not None
    assert reach.size[0] == max((ends[0][1] - ends[0][0] + 1 for ends in windows if ends), default=0)


@pytest.mark.parametrize(
    ("name", "arguments", "unfolds"),
    [
        ("Conv3d", {}, True),
        ("Conv3d", {"dilation": 2}, False),
        ("ConvTranspose3d", {}, True),
        ("ConvTranspose3d", {"output_padding": 1}, True),
        ("ConvTranspose3d", {"stride": 2}, False),
        ("ConvTranspose3d", {"dilation": 2}, False),
        ("MaxPool3d", {"padding": 1, "stride": 1}, False),
        ("AvgPool3d", {"stride": 1}, False),
        ("Mean", {"axis": (1, 2, 3)}, False),
        ("Mean", {"axis": (1, 3), "keepdims": True}, False),
        ("Mean", {"axis": 4}, False),
        ("Max", {"axis": (1, 2, 3)}, False),
    ],
)
def test_memory_is_what_mlx_takes(name: str, arguments: dict[str, Any], unfolds: bool) -> None:
    channels = {"in_channels": 4, "out_channels": 4} if name.startswith("Conv") else {}
    layer = Layer(name, {} if name in FUNCTIONS else channels | {"kernel_size": 3})
    layer = replace(layer, arguments={**layer.arguments, **arguments})
    x = mx.zeros((1, 12, 12, 12, 4))
    module: Any = nn.Identity() if name in FUNCTIONS else getattr(nn, name)(**layer.arguments)
    mx.eval(x, module.parameters())
    module = functools.partial(FUNCTIONS[name], **layer.arguments) if name in FUNCTIONS else module
    mx.clear_cache()
    mx.reset_peak_memory()
    before = mx.get_active_memory()
    mx.eval(module(x))
    taken = mx.get_peak_memory() - before
    (row,) = ours(layer, x.shape).rows
    assert bool(row.unfolded_bytes) == unfolds
    assert row.unfolded_bytes <= taken
    # Less the input and the parameters, which were there; and the allocator rounds up to pages.
    assert taken <= row.peak_bytes - x.nbytes - 4 * row.parameters + 2**15
