"""ConvSpec: what it takes, what it says when it does not, and that it stays itself through dict, URL and copies."""

import array
import copy
import dataclasses
import json
import math
import pickle
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError, SpecError
from conv3d_core.errors import shown
from conv3d_core.spec import MAX_ELEMENTS, Shape
from tests.core.strategies import layers_and_inputs, specs, triples

FIELDS = ("kernel_size", "stride", "padding", "dilation")


def arguments(**changed: object) -> dict[str, Any]:
    return {"in_channels": 1, "out_channels": 8, "kernel_size": 3, **changed}


def refusal(make: Callable[[], object]) -> SpecError | None:
    """The SpecError that this raises, if any; any other exception goes through and fails the test."""
    try:
        make()
    except SpecError as error:
        return error
    return None


# --- what goes in ---------------------------------------------------------------------------------------------------


def test_integers_become_triples() -> None:
    spec = ConvSpec(1, 8, 3, 2, 1, 4, False)
    assert spec == ConvSpec(1, 8, (3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1), dilation=(4, 4, 4), bias=False)
    assert (spec.in_channels, spec.out_channels, spec.bias) == (1, 8, False)
    assert (spec.kernel_size, spec.stride, spec.padding, spec.dilation) == ((3,) * 3, (2,) * 3, (1,) * 3, (4,) * 3)


def test_defaults_are_those_of_mlx() -> None:
    assert ConvSpec(1, 8, 3) == ConvSpec(1, 8, (3, 3, 3), (1, 1, 1), (0, 0, 0), (1, 1, 1), True)


@pytest.mark.parametrize(
    "three",
    [
        3,
        (3, 3, 3),
        [3, 3, 3],
        np.int64(3),
        np.uint8(3),
        np.array(3),
        np.array([3, 3, 3], np.int16),
        (np.int64(3), 3, np.int32(3)),
        array.array("i", [3, 3, 3]),
    ],
)
@pytest.mark.parametrize("field", FIELDS)
def test_every_kind_of_integer_is_the_same_layer(field: str, three: object) -> None:
    spec = ConvSpec(**arguments(**{field: three}))
    assert spec == ConvSpec(**arguments(**{field: (3, 3, 3)}))
    assert [type(number) for number in getattr(spec, field)] == [int, int, int]


def test_numpy_channels_become_ints() -> None:
    spec = ConvSpec(np.int64(2), np.uint8(5), 3)
    assert spec == ConvSpec(2, 5, 3)
    assert type(spec.in_channels) is type(spec.out_channels) is int


@given(specs())
def test_equal_layers_are_one_key(spec: ConvSpec) -> None:
    same = ConvSpec.from_dict(json.loads(json.dumps(spec.to_dict())))
    assert same == spec
    assert hash(same) == hash(spec)
    assert {spec: "cached"}[same] == "cached"


@given(specs(), st.sampled_from(FIELDS), st.integers(0, 2))
def test_another_number_is_another_layer(spec: ConvSpec, field: str, position: int) -> None:
    numbers = list(getattr(spec, field))
    numbers[position] += 1
    assert dataclasses.replace(spec, **{field: numbers}) != spec


def test_a_layer_cannot_be_changed() -> None:
    spec = ConvSpec(1, 8, 3)
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.stride = (2, 2, 2)  # type: ignore[misc]


def test_replace_validates_too() -> None:
    assert dataclasses.replace(ConvSpec(1, 8, 3), stride=2).stride == (2, 2, 2)
    with pytest.raises(SpecError, match=r"^stride: 0 is below 1"):
        dataclasses.replace(ConvSpec(1, 8, 3), stride=0)


# --- what is refused ------------------------------------------------------------------------------------------------

THREE = "three (D, H, W)"
REFUSED = [
    # parameter, value, axis, message
    ("kernel_size", 0, None, "0 is below 1; use an integer >= 1."),
    ("kernel_size", -1, None, "-1 is below 1; use an integer >= 1."),
    ("kernel_size", (3, 0, 3), "H", "0 along H is below 1; use an integer >= 1."),
    ("kernel_size", (3, 3), None, f"(3, 3) has 2 numbers; use one integer >= 1 or {THREE}."),
    ("kernel_size", (), None, f"() has 0 numbers; use one integer >= 1 or {THREE}."),
    ("kernel_size", (3,), None, f"(3,) has 1 numbers; use one integer >= 1 or {THREE}."),
    ("kernel_size", [3, 3, 3, 3], None, f"[3, 3, 3, 3] has 4 numbers; use one integer >= 1 or {THREE}."),
    ("kernel_size", True, None, "True is a truth value; use an integer >= 1."),
    ("kernel_size", (3, 3, True), "W", "True along W is a truth value; use an integer >= 1."),
    ("kernel_size", np.True_, None, "np.True_ is not an integer; use an integer >= 1."),
    ("kernel_size", 3.0, None, "3.0 is not an integer; use an integer >= 1."),
    ("kernel_size", np.float64(3), None, "np.float64(3.0) is not an integer; use an integer >= 1."),
    ("kernel_size", np.array(3.0), None, "array(3.) is not an integer; use an integer >= 1."),
    ("kernel_size", np.array([3.0, 3, 3]), "D", "np.float64(3.0) along D is not an integer; use an integer >= 1."),
    ("kernel_size", np.ones((3, 3), int), "D", "array([1, 1, 1]) along D is not an integer; use an integer >= 1."),
    ("kernel_size", (3, float("nan"), 3), "H", "nan along H is not an integer; use an integer >= 1."),
    ("kernel_size", None, None, "None is not an integer; use an integer >= 1."),
    ("kernel_size", "3", None, f"'3' is text; use an integer >= 1 or {THREE}."),
    ("kernel_size", b"333", None, f"b'333' is text; use an integer >= 1 or {THREE}."),
    ("kernel_size", ("3", 3, 3), "D", "'3' along D is not an integer; use an integer >= 1."),
    ("kernel_size", {3}, None, "{3} is not an integer; use an integer >= 1."),
    ("kernel_size", 2**31, None, "2147483648 is more than MLX can index; use at most 2,147,483,647."),
    ("kernel_size", -(10**5000), None, "an integer of 16,610 bits is below 1; use an integer >= 1."),
    ("stride", 0, None, "0 is below 1; use an integer >= 1."),
    ("stride", True, None, "True is a truth value; use an integer >= 1."),
    ("stride", (1, 2), None, f"(1, 2) has 2 numbers; use one integer >= 1 or {THREE}."),
    ("stride", (1, 1, -2), "W", "-2 along W is below 1; use an integer >= 1."),
    ("stride", 1.5, None, "1.5 is not an integer; use an integer >= 1."),
    ("padding", -1, None, "-1 is below 0; use an integer >= 0."),
    ("padding", (0, -3, 0), "H", "-3 along H is below 0; use an integer >= 0."),
    (
        "padding",
        "same",
        None,
        f"'same' is text; use an integer >= 0 or {THREE}; ConvSpec(...).same_padding() gives the numbers for 'same'.",
    ),
    ("padding", False, None, "False is a truth value; use an integer >= 0."),
    ("padding", ((1, 1), 1, 1), "D", "(1, 1) along D is not an integer; use an integer >= 0."),
    ("dilation", 0, None, "0 is below 1; use an integer >= 1."),
    ("dilation", (2, 2), None, f"(2, 2) has 2 numbers; use one integer >= 1 or {THREE}."),
    ("in_channels", 0, None, "0 is below 1; use an integer >= 1."),
    ("in_channels", True, None, "True is a truth value; use an integer >= 1."),
    ("in_channels", (1, 1, 1), None, "(1, 1, 1) is not an integer; use an integer >= 1."),
    ("in_channels", np.array([1, 2]), None, "array([1, 2]) is not an integer; use an integer >= 1."),
    ("out_channels", 0, None, "0 is below 1; use an integer >= 1."),
    ("out_channels", "8", None, "'8' is not an integer; use an integer >= 1."),
    (
        "out_channels",
        2**99,
        None,
        "633825300114114700748351602688 is more than MLX can index; use at most 2,147,483,647.",
    ),
    ("bias", 1, None, "1 is not Python's True or False; use True or False."),
    ("bias", "no", None, "'no' is not Python's True or False; use True or False."),
    ("bias", None, None, "None is not Python's True or False; use True or False."),
]


@pytest.mark.parametrize(
    ("field", "value", "axis", "message"), REFUSED, ids=[f"{field}={shown(value)}" for field, value, *_ in REFUSED]
)
def test_what_is_not_a_layer_is_explained(field: str, value: object, axis: str | None, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        ConvSpec(**arguments(**{field: value}))
    assert str(caught.value) == f"{field}: {message}"
    assert caught.value.field == field
    assert caught.value.axis == axis
    blamed = value if axis is None else value["DHW".index(axis)]  # type: ignore[index]
    assert shown(caught.value.value) == shown(blamed)


def test_padding_may_be_zero_and_bias_may_be_false() -> None:
    assert ConvSpec(1, 1, 1, padding=0, bias=False).padding == (0, 0, 0)


def test_a_weight_that_mlx_cannot_index_is_refused() -> None:
    with pytest.raises(SpecError) as caught:
        ConvSpec(1, 1, 1291)
    assert str(caught.value) == (
        "kernel_size: a weight of 1*1291*1291*1291*1 = 2,151,685,171 elements is more than MLX can index;"
        " keep the product at or below 2,147,483,647."
    )
    assert caught.value.value == (1291, 1291, 1291)
    assert math.prod(ConvSpec(1, 1, 1290).weight_shape) <= MAX_ELEMENTS


@given(st.sampled_from(("in_channels", "out_channels", *FIELDS, "bias")), st.data())
def test_any_value_is_taken_or_refused_with_a_spec_error(field: str, data: st.DataObject) -> None:
    text = st.text(max_size=4) | st.binary(max_size=4)
    scalar = st.integers(-(2**70), 2**70) | st.booleans() | st.floats() | st.none() | text
    value = data.draw(scalar | st.lists(scalar, max_size=4) | st.lists(scalar, max_size=4).map(tuple))
    error = refusal(lambda: ConvSpec(**arguments(**{field: value})))
    if error:
        assert error.field in (field, "kernel_size")  # a weight may become too large by any of its numbers
        assert re.fullmatch(r"[a-z_]+: .+; .+\.", str(error), re.DOTALL)


# --- shapes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "shape", "expected"),
    [
        (ConvSpec(1, 8, 3, stride=2, padding=1), (1, 32, 32, 32, 1), (1, 16, 16, 16, 8)),
        (ConvSpec(1, 8, 3, stride=2, padding=1), (1, 96, 112, 96, 1), (1, 48, 56, 48, 8)),
        (ConvSpec(3, 64, (3, 7, 7), stride=(1, 2, 2), padding=(1, 3, 3)), (4, 16, 112, 112, 3), (4, 16, 56, 56, 64)),
        (ConvSpec(2, 5, (1, 2, 3), dilation=(9, 2, 1)), (1, 1, 3, 3, 2), (1, 1, 1, 1, 5)),
        (ConvSpec(1, 1, 1), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1)),
    ],
)
def test_output_shape_by_hand(spec: ConvSpec, shape: Shape, expected: Shape) -> None:
    assert spec.output_shape(shape) == expected
    assert spec.output_shape(list(shape)) == expected
    assert spec.output_shape(np.array(shape)) == expected  # type: ignore[arg-type]
    assert [type(size) for size in spec.output_shape(np.array(shape))] == [int] * 5  # type: ignore[arg-type]


@given(layers_and_inputs(), st.permutations([0, 1, 2]))
def test_axes_permute_together(layer: tuple[ConvSpec, Shape], order: list[int]) -> None:
    spec, (batch, *sizes, channels) = layer
    shape = spec.output_shape((batch, *sizes, channels))
    turned = ConvSpec.from_dict(
        spec.to_dict() | {field: [getattr(spec, field)[axis] for axis in order] for field in FIELDS}
    )
    turned_shape = turned.output_shape((batch, *(sizes[axis] for axis in order), channels))
    assert turned_shape == (batch, *(shape[1 + axis] for axis in order), spec.out_channels)


@given(specs(), st.tuples(*[st.integers(1, 9)] * 3))
def test_refused_exactly_when_an_effective_kernel_exceeds_its_padded_input(
    spec: ConvSpec, sizes: tuple[int, int, int]
) -> None:
    too_small = [k > i + 2 * p for k, i, p in zip(spec.effective_kernel_size, sizes, spec.padding, strict=True)]
    shape = (1, *sizes, spec.in_channels)
    if not any(too_small):
        assert min(spec.output_shape(shape)) >= 1
        return
    with pytest.raises(ShapeError) as caught:
        spec.output_shape(shape)
    assert caught.value.axis == "DHW"[too_small.index(True)]
    assert caught.value.field == "kernel_size"


@pytest.mark.parametrize(
    ("spec", "shape", "message", "axis"),
    [
        pytest.param(
            ConvSpec(1, 1, 3, padding=(1, 2, 2), dilation=2),
            (1, 2, 9, 9, 1),
            "depth: effective kernel 5 does not fit the padded input of 4 (2 + 2*1);"
            " use depth >= 3, padding >= 2 or dilation 1.",
            "D",
            id="the example of DESIGN.md",
        ),
        pytest.param(
            ConvSpec(1, 1, (1, 7, 1)),
            (1, 9, 4, 9, 1),
            "height: effective kernel 7 does not fit the padded input of 4 (4 + 2*0);"
            " use height >= 7, padding >= 2 or kernel_size <= 4.",
            "H",
            id="no dilation to blame",
        ),
        pytest.param(
            ConvSpec(1, 1, 3, dilation=4),
            (1, 9, 9, 7, 1),
            "width: effective kernel 9 does not fit the padded input of 7 (7 + 2*0);"
            " use width >= 9, padding >= 1 or dilation <= 3.",
            "W",
            id="a smaller dilation is enough",
        ),
        pytest.param(
            ConvSpec(1, 1, 3, stride=2),
            (1, 2, 2, 2, 1),
            "depth: effective kernel 3 does not fit the padded input of 2 (2 + 2*0);"
            " use depth >= 3, padding >= 1 or kernel_size <= 2.",
            "D",
            id="where MLX returns memory garbage",
        ),
    ],
)
def test_a_kernel_that_does_not_fit(spec: ConvSpec, shape: Shape, message: str, axis: str) -> None:
    with pytest.raises(ShapeError) as caught:
        spec.output_shape(shape)
    assert str(caught.value) == message
    assert (caught.value.field, caught.value.axis) == ("kernel_size", axis)
    assert caught.value.value == spec.effective_kernel_size["DHW".index(axis)]


@given(specs(kernel=6, padding=2), st.integers(1, 9))
def test_each_advice_works_and_one_less_does_not(spec: ConvSpec, size: int) -> None:
    axis = spec.axes[0]
    if axis.fits(size):
        return
    with pytest.raises(ShapeError) as caught:
        spec.output_shape((1, size, 99, 99, spec.in_channels))
    advice = str(caught.value).split("; ")[1]
    numbers = {name: int(number) for name, number in re.findall(r"([a-z_]+) (?:>= |<= )?(\d+)", advice)}
    assert axis.fits(numbers["depth"])
    assert not axis.fits(numbers["depth"] - 1)
    assert axis._replace(padding=numbers["padding"]).fits(size)
    assert not axis._replace(padding=numbers["padding"] - 1).fits(size)
    (third,) = numbers.keys() - {"depth", "padding"}
    assert axis._replace(**{third: numbers[third]}).fits(size)
    assert not axis._replace(**{third: numbers[third] + 1}).fits(size)


@pytest.mark.parametrize(
    ("shape", "message", "field"),
    [
        (
            (1, 9, 9, 9, 1),
            "in_channels: the layer takes 3 and the input (1, 9, 9, 9, 1) has 1;"
            " use in_channels=1, or an input whose last axis is 3.",
            "in_channels",
        ),
        (
            (1, 3, 9, 8, 7),
            "in_channels: the layer takes 3 and the input (1, 3, 9, 8, 7) has 7;"
            " use in_channels=7, or an input whose last axis is 3;"
            " (N, C, D, H, W) is PyTorch's order: move axis 1 last to get (1, 9, 8, 7, 3).",
            "in_channels",
        ),
        (
            (9, 9, 9, 3),
            "input: (9, 9, 9, 3) has 4 axes (is the batch axis missing?); use five sizes (N, D, H, W, C).",
            "input",
        ),
        ((9, 9, 9), "input: (9, 9, 9) has 3 axes; use five sizes (N, D, H, W, C).", "input"),
        ((), "input: () has 0 axes; use five sizes (N, D, H, W, C).", "input"),
        (None, "input: None is not a shape; use five sizes (N, D, H, W, C).", "input"),
        (9, "input: 9 is not a shape; use five sizes (N, D, H, W, C).", "input"),
        (
            (1, 9, 0, 9, 3),
            "input: size 0 along H in (1, 9, 0, 9, 3) is not an integer >= 1; use five sizes >= 1.",
            "input",
        ),
        (
            (0, 9, 9, 9, 3),
            "input: size 0 along N in (0, 9, 9, 9, 3) is not an integer >= 1; use five sizes >= 1.",
            "input",
        ),
        (
            (1, 9, 9.0, 9, 3),
            "input: size 9.0 along H in (1, 9, 9.0, 9, 3) is not an integer >= 1; use five sizes >= 1.",
            "input",
        ),
        (
            (True, 9, 9, 9, 3),
            "input: size True along N in (True, 9, 9, 9, 3) is not an integer >= 1; use five sizes >= 1.",
            "input",
        ),
        (
            "12345",
            "input: size '1' along N in ('1', '2', '3', '4', '5') is not an integer >= 1; use five sizes >= 1.",
            "input",
        ),
        (
            (1, 9, 9, 2**31, 3),
            "input: size 2147483648 along W is more than MLX can index; use at most 2,147,483,647.",
            "input",
        ),
        pytest.param(
            (1, 9, 9, 10**5000, 3),
            "input: size an integer of 16,610 bits along W is more than MLX can index; use at most 2,147,483,647.",
            "input",
            id="too large to print",
        ),
    ],
)
def test_an_input_that_is_not_ndhwc_with_the_right_channels(shape: Any, message: str, field: str) -> None:
    with pytest.raises(ShapeError) as caught:
        ConvSpec(3, 4, 3).output_shape(shape)
    assert str(caught.value) == message
    assert caught.value.field == field


def test_a_padded_input_that_mlx_cannot_index_is_refused() -> None:
    with pytest.raises(ShapeError) as caught:
        ConvSpec(1, 1, 3, padding=1000).output_shape((1, 4, 4, 4, 1))
    assert str(caught.value) == (
        "padding: the padded input 1*2004*2004*2004*1 = 8,048,096,064 elements is more than MLX can index;"
        " use a smaller padding or crop the input, to stay at or below 2,147,483,647."
    )
    assert (caught.value.field, caught.value.value) == ("padding", (1000, 1000, 1000))


def test_an_output_that_mlx_cannot_index_is_refused() -> None:
    spec = ConvSpec(1, 128, 1)
    assert spec.output_shape((1, 255, 256, 256, 1)) == (1, 255, 256, 256, 128)
    with pytest.raises(ShapeError) as caught:
        spec.output_shape((1, 256, 256, 256, 1))
    assert str(caught.value) == (
        "out_channels: the output 1*256*256*256*128 = 2,147,483,648 elements is more than MLX can index;"
        " use a smaller out_channels or crop the input, to stay at or below 2,147,483,647."
    )
    assert (caught.value.field, caught.value.value) == ("out_channels", 128)


def test_numbers_at_the_limit_of_32_bits_do_not_overflow() -> None:
    spec = ConvSpec(1, 1, 1, stride=MAX_ELEMENTS, dilation=MAX_ELEMENTS)
    assert spec.output_shape((1, 3, 3, 3, 1)) == (1, 1, 1, 1, 1)
    with pytest.raises(ShapeError, match=r"^depth: effective kernel 2147483648 does not fit the padded input of 3"):
        ConvSpec(1, 1, 2, dilation=MAX_ELEMENTS).output_shape((1, 3, 3, 3, 1))


# --- paddings -------------------------------------------------------------------------------------------------------


@given(specs(kernel=6), st.tuples(*[st.integers(1, 9)] * 3))
def test_same_padding_keeps_every_size_or_says_why_not(spec: ConvSpec, sizes: tuple[int, int, int]) -> None:
    possible = all(axis.stride == 1 and axis.effective_kernel_size % 2 for axis in spec.axes)
    if possible:
        same = dataclasses.replace(spec, padding=spec.same_padding())
        assert same.output_shape((1, *sizes, spec.in_channels))[1:4] == sizes
    else:
        with pytest.raises(SpecError) as caught:
            spec.same_padding()
        assert caught.value.field == "padding"
        assert caught.value.axis is not None


def test_same_padding_messages() -> None:
    with pytest.raises(SpecError, match=r"^height: stride 2 cannot keep the size; use stride 1 for 'same' padding\.$"):
        ConvSpec(1, 1, 3, stride=(1, 2, 1)).same_padding()
    with pytest.raises(SpecError) as caught:
        ConvSpec(1, 1, (3, 3, 4)).same_padding()
    assert str(caught.value) == (
        "width: effective kernel 4 is even, and MLX pads both sides alike; use an odd kernel_size for 'same' padding."
    )
    assert caught.value.axis == "W"
    assert ConvSpec(1, 1, 4, dilation=2).same_padding() == (3, 3, 3)  # effective kernel 7 is odd


@given(specs(), st.tuples(*[st.integers(1, 9)] * 3))
def test_full_padding_is_the_largest_at_which_every_window_spans_a_voxel(
    spec: ConvSpec, sizes: tuple[int, int, int]
) -> None:
    for axis, padding, size in zip(spec.axes, spec.full_padding(), sizes, strict=True):
        full, more = axis._replace(padding=padding, stride=1), axis._replace(padding=padding + 1, stride=1)
        assert full.window(0)[1] == 0
        assert full.window(full.output_size(size) - 1)[0] == size - 1
        assert more.window(0)[1] == -1
        reads = all(full.taps_inside(output, size) for output in range(full.output_size(size)))
        assert reads or size < axis.dilation, "taps that are further apart than the input is long can miss it"


def test_a_short_input_can_slip_between_the_taps_of_full_padding() -> None:
    spec = ConvSpec(1, 1, (3, 1, 1), padding=(4, 0, 0), dilation=(2, 1, 1))
    assert spec.full_padding() == (4, 0, 0)
    assert [len(spec.axes[0].taps_inside(output, 1)) for output in range(5)] == [1, 0, 1, 0, 1]


# --- round trips ----------------------------------------------------------------------------------------------------


@given(specs())
def test_round_trips(spec: ConvSpec) -> None:
    assert ConvSpec.from_dict(spec.to_dict()) == spec
    assert ConvSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec
    assert ConvSpec.from_query(spec.to_query()) == spec
    assert ConvSpec.from_query(spec.to_query() | {"volume": "mri", "seed": "7"}) == spec
    assert ConvSpec.parse(spec.to_mlx()) == spec
    assert ConvSpec.parse(spec.to_torch()) == spec
    assert eval(repr(spec)) == spec
    assert pickle.loads(pickle.dumps(spec)) == spec
    assert copy.deepcopy(spec) == spec


def test_query_by_hand() -> None:
    assert ConvSpec(1, 8, 3, stride=(1, 2, 2)).to_query() == {
        "in": "1", "out": "8", "k": "3", "s3": "true", "sd": "1", "sh": "2", "sw": "2",
        "p": "0", "d": "1", "bias": "true",
    }  # fmt: skip
    assert ConvSpec.from_query({"in": "1", "out": "8", "k": "3"}) == ConvSpec(1, 8, 3)
    assert ConvSpec.from_query({"in": "1", "out": "8", "k": "3", "s3": "false", "s": "2"}).stride == (2, 2, 2)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"out": "8", "k": "3"}, "in_channels: the link has no in=; add in= and an integer."),
        ({"in": "1", "out": "8"}, "kernel_size: the link has no k=; add k= and an integer."),
        ({"in": "1", "out": "x", "k": "3"}, "out_channels: out='x' in the link is not an integer; use an integer."),
        ({"in": "1", "out": "1", "k": "1.5"}, "kernel_size: k='1.5' in the link is not an integer; use an integer."),
        ({"in": "1", "out": "1", "k": ""}, "kernel_size: k='' in the link is not an integer; use an integer."),
        (
            {"in": "1", "out": "1", "k": "3", "s3": "true", "sd": "1"},
            "stride: the link has no sh=; add sh= and an integer.",
        ),
        ({"in": "1", "out": "1", "k": "0"}, "kernel_size: 0 is below 1; use an integer >= 1."),
        ({"in": "1", "out": "1", "k": "3", "p": "-1"}, "padding: -1 is below 0; use an integer >= 0."),
        (
            {"in": "1", "out": "1", "k": "3", "bias": "0"},
            "bias: bias='0' in the link is neither true nor false; use true or false.",
        ),
    ],
)
def test_a_broken_link_is_explained(query: dict[str, str], message: str) -> None:
    with pytest.raises(SpecError) as caught:
        ConvSpec.from_query(query)
    assert str(caught.value) == message


QUERY_KEYS = ("in", "out", "k", "k3", "kd", "kh", "kw", "s", "s3", "sd", "p", "d", "bias")


@given(st.dictionaries(st.sampled_from(QUERY_KEYS), st.text(max_size=6)))
def test_any_link_is_a_layer_or_a_spec_error(query: dict[str, str]) -> None:
    error = refusal(lambda: ConvSpec.from_query({"in": "1", "out": "1", "k": "3"} | query))
    assert error is None or str(error).startswith(f"{error.field}: ")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"in_channels": 1, "out_channels": 8, "kernel_size": 3, "groups": 2},
            "groups: nn.Conv3d has no such argument;"
            " use in_channels, out_channels, kernel_size, stride, padding, dilation, bias.",
        ),
        ({"in_channels": 1, "out_channels": 8}, "kernel_size: it is missing; give it."),
        ({}, "in_channels: it is missing; give it."),
        (
            {"in_channels": 1, "out_channels": 8, "kernel_size": [3, 3]},
            "kernel_size: [3, 3] has 2 numbers; use one integer",
        ),
    ],
)
def test_a_dict_that_is_not_a_layer(values: dict[str, object], message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        ConvSpec.from_dict(values)


# --- what follows from the numbers ----------------------------------------------------------------------------------


@given(specs(), triples(1, 4))
def test_geometry_agrees_with_its_axes(spec: ConvSpec, other: tuple[int, int, int]) -> None:
    assert spec.weight_shape == (spec.out_channels, *spec.kernel_size, spec.in_channels)
    for i, axis in enumerate(spec.axes):
        assert axis == (spec.kernel_size[i], spec.stride[i], spec.padding[i], spec.dilation[i])
        assert spec.effective_kernel_size[i] == axis.effective_kernel_size
    assert dataclasses.replace(spec, kernel_size=other).weight_shape[1:4] == other
