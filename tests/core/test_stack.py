"""Stacks as text: both ways, and what is no stack is explained where it was typed."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError, SpecError
from conv3d_core.stack import MAX_LAYERS, PRESETS, join_stack, parse_stack, split_stack, stack_shapes, stack_text
from tests.core.strategies import specs

FIRST = ConvSpec(2, 5, 3)


def test_a_text_by_hand() -> None:
    _, second, third = parse_stack("k3s2p1, k1x3x3p0x1x1d2", FIRST)
    assert second == ConvSpec(5, 5, 3, stride=2, padding=1)
    assert third == ConvSpec(5, 5, (1, 3, 3), padding=(0, 1, 1), dilation=2)
    assert parse_stack("", FIRST) == [FIRST]
    assert parse_stack("  ", FIRST) == [FIRST]
    assert parse_stack("k3d2s1", FIRST)[1] == ConvSpec(5, 5, 3, dilation=2), "in any order"


@given(st.lists(specs(), max_size=MAX_LAYERS - 1))
def test_layers_come_back_from_their_text(layers: list[ConvSpec]) -> None:
    wanted = [ConvSpec(5, 5, layer.kernel_size, layer.stride, layer.padding, layer.dilation) for layer in layers]
    text = stack_text(layers)
    assert parse_stack(text, FIRST)[1:] == wanted
    assert join_stack(split_stack(text)) == text


@pytest.mark.parametrize(
    ("text", "field", "message"),
    [
        ("hello", "stack", "stack: 'hello' is no layer;"
         " write layers such as \"k3s2p1,k1x3x3\": k kernel_size, s stride, p padding, d dilation."),
        ("s2", "stack", "stack: 's2' is no layer;"),
        ("k3,,k3", "stack", "stack: '' is no layer;"),
        ("k3k5", "stack", "stack: kernel_size is given twice in 'k3k5'; give layer 2 each parameter once."),
        (",".join(["k1"] * 8), "stack",
         "stack: 8 further layers are too many; use at most 7, which are 8 with the first."),
        ("k", "layer_2", "layer 2: kernel_size '' is not understood; use one number, or three such as \"1,3,3\"."),
        ("k3,k3x3", "layer_3", "layer 3: kernel_size '3,3' is not understood;"),
        ("k3p1.5", "layer_2", "layer 2: padding '1.5' is not understood;"),
        ("k3s٣", "layer_2", "layer 2: stride '٣' is not understood;"),
        ("k" + "9" * 30, "layer_2", "layer 2: kernel_size '999999999999999999999999999999' is not understood;"),
        ("k3,k3s0", "layer_3", "layer 3, stride: 0 is below 1; use an integer >= 1."),
        ("k1x-3x1", "layer_2", "layer 2, kernel_size: -3 along H is below 1; use an integer >= 1."),
        ("k2000", "layer_2", "layer 2, kernel_size: a weight of"),
    ],
)  # fmt: skip
def test_what_is_no_stack(text: str, field: str, message: str) -> None:
    with pytest.raises(SpecError) as caught:
        parse_stack(text, FIRST)
    assert str(caught.value).startswith(message)
    assert caught.value.field == field


@given(st.text(alphabet="kspdx0123456789,.- a", max_size=12))
def test_any_text_is_a_stack_or_explained(text: str) -> None:
    try:
        layers = parse_stack(text, FIRST)
    except SpecError as error:
        field = error.field
    else:
        field = "stack"
        assert parse_stack(stack_text(layers[1:]), FIRST) == layers
    assert re.fullmatch(r"stack|layer_[2-8]", field)


def test_what_was_typed_stays_in_its_place() -> None:
    row = {"kernel_size": " 1, 3 ,3 ", "stride": "", "padding": "kp", "dilation": "1"}
    text = join_stack([row])
    assert text == "k1x3x3p??"
    assert split_stack(text)[0] == {"kernel_size": "1,3,3", "stride": "1", "padding": "??", "dilation": "1"}


def test_shapes_by_hand_and_the_layer_that_does_not_fit() -> None:
    layers = parse_stack("k3s2p1,k5", ConvSpec(2, 5, 3, stride=2, padding=1))
    assert stack_shapes(layers, (1, 32, 32, 20, 2)) == [(1, 16, 16, 10, 5), (1, 8, 8, 5, 5), (1, 4, 4, 1, 5)]
    with pytest.raises(ShapeError) as caught:
        stack_shapes(layers, (1, 32, 32, 16, 2))
    assert str(caught.value) == (
        "layer 3, width: effective kernel 5 does not fit the padded input of 4 (4 + 2*0); "
        "use width >= 5, padding >= 1 or kernel_size <= 4."
    )
    assert (caught.value.field, caught.value.axis) == ("layer_3", "W")


@pytest.mark.parametrize("title", PRESETS)
def test_presets_are_stacks_that_fit_the_bundled_volumes(title: str) -> None:
    layers = parse_stack(PRESETS[title].text, ConvSpec(1, 1, 1))[1:]
    assert 2 <= len(layers) <= MAX_LAYERS
    assert stack_shapes(layers, (1, 17, 17, 17, 1))
    assert stack_text(layers) == PRESETS[title].text
