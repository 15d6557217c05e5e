"""Numbers in columns, by value."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.figures.arithmetic import aligned, strengths


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        ([], []),
        ([0, 0], ["0", "0"]),
        ([3, -12, 250], ["3", "-12", "250"]),
        ([0.5, 0.25, 10], ["0.50", "0.25", "10.00"]),
        ([1000, 0.123], ["1000", "0"]),
        ([1, -0.00001], ["1", "0"]),  # never "-0"
        ([0.00025, 0.0001], ["0.00025", "0.00010"]),
        ([0.00005, 0], ["5.000e-05", "0"]),
        ([math.nan, math.inf, -math.inf, 0.5], ["NaN", "inf", "-inf", "0.5"]),
    ],
)
def test_numbers_stand_in_columns(values: list[float], texts: list[str]) -> None:
    assert aligned(values) == texts


def test_more_digits_where_they_are_asked_for() -> None:
    assert aligned([[1 / 3], [20]], digits=7) == ["0.33333", "20.00000"]


@given(st.lists(st.floats(width=32), min_size=1, max_size=20))
def test_each_says_its_number_to_the_precision_of_the_largest(values: list[float]) -> None:
    largest = max((abs(value) for value in values if math.isfinite(value)), default=0)
    for value, text in zip(values, aligned(values), strict=True):
        if math.isnan(value):
            assert text == "NaN"
        else:
            assert float(text) == pytest.approx(value, abs=1e-3 * largest)
            assert "-0" not in (text, text.rstrip("0.") if float(text) == 0 else "")


def test_strength_is_beside_the_largest_finite_one() -> None:
    assert strengths([[2, -4], [0, math.inf]]).tolist() == [0.5, 1, 0, 0]
    assert strengths([0, math.nan]).tolist() == [0, 0]
