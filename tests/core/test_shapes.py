"""Costs and explanations by hand: every number here can be checked with pencil and paper."""

import math
import re

import numpy as np
import pytest
from hypothesis import given

from conv3d_core import ConvSpec, ShapeError
from conv3d_core.shapes import (
    explain_shape,
    format_bytes,
    input_bytes,
    macs,
    output_bytes,
    parameter_count,
    peak_bytes,
    unfolded_bytes,
    weight_bytes,
)
from conv3d_core.spec import Shape
from tests.core.strategies import layers_and_inputs, specs


def test_each_axis_explains_its_own_size() -> None:
    spec = ConvSpec(1, 8, (3, 2, 1), stride=(2, 3, 1), padding=(1, 0, 0), dilation=(2, 1, 1))
    d, h, w = explain_shape(spec, (1, 9, 8, 7, 1))
    assert [axis.name for axis in (d, h, w)] == ["depth", "height", "width"]
    assert d.formula == "floor((9 + 2*1 - 5) / 2) + 1 = floor(3) + 1 = 4"
    assert h.formula == "floor((8 + 2*0 - 2) / 3) + 1 = floor(2) + 1 = 3"
    assert w.formula == "floor((7 + 2*0 - 1) / 1) + 1 = floor(6) + 1 = 7"
    assert [(axis.input_size, axis.output_size) for axis in (d, h, w)] == [(9, 4), (8, 3), (7, 7)]
    assert [axis.leftover for axis in (d, h, w)] == [0, 0, 0]
    # Depth taps sit on odd indices only, height skips every third voxel.
    assert [axis.unread for axis in (d, h, w)] == [5, 2, 0]


def test_what_the_floor_drops_is_counted() -> None:
    depth, *_ = explain_shape(ConvSpec(1, 1, 3, stride=2), (1, 10, 10, 10, 1))
    assert depth.formula == "floor((10 + 2*0 - 3) / 2) + 1 = floor(3.5) + 1 = 4"
    assert (depth.leftover, depth.unread) == (1, 1)


@pytest.mark.parametrize(
    ("size", "stride", "quotient"),
    [
        (7, 2, "3"),
        (8, 2, "3.5"),
        (5, 3, "1.33"),
        (6, 3, "1.66"),
        (900, 300, "2.99"),
        (301, 300, "1"),
        (300, 300, "0.99"),
    ],
)
def test_the_quotient_in_the_formula_has_the_floor_that_follows(size: int, stride: int, quotient: str) -> None:
    depth, *_ = explain_shape(ConvSpec(1, 1, 1, stride=stride), (1, size, 1, 1, 1))
    assert f"floor({quotient}) + 1 = {(size - 1) // stride + 1}" in depth.formula


@given(layers_and_inputs())
def test_the_formula_is_true(layer: tuple[ConvSpec, Shape]) -> None:
    spec, shape = layer
    for axis, size in zip(explain_shape(spec, shape), spec.output_shape(shape)[1:4], strict=True):
        i, p, k, s, quotient, again = re.fullmatch(
            r"floor\(\((\d+) \+ 2\*(\d+) - (\d+)\) / (\d+)\) \+ 1 = floor\(([\d.]+)\) \+ 1 = (\d+)", axis.formula
        ).groups()  # type: ignore[union-attr]
        assert (int(i) + 2 * int(p) - int(k)) // int(s) + 1 == math.floor(float(quotient)) + 1 == int(again) == size
        assert axis.output_size == size


def test_numpy_sizes_become_ints() -> None:
    depth, *_ = explain_shape(ConvSpec(1, 1, 3), tuple(np.array((1, 5, 5, 5, 1))))
    assert [type(number) for number in (depth.input_size, depth.output_size, depth.leftover, depth.unread)] == [int] * 4


@pytest.mark.parametrize("ask", [explain_shape, macs, output_bytes, unfolded_bytes, peak_bytes])
def test_what_does_not_fit_is_refused_everywhere(ask) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(
        ShapeError, match=r"^depth: effective kernel 3 does not fit the padded input of 2 \(2 \+ 2\*0\)"
    ):
        ask(ConvSpec(1, 1, 3, stride=2), (1, 2, 2, 2, 1))
    with pytest.raises(ShapeError, match=r"^in_channels: the layer takes 1 and the input"):
        ask(ConvSpec(1, 1, 3), (1, 9, 9, 9, 2))


@pytest.mark.parametrize(
    ("spec", "parameters"),
    [
        (ConvSpec(1, 8, 3), 8 * 27 + 8),
        (ConvSpec(1, 8, 3, bias=False), 216),
        (ConvSpec(3, 64, (3, 7, 7), stride=(1, 2, 2)), 28_288),  # the stem of R3D: 64 * (3*7*7*3) + 64
        (ConvSpec(1, 1, 1), 2),
    ],
)
def test_parameters(spec: ConvSpec, parameters: int) -> None:
    assert parameter_count(spec) == parameters
    assert weight_bytes(spec) == 4 * parameters


def test_costs_by_hand() -> None:
    spec, shape = ConvSpec(2, 4, 3, stride=2, padding=1), (1, 4, 4, 4, 2)
    assert spec.output_shape(shape) == (1, 2, 2, 2, 4)
    assert macs(spec, shape) == 8 * 4 * 27 * 2  # outputs x channels x taps x input channels
    assert input_bytes(shape) == 4 * 64 * 2
    assert weight_bytes(spec) == 4 * (4 * 27 * 2 + 4)
    assert output_bytes(spec, shape) == 4 * 8 * 4
    assert unfolded_bytes(spec, shape) == 4 * 8 * 54
    padded = 4 * 6**3 * 2
    assert peak_bytes(spec, shape) == 1728 + padded + 2 * 128 + 512 + 880 == 5104


def test_a_batch_costs_as_often() -> None:
    spec = ConvSpec(2, 4, 3)
    one, five = (1, 6, 6, 6, 2), (5, 6, 6, 6, 2)
    for cost in (macs, output_bytes, unfolded_bytes):
        assert cost(spec, five) == 5 * cost(spec, one)


def test_a_dilated_layer_does_not_unfold() -> None:
    assert unfolded_bytes(ConvSpec(1, 1, 3, dilation=(1, 1, 2)), (1, 9, 9, 9, 1)) == 0
    assert unfolded_bytes(ConvSpec(1, 1, 3), (1, 9, 9, 9, 1)) == 4 * 7**3 * 27


@pytest.mark.parametrize(
    ("channels", "kernel", "size", "gib"),
    [(1, 7, 128, 2.3), (8, 5, 128, 7.8), (8, 7, 128, 21.4)],  # FACTS.md measured 2.8, 8 and, for the last, 23 GB needed
)
def test_the_unfolded_sizes_that_were_measured(channels: int, kernel: int, size: int, gib: float) -> None:
    spec = ConvSpec(channels, 16, kernel, padding=kernel // 2)
    assert unfolded_bytes(spec, (1, size, size, size, channels)) / 2**30 == pytest.approx(gib, abs=0.5)


@given(layers_and_inputs())
def test_peak_is_no_less_than_its_parts(layer: tuple[ConvSpec, Shape]) -> None:
    spec, shape = layer
    parts = unfolded_bytes(spec, shape) + output_bytes(spec, shape) + input_bytes(shape) + weight_bytes(spec)
    assert peak_bytes(spec, shape) >= parts


@given(specs())
def test_parameters_are_the_elements_of_weight_and_bias(spec: ConvSpec) -> None:
    bias = np.zeros(spec.out_channels if spec.bias else 0)
    assert parameter_count(spec) == np.zeros(spec.weight_shape).size + bias.size


def test_bytes_to_read() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 2**20, 3_000_000_000)] == [
        "0 B", "1023 B", "1.00 KiB", "1.00 MiB", "2.79 GiB",
    ]  # fmt: skip
