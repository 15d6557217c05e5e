"""Each layer as MLX has it, or spelled out where it has it not."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

from conv3d_core.chain.layer import Layer
from conv3d_core.chain.spelling import over_axes
from conv3d_core.chain.walk import ALIKE, Walk
from conv3d_core.errors import shown
from conv3d_core.spec import Triple

_PAD_MODES = {"zeros": "", "replicate": ', mode="edge"', "reflect": ', mode="reflect"'}
_INFINITE = ', constant_values=-float("inf")'
_CONV = ("in_channels", "out_channels", "kernel_size", "stride", "dilation", "bias")


def layer(walk: Walk, layer: Layer) -> None:
    """Write the next layer of a walk.

    Raises:
        SpecError: MLX cannot do what it asks for.
    """
    _WRITERS.get(layer.kind, _activation)(walk, layer)


def _conv(walk: Walk, layer: Layer) -> None:
    walk.volume()
    padding, mode = walk.value("padding"), walk.value("padding_mode")
    if padding == "valid":
        padding = 0
    arguments: dict[str, object] = {"padding": padding}
    if padding == "same" or (mode != "zeros" and padding != 0):
        widths = _same(walk) if padding == "same" else tuple((pad, pad) for pad in walk.triple("padding"))
        if mode == "zeros" and all(before == after for before, after in widths):
            arguments["padding"] = tuple(before for before, _ in widths)
        else:
            arguments["padding"] = 0
            walk.add(_padded(walk, widths, mode))
    elif isinstance(padding, str):
        raise walk.error("padding", f"has {shown(padding)}", "use 'same', 'valid', an integer or three", padding)
    _grouped(walk, arguments)


def _same(walk: Walk) -> tuple[tuple[int, int], ...]:
    """Zeros before and after, per axis, that keep its size; PyTorch puts the odd one after."""
    if walk.triple("stride", 1) != (1, 1, 1):
        problem = f"has stride {shown(walk.value('stride'))}, with which padding='same' cannot keep a size"
        raise walk.error("padding", problem, "use stride 1, or padding as numbers", "same")
    kernel, dilation = walk.triple("kernel_size", 1), walk.triple("dilation", 1)
    totals = [step * (taps - 1) for taps, step in zip(kernel, dilation, strict=True)]
    return tuple((total // 2, total - total // 2) for total in totals)


def _padded(walk: Walk, widths: tuple[tuple[int, int], ...], mode: object) -> str:
    if mode == "circular":
        return f"{walk.need('pad_circular')}(x, {list(widths)})"
    if not isinstance(mode, str) or mode not in _PAD_MODES:
        raise walk.cannot("padding_mode", "it is none", f"use {', '.join(_PAD_MODES)} or circular")
    return f"mx.pad(x, {[(0, 0), *widths, (0, 0)]}{_PAD_MODES[mode]})"


def _grouped(walk: Walk, arguments: dict[str, object], applied: str = "{}(x)") -> None:
    """A convolution, or as many as there are groups of channels."""
    groups = walk.integer("groups")
    arguments = walk.given(*_CONV) | arguments
    if groups == 1:
        walk.module(walk.written(**arguments), applied)
        return
    for name in ("in_channels", "out_channels"):
        channels = walk.integer(name)
        if channels % groups:
            problem = f"has {channels}, which groups={groups} does not divide"
            raise walk.error(name, problem, f"use a multiple of {groups}", channels)
        arguments[name] = channels // groups
    walk.module(f"{walk.need('Grouped')}(*({walk.written(**arguments)} for _ in range({groups})))", applied)


def _transposed(walk: Walk, layer: Layer) -> None:
    walk.volume()
    if walk.value("padding_mode") != "zeros":
        raise walk.cannot("padding_mode", "a transposed convolution has zeros only", "use 'zeros'")
    arguments = walk.given("padding", "output_padding")
    if not walk.ported:
        _grouped(walk, arguments)
        return
    reach = [
        step * (taps - 1) for taps, step in zip(walk.triple("kernel_size", 1), walk.triple("dilation", 1), strict=True)
    ]
    padding = walk.triple("padding")
    beyond = [max(0, pad - most) for pad, most in zip(padding, reach, strict=True)]
    if not any(beyond):
        _grouped(walk, arguments)
        return
    # More than the kernel reaches: MLX cuts the input there, and a stride times too much.
    arguments["padding"] = tuple(pad - more for pad, more in zip(padding, beyond, strict=True))
    cut = ", ".join(f"{more}:-{more}" if more else ":" for more in beyond)
    _grouped(walk, arguments, f"{{}}(x)[:, {cut}]")


def _pool_sizes(walk: Walk) -> tuple[Triple, Triple, Triple]:
    kernel = walk.triple("kernel_size", 1)
    stride = kernel if walk.value("stride") is None else walk.triple("stride", 1)
    return kernel, stride, walk.triple("padding")


def _max_pool(walk: Walk, layer: Layer) -> None:
    walk.volume()
    ceil = bool(walk.value("ceil_mode"))
    if walk.value("dilation") in (1, (1, 1, 1)):
        if ceil:
            kernel, stride, padding = _pool_sizes(walk)
            walk.add(f"mx.pad(x, {walk.need('ceil_widths')}(x, {kernel}, {stride}, {padding}){_INFINITE})")
        walk.call(**walk.given("kernel_size", "stride"), **({} if ceil else walk.given("padding")))
        return
    if ceil:
        raise walk.cannot("ceil_mode", "with dilation it is not written here", "use ceil_mode=False")
    kernel, stride, padding = _pool_sizes(walk)
    sizes = f"{kernel}, {stride}, {padding}, {walk.triple('dilation', 1)}"
    walk.add(f"{walk.need('dilated_max_pool')}(x, {sizes})")


def _average_pool(walk: Walk, layer: Layer) -> None:
    walk.volume()
    divisor, ceil = walk.value("divisor_override"), bool(walk.value("ceil_mode"))
    counts = bool(walk.value("count_include_pad")) or walk.value("padding") in (0, (0, 0, 0))
    if divisor is None and counts and not ceil:
        walk.call(**walk.given("kernel_size", "stride", "padding"))
        return
    kernel, stride, padding = _pool_sizes(walk)
    if divisor is None:
        widths = f"[(0, 0), {', '.join(str((pad, pad)) for pad in padding)}, (0, 0)]"
        if ceil:
            widths = f"{walk.need('ceil_widths')}(x, {kernel}, {stride}, {padding})"
        counted = padding if counts else (0, 0, 0)
        made = walk.written(**walk.given("kernel_size", "stride"))
        walk.module(made, f"{walk.need('average_of_inside')}(x, {{}}, {widths}, {counted})")
        return
    total = f"{{}}(x) * ({math.prod(kernel)} / {walk.integer('divisor_override')})"
    if ceil:
        walk.add(f"mx.pad(x, {walk.need('ceil_widths')}(x, {kernel}, {stride}, {padding}))")
    walk.module(walk.written(**walk.given("kernel_size", "stride"), **({} if ceil else walk.given("padding"))), total)


def _adaptive_pool(walk: Walk, layer: Layer) -> None:
    walk.volume()
    value = walk.value("output_size")
    sizes = value if isinstance(value, tuple) else (value,) * 3
    if value is None or len(sizes) != 3 or any(type(size) is not int or size < 1 for size in sizes if size is not None):
        remedy = "use one integer >= 1, or three (D, H, W) with None for as it is"
        raise walk.error("output_size", f"has {shown(value)}", remedy, value)
    most = layer.kind == "AdaptiveMaxPool3d"
    if sizes == (1, 1, 1):
        walk.add(over_axes("Max" if most else "Mean", "mlx", (1, 2, 3), True))
    else:
        walk.add(f"{walk.need('adaptive_pool')}(x, {sizes}, {'mx.max' if most else 'mx.mean'})")


def _batch_norm(walk: Walk, layer: Layer) -> None:
    walk.channels()
    if walk.value("momentum") is None:
        remedy = "give a number; running statistics that are there already do not depend on it"
        raise walk.cannot("momentum", "MLX keeps no average over all batches", remedy)
    made = walk.written(**walk.given("num_features", "eps", "momentum", "affine", "track_running_stats"))
    if walk.rank == 5:
        made = walk.need("BatchNorm3d") + made.removeprefix("nn.BatchNorm")
    walk.module(made)


def _layer_norm(walk: Walk, layer: Layer) -> None:
    walk.own("the axes over which PyTorch takes the mean" if walk.chain.framework == "torch" else "")
    dims = walk.value("dims")
    arguments = walk.given("dims", "eps", "affine", "bias")
    if not isinstance(dims, tuple):
        walk.call(**arguments)
        return
    dims = walk.sizes("dims")
    arguments["dims"] = math.prod(dims)
    if len(dims) == 1:
        walk.call(**arguments)
    else:
        walk.module(walk.written(**arguments), f"{{}}(mx.flatten(x, -{len(dims)})).reshape(x.shape)")


def _group_norm(walk: Walk, layer: Layer) -> None:
    walk.channels()
    arguments = walk.given("num_groups", "dims", "eps", "affine", "pytorch_compatible")
    if walk.chain.framework == "torch":
        arguments["pytorch_compatible"] = True
    walk.call(**arguments)


def _instance_norm(walk: Walk, layer: Layer) -> None:
    walk.channels()
    if walk.value("track_running_stats"):
        raise walk.cannot("track_running_stats", "MLX's InstanceNorm keeps none", "use False")
    walk.call(**walk.given("dims", "eps", "affine"))


def _dropout(walk: Walk, layer: Layer) -> None:
    if layer.kind == "Dropout3d":
        walk.channels()
    if walk.number("p") == 1:
        raise walk.cannot("p", "MLX drops less than all", "use p < 1")
    walk.call(**walk.given("p"))


def _upsample(walk: Walk, layer: Layer) -> None:
    walk.volume()
    if not walk.ported:
        walk.call(**walk.given("scale_factor", "mode", "align_corners", "antialias"))
        return
    mode, corners = walk.value("mode"), bool(walk.value("align_corners"))
    if mode not in ("nearest", "nearest-exact", "trilinear"):
        raise walk.cannot("mode", "for a volume it is none", "use 'nearest' or 'trilinear'")
    linear = mode == "trilinear"
    size, scale = walk.value("size"), walk.value("scale_factor")
    if size is None and (whole(scale) or (linear and corners)):
        arguments = walk.given("scale_factor") | ({"mode": "linear"} if linear else {})
        walk.call(**arguments, **({"align_corners": True} if linear and corners else {}))
        return
    if walk.value("recompute_scale_factor"):
        raise walk.cannot("recompute_scale_factor", "of a broken factor it is not written here", "give size")
    given = f"size={walk.triple('size', 1)}" if size is not None else f"scale_factor={walk.factors('scale_factor')}"
    ending = f", mode={mode!r}" + (", align_corners=True" if corners else "")
    walk.module(f"{walk.need('Resize')}({given}{ending})")


def whole(scale: object) -> bool:
    """Whether a scale factor, or each of three, is an integer >= 1.

    >>> whole(2.0), whole((1, 2, 2)), whole(1.5)
    (True, True, False)
    """
    factors = scale if isinstance(scale, tuple) else (scale,)
    return all(isinstance(factor, int | float) and factor >= 1 and float(factor).is_integer() for factor in factors)


def _linear(walk: Walk, layer: Layer) -> None:
    if walk.order[-1:] != (walk.rank - 1,):
        walk.own("a Linear acts on the last axis")
    walk.call(**walk.given("input_dims", "output_dims", "bias"))


def _activation(walk: Walk, layer: Layer) -> None:
    arguments = {name: value for name, value in layer.arguments.items() if name != "inplace"}
    slope = arguments.get("negative_slope", 0)
    if layer.kind == "LeakyReLU" and walk.ported and isinstance(slope, int | float) and slope > 1:
        walk.add(f"mx.where(x > 0, x, {slope!r} * x)", "MLX's own takes the larger of the two")
        return
    if layer.kind == "Softplus":
        beta, threshold = walk.number("beta"), walk.number("threshold")
        if beta != 1 or threshold < 20:
            walk.add(f"mx.where({beta!r} * x > {threshold!r}, x, nn.softplus({beta!r} * x) / {beta!r})")
            return
        arguments = {}
    if layer.kind == "PReLU" and arguments.get("num_parameters", 1) != 1:
        walk.channels()
    walk.call(**arguments)


_WRITERS: Mapping[str, Callable[[Walk, Layer], None]] = {
    "Conv3d": _conv,
    "ConvTranspose3d": _transposed,
    "MaxPool3d": _max_pool,
    "AvgPool3d": _average_pool,
    "AdaptiveAvgPool3d": _adaptive_pool,
    "AdaptiveMaxPool3d": _adaptive_pool,
    "BatchNorm": _batch_norm,
    "LayerNorm": _layer_norm,
    "GroupNorm": _group_norm,
    "InstanceNorm": _instance_norm,
    "Dropout": _dropout,
    "Dropout3d": _dropout,
    "Upsample": _upsample,
    "Linear": _linear,
    **ALIKE,
}
