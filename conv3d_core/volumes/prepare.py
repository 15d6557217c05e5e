"""Volume in, volume out: what a user does to a volume before a layer sees it. Spacing and affine stay true."""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.errors import VolumeError
from conv3d_core.volumes.volume import Float32, Volume, moved, non_finite

LETTERS = "DHWC"
NORMALISATIONS = ("none", "0-1", "z-score")
NONFINITE = ("keep", "0", "mean", "min")


def remap(volume: Volume, axes: str) -> Volume:
    """The volume with its axes in another order.

    Args:
        volume: (D, H, W, C).
        axes: which of its axes become the new D, H, W and C: "HDWC" swaps depth and height.

    Raises:
        VolumeError: not each of the four letters once.

    >>> remap(Volume(np.zeros((2, 3, 4, 1))), "HDWC").shape
    (3, 2, 4, 1)
    """
    if not isinstance(axes, str) or sorted(axes) != sorted(LETTERS):
        problem = f"{axes!r} is not an order of D, H, W, C"
        raise VolumeError("axes", problem, "use each letter once, as in 'HDWC'", value=axes)
    order = [LETTERS.index(letter) for letter in axes]
    spacing, affine = None, None
    # A channel has no place in the world: with it among the three axes there is nothing left to keep.
    if order[3] == 3:
        if volume.spacing_mm is not None:
            d, h, w = (volume.spacing_mm[index] for index in order[:3])
            spacing = (d, h, w)
        if volume.affine is not None:
            affine = volume.affine[:, [*order[:3], 3]]
    array = _frozen(np.ascontiguousarray(volume.array.transpose(order)))
    return replace(volume, array=array, spacing_mm=spacing, affine=affine)


def select_channel(volume: Volume, channel: int) -> Volume:
    """One channel of a volume: (D, H, W, 1).

    Raises:
        VolumeError: no such channel.
    """
    last = volume.channels - 1
    if not _is_integer(channel) or not 0 <= channel <= last:
        raise VolumeError("channel", f"there is no channel {channel!r}", f"use 0 to {last}", value=channel)
    index = operator.index(channel)
    return replace(volume, array=_frozen(np.ascontiguousarray(volume.array[..., index : index + 1])))


def crop(volume: Volume, box: Sequence[tuple[int, int]]) -> Volume:
    """The voxels inside a box.

    Args:
        volume: (D, H, W, C).
        box: first and last index along D, H and W, both inclusive, as a `window` has them.

    Raises:
        VolumeError: a box that is empty or reaches out of the volume.

    >>> crop(Volume(np.zeros((9, 9, 9, 1))), ((2, 4), (0, 8), (5, 5))).shape
    (3, 9, 1, 1)
    """
    pairs = [tuple(pair) for pair in box]
    if [len(pair) for pair in pairs] != [2, 2, 2]:
        raise VolumeError("crop", f"{box!r} is not a box", "use (first, last) for D, H and W", value=box)
    for letter, (first, last), size in zip(AXES, pairs, volume.shape[:3], strict=True):
        if not (_is_integer(first) and _is_integer(last) and 0 <= first <= last < size):
            raise VolumeError(
                AXIS_NAMES[letter],
                f"{first!r} to {last!r} is not inside 0 to {size - 1}",
                f"use 0 <= first <= last <= {size - 1}",
                field="crop",
                axis=letter,
                value=(first, last),
            )
    array = volume.array[tuple(slice(first, last + 1) for first, last in pairs)]
    affine = moved(volume.affine, (1.0, 1.0, 1.0), tuple(first for first, _ in pairs))
    return replace(volume, array=_frozen(np.ascontiguousarray(array)), affine=affine)


def normalise(volume: Volume, how: str) -> Volume:
    """The volume with its values brought to a common range, all channels together.

    "0-1" is ``(x - min) / (max - min)``; "z-score" is ``(x - mean) / standard deviation``. NaN and infinities are
    left out of these numbers, computed in float64, and stay as they are. A constant volume becomes zeros.

    Raises:
        VolumeError: an unknown ``how``, or no finite value.

    >>> normalise(Volume(np.array([2, 4, 6]).reshape(3, 1, 1, 1)), "0-1").array.ravel().tolist()
    [0.0, 0.5, 1.0]
    """
    if how not in NORMALISATIONS:
        choices = ", ".join(repr(name) for name in NORMALISATIONS)
        raise VolumeError("normalise", f"{how!r} is not known", f"use one of {choices}", value=how)
    if how == "none":
        return volume
    low, high, mean, deviation = _statistics(volume.array)
    constant = low == high
    offset, scale = (low, 1.0) if constant else (low, high - low) if how == "0-1" else (mean, deviation)
    result = np.empty_like(volume.array)
    for plane, target in zip(volume.array, result, strict=True):
        target[...] = (plane.astype(np.float64) - offset) / scale
    notes = volume.notes + ((f"constant at {low:g}: normalised to zeros",) if constant else ())
    return replace(volume, array=_frozen(result), notes=notes)


def replace_nonfinite(volume: Volume, how: str) -> Volume:
    """The volume with its NaN and infinite values replaced; how many they were stays in the notes.

    Args:
        volume: (D, H, W, C).
        how: "keep" them, or put "0", the "mean" or the "min" of the finite values in their place.

    Raises:
        VolumeError: an unknown ``how``, or no finite value to take the mean or the minimum of.

    >>> replace_nonfinite(Volume(np.array([2, np.nan, 6]).reshape(3, 1, 1, 1)), "mean").array.ravel().tolist()
    [2.0, 4.0, 6.0]
    """
    if how not in NONFINITE:
        choices = ", ".join(repr(name) for name in NONFINITE)
        raise VolumeError("nonfinite", f"{how!r} is not known", f"use one of {choices}", value=how)
    counted = non_finite(volume.array)
    if how == "keep" or not counted:
        return volume
    low, _, mean, _ = _statistics(volume.array, "nonfinite") if how != "0" else (0.0, 0.0, 0.0, 0.0)
    value = {"0": 0.0, "mean": mean, "min": low}[how]
    array = volume.array.copy()
    array[~np.isfinite(array)] = value
    notes = tuple(f"{note} replaced by {value:g}" for note in counted)
    return replace(volume, array=_frozen(array), notes=volume.notes + notes)


def reduce(volume: Volume, factor: int) -> Volume:
    """The mean over blocks of factor x factor x factor voxels; what is left over at the ends is dropped.

    Raises:
        VolumeError: not an integer >= 1, or more than a size.

    >>> reduce(Volume(np.arange(16.0).reshape(2, 2, 4, 1)), 2).array.ravel().tolist()
    [6.5, 8.5]
    """
    most = min(volume.shape[:3])
    if not _is_integer(factor) or not 1 <= factor <= most:
        problem = f"blocks of {factor!r} do not fit {volume.shape[:3]}"
        raise VolumeError("factor", problem, f"use an integer from 1 to {most}", value=factor)
    array = volume.array.astype(np.float64) if factor > 1 else volume.array
    for axis in range(3) if factor > 1 else ():
        blocks = array.shape[axis] // factor
        kept = array[(slice(None),) * axis + (slice(0, blocks * factor),)]
        array = kept.reshape(*kept.shape[:axis], blocks, factor, *kept.shape[axis + 1 :]).mean(axis=axis + 1)
    centre = (factor - 1) / 2
    affine = moved(volume.affine, (factor, factor, factor), (centre, centre, centre))
    spacing = None
    if volume.spacing_mm is not None:
        d, h, w = (length * factor for length in volume.spacing_mm)
        spacing = (d, h, w)
    return replace(volume, array=_frozen(array.astype(np.float32)), spacing_mm=spacing, affine=affine)


def _statistics(array: Float32, field: str = "normalise") -> tuple[float, float, float, float]:
    """Least, greatest, mean and standard deviation of the finite values, in float64, plane by plane."""
    count, total, squares = 0, 0.0, 0.0
    low, high = np.inf, -np.inf
    for plane in array:
        values = plane[np.isfinite(plane)].astype(np.float64)
        if values.size:
            low, high = min(low, float(values.min())), max(high, float(values.max()))
            count, total = count + values.size, total + float(values.sum())
    if not count:
        raise VolumeError(
            field, "there is no finite value to measure", "leave the values as they are, or use another volume"
        )
    mean = total / count
    for plane in array:
        values = plane[np.isfinite(plane)].astype(np.float64) - mean
        squares += float(np.dot(values, values))
    return low, high, mean, float(np.sqrt(squares / count))


def _is_integer(value: object) -> bool:
    return hasattr(value, "__index__") and not isinstance(value, bool)


def _frozen(array: Float32) -> Float32:
    """Nobody else holds this array: read-only, it is shared by the new volume instead of copied.

    A view of a volume that is read-only already stays as it is.
    """
    array.flags.writeable = False
    return array
