"""Activations and dropout: every size stays; what is wrong with them lies in their arguments."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from conv3d_core.chain.given import Effect, Given
from conv3d_core.errors import ShapeError, shown
from conv3d_core.spec import integer_of

Check = Callable[[Given, str], object]


def _number(given: Given, name: str) -> None:
    given.number(name)


def _approximation(given: Given, name: str) -> None:
    given.word(name, ("none", "tanh", "precise", "fast") if given.framework == "mlx" else ("none", "tanh"))


def _divisor(given: Given, name: str) -> None:
    if given.number(name) == 0 and given.framework == "torch":
        given.refuse(name, "0 is divided by", "use another number")


# What an argument must be; those that are not here may be anything.
_CHECKS: Mapping[str, Check] = {
    "negative_slope": _number,
    "alpha": _number,
    "beta": _number,
    "threshold": _number,
    "init": _number,
    "approx": _approximation,
}


def activation(given: Given) -> Effect:
    """The effect of an activation that takes each number by itself.

    Raises:
        SpecError: an argument is not what it must be.
    """
    for name in given.layer.arguments:
        check = _divisor if (given.layer.kind, name) == ("CELU", "alpha") else _CHECKS.get(name)
        if check:
            check(given, name)
    if "inplace" in given.layer.arguments:
        given.flag("inplace")
    return given.kept()


def prelu(given: Given) -> Effect:
    """The effect of a PReLU: one slope for all, or one for each channel.

    Raises:
        Conv3dError: it is none, or the array has another number of channels.
    """
    slopes = given.integer("num_parameters", 1)
    given.number("init")
    if slopes > 1:
        channel = 1 if given.framework == "torch" else len(given.shape) - 1
        if channel >= len(given.shape):
            raise ShapeError("input", f"{given.shape} has no channels for {slopes} slopes", "use num_parameters=1")
        given.check_channels("num_parameters", slopes, channel)
    return given.kept(slopes)


def softmax(given: Given) -> Effect:
    """The effect of a Softmax or LogSoftmax: over MLX's last axis, over the one that PyTorch is told.

    Raises:
        Conv3dError: there is no such axis.
    """
    dim = None if given.framework == "mlx" else given.value("dim")
    if dim is not None:
        axes = len(given.shape)
        number = integer_of("dim", dim, -axes)
        if number >= axes:
            given.refuse("dim", f"axis {number} of {given.shape} is not there", f"use {-axes} to {axes - 1}")
    return given.kept()


def dropout(given: Given) -> Effect:
    """The effect of a Dropout or Dropout3d: MLX takes p < 1, PyTorch p <= 1.

    Raises:
        Conv3dError: p is no probability; or MLX's Dropout3d meets another number of axes than four or five.
    """
    p = given.number("p")
    if p < 0 or p > 1 or (p == 1 and given.framework == "mlx"):
        end = ")" if given.framework == "mlx" else "]"
        given.refuse("p", f"{shown(p)} is not in [0, 1{end}", "use a probability such as 0.5")
    if given.framework == "torch":
        given.flag("inplace")
    elif given.layer.kind == "Dropout3d" and len(given.shape) not in (4, 5):
        raise ShapeError(
            "input",
            f"{given.shape} has {len(given.shape)} axes",
            "use (N, D, H, W, C), or Dropout for any shape",
            value=given.shape,
        )
    return given.kept()


def identity(given: Given) -> Effect:
    """The effect of an Identity, which takes any argument."""
    return given.kept()
