"""BatchNorm, LayerNorm, GroupNorm and InstanceNorm: every size stays, if axes and channels are those that they take."""

from __future__ import annotations

import math

from conv3d_core.axis import AXES
from conv3d_core.chain.given import Effect, Given
from conv3d_core.chain.layer import Sizes
from conv3d_core.errors import ShapeError, shown
from conv3d_core.spec import integer_of

# How many axes PyTorch's classes take.
_AXES = {"BatchNorm1d": (2, 3), "BatchNorm2d": (4,), "BatchNorm3d": (5,)}


def batch_norm(given: Given) -> Effect:
    """The effect of a BatchNorm while training: MLX's takes two to four axes, PyTorch's as its class says.

    Raises:
        Conv3dError: it is none, or the array does not fit it.
    """
    features = given.integer("num_features", 1)
    _check_eps(given, positive=True)
    _check_momentum(given)
    affine, parameters = _affine(given, features)
    tracked = given.flag("track_running_stats")
    taken: tuple[int, ...] = (2, 3, 4)
    if given.framework == "torch":
        name = given.layer.call.rpartition(".")[2]
        taken = (2, 3, 4, 5) if name == "SyncBatchNorm" else _AXES.get(name, _AXES["BatchNorm3d"])
    _check_axes(given, taken)
    channel = _channel(given)
    if affine or tracked:
        given.check_channels("num_features", features, channel)
    if math.prod(given.shape) == given.shape[channel]:
        raise _too_few(given, "one value of each channel, and has no variance to train on")
    return given.kept(parameters)


def layer_norm(given: Given) -> Effect:
    """The effect of a LayerNorm over MLX's last axis, over as many of PyTorch's last axes as it names.

    Raises:
        Conv3dError: it is none, or the array does not end with these sizes.
    """
    value = given.value("dims")
    own = given.own("dims")
    if given.framework == "torch" and isinstance(value, list | tuple):
        if not value:
            given.refuse("dims", "it has no size", "give the last axes' sizes")
        sizes = tuple(integer_of(own, size, 1) for size in value)
    else:
        sizes = (integer_of(own, value, 1),)
    _check_eps(given, positive=given.framework == "mlx")
    given.check_elements("weight", "dims", sizes)
    affine, parameters = _affine(given, math.prod(sizes))
    # Without a weight MLX's takes any: it normalises the last axis whatever its size.
    if (affine or given.framework == "torch") and given.shape[-len(sizes) :] != sizes:
        ends = given.shape[-len(sizes) :]
        wanted, found = (_sizes(few) for few in (sizes, ends))
        raise ShapeError(
            own,
            f"the layer takes {wanted} and the input {given.shape} ends with {found}",
            f"use {own}={found}, or an input that ends with {wanted}",
            value=value,
        )
    return given.kept(parameters)


def group_norm(given: Given) -> Effect:
    """The effect of a GroupNorm.

    Raises:
        Conv3dError: it is none, or the array does not fit it.
    """
    groups, channels = given.integer("num_groups", 1), given.integer("dims", 1)
    if channels % groups:
        given.refuse("num_groups", f"{channels} channels are not a multiple of {groups}", f"use {_divisors(channels)}")
    _check_eps(given, positive=given.framework == "mlx")
    if given.framework == "mlx":
        given.flag("pytorch_compatible")
    affine, parameters = _affine(given, channels)
    if len(given.shape) < 2:
        raise _axes_error(given, "two or more")
    position = _channel(given)
    found = given.shape[position]
    # Without a weight both take any number of channels that the groups divide.
    if affine or found % groups:
        given.check_channels("dims", channels, position)
    if given.framework == "torch" and math.prod(given.shape) == groups:
        raise _too_few(given, f"one value of each of {groups} groups, and has no variance to train on")
    return given.kept(parameters)


def instance_norm(given: Given) -> Effect:
    """The effect of an InstanceNorm.

    Raises:
        Conv3dError: it is none, or the array does not fit it.
    """
    features = given.integer("dims", 1)
    torch = given.framework == "torch"
    _check_eps(given, positive=not torch)
    if torch:
        _check_momentum(given)
        given.flag("track_running_stats")
    affine, parameters = _affine(given, features)
    if torch:
        _check_axes(given, (4, 5))
    elif len(given.shape) < 3:
        raise _axes_error(given, "three or more")
    position = len(given.shape) - 4 if torch else len(given.shape) - 1
    # Without a weight both take any number of channels; PyTorch warns.
    if affine:
        given.check_channels("dims", features, position)
    if torch and math.prod(given.shape[-len(AXES) :]) == 1:
        raise _too_few(given, "one value of each channel of a volume, and has no variance to train on")
    return given.kept(parameters)


def _affine(given: Given, features: int) -> tuple[bool, int]:
    """Whether there is a weight, and how many parameters there are."""
    affine = given.flag("affine")
    has_bias = given.layer.kind == "LayerNorm" or given.framework == "torch"
    bias = given.flag("bias") if has_bias else True
    return affine, features * (1 + bias) if affine else 0


def _check_eps(given: Given, positive: bool) -> None:
    if given.number("eps") <= 0 and positive:
        given.refuse("eps", f"{shown(given.value('eps'))} is not above 0", "use a small number such as 1e-5")


def _check_momentum(given: Given) -> None:
    if given.framework == "mlx" or given.value("momentum") is not None:
        given.number("momentum")


def _check_axes(given: Given, taken: tuple[int, ...]) -> None:
    if len(given.shape) not in taken:
        words = [str(axes) for axes in taken]
        raise _axes_error(given, " or ".join(filter(None, [", ".join(words[:-1]), words[-1]])))


def _axes_error(given: Given, taken: str) -> ShapeError:
    name = given.layer.call.rpartition(".")[2] or given.layer.kind
    remedy = f"use an input of {taken} axes"
    if (given.layer.kind, given.framework, len(given.shape)) == ("BatchNorm", "mlx", 5):
        remedy = "use GroupNorm or InstanceNorm, or a BatchNorm on the array reshaped to (N, D*H*W, C)"
    return ShapeError(
        "input", f"{given.shape} has {len(given.shape)} axes and {name} takes {taken}", remedy, value=given.shape
    )


def _too_few(given: Given, what: str) -> ShapeError:
    return ShapeError("input", f"{given.shape} has {what}", "use a larger input", value=given.shape)


def _channel(given: Given) -> int:
    return 1 if given.framework == "torch" else len(given.shape) - 1


def _sizes(sizes: Sizes) -> str:
    return str(sizes[0]) if len(sizes) == 1 else shown(sizes)


def _divisors(channels: int) -> str:
    small = [number for number in range(1, min(channels, 64) + 1) if channels % number == 0]
    return f"a divisor such as {small[-1]}"
