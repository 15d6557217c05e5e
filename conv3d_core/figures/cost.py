"""What a layer costs, as rows to read: a quantity, its value, and the product that explains it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from conv3d_core.shapes import (
    format_bytes,
    input_bytes,
    macs,
    output_bytes,
    parameter_count,
    unfolded_bytes,
    weight_bytes,
)
from conv3d_core.spec import ConvSpec

_TIMES = " \N{MULTIPLICATION SIGN} "


@dataclass(frozen=True, slots=True)
class CostRow:
    """One line of the table: what, how much, and why."""

    quantity: str
    value: str
    because: str


def cost_info(spec: ConvSpec, input_shape: Sequence[int], dtype: str = "float32") -> list[CostRow]:
    """Parameters, work and memory of a layer on an input of shape (N, D, H, W, C), which computes in that type.

    Raises:
        ShapeError: the input does not fit the layer.
    """
    output_shape = spec.output_shape(input_shape)
    batch = f"{output_shape[0]} volumes{_TIMES}" if output_shape[0] > 1 else ""
    outputs = f"{batch}{_product(output_shape[1:4])} positions"
    window = f"{_product(spec.kernel_size)} taps{_TIMES}{spec.in_channels} in"
    biases = f" + {spec.out_channels} biases" if spec.bias else ", no bias"
    unfolded = unfolded_bytes(spec, input_shape)
    unfolding = f"{outputs}{_TIMES}{window}{_TIMES}4 B, on the CPU"
    return [
        CostRow("Parameters", f"{parameter_count(spec):,}", f"{spec.out_channels} out{_TIMES}{window}{biases}"),
        CostRow("MACs", count(macs(spec, input_shape)), f"{outputs}{_TIMES}{spec.out_channels} out{_TIMES}{window}"),
        CostRow("Input", format_bytes(input_bytes(input_shape)), f"{_product(input_shape)}{_TIMES}4 B"),
        CostRow("Weights", format_bytes(weight_bytes(spec)), f"{parameter_count(spec):,}{_TIMES}4 B"),
        CostRow("Output", format_bytes(output_bytes(spec, input_shape)), f"{_product(output_shape)}{_TIMES}4 B"),
        CostRow(
            "Unfolded by nn.Conv3d at once",
            format_bytes(unfolded) if unfolded else "none",
            f"{unfolding}; here tile by tile" if unfolded else "MLX does not unfold a dilated convolution on the CPU",
        ),
        CostRow(
            "Type",
            dtype,
            "4 B a number" if dtype == "float32" else "2 B a number in the layer; the sizes above are of float32",
        ),
    ]


def duration(ms: float) -> str:
    """A time to read: milliseconds, seconds, minutes.

    >>> duration(2.345), duration(98.6), duration(1234), duration(59_400), duration(754_000)
    ('2.3 ms', '99 ms', '1.2 s', '59 s', '13 min')
    """
    if ms < 10:
        return f"{ms:.1f} ms"
    if ms < 1000:
        return f"{ms:.0f} ms"
    if ms < 10_000:
        return f"{ms / 1000:.1f} s"
    return f"{ms / 1000:.0f} s" if ms < 100_000 else f"{ms / 60_000:.0f} min"


def count(number: int) -> str:
    """A count to read, in powers of 1000.

    >>> count(5832), count(28_851_984)
    ('5,832', '28.9 M')
    """
    for unit, step in (("T", 10**12), ("G", 10**9), ("M", 10**6)):
        if number >= step:
            return f"{number / step:.3g} {unit}"
    return f"{number:,}"


def _product(sizes: Sequence[int]) -> str:
    return _TIMES.join(f"{n}" for n in sizes) if math.prod(sizes) != 1 else "1"
