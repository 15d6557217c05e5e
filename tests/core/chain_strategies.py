"""Layers of every kind with small inputs for Hypothesis: most fit, some do not, a few cannot be made."""

from __future__ import annotations

from typing import Any

from hypothesis import strategies as st

from conv3d_core.chain import KINDS, Framework, Layer
from conv3d_core.chain.layer import Sizes

Arguments = dict[str, Any]


def _sometimes(strategy: st.SearchStrategy[Any], wrong: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    """A wrong value in one draw of some."""
    return st.integers(0, 11).flatmap(lambda n: wrong if n == 7 else strategy)


def triples(low: int, high: int) -> st.SearchStrategy[Any]:
    number = _sometimes(st.integers(low, high), st.integers(low - 2, low))
    return number | st.tuples(number, number, number) | st.lists(number, min_size=3, max_size=3)


def numbers(low: int, high: int) -> st.SearchStrategy[int]:
    return _sometimes(st.integers(low, high), st.integers(low - 2, low))


def _given(draw: st.DrawFn, arguments: Arguments, **optional: st.SearchStrategy[Any]) -> Arguments:
    """The required arguments, and each of the others or not."""
    return arguments | {name: draw(values) for name, values in optional.items() if draw(st.booleans())}


def _channels(draw: st.DrawFn, shape: Sizes, framework: Framework) -> int:
    """Those of an input, or, now and then, others."""
    position = -1 if framework == "mlx" else 0 if len(shape) == 4 else 1
    found = shape[position] if len(shape) > 1 else shape[0]
    return int(draw(_sometimes(st.just(found), st.integers(-1, 5))))


@st.composite
def shapes(draw: st.DrawFn, framework: Framework) -> Sizes:
    """Mostly five axes, with one to four channels."""
    axes = draw(st.sampled_from([5] * 8 + [4, 3, 2, 1]))
    return tuple(draw(st.integers(1, 4 if place == 1 else 7)) for place in range(axes))


@st.composite
def layers_and_shapes(
    draw: st.DrawFn, framework: Framework, kinds: tuple[str, ...] = tuple(KINDS)
) -> tuple[Layer, Sizes]:
    """A layer of some kind, and an input shape that may or may not fit it."""
    kind, shape = draw(st.sampled_from(kinds)), draw(shapes(framework))
    if framework == "mlx" and len(shape) == 5:
        shape = (*shape[:1], *shape[2:], shape[1])
    arguments = draw(_ARGUMENTS.get(kind, _others)(kind, shape, framework))
    call = draw(st.sampled_from(["", "nn.BatchNorm1d", "nn.BatchNorm2d"])) if kind == "BatchNorm" else ""
    return Layer(kind, arguments, call=call), shape


@st.composite
def _convolution(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    inputs = _channels(draw, shape, framework)
    optional: Arguments = {
        "stride": triples(1, 3),
        "padding": triples(0, 3),
        "dilation": triples(1, 3),
        "bias": st.booleans(),
    }
    outputs = draw(numbers(1, 3))
    if framework == "torch":
        groups = draw(st.sampled_from([1, 1, 1, 2, 3, 0]))
        inputs, outputs = inputs if draw(st.booleans()) else inputs * max(1, groups), outputs * max(1, groups)
        optional["groups"] = st.just(groups)
        if kind == "Conv3d":
            optional["padding"] = triples(0, 3) | st.sampled_from(["same", "valid", "full"])
        modes = ["zeros", "zeros", "reflect", "replicate", "circular", "wrap"]
        optional["padding_mode"] = st.sampled_from(modes if kind == "Conv3d" else ["zeros"] * 7 + ["reflect"])
    if kind == "ConvTranspose3d":
        optional["output_padding"] = triples(0, 2)
    required = {"in_channels": inputs, "out_channels": outputs, "kernel_size": draw(triples(1, 4))}
    return _given(draw, required, **optional)


@st.composite
def _pooling(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    optional: Arguments = {"stride": triples(1, 3) | st.none(), "padding": triples(0, 1)}
    if framework == "torch":
        optional["ceil_mode"] = st.booleans()
        if kind == "MaxPool3d":
            optional["dilation"] = triples(1, 2)
        else:
            optional |= {"count_include_pad": st.booleans(), "divisor_override": st.sampled_from([None, 3, 0])}
    return _given(draw, {"kernel_size": draw(triples(1, 4))}, **optional)


@st.composite
def _adaptive(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    number = _sometimes(st.integers(1, 9), st.sampled_from([0, -1, 2.0, True, None]))
    along = number | st.none()
    wrong = st.lists(number, max_size=4)
    size = number | st.tuples(along, along, along) | _sometimes(st.just([1, 1, 1]), wrong)
    return {"output_size": draw(size)}


@st.composite
def _over_axes(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    axis = st.integers(-len(shape), len(shape) - 1)
    some = st.lists(axis, min_size=1, max_size=3, unique_by=lambda axis: axis % len(shape))
    wrong = st.sampled_from([7, -7, (), (1, 1), (0, -len(shape)), 1.0, "1"])
    axes = draw(_sometimes(axis | some | some.map(tuple), wrong))
    return _given(draw, {"axis": axes}, keepdims=_sometimes(st.booleans(), st.sampled_from([1, None])))


@st.composite
def _norm(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    channels = _channels(draw, shape, framework)
    optional: Arguments = {"eps": st.sampled_from([1e-5, 1e-3, 0.0]), "affine": st.booleans()}
    if framework == "torch" or kind == "LayerNorm":
        optional["bias"] = st.booleans()
    if kind == "BatchNorm":
        optional["track_running_stats"] = st.booleans()
        return _given(draw, {"num_features": channels}, **optional)
    if kind == "GroupNorm":
        if framework == "mlx":
            optional["pytorch_compatible"] = st.booleans()
        return _given(draw, {"num_groups": draw(numbers(1, 4)), "dims": channels}, **optional)
    if kind == "LayerNorm":
        dims: Any = shape[-1] if draw(st.integers(0, 4)) else draw(numbers(1, 4))
        if framework == "torch" and draw(st.booleans()):
            dims = shape[-draw(st.integers(1, len(shape))) :]
            dims = list(dims) if draw(st.booleans()) else dims
        return _given(draw, {"dims": dims}, **optional)
    return _given(draw, {"dims": channels}, **optional)


@st.composite
def _upsample(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    scale = st.sampled_from([1, 2, 3, 2.0, 1.5, 0.5, 1.3, 2.7, 0.34, 1 / 3, 0.1, 0, -1])
    count = max(1, len(shape) - 2)
    scales = scale | st.lists(scale, min_size=count, max_size=count).map(tuple) | st.tuples(scale, scale)
    if framework == "mlx":
        mode = st.sampled_from(["nearest", "linear", "cubic", "bilinear"])
        return _given(
            draw, {"scale_factor": draw(scales)}, mode=mode, align_corners=st.booleans(), antialias=st.booleans()
        )
    mode = st.sampled_from(["nearest", "nearest-exact", "area", "trilinear", "bilinear", "bicubic", "linear"])
    size = numbers(1, 6) | st.tuples(*[numbers(1, 6)] * count)
    required = {"size": draw(size)} if draw(st.booleans()) else {"scale_factor": draw(scales)}
    if draw(st.integers(0, 9)) == 0:
        required = {}
    corners, again = st.sampled_from([None, None, True, False]), st.sampled_from([None, True, False])
    return _given(draw, required, mode=mode, align_corners=corners, recompute_scale_factor=again)


@st.composite
def _linear(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    inputs = draw(_sometimes(st.just(shape[-1]), st.integers(-1, 5)))
    return _given(draw, {"input_dims": inputs, "output_dims": draw(numbers(1, 4))}, bias=st.booleans())


@st.composite
def _flatten(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    return _given(draw, {}, start_dim=st.integers(-7, 6), end_dim=st.integers(-7, 6))


@st.composite
def _transpose(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    axes = draw(st.permutations(range(len(shape))))
    axes = [axis - len(shape) if draw(st.booleans()) else axis for axis in axes]
    wrong = st.lists(st.integers(-6, 6), min_size=1, max_size=6)
    return {"axes": tuple(draw(_sometimes(st.just(axes), wrong)))}


@st.composite
def _expand_dims(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    return {"axis": draw(st.integers(-7, 6))}


@st.composite
def _others(draw: st.DrawFn, kind: str, shape: Sizes, framework: Framework) -> Arguments:
    """Activations and dropout: what their signatures have."""
    signature = getattr(KINDS[kind], framework)
    values: Arguments = {
        "p": st.sampled_from([0, 0.2, 0.5, 1, 1.0, 1.5, -0.1]),
        "num_parameters": st.just(_channels(draw, shape, framework)) | st.just(1),
        "init": st.floats(-1, 1),
        "negative_slope": st.floats(-1, 1),
        "alpha": st.sampled_from([1, 0.5, 0]),
        "beta": st.sampled_from([1, 0.5]),
        "threshold": st.sampled_from([20, 1.5]),
        "approx": st.sampled_from(["none", "tanh", "precise", "fast", "slow"]),
        "inplace": st.booleans(),
        "dim": st.integers(-6, 6),
    }
    found = [signature.name(own) for own in signature.parameters if signature.name(own) in values]
    required = {"dim": draw(values.pop("dim"))} if "dim" in found else {}
    return _given(draw, required, **{name: values[name] for name in found if name in values})


_ARGUMENTS: dict[str, Any] = {
    "Conv3d": _convolution,
    "ConvTranspose3d": _convolution,
    "MaxPool3d": _pooling,
    "AvgPool3d": _pooling,
    "AdaptiveAvgPool3d": _adaptive,
    "AdaptiveMaxPool3d": _adaptive,
    "Mean": _over_axes,
    "Max": _over_axes,
    "BatchNorm": _norm,
    "LayerNorm": _norm,
    "GroupNorm": _norm,
    "InstanceNorm": _norm,
    "Upsample": _upsample,
    "Linear": _linear,
    "Flatten": _flatten,
    "Transpose": _transpose,
    "ExpandDims": _expand_dims,
}
