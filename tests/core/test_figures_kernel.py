"""A kernel as a small picture, read back pixel by pixel."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from conv3d_core.figures.kernel import GAP, kernel_png


def test_the_planes_stand_side_by_side_in_signed_colours() -> None:
    kernel = np.zeros((2, 1, 3), np.float32)
    kernel[0, 0, 2], kernel[1, 0, 0] = 4, -4
    with Image.open(io.BytesIO(kernel_png(kernel))) as picture:
        pixels = np.array(picture)
    cell = pixels.shape[0]
    assert pixels.shape[1] == 6 * cell + GAP
    blue, white, red = (5, 48, 97, 255), (247, 246, 246, 255), (103, 0, 31, 255)
    at = [cell // 2 + step * cell for step in range(3)]
    assert [tuple(pixels[0, x]) for x in at] == [white, white, red]
    assert [tuple(pixels[0, 3 * cell + GAP + x]) for x in at] == [blue, white, white]
    assert not pixels[:, 3 * cell : 3 * cell + GAP].any()


def test_nothing_finite_and_many_planes_are_drawn_all_the_same() -> None:
    assert kernel_png(np.full((1, 1, 1), np.nan, np.float32))
    assert kernel_png(np.zeros((300, 2, 2), np.float32))
