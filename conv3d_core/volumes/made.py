"""A volume of any size that is asked for, with something in it that a convolution answers to."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence

import numpy as np

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.errors import VolumeError, shown
from conv3d_core.shapes import format_bytes
from conv3d_core.spec import index_of
from conv3d_core.volumes.limits import MIB
from conv3d_core.volumes.volume import Float32, Float64, Volume

MADE_TO_SIZE = "Made to size"
# The control whose errors these are.
FIELD = "made"
# As float32, 256^3 of one channel: what the explorer runs and draws on two cores without a long wait.
MAX_MADE_BYTES = 64 * MIB
# Along an axis and in channels: the page lists the channels, and counts readers index by index.
MAX_MADE_SIZE = 2**14
EXAMPLE = "16, 32, 32, 1"
Size = tuple[int, int, int, int]

# Where the features of a channel lie: points that fill a cube evenly however many are taken, and in which no axis is
# like another: the powers of 1/g, g^4 = g + 1. Source: Roberts 2018, "The unreasonable effectiveness of quasirandom
# sequences", R3.
_STEPS = np.array([0.8191725133961645, 0.6710436067037893, 0.5497004779019703])
# Of the axes' lengths: half axes of the larger blob, the smaller one is half as large; edges of the box.
_RADII = (0.22, 0.32, 0.45)
_EDGES = (0.4, 0.5, 0.6)
_BLOB, _SMALL_BLOB, _BOX = 0.5, 0.2, 0.3


def size_of(text: str) -> Size:
    """The size (D, H, W, C) that a text writes, with commas, spaces or signs of multiplication; C is 1 if left out.

    Raises:
        VolumeError: not three or four integers from 1 to `MAX_MADE_SIZE`, or more than `MAX_MADE_BYTES` as float32.

    >>> size_of("8, 16, 24, 2"), size_of("16x32x32")
    ((8, 16, 24, 2), (16, 32, 32, 1))
    """
    parts = re.split(r"\s*[,x*\N{MULTIPLICATION SIGN}]\s*|\s+", text.strip(" ()[]").lower())
    try:
        numbers = [int(part) for part in parts]
    except ValueError:
        numbers = []
    if len(numbers) not in (3, 4):
        problem, remedy = f"{shown(text)} cannot be read as three or four integers", f"as in {EXAMPLE}"
        if len(numbers) == 5:
            problem, remedy = f"{shown(text)} has five numbers", "without the batch"
        raise VolumeError("size", problem, f"use D, H, W and channels, {remedy}", field=FIELD, value=text)
    return _checked([*numbers, 1][:4])


def made_to_size(size: Sequence[int]) -> Volume:
    """A volume of that size (D, H, W, C), values in 0 to 1, the same at every call and on every machine.

    Each channel has a large and a small blob and a box with sharp sides on an empty ground, at places that no other
    channel has; they stretch with the volume. Turned or mirrored it is another volume, so that D, H and W, and the
    first plane and the last, can be told apart.

    Raises:
        VolumeError: not four integers from 1 to `MAX_MADE_SIZE`, or more than `MAX_MADE_BYTES` as float32.

    >>> made_to_size((8, 16, 24, 2)).shape
    (8, 16, 24, 2)
    """
    if len(size) != 4:
        problem = f"{shown(tuple(size))} is not four sizes"
        raise VolumeError("size", problem, f"use (D, H, W, C), as in ({EXAMPLE})", field=FIELD, value=size)
    checked = _checked(size)
    array = _blob(checked, _places(1, checked[3]), 1, _BLOB)
    array += _blob(checked, _places(2, checked[3]), 0.5, _SMALL_BLOB)
    array += _box(checked, _places(3, checked[3]))
    array.flags.writeable = False
    source = f"computed: conv3d_core.volumes.made_to_size({checked})"
    return Volume(array, MADE_TO_SIZE, source=source, known_finite=True)


def _checked(numbers: Sequence[object]) -> Size:
    size = []
    for letter, number in zip((*AXES, "C"), numbers, strict=True):
        where, axis = AXIS_NAMES.get(letter, "channels"), letter if letter in AXES else None
        count = index_of(number)
        if count is None or not 1 <= count <= MAX_MADE_SIZE:
            wrong = "not an integer" if count is None else "below 1" if count < 1 else f"above {MAX_MADE_SIZE:,}"
            problem, remedy = f"{shown(number)} is {wrong}", f"use an integer from 1 to {MAX_MADE_SIZE:,}"
            raise VolumeError(where, problem, remedy, field=FIELD, axis=axis, value=number)
        size.append(count)
    nbytes = 4 * math.prod(size)
    if nbytes > MAX_MADE_BYTES:
        problem = f"{' x '.join(map(str, size))} are {format_bytes(nbytes)} as float32"
        remedy = f"use at most {format_bytes(MAX_MADE_BYTES)}, as in {', '.join(map(str, _fitting(size)))}"
        raise VolumeError("size", problem, remedy, field=FIELD, value=tuple(size))
    d, h, w, c = size
    return d, h, w, c


def _fitting(size: Sequence[int]) -> list[int]:
    """A size that fits: the largest number halved until it does."""
    fitting = list(size)
    while 4 * math.prod(fitting) > MAX_MADE_BYTES:
        largest = fitting.index(max(fitting))
        fitting[largest] //= 2
    return fitting


def _places(first: int, channels: int) -> Float64:
    """A point for each channel, (3, channels): along D, H, W, each in 0 to 1; every third of the sequence."""
    numbers: Float64 = 0.5 + _STEPS[:, None] * (first + 3.0 * np.arange(channels))
    return numbers % 1


def _blob(size: Size, places: Float64, scale: float, strength: float) -> Float32:
    """An ellipsoid that fades out, ``strength / (1 + r^2)^2``: IEEE 754 rounds that everywhere alike, and no exp."""
    squares = []
    for axis, radius in enumerate(_RADII):
        distances = (_middles(size, axis) - (0.2 + 0.6 * places[axis])) / (radius * scale)
        squares.append((distances * distances).astype(np.float32))
    d, h, w = squares
    values: Float32 = (1 + d[:, None, None] + h[:, None]) + w
    values *= values
    np.divide(np.float32(strength), values, out=values)
    return values


def _box(size: Size, places: Float64) -> Float32:
    """A box of `_BOX` on zeros."""
    inside = []
    for axis, edge in enumerate(_EDGES):
        first = (1 - edge) * places[axis]
        middles = _middles(size, axis)
        inside.append((first <= middles) & (middles < first + edge))
    d, h, w = inside
    values: Float32 = ((d[:, None, None] & h[:, None]) & w) * np.float32(_BOX)
    return values


def _middles(size: Size, axis: int) -> Float64:
    """Where the voxels along an axis lie, (size, 1): the axis is 1 long."""
    return ((np.arange(size[axis]) + 0.5) / size[axis])[:, None]
