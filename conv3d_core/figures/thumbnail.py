"""A volume as a stamp: enough of it to be recognised, and to see whether an axis is the wrong one."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from conv3d_core.figures.palette import GREY, paint
from conv3d_core.figures.plane import aspect_of

SIDE = 160
# The few brightest voxels of a scan would leave the rest in the dark.
BRIGHTEST = 99.5


def thumbnail_png(array: NDArray[np.float32], spacing_mm: Sequence[float] | None = None, side: int = SIDE) -> bytes:
    """The middle D plane of channel 0, grey, in its true proportions on a square, as PNG.

    Args:
        array: (D, H, W, C), any strides.
        spacing_mm: along D, H, W.
        side: of the square in pixels.
    """
    plane = array[(array.shape[0] - 1) // 2, :, :, 0]
    rows, columns = plane.shape
    aspect = aspect_of("D", spacing_mm)
    scale = side / max(rows * aspect, columns)
    size = max(1, min(side, round(columns * scale))), max(1, min(side, round(rows * aspect * scale)))
    # A large plane is thinned first: each pixel shows a voxel, none a mixture.
    picked = plane[np.ix_(_nearest(rows, size[1]), _nearest(columns, size[0]))].astype(np.float32)
    finite = picked[np.isfinite(picked)]
    low, high = (float(finite.min()), float(np.percentile(finite, BRIGHTEST))) if finite.size else (0.0, 1.0)
    square = Image.new("RGB", (side, side), "black")
    square.paste(Image.fromarray(paint(picked, low, high, GREY)), ((side - size[0]) // 2, (side - size[1]) // 2))
    buffer = io.BytesIO()
    square.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _nearest(size: int, wanted: int) -> NDArray[np.intp]:
    return ((np.arange(wanted) + 0.5) * size / wanted).astype(np.intp)
