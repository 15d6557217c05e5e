"""Taps changed by hand: over which weights, in what text, with which words where it cannot be."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from conv3d_core import SpecError
from conv3d_core.edits import (
    MAX_EDITS,
    Edit,
    Edits,
    describe,
    edited,
    fit,
    from_text,
    of_kernel,
    sum_to_one,
    tap_value,
    to_text,
    with_kernel,
)

index = st.integers(0, 10**9 - 1)
values = st.floats(allow_nan=False, allow_infinity=False, width=32)


@st.composite
def some_edits(draw: st.DrawFn) -> Edits:
    found = draw(st.dictionaries(st.tuples(index, index, index, index, index), values, max_size=8))
    return tuple(Edit(tap, value) for tap, value in sorted(found.items()))


weights = arrays.arrays(np.float32, st.tuples(*[st.integers(1, 3)] * 5), elements=st.floats(width=32))


def test_a_tap_has_its_new_value_and_the_source_keeps_its_own() -> None:
    source = np.arange(16, dtype=np.float32).reshape(2, 2, 2, 1, 2)
    changed = edited(source, (Edit((0, 1, 0, 0, 1), -7.0), Edit((1, 1, 1, 0, 1), 0.5)))
    assert changed[0, 1, 0, 0, 1] == -7
    assert changed[1, 1, 1, 0, 1] == 0.5
    assert (changed != source).sum() == 2
    assert source.ravel().tolist() == list(range(16))
    assert edited(source, ()) is source


def test_a_tap_that_is_not_there_is_named() -> None:
    with pytest.raises(SpecError, match=r"edits: there is no tap \(0, 3, 0, 0, 0\) in a weight of \(1, 3, 3, 3, 1\);"):
        edited(np.zeros((1, 3, 3, 3, 1), np.float32), (Edit((0, 3, 0, 0, 0), 1.0),))
    assert not fit((Edit((0, 2, 2, 2, 0), 1.0), Edit((0, 3, 0, 0, 0), 1.0)), (1, 3, 3, 3, 1))
    assert fit((Edit((0, 2, 2, 2, 0), 1.0),), (1, 3, 3, 3, 1))


def test_a_kernel_differs_from_its_source_where_it_was_changed_and_nowhere_else() -> None:
    source = np.zeros((2, 1, 2, 2, 1), np.float32)
    first = with_kernel((), source, 1, 0, np.array([[[0, 2], [0, 0]]], np.float32))
    assert first == (Edit((1, 0, 0, 1, 0), 2.0),)
    both = with_kernel(first, source, 0, 0, np.array([[[0, 0], [0, -1]]], np.float32))
    assert both == (Edit((0, 0, 1, 1, 0), -1.0), Edit((1, 0, 0, 1, 0), 2.0))
    assert of_kernel(both, 1, 0) == first
    assert with_kernel(both, source, 0, 0, source[0, ..., 0]) == first, "as the source has it: no edit"


@given(weights, st.data())
def test_any_kernel_comes_out_as_it_was_put_in(source: np.ndarray, data: st.DataObject) -> None:
    o = data.draw(st.integers(0, source.shape[0] - 1))
    i = data.draw(st.integers(0, source.shape[4] - 1))
    kernel = data.draw(arrays.arrays(np.float32, source.shape[1:4], elements=values))
    edits = with_kernel((), source, o, i, kernel)
    expected = source.copy()
    expected[o, ..., i] = kernel
    np.testing.assert_array_equal(edited(source, edits), expected)
    assert edits == tuple(sorted(edits))
    np.testing.assert_array_equal(edited(source, from_text(to_text(edits))), expected)


def test_what_its_source_has_not_finite_is_no_edit() -> None:
    source = np.array([np.nan, np.inf], np.float32).reshape(1, 1, 1, 2, 1)
    assert with_kernel((), source, 0, 0, source[0, ..., 0]) == ()
    with pytest.raises(SpecError, match="tap: nan is not finite; use a number such as"):
        with_kernel((), np.zeros((1, 1, 1, 1, 1), np.float32), 0, 0, np.full((1, 1, 1), np.nan, np.float32))


def test_more_than_a_hand_changes_is_refused() -> None:
    source = np.zeros((1, 17, 17, 17, 1), np.float32)
    with pytest.raises(SpecError, match="edits: 4,913 taps of this layer would be changed by hand; change at most 4,0"):
        with_kernel((), source, 0, 0, np.ones((17, 17, 17), np.float32))
    assert len(with_kernel((), source[:, 1:, 1:, 1:], 0, 0, np.ones((16, 16, 16), np.float32))) == MAX_EDITS


@pytest.mark.parametrize(
    ("value", "problem"),
    [(np.nan, "nan is not finite"), (np.inf, "inf is not finite"), (-1e39, "-1e+39 is beyond float32")],
)
def test_a_value_that_no_weight_has(value: float, problem: str) -> None:
    with pytest.raises(SpecError) as raised:
        tap_value(value)
    assert str(raised.value) == f"tap: {problem}; use a number such as -0.5."


def test_a_kernel_is_divided_by_its_sum() -> None:
    kernel = np.array([[[1, 2], [3, -2]]], np.float32)
    assert sum_to_one(kernel).tolist() == [[[0.25, 0.5], [0.75, -0.5]]]
    for none in ([-1, 0, 1], [0, 0, 0], [0.1, 0.2, -0.3]):
        with pytest.raises(SpecError, match="kernel: its taps sum to 0; change a tap first"):
            sum_to_one(np.array(none, np.float32).reshape(1, 1, 3))
    with pytest.raises(SpecError, match="kernel: its taps sum to nothing finite;"):
        sum_to_one(np.full((1, 1, 1), np.nan, np.float32))


@given(some_edits())
def test_a_link_gives_the_same_edits(edits: Edits) -> None:
    text = to_text(edits)
    assert from_text(text) == edits
    assert "~".join(reversed(text.split("~"))) == "" or from_text("~".join(reversed(text.split("~")))) == edits
    assert not set(text) - set("0123456789.-_~e")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", "edits: 'x' is no tap and value; write o.kd.kh.kw.i_value, as in 0.1.1.1.0_2.5, and ~ between two."),
        ("0.0.0.0_1", "edits: '0.0.0.0_1' is no tap and value;"),
        ("0.0.0.0.0_nan", "edits: '0.0.0.0.0_nan' is no tap and value;"),
        ("0.0.0.0.0_1e", "edits: '0.0.0.0.0_1e' is no tap and value;"),
        ("0.0.0.0.-1_1", "edits: '0.0.0.0.-1_1' is no tap and value;"),
        ("0.0.0.0.0_\N{ARABIC-INDIC DIGIT ONE}", "is no tap and value;"),
        ("0.0.0.0.0_1~", "edits: '' is no tap and value;"),
        ("0.0.0.0.0_1e99", "tap: 1e+99 is beyond float32;"),
        ("0.0.0.0.0_1~0.0.0.0.0_2", "edits: tap (0, 0, 0, 0, 0) is given twice; give each tap once."),
        ("~" * MAX_EDITS, "edits: the text has more than 4,096 of them; use at most 4,096."),
        ("9" * 10**6, "is no tap and value;"),
    ],
    ids=range(11),
)
def test_a_text_that_is_none(text: str, message: str) -> None:
    with pytest.raises(SpecError) as raised:
        from_text(text)
    assert message in str(raised.value)


@given(st.text(alphabet="0123456789._~-e+ nax", max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        edits = from_text(text)
    except SpecError:
        return
    assert from_text(to_text(edits)) == edits


def test_words() -> None:
    here, there = Edit((0, 0, 0, 0, 0), 1.0), Edit((1, 0, 0, 0, 0), 1.0)
    assert describe((), 0, 0, 8) == "as the source gives it"
    assert describe((here,), 0, 0, 8) == "edited: 1 of 8 taps"
    assert describe((here, there), 0, 0, 8) == "edited: 1 of 8 taps, and 1 in other kernels"
    assert describe((there,), 0, 0, 8) == "as the source gives it; edited: 1 in other kernels"
