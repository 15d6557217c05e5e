"""The real layers on an array without values: what MLX itself says of a chain, with nothing evaluated.

`checked` is this side's, `try_layers` the worker's. MLX's arrays are lazy, weights among them: it works out shapes, and
raises what it raises about them, before anything of their size is allocated.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from conv3d_core.chain.layer import KINDS, Layer, Sizes
from conv3d_core.errors import ShapeError, SpecError, shown
from conv3d_core.spec import MAX_ELEMENTS

DTYPES = ("float32", "float16", "bfloat16", "float64", "int32", "uint8", "bool_")
# Far above what anybody writes, and far below what takes long: MLX's cubic Upsample loops over 4 ** axes.
MAX_LAYERS = 1000
MAX_AXES = 8
MAX_VALUES = 64  # in one argument
MAX_TEXT = 200
LARGEST = 2**63
# Python repeats a text or a list that is multiplied with a number: MLX multiplies these for the scale of a weight.
MAX_REPEATS = 10**5
FACTORS = ("in_channels", "kernel_size")

NUMBERS = (int, float, np.int32, np.int64, np.float32, np.float64)
Call = tuple[str, dict[str, object]]

# What MLX, its bindings and the Python of its layers raise about arguments and shapes.
ERRORS = (
    ValueError,
    RuntimeError,
    TypeError,
    LookupError,
    ArithmeticError,
    AttributeError,
    AssertionError,
    MemoryError,
)


class Attempt(NamedTuple):
    """What MLX made of layers and an input shape.

    Attributes:
        shapes: what each layer gives, in MLX's axis order, up to the one that fails.
        failed: index of the layer that raised; None where none did.
        error: the name of its exception, such as "ValueError"; empty where none was raised.
        message: the exception's text, verbatim.
    """

    shapes: tuple[Sizes, ...]
    failed: int | None = None
    error: str = ""
    message: str = ""


def checked(layers: Sequence[Layer], input_shape: Sequence[int], dtype: str) -> tuple[list[Call], Sizes]:
    """What is sent to the worker: names of layers that are known, and values that Python writes as literals.

    Raises:
        SpecError: something else, or more of it than anybody writes.
        ShapeError: the shape is not one to eight sizes >= 0.
    """
    if dtype not in DTYPES:
        raise SpecError("dtype", f"{shown(dtype)} is none of MLX's here", f"use {', '.join(DTYPES)}", value=dtype)
    if len(layers) > MAX_LAYERS:
        raise SpecError("layers", f"{len(layers):,} are too many", f"use at most {MAX_LAYERS:,}")
    sizes = tuple(input_shape)
    if not 1 <= len(sizes) <= MAX_AXES or not all(type(n) is int and 0 <= n <= MAX_ELEMENTS for n in sizes):
        remedy = f"use one to {MAX_AXES} integers from 0 to {MAX_ELEMENTS:,}"
        raise ShapeError("input", f"{shown(sizes)} is no shape of an MLX array", remedy, value=input_shape)
    axes = len(sizes) + sum(layer.kind == "ExpandDims" for layer in layers)
    if axes > MAX_AXES:
        raise SpecError("layers", f"they make {axes} axes", f"stay at or below {MAX_AXES}")
    return [(layer.kind, _checked_arguments(layer)) for layer in layers], sizes


def try_layers(calls: Sequence[Call], input_shape: Sizes, dtype: str) -> Attempt:
    """Make each layer and apply it, until one raises. In the worker; nothing is evaluated."""
    import mlx.core as mx

    # Every layer draws its weight from the thread's key, each draw hanging on the one before until one is evaluated.
    mx.random.seed(0)
    x = mx.zeros(input_shape, getattr(mx, dtype))
    shapes: list[Sizes] = []
    for index, (kind, arguments) in enumerate(calls):
        try:
            y = _made(kind, arguments)(x)
        except ERRORS as error:
            return Attempt(tuple(shapes), index, type(error).__name__, str(error))
        shapes.append(tuple(y.shape))
        # The next layer sees a shape and a type, and no chain of all operations so far.
        x = mx.zeros(y.shape, y.dtype)
    return Attempt(tuple(shapes))


def _made(kind: str, arguments: Mapping[str, Any]) -> Any:
    """The layer; a function where MLX has no class."""
    import mlx.core as mx
    import mlx.nn as nn

    if kind == "Flatten":
        return lambda x: mx.flatten(x, arguments.get("start_dim", 1), arguments.get("end_dim", -1))
    if kind == "Transpose":
        return lambda x: mx.transpose(x, arguments.get("axes"))
    if kind == "ExpandDims":
        return lambda x: mx.expand_dims(x, arguments["axis"])
    if kind in ("Mean", "Max"):
        reduce = mx.mean if kind == "Mean" else mx.max
        return lambda x: reduce(x, **arguments)
    signature = KINDS[kind].mlx
    # Of PyTorch's own MLX says that it has none.
    return getattr(nn, signature.call if signature else kind)(**arguments)


def _checked_arguments(layer: Layer) -> dict[str, object]:
    if layer.kind not in KINDS:
        raise SpecError("layer", f"{shown(layer.kind)} is not known here", f"use {', '.join(KINDS)}")
    for name, value in layer.arguments.items():
        if not name.isidentifier() or _values(value) > MAX_VALUES:
            problem = f"{shown(value)} is nothing that MLX can be asked about here"
            raise SpecError(
                name, problem, "use numbers, short text, True, False, None, or tuples of these", value=value
            )
    inputs, kernel = (layer.arguments.get(name, 1) for name in FACTORS)
    factors = [inputs, *(kernel if isinstance(kernel, list | tuple) else [kernel] * 3)]
    numbers: list[Any] = [factor for factor in factors if isinstance(factor, NUMBERS)]
    if len(numbers) < len(factors) and abs(math.prod(numbers)) > MAX_REPEATS:
        problem = f"Python would repeat it in {shown(inputs)} * {shown(kernel)}, and make billions"
        raise SpecError("in_channels", problem, "use integers >= 1")
    return dict(layer.arguments)


def _values(value: object) -> int:
    """How many values an argument has; more than there may be where one is not sent."""
    too_many = MAX_VALUES + 1
    if type(value) in (tuple, list):
        found: Any = value
        return sum(map(_values, found[:too_many]), 1)
    if value is None or type(value) is bool or type(value) in NUMBERS:
        return 1 if not isinstance(value, int) or abs(value) < LARGEST else too_many
    # Python's % formats where MLX asks for a remainder: "%999999999d" would make a gigabyte.
    return 1 if type(value) is str and len(value) <= MAX_TEXT and "%" not in value else too_many
