"""A kernel as a small picture: its depth planes side by side."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from conv3d_core.figures.palette import SIGNED, paint

# Pixels along the longer side, and between two planes.
SIDE, GAP = 240, 6


def kernel_png(kernel: NDArray[np.float32]) -> bytes:
    """The planes of a kernel (KD, KH, KW), front to back, blue below 0 and red above, every tap a square, as PNG."""
    finite = np.abs(kernel[np.isfinite(kernel)])
    most = float(finite.max(initial=0)) or 1.0
    depth, height, width = kernel.shape
    cell = max(1, (SIDE - GAP * (depth - 1)) // (depth * width))
    sheet = Image.new("RGBA", (depth * (width * cell + GAP) - GAP, height * cell))
    for d, plane in enumerate(paint(kernel, -most, most, SIGNED)):
        tile = Image.fromarray(plane).resize((width * cell, height * cell), Image.Resampling.NEAREST)
        sheet.paste(tile, (d * (width * cell + GAP), 0))
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG")
    return buffer.getvalue()
