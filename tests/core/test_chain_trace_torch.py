"""Every kind of layer beside PyTorch's own: the same shape and number of parameters, an error where it has one."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core.chain import KINDS, Case, Chain, Layer
from conv3d_core.chain.layer import Sizes
from conv3d_core.chain.trace import Report, trace, window
from tests.core.chain_strategies import layers_and_shapes

torch: Any = pytest.importorskip("torch")
nn = torch.nn

FUNCTIONS: dict[str, Callable[..., Any]] = {
    "Transpose": lambda x, axes: x.permute(axes),
    "ExpandDims": lambda x, axis: x.unsqueeze(axis),
    "Mean": lambda x, axis, keepdims=False: x.mean(axis, keepdims),
    "Max": lambda x, axis, keepdims=False: x.amax(axis, keepdims),
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


def torch_outcome(layer: Layer, shape: Sizes) -> tuple[Sizes, int] | Exception:
    """The shape that PyTorch gives while training and the number of its parameters, or what it raises."""
    signature = KINDS[layer.kind].torch
    x = torch.zeros(shape)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            if signature is None:
                return tuple(FUNCTIONS[layer.kind](x, **layer.arguments).shape), 0
            own = {signature.name(own): own for own in signature.parameters}
            call = layer.call.removeprefix("nn.") or signature.call
            module = getattr(nn, call)(**{own[name]: value for name, value in layer.arguments.items()})
            return tuple(module(x).shape), sum(value.numel() for value in module.parameters())
    except Exception as error:  # noqa: BLE001 - whatever it raises is the answer
        return error


def ours(layer: Layer, shape: Sizes) -> Report:
    return trace(Case(Chain((layer,), "torch"), shape))


# What PyTorch takes without a word, and what it gives.
HOLES: list[tuple[str, Layer, Sizes, Sizes]] = [
    ("no output channels", Layer("Linear", {"input_dims": 2, "output_dims": 0}), (1, 2), (1, 0)),
    (
        "no channels",
        Layer("BatchNorm", {"num_features": 0, "affine": False, "track_running_stats": False}),
        (2, 3, 2, 2, 2),
        (2, 3, 2, 2, 2),
    ),
    ("no channels", Layer("InstanceNorm", {"dims": 0}), (2, 3, 2, 2, 2), (2, 3, 2, 2, 2)),
    ("one stride in a tuple", Layer("MaxPool3d", {"kernel_size": (2,)}), (1, 1, 4, 4, 4), (1, 1, 2, 2, 2)),
    ("text as a number", Layer("Upsample", {"scale_factor": "2"}), (1, 1, 2, 2, 2), (1, 1, 4, 4, 4)),
    (
        "truth values as numbers",
        Layer("Conv3d", {"in_channels": 1, "out_channels": 1, "kernel_size": True}),
        (1, 1, 2, 2, 2),
        (1, 1, 2, 2, 2),
    ),
    ("anything as a truth value", Layer("ReLU", {"inplace": "yes"}), (1, 2), (1, 2)),
    ("sizes of 0", Layer("ReLU", {}), (0, 2), (0, 2)),
    ("sizes of 0", Layer("AdaptiveAvgPool3d", {"output_size": (0, 1, 1)}), (1, 1, 2, 2, 2), (1, 1, 0, 1, 1)),
    ("a number without axes", Layer("Mean", {"axis": (0, 1)}), (2, 3), ()),
    ("no axes, which are all", Layer("Max", {"axis": (), "keepdims": True}), (2, 3), (1, 1)),
    (
        "truth values as sizes",
        Layer("AdaptiveMaxPool3d", {"output_size": (1, True, 1)}),
        (1, 1, 2, 2, 2),
        (1, 1, 1, 1, 1),
    ),
]


@pytest.mark.parametrize(("layer", "shape", "theirs"), [hole[1:] for hole in HOLES], ids=[hole[0] for hole in HOLES])
def test_what_pytorch_takes_without_a_word(layer: Layer, shape: Sizes, theirs: Sizes) -> None:
    outcome = torch_outcome(layer, shape)
    assert not isinstance(outcome, Exception), outcome
    assert outcome[0] == theirs
    report = ours(layer, shape)
    assert report.failed == 0
    assert report.error is not None


def is_hole(layer: Layer, theirs: Sizes) -> bool:
    """Whether what PyTorch makes of it is one of `HOLES`, from the numbers alone."""
    unused = [layer.arguments.get(name, 1) for name in ("num_features", "dims")]
    return 0 in theirs or any(isinstance(value, int) and value < 1 for value in unused)


@pytest.mark.parametrize("kinds", KINDS_BY_FAMILY, ids=" ".join)
@given(data=st.data())
def test_shapes_parameters_and_errors_are_those_of_pytorch(kinds: tuple[str, ...], data: st.DataObject) -> None:
    layer, shape = data.draw(layers_and_shapes("torch", kinds))
    report, theirs = ours(layer, shape), torch_outcome(layer, shape)
    if report.error:
        assert isinstance(theirs, Exception) or is_hole(layer, theirs[0]), (str(report.error), theirs)
    else:
        assert not isinstance(theirs, Exception), theirs
        assert (report.output_shape, report.parameters) == theirs


@pytest.mark.parametrize("mode", ["nearest", "nearest-exact", "area", "trilinear"])
@settings(max_examples=20)
@given(data=st.data())
def test_what_interpolation_reads(mode: str, data: st.DataObject) -> None:
    size = data.draw(st.integers(1, 9))
    arguments: dict[str, Any] = {"mode": mode}
    if data.draw(st.booleans()):
        arguments["size"] = (data.draw(st.integers(1, 12)), 1, 1)
    else:
        arguments["scale_factor"] = (data.draw(st.sampled_from([1, 2, 3, 0.5, 1.5, 2.3, 0.4])), 1, 1)
    if mode == "trilinear":
        arguments["align_corners"] = data.draw(st.booleans())
    check_reading(Layer("Upsample", arguments), size)


@settings(max_examples=20)
@given(size=st.integers(3, 9), kernel=st.integers(1, 5), dilation=st.integers(1, 3))
def test_same_padding_of_even_kernels_has_one_more_zero_at_the_end(size: int, kernel: int, dilation: int) -> None:
    ones = {"in_channels": 1, "out_channels": 1, "kernel_size": (kernel, 1, 1), "dilation": (dilation, 1, 1)}
    check_reading(Layer("Conv3d", {**ones, "padding": "same"}), size)


@settings(max_examples=20)
@given(size=st.integers(2, 9), kernel=st.integers(1, 4), stride=st.integers(1, 3), ceil=st.booleans())
def test_the_last_window_of_a_pooling_may_end_beyond_the_input(size: int, kernel: int, stride: int, ceil: bool) -> None:
    arguments = {"kernel_size": (kernel, 1, 1), "stride": (stride, 1, 1), "ceil_mode": ceil}
    check_reading(Layer("AvgPool3d", arguments), size)


@settings(max_examples=20)
@given(size=st.integers(1, 9), outputs=st.integers(1, 12))
def test_what_pooling_to_a_size_reads(size: int, outputs: int) -> None:
    check_reading(Layer("AdaptiveAvgPool3d", {"output_size": (outputs, None, 1)}), size)


def check_reading(layer: Layer, size: int) -> None:
    """Each output's window is the hull of what changes it, where it lies inside the input."""
    report = ours(layer, (1, 1, size, 1, 1))
    if report.error:
        return
    module = getattr(nn, layer.kind)(**layer.arguments)
    for weight in module.parameters():
        nn.init.ones_(weight)
    x = torch.arange(float(size)).reshape(1, 1, size, 1, 1).requires_grad_()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        y = module(x)
    for output in range(report.output_shape[2]):
        (slope,) = torch.autograd.grad(y[0, 0, output, 0, 0], x, retain_graph=True)
        # In float32 a place on a voxel may be 1e-8 beside it.
        support = (slope.flatten().abs() > 1e-5).nonzero().flatten().tolist()
        ends = window(report, 0, (output, 0, 0))
        assert ends is not None
        assert all(ends[0][0] <= index <= ends[0][1] for index in support)
        if ends[0][0] >= 0 and ends[0][1] < size:
            assert (support[0], support[-1]) == ends[0]
