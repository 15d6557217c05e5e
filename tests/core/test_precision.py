"""How far half precision is from float32, by hand."""

from __future__ import annotations

import numpy as np
import pytest

from conv3d_core.precision import Rounding, rounding


def test_the_largest_difference_of_all_arrays_against_the_largest_value() -> None:
    found = rounding([np.float32([1, 2]), np.float32([[-7]])], [np.float32([1, 2.5]), np.float32([[-8]])])
    assert found == Rounding(difference=1.0, peak=8.0)
    assert found.share == 0.125


def test_equal_arrays_do_not_differ_and_zeros_have_no_share() -> None:
    zeros = [np.zeros((2, 2), np.float32)]
    assert rounding(zeros, zeros) == Rounding(0.0, 0.0)
    assert rounding(zeros, zeros).share == 0.0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_what_is_not_finite_in_either_is_left_out(bad: float) -> None:
    one, other = np.float32([bad, 1, 3]), np.float32([5, bad, 2])
    assert rounding([one], [other]) == Rounding(1.0, 2.0)
    nothing = np.float32([bad])
    assert rounding([nothing], [nothing]) == Rounding(0.0, 0.0)


def test_float16_is_as_far_as_its_eleven_bits() -> None:
    exact = np.linspace(-4, 4, 1001, dtype=np.float32)
    found = rounding([exact.astype(np.float16).astype(np.float32)], [exact])
    assert 2**-13 < found.share <= 2**-11
