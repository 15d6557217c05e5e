"""Layers in a row, as values: what a text says, possible or not, in MLX's words whichever framework it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, NamedTuple

from conv3d_core.errors import SpecError, shown
from conv3d_core.spec import ConvSpec

Framework = Literal["mlx", "torch"]
Layout = Literal["NDHWC", "NCDHW"]
Sizes = tuple[int, ...]

# How each framework reads the axes of what it is given.
LAYOUTS: Mapping[Framework, Layout] = {"mlx": "NDHWC", "torch": "NCDHW"}
NAMES: Mapping[Framework, str] = {"mlx": "MLX", "torch": "PyTorch"}
REQUIRED = "<required>"


class Signature(NamedTuple):
    """How a framework spells a layer.

    Attributes:
        call: its class.
        parameters: by the framework's own name, in positional order, with the default or `REQUIRED`.
        renamed: own name -> the name in `Layer.arguments`, where these differ.
    """

    call: str
    parameters: Mapping[str, object]
    renamed: Mapping[str, str] = MappingProxyType({})

    def name(self, own: str) -> str:
        """The name that a parameter has in `Layer.arguments`."""
        return self.renamed.get(own, own)

    @property
    def defaults(self) -> dict[str, object]:
        """The default or `REQUIRED` of each parameter, by its name in `Layer.arguments`."""
        return {self.name(own): default for own, default in self.parameters.items()}


class Kind(NamedTuple):
    """A layer that is understood, under MLX's name where MLX has it and PyTorch's where not.

    Attributes:
        mlx: None where MLX has no such class.
        torch: None where PyTorch has none.
        family: "convolution", "pooling", "norm", "activation", "dropout", "upsample", "linear" or "shape".
    """

    family: str
    mlx: Signature | None
    torch: Signature | None

    def signatures(self, framework: Framework) -> tuple[Signature | None, Signature | None]:
        """How a framework spells it, and how the other does."""
        return (self.mlx, self.torch) if framework == "mlx" else (self.torch, self.mlx)


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer as it was written.

    Attributes:
        kind: a key of `KINDS`.
        arguments: what was written, by MLX's name of the parameter (`Signature.renamed`), values as written, possible
            or not; what was left out is not in it.
        call: what stood in the text: "nn.Conv3d", "BatchNorm3d", "F.relu", "x.flatten".
        name: what the text calls it: "self.conv1", "layers.0", "(0)"; empty where it has none.
        line: of the text, from 1; 0 where there is none.
        span: the call's first and last-plus-one character in the chain's text, for an edit in its place; None where an
            edit there is not possible (a layer that stands in the text once and is applied twice has it both times).
    """

    kind: str
    arguments: Mapping[str, object]
    call: str = ""
    name: str = ""
    line: int = 0
    span: tuple[int, int] | None = None

    @property
    def family(self) -> str:
        """See `Kind`."""
        return KINDS[self.kind].family

    def value(self, name: str, framework: Framework) -> object:
        """An argument by MLX's name, or the framework's default.

        Raises:
            SpecError: it is required and was not given, or this framework has no such parameter.
        """
        if name in self.arguments:
            return self.arguments[name]
        signature, _ = KINDS[self.kind].signatures(framework)
        defaults = signature.defaults if signature else {}
        if name not in defaults:
            raise SpecError(name, f"{self.kind} has no such argument", "leave it out")
        if defaults[name] == REQUIRED:
            raise SpecError(name, f"it is missing in {self.kind}", "give it")
        return defaults[name]

    def spec(self) -> ConvSpec:
        """The layer as the explorer takes it.

        Raises:
            SpecError: it is no Conv3d, or one that ``nn.Conv3d`` is not.
        """
        if self.kind != "Conv3d":
            raise SpecError("layer", f"{shown(self.kind)} is no Conv3d", "choose a Conv3d")
        return ConvSpec.from_arguments(self.arguments)


class Passed(NamedTuple):
    """Something in the text that was not understood, or changes values alone, and is passed over.

    Attributes:
        line: of the text, from 1.
        text: what stands there, cut to a line.
        why: in one clause, without a full stop.
        before: the layer, by its index in the chain, before which it stands: from there on shapes are uncertain; the
            number of layers where it stands after the last, and only the output is.
            None where it takes no part in the data's way (an import, an unused layer).
        keeps_shape: it changes values alone (``x * 2``): the shapes behind it are as certain as before, the numbers
            are others.
    """

    line: int
    text: str
    why: str
    before: int | None = None
    keeps_shape: bool = False


@dataclass(frozen=True, slots=True)
class Chain:
    """Layers that are applied in a row.

    Attributes:
        layers: in the order in which the data passes.
        framework: in whose terms the text is written, and who reads the input's axes.
        text: what was read; an edit goes into it, so it is the one truth.
        passed: what was not understood.
        input_shape: of the array that the text itself makes and gives to the first layer; None where it makes none.
    """

    layers: tuple[Layer, ...]
    framework: Framework = "mlx"
    text: str = ""
    passed: tuple[Passed, ...] = ()
    input_shape: Sizes | None = None

    @property
    def uncertain_from(self) -> int | None:
        """Index of the first layer whose input is not known for sure; None where all are."""
        begin = (passed.before for passed in self.passed if not passed.keeps_shape)
        return min((before for before in begin if before is not None), default=None)

    def is_uncertain(self, index: int) -> bool:
        """Whether what comes to a layer is not known for sure."""
        begin = self.uncertain_from
        return begin is not None and index >= begin


@dataclass(frozen=True, slots=True)
class Case:
    """A chain and what goes into it: everything that the doctor looks at.

    Attributes:
        chain: the layers.
        input_shape: of the array as it is handed to the first layer.
        layout: what its owner says the axes are; the framework reads them as `LAYOUTS` says all the same. None where
            the owner says nothing.
    """

    chain: Chain
    input_shape: Sizes
    layout: Layout | None = None


def _signature(call: str, renamed: Mapping[str, str] | None = None, /, **parameters: object) -> Signature:
    return Signature(call, MappingProxyType(parameters), MappingProxyType(dict(renamed or {})))


def _activation(name: str, mlx: Mapping[str, object] | None = None, torch: Mapping[str, object] | None = None) -> Kind:
    """One that both have: under the same name, with the same parameters unless given."""
    return Kind(
        "activation",
        _signature(name, **(mlx or {})),
        _signature(name, **(mlx or {} if torch is None else torch)),
    )


def _inplace(**parameters: object) -> dict[str, object]:
    return {**parameters, "inplace": False}


_CONV = {"in_channels": REQUIRED, "out_channels": REQUIRED, "kernel_size": REQUIRED}
_POOL = {"kernel_size": REQUIRED, "stride": None, "padding": 0}
_PLACE = {"device": None, "dtype": None}  # where it lives and in what type: read and left out of `Layer.arguments`
_FEATURES = {"num_features": REQUIRED, "eps": 1e-5, "momentum": 0.1, "affine": True, "track_running_stats": True}

KINDS: Mapping[str, Kind] = MappingProxyType(
    {
        "Conv3d": Kind(
            "convolution",
            _signature("Conv3d", **_CONV, stride=1, padding=0, dilation=1, bias=True),
            _signature(
                "Conv3d", **_CONV, stride=1, padding=0, dilation=1, groups=1, bias=True, padding_mode="zeros", **_PLACE
            ),
        ),
        "ConvTranspose3d": Kind(
            "convolution",
            _signature("ConvTranspose3d", **_CONV, stride=1, padding=0, dilation=1, output_padding=0, bias=True),
            _signature(
                "ConvTranspose3d",
                **_CONV,
                stride=1,
                padding=0,
                output_padding=0,
                groups=1,
                bias=True,
                dilation=1,
                padding_mode="zeros",
                **_PLACE,
            ),
        ),
        "MaxPool3d": Kind(
            "pooling",
            _signature("MaxPool3d", **_POOL),
            _signature("MaxPool3d", **_POOL, dilation=1, return_indices=False, ceil_mode=False),
        ),
        "AvgPool3d": Kind(
            "pooling",
            _signature("AvgPool3d", **_POOL),
            _signature("AvgPool3d", **_POOL, ceil_mode=False, count_include_pad=True, divisor_override=None),
        ),
        # To as many voxels as it is told, whatever the input has; None along an axis leaves it as it is.
        "AdaptiveAvgPool3d": Kind("pooling", None, _signature("AdaptiveAvgPool3d", output_size=REQUIRED)),
        "AdaptiveMaxPool3d": Kind(
            "pooling", None, _signature("AdaptiveMaxPool3d", output_size=REQUIRED, return_indices=False)
        ),
        # As written, BatchNorm1d and BatchNorm2d too: `Layer.call` tells.
        "BatchNorm": Kind(
            "norm", _signature("BatchNorm", **_FEATURES), _signature("BatchNorm3d", **_FEATURES, **_PLACE, bias=True)
        ),
        "LayerNorm": Kind(
            "norm",
            _signature("LayerNorm", dims=REQUIRED, eps=1e-5, affine=True, bias=True),
            _signature(
                "LayerNorm",
                {"normalized_shape": "dims", "elementwise_affine": "affine"},
                normalized_shape=REQUIRED,
                eps=1e-5,
                elementwise_affine=True,
                bias=True,
                **_PLACE,
            ),
        ),
        "GroupNorm": Kind(
            "norm",
            _signature(
                "GroupNorm", num_groups=REQUIRED, dims=REQUIRED, eps=1e-5, affine=True, pytorch_compatible=False
            ),
            _signature(
                "GroupNorm",
                {"num_channels": "dims"},
                num_groups=REQUIRED,
                num_channels=REQUIRED,
                eps=1e-5,
                affine=True,
                **_PLACE,
                bias=True,
            ),
        ),
        "InstanceNorm": Kind(
            "norm",
            _signature("InstanceNorm", dims=REQUIRED, eps=1e-5, affine=False),
            _signature(
                "InstanceNorm3d",
                {"num_features": "dims"},
                num_features=REQUIRED,
                eps=1e-5,
                momentum=0.1,
                affine=False,
                track_running_stats=False,
                **_PLACE,
                bias=True,
            ),
        ),
        "Dropout": Kind("dropout", _signature("Dropout", p=0.5), _signature("Dropout", p=0.5, inplace=False)),
        "Dropout3d": Kind("dropout", _signature("Dropout3d", p=0.5), _signature("Dropout3d", p=0.5, inplace=False)),
        "Upsample": Kind(
            "upsample",
            _signature("Upsample", scale_factor=REQUIRED, mode="nearest", align_corners=False, antialias=False),
            _signature(
                "Upsample",
                size=None,
                scale_factor=None,
                mode="nearest",
                align_corners=None,
                recompute_scale_factor=None,
            ),
        ),
        "Linear": Kind(
            "linear",
            _signature("Linear", input_dims=REQUIRED, output_dims=REQUIRED, bias=True),
            _signature(
                "Linear",
                {"in_features": "input_dims", "out_features": "output_dims"},
                in_features=REQUIRED,
                out_features=REQUIRED,
                bias=True,
                **_PLACE,
            ),
        ),
        # MLX has the function mx.flatten and x.flatten, with start_axis and end_axis.
        "Flatten": Kind("shape", None, _signature("Flatten", start_dim=1, end_dim=-1)),
        # x.transpose, mx.transpose, x.permute, torch.permute: all axes in their new order.
        "Transpose": Kind("shape", None, None),
        # x[None], mx.expand_dims, x.unsqueeze: one new axis at ``axis``.
        "ExpandDims": Kind("shape", None, None),
        # x.mean, mx.mean, torch.mean; mx.max, torch.amax: over the axes ``axis``, which ``keepdims`` leaves at 1.
        "Mean": Kind("shape", None, None),
        "Max": Kind("shape", None, None),
        "Identity": Kind("activation", _signature("Identity"), _signature("Identity")),
        "ReLU": _activation("ReLU", {}, _inplace()),
        "ReLU6": _activation("ReLU6", {}, _inplace()),
        "LeakyReLU": _activation("LeakyReLU", {"negative_slope": 0.01}, _inplace(negative_slope=0.01)),
        "PReLU": _activation(
            "PReLU", {"num_parameters": 1, "init": 0.25}, {"num_parameters": 1, "init": 0.25, **_PLACE}
        ),
        "ELU": _activation("ELU", {"alpha": 1.0}, _inplace(alpha=1.0)),
        "CELU": _activation("CELU", {"alpha": 1.0}, _inplace(alpha=1.0)),
        "SELU": _activation("SELU", {}, _inplace()),
        "SiLU": _activation("SiLU", {}, _inplace()),
        "Mish": _activation("Mish", {}, _inplace()),
        "GELU": Kind(
            "activation",
            _signature("GELU", approx="none"),
            _signature("GELU", {"approximate": "approx"}, approximate="none"),
        ),
        "Sigmoid": _activation("Sigmoid"),
        "LogSigmoid": _activation("LogSigmoid"),
        "Tanh": _activation("Tanh"),
        "Softplus": _activation("Softplus", {}, {"beta": 1.0, "threshold": 20.0}),
        "Softsign": _activation("Softsign"),
        "Hardswish": _activation("Hardswish", {}, _inplace()),
        # MLX takes the last axis; PyTorch the one that it is told.
        "Softmax": _activation("Softmax", {}, {"dim": None}),
        "LogSoftmax": _activation("LogSoftmax", {}, {"dim": None}),
    }
)
