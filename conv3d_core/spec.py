"""One `nn.Conv3d`, as a value: frozen, normalised to triples, validated before MLX sees anything."""

from __future__ import annotations

import math
import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from conv3d_core.axis import AXES, AXIS_NAMES, Axis
from conv3d_core.errors import ShapeError, SpecError, shown
from conv3d_core.source_code import mlx_arguments, read_call, write_call

Triple = tuple[int, int, int]
Shape = tuple[int, int, int, int, int]
# MLX indexes with 32 bits: above this it hangs for minutes or ends the process instead of raising.
MAX_ELEMENTS = 2**31 - 1
QUERY_KEYS = {"kernel_size": "k", "stride": "s", "padding": "p", "dilation": "d"}


@dataclass(frozen=True, slots=True)
class ConvSpec:
    """The parameters of ``mlx.nn.Conv3d``, in its names and its order.

    Integers or three integers (D, H, W) go in; triples are stored.

    Attributes:
        in_channels: channels C of the input (N, D, H, W, C), >= 1.
        out_channels: channels of the output, >= 1.
        kernel_size: taps per axis, >= 1.
        stride: input voxels between neighbouring outputs, >= 1.
        padding: zeros on each side, >= 0.
        dilation: input voxels between neighbouring taps, >= 1.
        bias: whether one number per output channel is added.

    Raises:
        SpecError: a parameter that is not such an integer, or a weight of more than 2**31 - 1 elements.

    >>> ConvSpec(1, 8, 3, stride=2, padding=1).output_shape((1, 32, 32, 32, 1))
    (1, 16, 16, 16, 8)
    """

    in_channels: int
    out_channels: int
    kernel_size: Triple
    stride: Triple = (1, 1, 1)
    padding: Triple = (0, 0, 0)
    dilation: Triple = (1, 1, 1)
    bias: bool = True

    def __init__(
        self,
        in_channels: int,
        out_channels: int,
        kernel_size: int | Sequence[int],
        stride: int | Sequence[int] = 1,
        padding: int | Sequence[int] = 0,
        dilation: int | Sequence[int] = 1,
        bias: bool = True,
    ) -> None:
        put = object.__setattr__
        put(self, "in_channels", integer_of("in_channels", in_channels, 1))
        put(self, "out_channels", integer_of("out_channels", out_channels, 1))
        put(self, "kernel_size", triple_of("kernel_size", kernel_size, 1))
        put(self, "stride", triple_of("stride", stride, 1))
        put(self, "padding", triple_of("padding", padding, 0))
        put(self, "dilation", triple_of("dilation", dilation, 1))
        if not isinstance(bias, bool):
            raise SpecError("bias", f"{shown(bias)} is not Python's True or False", "use True or False", value=bias)
        put(self, "bias", bias)
        elements = math.prod(self.weight_shape)
        if elements > MAX_ELEMENTS:
            raise SpecError(
                "kernel_size",
                f"a weight of {product(self.weight_shape)} = {elements:,} elements is more than MLX can index",
                f"keep the product at or below {MAX_ELEMENTS:,}",
                value=self.kernel_size,
            )

    @property
    def axes(self) -> tuple[Axis, Axis, Axis]:
        """The three axes D, H, W, each with its own arithmetic."""
        d, h, w = zip(self.kernel_size, self.stride, self.padding, self.dilation, strict=True)
        return Axis(*d), Axis(*h), Axis(*w)

    @property
    def effective_kernel_size(self) -> Triple:
        """Voxels from the first to the last tap, per axis: ``dilation * (kernel_size - 1) + 1``."""
        d, h, w = (axis.effective_kernel_size for axis in self.axes)
        return d, h, w

    @property
    def weight_shape(self) -> Shape:
        """MLX's layout (O, KD, KH, KW, I)."""
        return (self.out_channels, *self.kernel_size, self.in_channels)

    def output_shape(self, input_shape: Sequence[int]) -> Shape:
        """The shape that MLX gives: per axis ``floor((i + 2p - k_e) / s) + 1``.

        Args:
            input_shape: (N, D, H, W, C).

        Raises:
            ShapeError: not five sizes >= 1, another number of channels, a kernel that does not fit
                its padded input, or more elements than MLX can index.

        Source: Dumoulin & Visin 2016, relationship 15.

        >>> ConvSpec(3, 4, (1, 3, 3), padding=(0, 1, 1)).output_shape((2, 5, 6, 7, 3))
        (2, 5, 6, 7, 4)
        """
        batch, *sizes, channels = _input_shape(input_shape)
        if channels != self.in_channels:
            raise self._channel_error((batch, *sizes, channels))
        for letter, axis, size in zip(AXES, self.axes, sizes, strict=True):
            if not axis.fits(size):
                raise does_not_fit(letter, axis, size)
        d, h, w = (axis.output_size(size) for axis, size in zip(self.axes, sizes, strict=True))
        shape = (batch, d, h, w, self.out_channels)
        padded = [axis.padded_size(size) for axis, size in zip(self.axes, sizes, strict=True)]
        for what, field, whole in (
            ("padded input", "padding", (batch, *padded, channels)),
            ("output", "out_channels", shape),
        ):
            elements = math.prod(whole)
            if elements > MAX_ELEMENTS:
                raise ShapeError(
                    field,
                    f"the {what} {product(whole)} = {elements:,} elements is more than MLX can index",
                    f"use a smaller {field} or crop the input, to stay at or below {MAX_ELEMENTS:,}",
                    value=getattr(self, field),
                )
        return shape

    def to_mlx(self) -> str:
        """The constructor call, as it runs after ``import mlx.nn as nn``."""
        return write_call("nn.Conv3d", self.to_dict())

    def to_torch(self) -> str:
        """The PyTorch call of the same layer, as it runs after ``import torch``."""
        return write_call("torch.nn.Conv3d", self.to_dict())

    @classmethod
    def parse(cls, text: str) -> ConvSpec:
        """The layer that a text constructs: MLX or PyTorch, a call or a printed layer. Never runs it.

        Raises:
            SpecError: what the text says is not one such layer.

        >>> ConvSpec.parse("nn.Conv3d(1, 8, 3, stride=2, padding=1)").to_mlx()
        'nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=1)'
        """
        return cls.from_arguments(read_call(text))

    @classmethod
    def from_arguments(cls, arguments: Mapping[str, Any]) -> ConvSpec:
        """The layer of a constructor's arguments by name, as written, PyTorch's among them.

        Raises:
            SpecError: what they say is not one ``nn.Conv3d``.

        >>> ConvSpec.from_arguments({"in_channels": 1, "out_channels": 8, "kernel_size": 3, "padding": "same"}).padding
        (1, 1, 1)
        """
        values = mlx_arguments(arguments)
        padding = values.get("padding")
        if isinstance(padding, str) and padding in ("valid", "same"):
            values["padding"] = 0
            if padding == "same":
                values["padding"] = cls.from_dict(values).same_padding()
        return cls.from_dict(values)

    def same_padding(self) -> Triple:
        """The padding that keeps every size at stride 1: ``(k_e - 1) / 2`` per axis.

        Raises:
            SpecError: a stride above 1, or an even effective kernel: MLX pads both sides alike.

        >>> ConvSpec(1, 1, (1, 3, 5), dilation=(1, 2, 1)).same_padding()
        (0, 2, 2)
        """
        for letter, axis in zip(AXES, self.axes, strict=True):
            name = AXIS_NAMES[letter]
            if axis.stride != 1:
                raise SpecError(
                    name,
                    f"stride {axis.stride} cannot keep the size",
                    "use stride 1 for 'same' padding",
                    field="padding",
                    axis=letter,
                )
            if axis.effective_kernel_size % 2 == 0:
                raise SpecError(
                    name,
                    f"effective kernel {axis.effective_kernel_size} is even, and MLX pads both sides alike",
                    "use an odd kernel_size for 'same' padding",
                    field="padding",
                    axis=letter,
                )
        d, h, w = ((size - 1) // 2 for size in self.effective_kernel_size)
        return d, h, w

    def full_padding(self) -> Triple:
        """The largest padding under which every window still spans a voxel: ``k_e - 1`` per axis.

        Each of them also reads one, unless the input is shorter than the dilation: there it can lie between two taps.
        """
        d, h, w = (size - 1 for size in self.effective_kernel_size)
        return d, h, w

    def to_dict(self) -> dict[str, Any]:
        """The parameters by name; triples stay triples."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ConvSpec:
        """The inverse of `to_dict`; also takes single integers, and lists as JSON has them.

        Raises:
            SpecError: an unknown or missing name, or a value that the constructor refuses.
        """
        known = cls.__dataclass_fields__
        for name in values:
            if name not in known:
                raise SpecError(str(name), "nn.Conv3d has no such argument", f"use {', '.join(known)}")
        for name in ("in_channels", "out_channels", "kernel_size"):
            if name not in values:
                raise SpecError(name, "it is missing", "give it")
        return cls(**values)

    def to_query(self) -> dict[str, str]:
        """The parameters as a URL has them: ``k=3``, or ``k3=true`` with ``kd``, ``kh`` and ``kw``.

        >>> ConvSpec(1, 8, 3, stride=(1, 2, 2)).to_query()["k"]
        '3'
        """
        query = {"in": str(self.in_channels), "out": str(self.out_channels)}
        for name, key in QUERY_KEYS.items():
            triple: Triple = getattr(self, name)
            if len(set(triple)) == 1:
                query[key] = str(triple[0])
            else:
                query[f"{key}3"] = "true"
                query |= {f"{key}{letter.lower()}": str(number) for letter, number in zip(AXES, triple, strict=True)}
        return query | {"bias": str(self.bias).lower()}

    @classmethod
    def from_query(cls, query: Mapping[str, str]) -> ConvSpec:
        """The inverse of `to_query`. Other keys of the URL are left alone.

        Raises:
            SpecError: a value that is missing or no integer, or one that the constructor refuses.
        """
        values: dict[str, Any] = {
            "in_channels": _query_integer(query, "in", "in_channels"),
            "out_channels": _query_integer(query, "out", "out_channels"),
        }
        for name, key in QUERY_KEYS.items():
            if query.get(f"{key}3", "").lower() == "true":
                values[name] = tuple(_query_integer(query, f"{key}{letter.lower()}", name) for letter in AXES)
            elif key in query or name == "kernel_size":
                values[name] = _query_integer(query, key, name)
        bias = query.get("bias", "true").lower()
        if bias not in ("true", "false"):
            problem = f"bias={shown(bias)} in the link is neither true nor false"
            raise SpecError("bias", problem, "use true or false", value=bias)
        return cls(**values, bias=bias == "true")

    def _channel_error(self, shape: tuple[int, ...]) -> ShapeError:
        channels, wanted = shape[4], self.in_channels
        remedy = f"use in_channels={channels}, or an input whose last axis is {wanted}"
        if shape[1] == wanted:
            remedy += f"; (N, C, D, H, W) is PyTorch's order: move axis 1 last to get {(shape[0], *shape[2:], wanted)}"
        return ShapeError(
            "in_channels", f"the layer takes {wanted} and the input {shape} has {channels}", remedy, value=wanted
        )


def does_not_fit(letter: str, axis: Axis, size: int) -> ShapeError:
    """The error of an effective kernel that is larger than its padded input, with what would fit."""
    effective, padded = axis.effective_kernel_size, axis.padded_size(size)
    name = AXIS_NAMES[letter]
    fixes = [f"{name} >= {effective - 2 * axis.padding}", f"padding >= {-(-(effective - size) // 2)}"]
    dilation = (padded - 1) // (axis.kernel_size - 1)
    if 1 <= dilation < axis.dilation:
        fixes.append(f"dilation {'1' if dilation == 1 else f'<= {dilation}'}")
    else:
        fixes.append(f"kernel_size <= {(padded - 1) // axis.dilation + 1}")
    return ShapeError(
        name,
        f"effective kernel {effective} does not fit the padded input of {padded} ({size} + 2*{axis.padding})",
        f"use {', '.join(fixes[:-1])} or {fixes[-1]}",
        field="kernel_size",
        axis=letter,
        value=effective,
    )


def integer_of(field: str, value: object, minimum: int, axis: str | None = None) -> int:
    """A parameter as an integer of at least ``minimum``, or the SpecError that says why it is none."""
    along = f" along {axis}" if axis else ""
    remedy = f"use an integer >= {minimum}"
    number = index_of(value)
    if number is None:
        kind = "a truth value" if isinstance(value, bool) else "not an integer"
        raise SpecError(field, f"{shown(value)}{along} is {kind}", remedy, axis=axis, value=value)
    if number < minimum:
        raise SpecError(field, f"{shown(number)}{along} is below {minimum}", remedy, axis=axis, value=value)
    if number > MAX_ELEMENTS:
        problem = f"{shown(number)}{along} is more than MLX can index"
        raise SpecError(field, problem, f"use at most {MAX_ELEMENTS:,}", axis=axis, value=value)
    return number


def index_of(value: object) -> int | None:
    """The value as an int; None for truth values, and for arrays that have ``__index__`` and are no integer."""
    if isinstance(value, bool):
        return None
    try:
        return int(operator.index(value))  # type: ignore[arg-type]
    except TypeError:
        return None


def triple_of(field: str, value: object, minimum: int) -> Triple:
    """A parameter as three integers (D, H, W) of at least ``minimum``, or the SpecError that says why it is none."""
    if isinstance(value, str | bytes | bytearray):
        remedy = f"use an integer >= {minimum} or three (D, H, W)"
        if field == "padding":
            remedy += "; ConvSpec(...).same_padding() gives the numbers for 'same'"
        raise SpecError(field, f"{shown(value)} is text", remedy, value=value)
    if not isinstance(value, Sequence) and not (hasattr(value, "tolist") and hasattr(value, "__len__")):
        number = integer_of(field, value, minimum)
        return number, number, number
    try:
        numbers = list(value)  # type: ignore[call-overload]
    except TypeError:  # a NumPy scalar or 0-d array
        number = integer_of(field, value, minimum)
        return number, number, number
    if len(numbers) != 3:
        raise SpecError(
            field,
            f"{shown(value)} has {len(numbers)} numbers",
            f"use one integer >= {minimum} or three (D, H, W)",
            value=value,
        )
    d, h, w = (integer_of(field, number, minimum, letter) for letter, number in zip(AXES, numbers, strict=True))
    return d, h, w


def _input_shape(shape: object) -> list[int]:
    try:
        sizes = list(shape)  # type: ignore[call-overload]
    except TypeError:
        raise ShapeError(
            "input", f"{shown(shape)} is not a shape", "use five sizes (N, D, H, W, C)", value=shape
        ) from None
    if len(sizes) != 5:
        missing = " (is the batch axis missing?)" if len(sizes) == 4 else ""
        raise ShapeError(
            "input",
            f"{shown(tuple(sizes))} has {len(sizes)} axes{missing}",
            "use five sizes (N, D, H, W, C)",
            value=shape,
        )
    numbers = []
    for letter, size in zip("NDHWC", sizes, strict=True):
        number = index_of(size)
        if number is None or number < 1:
            problem = f"size {shown(size)} along {letter} in {shown(tuple(sizes))} is not an integer >= 1"
            raise ShapeError("input", problem, "use five sizes >= 1", value=shape)
        if number > MAX_ELEMENTS:
            problem = f"size {shown(size)} along {letter} is more than MLX can index"
            raise ShapeError("input", problem, f"use at most {MAX_ELEMENTS:,}", value=shape)
        numbers.append(number)
    return numbers


def _query_integer(query: Mapping[str, str], key: str, field: str) -> int:
    text = query.get(key)
    if text is None:
        raise SpecError(field, f"the link has no {key}=", f"add {key}= and an integer")
    try:
        return int(text)
    except ValueError:
        raise SpecError(
            field, f"{key}={shown(text)} in the link is not an integer", "use an integer", value=text
        ) from None


def product(sizes: Sequence[int]) -> str:
    """Sizes as a product to read: ``2*3*3``."""
    return "*".join(str(size) for size in sizes)
