"""Volumes made to a typed size: what is read as one, what is refused, what is in them."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import MAX_MADE_BYTES, MAX_MADE_SIZE, made_to_size, size_of

SIZES = [(1, 1, 1, 1), (1, 1, 1, 5), (2, 2, 2, 1), (1, 40, 3, 2), (8, 16, 24, 2), (12, 12, 12, 3), (2, 2, 2, 300)]

NONE = "cannot be read as three or four integers; use D, H, W and channels, as in 16, 32, 32, 1."


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("16, 32, 32, 1", (16, 32, 32, 1)),
        ("8,16,24,2", (8, 16, 24, 2)),
        ("16x32x32", (16, 32, 32, 1)),
        ("16 X 32 x 24 x 3", (16, 32, 24, 3)),
        ("16 \N{MULTIPLICATION SIGN} 32 * 24", (16, 32, 24, 1)),
        (" 16 32  24 ", (16, 32, 24, 1)),
        ("(16, 32, 24, 4)", (16, 32, 24, 4)),
        ("[16, 32, 24]", (16, 32, 24, 1)),
        ("1 1 1", (1, 1, 1, 1)),
    ],
)
def test_a_size_is_read_as_people_write_it(text: str, size: tuple[int, ...]) -> None:
    assert size_of(text) == size


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", f"size: '' {NONE}"),
        (
            "brain",
            f"size: 'brain' {NONE}",
        ),
        (
            "16, 32",
            f"size: '16, 32' {NONE}",
        ),
        (
            "16,,32",
            f"size: '16,,32' {NONE}",
        ),
        ("4, 4, 1.5", f"size: '4, 4, 1.5' {NONE}"),
        (
            "(1, 8, 16, 24, 2)",
            "size: '(1, 8, 16, 24, 2)' has five numbers; use D, H, W and channels, without the batch.",
        ),
        ("0, 4, 4", "depth: 0 is below 1; use an integer from 1 to 16,384."),
        ("4, -3, 4", "height: -3 is below 1; use an integer from 1 to 16,384."),
        ("4, 4, 0, 4", "width: 0 is below 1; use an integer from 1 to 16,384."),
        ("4, 4, 4, 0", "channels: 0 is below 1; use an integer from 1 to 16,384."),
        ("4, 16385, 4", "height: 16385 is above 16,384; use an integer from 1 to 16,384."),
        ("4, 4, 4, 99999", "channels: 99999 is above 16,384; use an integer from 1 to 16,384."),
        (
            "256, 256, 256, 2",
            "size: 256 x 256 x 256 x 2 are 128.00 MiB as float32; use at most 64.00 MiB, as in 128, 256, 256, 2.",
        ),
        (
            "512x512x512",
            "size: 512 x 512 x 512 x 1 are 512.00 MiB as float32; use at most 64.00 MiB, as in 256, 256, 256, 1.",
        ),
    ],
)
def test_what_is_no_size_is_refused(text: str, message: str) -> None:
    with pytest.raises(VolumeError, match=f"^{re.escape(message)}$") as caught:
        size_of(text)
    assert caught.value.field == "made"
    assert caught.value.axis == {"depth": "D", "height": "H", "width": "W"}.get(message.split(":")[0])


@pytest.mark.parametrize("digits", [30, 400, 5000])
def test_a_number_of_any_length_is_refused_in_a_short_message(digits: int) -> None:
    """Python neither reads nor prints an integer of more than 4,300 digits, and makes no float of 10**400."""
    with pytest.raises(VolumeError, match=r"^(size|depth): .*99.*; use .*\.$") as caught:
        size_of(f"{'9' * digits}, 4, 4")
    assert len(str(caught.value)) < 250


@given(st.text(max_size=40) | st.lists(st.integers(-3, 10**9), max_size=6).map(repr))
def test_any_text_is_a_size_or_refused(text: str) -> None:
    try:
        size = size_of(text)
    except VolumeError:
        return
    assert len(size) == 4
    assert 1 <= min(size) <= max(size) <= MAX_MADE_SIZE
    assert 4 * np.prod(size, dtype=object) <= MAX_MADE_BYTES


def test_what_the_refusal_offers_is_taken() -> None:
    for text in ("512x512x512", "3000, 2, 16384", "30, 30, 3, 16384", "300, 300, 300, 7"):
        with pytest.raises(VolumeError) as caught:
            size_of(text)
        offered = str(caught.value).rpartition("as in ")[2].rstrip(".")
        assert size_of(offered)


@pytest.mark.parametrize("shape", SIZES)
def test_it_has_the_shape_and_says_what_it_is(shape: tuple[int, int, int, int]) -> None:
    volume = made_to_size(shape)
    assert volume.shape == shape
    assert volume.name == "Made to size"
    assert volume.source == f"computed: conv3d_core.volumes.made_to_size({shape})"
    assert volume.is_finite
    assert volume.spacing_mm is None
    assert 0 <= volume.array.min() <= volume.array.max() <= 1


@pytest.mark.parametrize("shape", SIZES)
def test_the_same_size_is_the_same_volume(shape: tuple[int, int, int, int]) -> None:
    assert made_to_size(shape).identity == made_to_size(list(shape)).identity


def test_its_numbers_are_the_same_on_every_machine() -> None:
    """Nothing but sums, products and quotients, which IEEE 754 rounds everywhere alike."""
    assert made_to_size((8, 16, 24, 2)).digest == "198b28ecb188183ed81714bcd1d65e1c"


def test_another_size_is_another_volume() -> None:
    digests = {made_to_size(shape).digest for shape in {*SIZES, *itertools.permutations((8, 16, 24, 2))}}
    assert len(digests) == len({*SIZES, *itertools.permutations((8, 16, 24, 2))})


@pytest.mark.parametrize("shape", [(1, 1, 1, 64), (2, 2, 2, 64), (8, 16, 24, 64), (1, 7, 7, 512)])
def test_no_two_channels_are_the_same(shape: tuple[int, int, int, int]) -> None:
    array = made_to_size(shape).array.reshape(-1, shape[3])
    assert len({channel.tobytes() for channel in array.T}) == shape[3]


@pytest.mark.parametrize("size", [2, 3, 8, 33])
def test_no_axis_can_be_taken_for_another_nor_for_itself_backwards(size: int) -> None:
    array = made_to_size((size, size, size, 4)).array
    for channel in np.moveaxis(array, 3, 0):
        turned = [
            np.flip(channel.transpose(order), [axis for axis in range(3) if mirrored[axis]])
            for order in itertools.permutations(range(3))
            for mirrored in itertools.product((False, True), repeat=3)
        ]
        assert len({one.tobytes() for one in turned}) == 48


def test_it_has_an_edge_along_each_axis_and_is_smooth_elsewhere() -> None:
    """A step of the box is 0.3; what the blobs change from a voxel to the next is far below it."""
    array = made_to_size((48, 48, 48, 3)).array
    for axis in range(3):
        steps = np.abs(np.diff(array, axis=axis))
        assert steps.max() > 0.25
        assert np.median(steps) < 0.01
        assert ((steps > 0.2) == (steps > 0.15)).all(), "nothing between an edge and a slope"


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((8, 8, 8), r"^size: \(8, 8, 8\) is not four sizes; use \(D, H, W, C\), as in \(16, 32, 32, 1\)\.$"),
        ((8, 8, 8, 0), r"^channels: 0 is below 1; use an integer from 1 to 16,384\.$"),
        ((8, True, 8, 1), r"^height: True is not an integer; use an integer from 1 to 16,384\.$"),
        ((8, 8, 2.0, 1), r"^width: 2\.0 is not an integer; use an integer from 1 to 16,384\.$"),
        ((512, 512, 512, 1), r"^size: 512 x 512 x 512 x 1 are 512\.00 MiB as float32; use at most 64\.00 MiB"),
    ],
)
def test_a_shape_that_is_none(shape: Any, message: str) -> None:
    with pytest.raises(VolumeError, match=message):
        made_to_size(shape)


def test_numpys_integers_are_integers() -> None:
    assert made_to_size(np.array([2, 3, 4, 1])).shape == (2, 3, 4, 1)
