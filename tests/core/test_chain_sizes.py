"""Sizes and arguments as they are typed."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import Conv3dError, ShapeError, SpecError
from conv3d_core.chain.sizes import read_argument, read_sizes, write_argument, write_sizes


@pytest.mark.parametrize(
    "text",
    ["1,32,32,32,1", "(1, 32, 32, 32, 1)", "[1 32 32 32 1]", "1x32x32x32x1", "1 × 32 × 32 × 32 × 1", "x(1,32,32,32,1)"],
)
def test_a_shape_is_read_however_it_is_written(text: str) -> None:
    assert read_sizes(text) == (1, 32, 32, 32, 1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"^input: '' has 0 sizes; write sizes such as 1, 32, 32, 32, 1\.$"),
        ("1, a, 3", r"^input: 'a' in '1, a, 3' is not an integer"),
        ("1.5, 2", r"^input: '1\.5' in"),
        (",".join("1" * 9), r"has 9 sizes"),
        ("9" * 11, r"is not an integer"),
    ],
)
def test_what_is_no_shape_is_refused(text: str, message: str) -> None:
    with pytest.raises(ShapeError, match=message):
        read_sizes(text)


@given(st.lists(st.integers(-(10**9), 10**9), min_size=1, max_size=8))
def test_sizes_come_back(sizes: list[int]) -> None:
    assert read_sizes(write_sizes(sizes)) == tuple(sizes)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("-1", -1),
        ("2.5", 2.5),
        ("None", None),
        ("True", True),
        ("'same'", "same"),
        ("[1, 2]", (1, 2)),
        ("1 3 3", (1, 3, 3)),
    ],
)
def test_an_argument_is_read(text: str, value: object) -> None:
    assert read_argument(text) == value
    assert read_argument(write_argument(value)) == value


@pytest.mark.parametrize("text", ["", "import os", "3;4", "__x__()", "1,2,3,4,5,6,7,8,9"])
def test_what_is_no_argument_is_refused(text: str) -> None:
    with pytest.raises(SpecError, match=r"^argument: "):
        read_argument(text)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    for read in (read_sizes, read_argument):
        with suppress(Conv3dError):
            read(text)
