"""A layer as the text of a constructor call, as a person would write it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conv3d_core.chain.layer import KINDS, REQUIRED, Framework, Layer, Signature
from conv3d_core.source_code import short

CALLS: Mapping[Framework, str] = {"mlx": "__call__", "torch": "forward"}
# Attributes of a class, by the layer's family: self.conv1, self.norm1.
_NAMES = {"convolution": "conv", "pooling": "pool", "activation": "act", "upsample": "up", "shape": "flatten"}
INDENT = "    "


def layer_call(layer: Layer, framework: Framework, name: str | None = None) -> str:
    """The constructor call, defaults left out, for any values, also impossible ones.

    What the framework has no class for (a transpose, MLX's flatten) is an expression on ``x``. What only the other
    framework has is left out where it changes nothing, and else written all the same.

    Args:
        layer: to write.
        framework: whose names and order of arguments.
        name: of the class as it stands in a text that is edited, "torch.nn.Conv3d"; "nn." and the class if not given.

    >>> layer_call(Layer("Conv3d", {"in_channels": 1, "out_channels": 8, "kernel_size": (3, 3, 3)}), "mlx")
    'nn.Conv3d(1, 8, kernel_size=3)'
    >>> layer_call(Layer("BatchNorm", {"num_features": 8, "eps": 0.001}), "torch")
    'nn.BatchNorm3d(8, eps=0.001)'
    """
    own, other = KINDS[layer.kind].signatures(framework)
    if own is None:
        return _expression(layer, framework) or f"{layer_call(layer, 'torch')}(x)"
    arguments = {key: short(value) for key, value in layer.arguments.items()}
    parts = []
    positional = True
    for parameter, default in own.parameters.items():
        key = own.name(parameter)
        if key not in arguments:
            positional = False
            continue
        value = arguments.pop(key)
        positional = positional and default == REQUIRED and _is_plain(layer, key)
        # Compared as text: True == 1 and 1.0 == 1, and both would be another call.
        if default == REQUIRED or repr(value) != repr(default):
            parts.append(repr(value) if positional else f"{parameter}={value!r}")
    foreign = other.defaults if other else {}
    parts += [f"{key}={value!r}" for key, value in arguments.items() if repr(value) != repr(foreign.get(key, REQUIRED))]
    return f"{name or 'nn.' + _class(layer, own)}({', '.join(parts)})"


def over_axes(kind: str, framework: Framework, axis: object, keepdims: object) -> str:
    """A Mean or a Max of ``x`` over some axes.

    >>> over_axes("Max", "torch", (2, 3, 4), True)
    'x.amax(dim=(2, 3, 4), keepdim=True)'
    """
    torch = framework == "torch"
    ending = "" if keepdims is False else f", {'keepdim' if torch else 'keepdims'}={keepdims!r}"
    if torch:
        return f"x.{'mean' if kind == 'Mean' else 'amax'}(dim={axis!r}{ending})"
    return f"mx.{'mean' if kind == 'Mean' else 'max'}(x, axis={axis!r}{ending})"


def sequential(calls: Sequence[str]) -> str:
    """Constructor calls in an ``nn.Sequential``."""
    return "\n".join(["nn.Sequential(", *(f"{INDENT}{call}," for call in calls), ")"]) if calls else "nn.Sequential()"


def write_class(name: str, made: Sequence[str], applied: Sequence[str], framework: Framework) -> str:
    """A module's class: lines that make its layers, and lines that take ``x`` through them."""
    lines = [f"class {name}(nn.Module):"]
    if made:
        lines += ["    def __init__(self):", "        super().__init__()", *(f"        {line}" for line in made), ""]
    lines += [f"    def {CALLS[framework]}(self, x):", *(f"        {line}" for line in applied), "        return x"]
    return "\n".join(lines)


def attribute_names(layers: Sequence[Layer]) -> list[str]:
    """A name for each layer, by its family and how many there were before: conv1, norm1, conv2."""
    count: dict[str, int] = {}
    names = []
    for layer in layers:
        stem = _NAMES.get(layer.family, layer.family)
        count[stem] = count.get(stem, 0) + 1
        names.append(f"{stem}{count[stem]}")
    return names


def signature_of(layer: Layer, framework: Framework) -> Signature | None:
    """How a framework spells a layer; None where it has no class for it."""
    return KINDS[layer.kind].signatures(framework)[0]


def _class(layer: Layer, signature: Signature) -> str:
    """The class's name; BatchNorm1d and BatchNorm2d stay what they are."""
    written = layer.call.rpartition(".")[2]
    alike = signature.call.endswith("3d") and written[:-2] == signature.call[:-2] and written[-2:] in ("1d", "2d")
    return written if alike else signature.call


def _is_plain(layer: Layer, key: str) -> bool:
    """Whether a required argument needs no name to be understood."""
    return key != "scale_factor" and (key != "kernel_size" or layer.family == "pooling")


def _expression(layer: Layer, framework: Framework) -> str:
    """What stands for a layer without a class of its own, on ``x``; empty where nothing does."""
    arguments = layer.arguments
    if layer.kind in ("Mean", "Max"):
        return over_axes(layer.kind, framework, arguments.get("axis"), arguments.get("keepdims", False))
    if layer.kind == "Transpose":
        axes = arguments.get("axes")
        if framework == "torch":
            inside = ", ".join(map(repr, axes)) if isinstance(axes, tuple | list) else repr(axes)
            return f"x.permute({inside})"
        return f"mx.transpose(x, {axes!r})"
    if layer.kind == "ExpandDims":
        axis = arguments.get("axis", 0)
        return f"x.unsqueeze({axis!r})" if framework == "torch" else f"mx.expand_dims(x, {axis!r})"
    if layer.kind != "Flatten":
        return ""
    start, end = arguments.get("start_dim", 1), arguments.get("end_dim", -1)
    return f"mx.flatten(x, start_axis={start!r}{'' if end == -1 else f', end_axis={end!r}'})"
