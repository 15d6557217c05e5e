"""Each layer as PyTorch has it, or spelled out where it has it not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from conv3d_core.chain.layer import Layer
from conv3d_core.chain.port_mlx import whole
from conv3d_core.chain.spelling import layer_call
from conv3d_core.chain.walk import ALIKE, Walk
from conv3d_core.errors import shown

_PLACES = {2: "1d", 3: "1d", 4: "2d", 5: "3d"}


def layer(walk: Walk, layer: Layer) -> None:
    """Write the next layer of a walk; one of a chain that is PyTorch's already as it stands there.

    Raises:
        SpecError: PyTorch cannot do what it asks for.
    """
    unnamed = (
        layer.kind == "BatchNorm" and not layer.call
    )  # made by hand: which of PyTorch's three is the rank's to say
    if walk.ported or unnamed or layer.family == "shape":
        _WRITERS.get(layer.kind, _activation)(walk, layer)
    else:
        # Of what a pool gives, the values go on.
        arguments = {name: value for name, value in layer.arguments.items() if name != "return_indices"}
        walk.module(layer_call(replace(layer, arguments=arguments), "torch"))


def _conv(walk: Walk, layer: Layer) -> None:
    walk.volume()
    padding = walk.value("padding")
    if padding not in ("same", "valid"):
        padding = walk.triple("padding")
    if layer.kind == "ConvTranspose3d":
        kernel, dilation, stride = (walk.triple(name, 1) for name in ("kernel_size", "dilation", "stride"))
        for pad, taps, step in zip(walk.triple("padding"), kernel, dilation, strict=True):
            if pad > step * (taps - 1):
                raise walk.cannot("padding", "MLX cuts more than that away beyond the kernel's reach", "use less")
        for more, jump, step in zip(walk.triple("output_padding"), stride, dilation, strict=True):
            if more >= max(jump, step):
                remedy = "use less than the stride or the dilation"
                raise walk.cannot("output_padding", "PyTorch takes none as large as stride and dilation", remedy)
    walk.call(**layer.arguments)


def _pool(walk: Walk, layer: Layer) -> None:
    walk.volume()
    kernel, padding = walk.triple("kernel_size", 1), walk.triple("padding")
    if all(2 * pad <= taps for pad, taps in zip(padding, kernel, strict=True)):
        walk.call(**layer.arguments)
        return
    widths = ", ".join(f"{pad}, {pad}" for pad in reversed(padding))
    walk.need("F")
    value = ', value=-float("inf")' if layer.kind == "MaxPool3d" else ""
    walk.add(f"F.pad(x, ({widths}){value})", "PyTorch's own pads half a kernel at most")
    walk.call(**{name: value for name, value in layer.arguments.items() if name != "padding"})


def _adaptive_pool(walk: Walk, layer: Layer) -> None:
    walk.volume()
    walk.call(**walk.given("output_size"))


def _batch_or_instance_norm(walk: Walk, layer: Layer) -> None:
    walk.channels()
    stem = layer_call(layer, "torch")
    place = _PLACES.get(walk.rank)
    if place is None:
        raise walk.error("input", f"gets an array of {walk.rank} axes", "give it one of 2 to 5")
    walk.module(stem.replace("3d(", f"{place}(", 1))


def _layer_norm(walk: Walk, layer: Layer) -> None:
    walk.own("MLX's mean is over the last axis")
    walk.call(**layer.arguments)


def _group_norm(walk: Walk, layer: Layer) -> None:
    walk.channels()
    arguments = walk.given("num_groups", "dims", "eps", "affine")
    groups, channels = walk.integer("num_groups"), walk.integer("dims")
    if walk.value("pytorch_compatible") or groups in (1, channels):
        walk.call(**arguments)
    else:
        walk.need("F")
        walk.module(walk.need("InterleavedGroupNorm") + walk.written(**arguments).removeprefix("nn.GroupNorm"))


def _dropout(walk: Walk, layer: Layer) -> None:
    if layer.kind == "Dropout3d":
        walk.channels()
    walk.call(**layer.arguments)


def _upsample(walk: Walk, layer: Layer) -> None:
    walk.volume()
    mode, corners = walk.value("mode"), bool(walk.value("align_corners"))
    if mode not in ("nearest", "linear"):
        raise walk.cannot("mode", "PyTorch has none for volumes", "use 'nearest' or 'linear'")
    linear = mode == "linear"
    if not whole(walk.value("scale_factor")) and not (linear and corners):
        problem = "PyTorch places the voxels of a broken factor elsewhere"
        remedy = "use a whole scale_factor" + (" or align_corners=True" if linear else "")
        raise walk.cannot("scale_factor", problem, remedy)
    arguments = walk.given("scale_factor") | ({"mode": "trilinear"} if linear else {})
    walk.call(**arguments, **({"align_corners": True} if linear and corners else {}))


def _linear(walk: Walk, layer: Layer) -> None:
    if walk.order[-1:] != (walk.rank - 1,):
        walk.own("a Linear acts on the last axis")
    walk.call(**layer.arguments)


def _activation(walk: Walk, layer: Layer) -> None:
    arguments = dict(layer.arguments)
    slope = arguments.get("negative_slope", 0)
    if layer.kind == "LeakyReLU" and isinstance(slope, int | float) and slope > 1:
        walk.add(f"torch.maximum({slope!r} * x, x)", "as MLX does it")
        return
    if layer.kind == "GELU":
        approx = arguments.get("approx", "none")
        if approx == "fast":
            walk.add("x * torch.sigmoid(1.702 * x)", "MLX's fast GELU")
            return
        if approx not in ("none", "precise", "tanh"):
            raise walk.error("approx", f"has {shown(approx)}", "use 'none', 'precise', 'tanh' or 'fast'", approx)
        arguments = {} if approx == "none" else {"approx": "tanh"}
    if layer.kind == "PReLU" and arguments.get("num_parameters", 1) != 1:
        walk.channels()
    walk.call(**arguments)


_WRITERS: Mapping[str, Callable[[Walk, Layer], None]] = {
    "Conv3d": _conv,
    "ConvTranspose3d": _conv,
    "MaxPool3d": _pool,
    "AvgPool3d": _pool,
    "AdaptiveAvgPool3d": _adaptive_pool,
    "AdaptiveMaxPool3d": _adaptive_pool,
    "BatchNorm": _batch_or_instance_norm,
    "InstanceNorm": _batch_or_instance_norm,
    "LayerNorm": _layer_norm,
    "GroupNorm": _group_norm,
    "Dropout": _dropout,
    "Dropout3d": _dropout,
    "Upsample": _upsample,
    "Linear": _linear,
    **ALIKE,
}
