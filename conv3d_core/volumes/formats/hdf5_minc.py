"""MINC 2, which is HDF5 with an image, its place in the world and a scale for each slice at known paths."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from conv3d_core.volumes.entry import BLOCK_BYTES, Block, Decode, Slices, split
from conv3d_core.volumes.formats.hdf5_names import Attributes, Thing
from conv3d_core.volumes.volume import Float64

IMAGE = (b"minc-2.0", b"image", b"0", b"image")
DIMENSIONS = (b"minc-2.0", b"dimensions")
NOT_SCALED = "its values are as stored: their scale (image-min, image-max) is missing or does not fit"
# Gives the object of a path, or the numbers in it.
Lookup = Callable[[tuple[bytes, ...]], Any]


def affine(attributes: Attributes, axes: tuple[str, ...], lookup: Lookup) -> Float64 | None:
    """(x, y, z, 1) -> mm in RAS+, which MINC's world is; None where the image lacks an axis of space."""
    if not {"xspace", "yspace", "zspace"} <= set(axes):
        return None
    result = np.eye(4)
    for column, name in enumerate((b"xspace", b"yspace", b"zspace")):
        axis = lookup((*DIMENSIONS, name))
        cosines = (attributes.numbers(axis, "direction_cosines", 3) if axis else None) or np.eye(3)[column].tolist()
        (step,) = (attributes.numbers(axis, "step", 1) if axis else None) or [1.0]
        (start,) = (attributes.numbers(axis, "start", 1) if axis else None) or [0.0]
        result[:3, column] = np.multiply(cosines, step)
        result[:3, 3] += np.multiply(cosines, start)
    return result


def scaled(
    attributes: Attributes,
    image: Thing,
    dtype: np.dtype[Any],
    shape: tuple[int, ...],
    decode: Decode,
    values: Lookup,
) -> tuple[Decode, tuple[str, ...]]:
    """Integers as what they stand for: between the least and the most of the image, or of each slice."""
    if dtype.kind not in "iu":
        return decode, ()
    least, most = values((*IMAGE[:-1], b"image-min")), values((*IMAGE[:-1], b"image-max"))
    first, last = attributes.numbers(image, "valid_range", 2) or (
        float(np.iinfo(dtype).min),
        float(np.iinfo(dtype).max),
    )
    if least is None or most is None or least.shape != most.shape or not last > first:
        return decode, (NOT_SCALED,)
    if least.ndim > 2 or least.shape != shape[: least.ndim]:
        return decode, (NOT_SCALED,)
    with np.errstate(over="ignore", invalid="ignore"):
        slope = (most - least) / (last - first)
        intercept = least - first * slope

    def apply(wanted: Slices) -> Iterator[Block]:
        for where, stored in decode(wanted):
            # Run by run, because numbers become eight times as large.
            for run in split(tuple(slice(0, size) for size in stored.shape), BLOCK_BYTES // 8):
                place = tuple(slice(a.start + b.start, a.start + b.stop) for a, b in zip(where, run, strict=True))
                one = (..., *(None,) * (len(shape) - least.ndim))
                factor, summand = (each[place[: least.ndim]][one] for each in (slope, intercept))
                with np.errstate(over="ignore", invalid="ignore"):
                    yield place, np.clip(stored[run].astype(np.float64), first, last) * factor + summand

    return apply, ()
