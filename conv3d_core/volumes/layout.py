"""From a file's numbers to a layer's: float32, (D, H, W, C), one plane at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.volume import Float32

EXACT = 2**24


def to_float32(array: NDArray[Any], slope: float = 1.0, intercept: float = 0.0) -> tuple[Float32, tuple[str, ...]]:
    """``array * slope + intercept``, computed in float64 and rounded once to float32, and what got lost on the way.

    Plane after plane along the first axis, so that a transposed, byte-swapped or memory-mapped view needs no
    temporary of its size.

    Args:
        array: (D, H, W, C), any real dtype, byte order and strides.
        slope: factor of a scaled file.
        intercept: summand of a scaled file.

    Returns:
        The array, C-contiguous and read-only, and notes.
    """
    result = np.empty(array.shape, np.float32)
    scaled = (slope, intercept) != (1.0, 0.0)
    overflows = 0
    large = False
    for plane, target in zip(array, result, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            values = plane.astype(np.float64) * slope + intercept if scaled else plane
            target[...] = values
        if values.dtype.kind == "f" and values.dtype.itemsize > 4:
            overflows += int(np.isinf(target).sum()) - int(np.isinf(values).sum())
        elif values.dtype.kind in "iu" and values.dtype.itemsize > 2 and not large:
            large = int(values.max()) > EXACT or int(values.min()) < -EXACT
    result.flags.writeable = False
    notes = []
    if overflows:
        notes.append(f"{overflows:,} numbers beyond the range of float32 became infinite")
    if large:
        notes.append("integers above 2**24 lose precision in float32")
    return result, tuple(notes)


def numpy_layout(array: NDArray[Any]) -> tuple[NDArray[Any], str, tuple[str, ...]]:
    """An array without names for its axes, seen as (D, H, W, C); which axis became which; notes.

    Raises:
        VolumeError: neither (H, W), (D, H, W), (D, H, W, C) nor (1, D, H, W, C).
    """
    if array.ndim == 2:
        return array[None, :, :, None], "H W", ("a single plane, read as D = 1",)
    if array.ndim == 3:
        return array[..., None], "D H W", ()
    if array.ndim == 4:
        return array, "D H W C", ()
    if array.ndim == 5 and array.shape[0] == 1:
        return array[0], "1 D H W C", ("the batch axis of 1 was dropped",)
    raise VolumeError(
        "file",
        f"an array {array.shape} is not a volume",
        "save (D, H, W), (D, H, W, C) or (1, D, H, W, C)",
        value=array.shape,
    )
