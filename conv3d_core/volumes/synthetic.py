"""Volumes whose every value can be worked out in the head: what a layer does to them can be checked by eye.

Each function returns (D, H, W, 1) float32.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from conv3d_core.volumes.volume import Float32


def impulse() -> Float32:
    """17^3 zeros with a single 1 at (8, 8, 8)."""
    array = np.zeros((17, 17, 17, 1), np.float32)
    array[8, 8, 8] = 1
    return array


def sphere_bar_step() -> Float32:
    """32^3: a ball of radius 6 around (10, 10, 10) of 1, a bar along W of 0.75, a step to 0.5 at height 24."""
    d, h, w = np.indices((32, 32, 32))
    array = np.where(h >= 24, 0.5, 0.0)
    array[(d - 10) ** 2 + (h - 10) ** 2 + (w - 10) ** 2 <= 36] = 1
    array[22:25, 8:11, :] = 0.75
    return _volume(array)


def checkerboard() -> Float32:
    """16^3: +1 where d + h + w is even, -1 where it is odd."""
    return _volume(1 - 2 * (np.indices((16, 16, 16)).sum(axis=0) % 2))


def gyroid() -> Float32:
    """48^3: ``sin d cos h + sin h cos w + sin w cos d``, two periods of 24 voxels along each axis.

    Source: Schoen 1970, NASA TN D-5541 (the surface); this is its usual first-order approximation.
    """
    d, h, w = 2 * np.pi * np.indices((48, 48, 48)) / 24
    values = np.sin(d) * np.cos(h) + np.sin(h) * np.cos(w) + np.sin(w) * np.cos(d)
    return _volume(values)


def ramp() -> Float32:
    """24^3: ``4 d + 2 h + w``: a step along an axis changes the value by a number that only this axis has."""
    d, h, w = np.indices((24, 24, 24))
    return _volume(4 * d + 2 * h + w)


def _volume(values: ArrayLike) -> Float32:
    return np.asarray(values, dtype=np.float32)[..., None]
