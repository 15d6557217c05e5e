"""Where a scan's axes point: which of them is nearest to which side of the body, and which run the other way."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from conv3d_core.volumes.volume import Float64, Spacing

OBLIQUE_RADIANS = 1e-3
UNUSABLE = "its affine cannot be used: axes are read as stored, without spacing"
# LPS is RAS with its first two axes turned round.
LPS_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])
# Names of units of length, in small letters.
MILLIMETRES = {
    "nm": 1e-6, "nanometer": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3,
    "micrometer": 1e-3, "mm": 1.0, "millimeter": 1.0, "millimeters": 1.0, "cm": 10.0, "centimeter": 10.0, "m": 1000.0,
    "meter": 1000.0,
}  # fmt: skip


class Place(NamedTuple):
    """How a scan is laid out along the closest LPS axes, as (z, y, x) = (D, H, W).

    Attributes:
        order: the given axes in the order D, H, W, and what is left.
        flipped: those that are turned round.
        affine: (d, h, w, 1) -> mm in RAS+, of the array as it comes out; None where it has none.
        spacing_mm: along D, H, W.
        direction: "LPS", or empty where nothing is known.
        notes: what a user must know.
    """

    order: tuple[int, ...]
    flipped: frozenset[int]
    affine: Float64 | None
    spacing_mm: Spacing | None
    direction: str
    notes: tuple[str, ...]


def turned(affine: Float64 | None, shape: Sequence[int], order: Sequence[int]) -> Place:
    """Turn a scan to the closest LPS axes: never resampled, an oblique one stays as it is and is said.

    Args:
        affine: 4x4, index along x, y, z -> mm in RAS+; None where the file has none.
        shape: sizes as stored.
        order: which axes of ``shape`` are z, y, x; then what is left.

    >>> turned(np.diag([2.0, 2, 3, 1]), (5, 6, 7), (0, 1, 2)).flipped  # x rises to the right, y to the front
    frozenset({1, 2})
    """
    order = tuple(order)
    z, y, x = order[:3]
    if affine is None:
        return Place(order, frozenset(), None, None, "", ())
    if not _usable(affine):
        return Place(order, frozenset(), None, None, "", (UNUSABLE,))
    from nibabel import orientations

    # Row i: along which world axis the file's axis i (x, y, z) runs, and whether it rises with it.
    tool: Any = orientations  # nibabel is typed in part only
    nearest = tool.io_orientation(affine)
    along = {int(world): (axis, rises > 0) for axis, (world, rises) in enumerate(nearest)}
    files = (x, y, z)
    new_order, flipped, columns, origin = [], set(), [], affine[:3, 3].copy()
    for world in (2, 1, 0):
        axis, rises = along[world]
        # S rises with D; P and L, which H and W rise with, are where A and R fall.
        turn = rises != (world == 2)
        new_order.append(files[axis])
        column = affine[:3, axis]
        if turn:
            flipped.add(files[axis])
            origin = origin + column * (shape[files[axis]] - 1)
            column = -column
        columns.append(column)
    composed = np.eye(4)
    # + 0.0 turns -0.0, which the flips leave behind, into 0.0.
    composed[:3] = np.column_stack([*columns, origin]) + 0.0
    d, h, w = (float(length) for length in np.linalg.norm(composed[:3, :3], axis=0))
    return Place((*new_order, *order[3:]), frozenset(flipped), composed, (d, h, w), "LPS", _oblique(composed))


def distances(d: float, h: float, w: float) -> Spacing | None:
    """Three numbers of a header as a spacing, or None where one of them is no distance."""
    return (d, h, w) if all(0 < length < np.inf for length in (d, h, w)) else None


def _usable(affine: Float64) -> bool:
    if affine.shape != (4, 4) or not np.isfinite(affine).all():
        return False
    # A parallelepiped of nearly no volume: two axes point the same way, or one has no length.
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        lengths = np.linalg.norm(affine[:3, :3], axis=0)
        return bool(abs(np.linalg.det(affine[:3, :3])) > 1e-6 * float(np.prod(lengths)) > 0)


def _oblique(affine: Float64) -> tuple[str, ...]:
    cosines = np.abs(affine[:3, :3] / np.linalg.norm(affine[:3, :3], axis=0)).max(axis=0)
    angle = float(np.arccos(min(1.0, float(cosines.min()))))
    if angle <= OBLIQUE_RADIANS:
        return ()
    return (f"oblique affine ({np.degrees(angle):.1f} degrees) kept, not resampled",)
