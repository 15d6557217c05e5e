"""What goes into a layer, checked and made float32 before MLX sees it."""

from __future__ import annotations

import hashlib
from typing import Any, NamedTuple, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from conv3d_core.errors import ShapeError
from conv3d_core.spec import ConvSpec

Floats = NDArray[np.float32]
DTYPES = ("float32", "float16", "bfloat16")


class Content(NamedTuple):
    """An input that is named by its content: it goes to the worker once, and what comes of it is remembered.

    Attributes:
        array: (N, D, H, W, C) float32; it must not change any more.
        digest: a name that no other content has.
    """

    array: Floats
    digest: str

    @classmethod
    def of(cls, array: ArrayLike) -> Self:
        """An array, cast to float32, under its blake2b digest.

        Raises:
            ShapeError: no real numbers.
        """
        floats = as_float32(real_array("input", array))
        return cls(floats, digest_of(floats))


class Given(NamedTuple):
    """An input as it was given: real numbers, not yet cast, and its name if it has one."""

    array: NDArray[Any]
    digest: str | None


def given_input(x: ArrayLike | Content) -> Given:
    """An input, checked as far as it can be without a layer.

    Raises:
        ShapeError: no real numbers.
    """
    return Given(x.array, x.digest) if isinstance(x, Content) else Given(real_array("input", x), None)


def digest_of(array: Floats) -> str:
    """Name of shape and numbers: blake2b, 32 hexadecimal digits."""
    state = hashlib.blake2b(repr(array.shape).encode(), digest_size=16)
    state.update(np.ascontiguousarray(array).data)
    return state.hexdigest()


def real_array(field: str, value: ArrayLike) -> NDArray[Any]:
    """The value as an array of real numbers, not copied and not yet cast.

    Args:
        field: "input", "weight" or "bias": what an error is about.
        value: an array or nested lists of truth values, integers or floats.

    Raises:
        ShapeError: complex numbers, text, objects, or lists of unequal lengths.
    """
    try:
        array = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: a PyTorch tensor that requires grad
        raise ShapeError(field, f"it cannot be read as an array ({error})", "give a NumPy array of numbers") from None
    if array.dtype.kind not in "buif":
        raise ShapeError(
            field,
            f"dtype {array.dtype} is not real numbers",
            "use integers or floats, for example array.real",
            value=array.dtype,
        )
    return array


def as_float32(array: NDArray[Any]) -> Floats:
    """The array in MLX's terms: float32, this machine's byte order, C order. NaN and infinity pass.

    Numbers beyond float32's range become infinite, as they do in MLX.
    """
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(array, dtype=np.float32, order="C")


def layer_weight(spec: ConvSpec, weight: ArrayLike) -> Floats:
    """The weight in MLX's layout (O, KD, KH, KW, I), float32.

    A weight in PyTorch's layout is told by its shape; where both layouts have the same shape nobody can tell.

    Raises:
        ShapeError: no real numbers, or another shape.
    """
    array = real_array("weight", weight)
    if array.shape != spec.weight_shape:
        out_channels, *kernel, in_channels = spec.weight_shape
        problem = f"shape {array.shape} is not (O, KD, KH, KW, I) = {spec.weight_shape}"
        remedy = f"use shape {spec.weight_shape}"
        if array.shape == (out_channels, in_channels, *kernel):
            problem += " but PyTorch's (O, I, KD, KH, KW)"
            remedy = "use weight.transpose(0, 2, 3, 4, 1), which is permute(0, 2, 3, 4, 1) in PyTorch"
        raise ShapeError("weight", problem, remedy, value=array.shape)
    return as_float32(array)


def layer_bias(spec: ConvSpec, bias: ArrayLike | None) -> Floats | None:
    """The bias (O,), float32; zeros where the layer has one and none is given; None where it has none.

    Raises:
        ShapeError: no real numbers, another shape, or a bias for a layer without.
    """
    if bias is None:
        return np.zeros(spec.out_channels, np.float32) if spec.bias else None
    array = real_array("bias", bias)
    if not spec.bias:
        raise ShapeError("bias", "one is given to a layer with bias=False", "leave it out, or use bias=True")
    wanted = (spec.out_channels,)
    if array.shape != wanted:
        raise ShapeError(
            "bias", f"shape {array.shape} is not (O,) = {wanted}", f"use shape {wanted}", value=array.shape
        )
    return as_float32(array)
