"""One call of a library -> a layer: constructors, and the functions that do the same."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from conv3d_core.chain.layer import KINDS, Framework, Signature
from conv3d_core.chain.near import did_you_mean, meant
from conv3d_core.errors import SpecError, shown
from conv3d_core.source_code import WORDS


class Unreadable(NamedTuple):
    """An argument that is no literal and no constant of the text."""

    text: str


class Bound(NamedTuple):
    """A call's arguments by MLX's name, and those that could not be read and change no shape."""

    arguments: dict[str, object]
    left_out: tuple[str, ...] = ()


# Where a layer lives and in what type is not read; the others are taken by functions only.
_IGNORED = {"device", "dtype", "stream", "training", "out"}
# Without these no shape can be told: they must be numbers.
_SHAPING = {
    "in_channels",
    "out_channels",
    "kernel_size",
    "stride",
    "padding",
    "dilation",
    "output_padding",
    "groups",
    "size",
    "scale_factor",
    "num_features",
    "num_groups",
    "dims",
    "input_dims",
    "output_dims",
    "start_dim",
    "end_dim",
    "ceil_mode",
    "return_indices",
    "axes",
    "axis",
    "keepdims",
    "output_size",
}
_MORE_CLASSES = {
    "BatchNorm1d": "BatchNorm",
    "BatchNorm2d": "BatchNorm",
    "SyncBatchNorm": "BatchNorm",
    "InstanceNorm1d": "InstanceNorm",
    "InstanceNorm2d": "InstanceNorm",
    "Dropout1d": "Dropout",
    "Dropout2d": "Dropout",
    "AlphaDropout": "Dropout",
    "FeatureAlphaDropout": "Dropout",
}
_POOL = ("kernel_size", "stride", "padding")
# What comes after the data, by MLX's name; MLX's own spelling of an axis is put in the place of PyTorch's.
FUNCTIONS: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "relu": ("ReLU", ("inplace",)),
    "relu6": ("ReLU6", ("inplace",)),
    "leaky_relu": ("LeakyReLU", ("negative_slope", "inplace")),
    "prelu": ("PReLU", ("weight",)),
    "elu": ("ELU", ("alpha", "inplace")),
    "celu": ("CELU", ("alpha", "inplace")),
    "selu": ("SELU", ("inplace",)),
    "silu": ("SiLU", ("inplace",)),
    "swish": ("SiLU", ()),
    "mish": ("Mish", ("inplace",)),
    "gelu": ("GELU", ("approx",)),
    "gelu_approx": ("GELU", ()),
    "gelu_fast_approx": ("GELU", ()),
    "sigmoid": ("Sigmoid", ()),
    "log_sigmoid": ("LogSigmoid", ()),
    "logsigmoid": ("LogSigmoid", ()),
    "tanh": ("Tanh", ()),
    "softplus": ("Softplus", ("beta", "threshold")),
    "softsign": ("Softsign", ()),
    "hardswish": ("Hardswish", ("inplace",)),
    "softmax": ("Softmax", ("dim",)),
    "log_softmax": ("LogSoftmax", ("dim",)),
    "max_pool3d": ("MaxPool3d", (*_POOL, "dilation", "ceil_mode", "return_indices")),
    "avg_pool3d": ("AvgPool3d", (*_POOL, "ceil_mode", "count_include_pad", "divisor_override")),
    "adaptive_avg_pool3d": ("AdaptiveAvgPool3d", ("output_size",)),
    "adaptive_max_pool3d": ("AdaptiveMaxPool3d", ("output_size", "return_indices")),
    "mean": ("Mean", ("axis", "keepdims")),
    "max": ("Max", ("axis", "keepdims")),
    "amax": ("Max", ("axis", "keepdims")),
    "dropout": ("Dropout", ("p", "training", "inplace")),
    "dropout3d": ("Dropout3d", ("p", "training", "inplace")),
    "interpolate": ("Upsample", ("size", "scale_factor", "mode", "align_corners", "recompute_scale_factor")),
    "upsample": ("Upsample", ("size", "scale_factor", "mode", "align_corners")),
    "flatten": ("Flatten", ("start_dim", "end_dim")),
}
# As the frameworks spell some of these, where they have no such name themselves.
_OWN: Mapping[Framework, Mapping[str, str]] = {
    "mlx": {"start_axis": "start_dim", "end_axis": "end_dim", "axis": "dim", "approx": "approx"},
    "torch": {"approximate": "approx", "dim": "axis", "keepdim": "keepdims"},
}
_SPELT = {own: name for names in _OWN.values() for own, name in names.items()}
# Change values, not shapes: nothing is lost for the sizes.
SAME_SHAPE_CLASSES = frozenset(
    [
        "Hardtanh",
        "HardTanh",
        "Hardsigmoid",
        "Hardshrink",
        "HardShrink",
        "Softshrink",
        "Tanhshrink",
        "Threshold",
        "RReLU",
        "ReLU2",
        "Step",
        "Softmin",
        "Softmax2d",
        "Softmax3d",
        "RMSNorm",
        "LocalResponseNorm",
        "DropPath",
        "StochasticDepth",
        "Swish",
    ]
)
SAME_SHAPE_FUNCTIONS = frozenset(
    [
        "abs",
        "absolute",
        "exp",
        "expm1",
        "log",
        "log1p",
        "log2",
        "sqrt",
        "rsqrt",
        "square",
        "sin",
        "cos",
        "clip",
        "clamp",
        "clamp_",
        "hardtanh",
        "hard_tanh",
        "hardsigmoid",
        "hard_shrink",
        "softmin",
        "relu2",
        "erf",
        "nan_to_num",
        "normalize",
        "group_norm",
        "layer_norm",
        "instance_norm",
        "batch_norm",
        "rms_norm",
        "local_response_norm",
        "step",
    ]
)
# Change neither, at least not while a model is used.
SAME_ARRAY_FUNCTIONS = frozenset(
    [
        "stop_gradient",
        "contiguous",
        "clone",
        "detach",
        "to",
        "cuda",
        "cpu",
        "float",
        "half",
        "double",
        "bfloat16",
        "astype",
        "type",
        "type_as",
        "requires_grad_",
        "float_",
        "checkpoint",
        "array",
        "tensor",
        "asarray",
        "from_numpy",
        "as_tensor",
        "mps",
        "copy",
        "alpha_dropout",
        "dropout1d",
        "dropout2d",
        "eval",
        "train",
    ]
)
NOT_THREE_D = {
    f"{name}{rank}d": f"it is {rank}-D; use {name}3d"
    for name in ("Conv", "ConvTranspose", "MaxPool", "AvgPool", "AdaptiveAvgPool", "AdaptiveMaxPool")
    for rank in (1, 2)
}


def made_by(name: str) -> str | None:
    """The kind that a class makes, if it is a layer that is understood.

    >>> made_by("BatchNorm3d"), made_by("Attention")
    ('BatchNorm', None)
    """
    return _CLASSES.get(name)


def class_meant(name: str) -> str:
    """The class whose name is most like one that is not known; "" where none is.

    >>> class_meant("Conv3D"), class_meant("Maxpool3d"), class_meant("Conv2D"), class_meant("ConvBlock")
    ('Conv3d', 'MaxPool3d', 'Conv3d', '')
    """
    found = meant(name, [*_CLASSES, *NOT_THREE_D])
    return f"{found[:-2]}3d" if found in NOT_THREE_D else found


def bind(
    name: str, kind: str, framework: Framework, values: Sequence[object], keywords: Mapping[str, object], line: int
) -> Bound:
    """The arguments of a constructor's call, as written, possible or not.

    Args:
        name: of the class, as the text has it.
        kind: which it makes.
        framework: in whose order positional arguments are, if it has the class.
        values: positional arguments: literals, or `Unreadable`.
        keywords: the others.
        line: for messages.

    Raises:
        SpecError: too many of them, an unknown one, one twice, or one that cannot be read.

    >>> bind("LayerNorm", "LayerNorm", "torch", [8], {"elementwise_affine": False}, 1).arguments
    {'dims': 8, 'affine': False}
    """
    signature, other = _signatures(name, kind, framework)
    names = list(signature.parameters)
    if other and len(names) < len(values) <= len(other.parameters):
        names = list(other.parameters)
    if len(values) > len(names):
        raise SpecError(
            "text",
            f"{len(values)} positional arguments of {name} on line {line} are more than it takes",
            f"use at most {len(names)}: {', '.join(names)}",
        )
    given: dict[str, object] = {}
    for own, value in [*zip(names, values, strict=False), *keywords.items()]:
        canonical = own
        if own in signature.parameters:
            canonical = signature.name(own)
        elif own not in _IGNORED and (other is None or other.renamed.get(own) or own not in other.parameters):
            # One that the other framework has under this very name is kept: that it is not here is a finding.
            if own.startswith("**"):
                raise SpecError("text", f"{shown(own)} on line {line} is not known", "write the arguments out")
            raise _no_such_argument(own, name, line, [name for name in signature.parameters if name not in _IGNORED])
        if canonical in given:
            raise SpecError(own, f"it is given twice to {name} on line {line}", "give it once")
        given[canonical] = value
    return _readable(given, line)


def function(
    name: str, values: Sequence[object], keywords: Mapping[str, object], framework: Framework, line: int
) -> tuple[str, Bound]:
    """The kind of layer that a function is, and its arguments without the data.

    Raises:
        SpecError: as `bind`.

    >>> function("max_pool3d", [2], {}, "torch", 1)
    ('MaxPool3d', Bound(arguments={'kernel_size': 2}, left_out=()))
    """
    kind, names = FUNCTIONS[name]
    if len(values) > len(names):
        raise SpecError(
            "text", f"{name} on line {line} has more arguments than it takes", f"use at most {1 + len(names)}"
        )
    given = dict(zip(names, values, strict=False))
    for own, value in keywords.items():
        canonical = own if own in names else _SPELT.get(own, own)
        if canonical not in (*names, "antialias") and canonical not in _IGNORED:
            raise _no_such_argument(own, name, line, names)
        if canonical in given:
            raise SpecError(own, f"it is given twice to {name} on line {line}", "give it once")
        given[canonical] = value
    if name == "flatten":
        given = {"start_dim": 0, "end_dim": -1} | given
    given.pop("weight", None)
    return kind, _readable(given, line)


def parameters(name: str, kind: str, framework: Framework) -> dict[str, str]:
    """The names that the text can give to a call's arguments, in positional order, and MLX's name of each."""
    if name in FUNCTIONS:
        spelt = {canonical: own for own, canonical in _OWN[framework].items()}
        return {spelt.get(canonical, canonical): canonical for canonical in FUNCTIONS[name][1]}
    signature, _ = _signatures(name, kind, framework)
    return {own: signature.name(own) for own in signature.parameters}


def word(value: object) -> object:
    """PyTorch prints ``padding=same`` without the quotes."""
    return value.text if isinstance(value, Unreadable) and value.text in WORDS else value


def _readable(given: Mapping[str, object], line: int) -> Bound:
    arguments: dict[str, object] = {}
    left_out = []
    for name, value in given.items():
        if name in _IGNORED:
            continue
        found = word(value) if name in ("padding", "padding_mode") else value
        if not isinstance(found, Unreadable):
            arguments[name] = found
        elif name in _SHAPING:
            raise SpecError(
                name,
                f"{shown(found.text)} on line {line} is not a number that the text gives",
                "write the number itself, or give the name a value or a default; text is never run",
            )
        else:
            left_out.append(f"{name}={found.text}")
    return Bound(arguments, tuple(left_out))


def _signatures(name: str, kind: str, framework: Framework) -> tuple[Signature, Signature | None]:
    """That of the framework which has the class, its own first; and the other's."""
    own, other = KINDS[kind].signatures(framework)
    if own and (own.call == name or not other or other.call != name):
        return own, other
    assert other is not None  # the name was found in one of them
    return other, own


def _no_such_argument(own: str, name: str, line: int, names: Sequence[str]) -> SpecError:
    # Few words, and each another thing: what is only a little alike is most likely meant.
    asked = did_you_mean(own, names, alike=0.6)
    return SpecError(own, f"{name} on line {line} has no such argument{asked}", f"use {', '.join(names) or 'none'}")


_CLASSES = _MORE_CLASSES | {
    signature.call: kind for kind, entry in KINDS.items() for signature in (entry.torch, entry.mlx) if signature
}
