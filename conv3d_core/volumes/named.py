"""Arrays whose axes have names: which of them are D, H and W."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import ONE_PLANE, Block, Decode, Slices
from conv3d_core.volumes.formats.numpy_files import unnamed_axes, unnamed_layout
from conv3d_core.volumes.limits import clean

# What z, y, x and time are called, the usual name first.
ROLES = {
    "z": ("z", "depth", "plane", "slice", "page", "zspace", "lev"),
    "y": ("y", "height", "row", "yspace", "lat", "latitude"),
    "x": ("x", "width", "column", "col", "xspace", "lon", "longitude"),
    "t": ("t", "time", "frame"),
}
ROLE_OF = {name: role for role, names in ROLES.items() for name in names}


class Arranged(NamedTuple):
    """An array as a volume.

    Attributes:
        shape: as an `Entry` has it.
        axes: their names.
        order: which of them become D, H, W and then C.
        missing: how many axes of 1 were put before those of the file; -1 where one was dropped.
        roles: what each axis of ``shape`` is ("z", "y", "x", "t"), or empty.
        notes: what a user must know.
        refusal: why it is no volume, if so.
    """

    shape: tuple[int, ...]
    axes: tuple[str, ...]
    order: tuple[int, ...]
    missing: int
    roles: tuple[str, ...]
    notes: tuple[str, ...]
    refusal: VolumeError | None


def arranged(shape: Sequence[int], names: Sequence[str | None] | None = None) -> Arranged:
    """Find D, H and W by the axes' names, where each of y and x is there once; else by their number alone.

    Without a z, time is the depth; without both, there is one plane. What is left becomes channels.

    >>> arranged((2, 3, 4, 5), ("c", "z", "y", "x")).order
    (1, 2, 3, 0)
    """
    shape = tuple(int(size) for size in shape)
    axes = tuple(clean(name or "") or str(axis) for axis, name in enumerate(names or ()))
    roles = tuple(ROLE_OF.get(name.lower(), "") for name in axes)
    if len(axes) != len(shape) or [roles.count(role) for role in "yx"] != [1, 1] or roles.count("z") > 1:
        return _unnamed(shape, axes)
    depth = next((role for role in "zt" if roles.count(role) == 1), None)
    missing = 0 if depth else 1
    if depth is None:
        shape, axes, roles, depth = (1, *shape), ("-", *axes), ("z", *roles), "z"
    first = [roles.index(role) for role in (depth, "y", "x")]
    order = (*first, *(axis for axis in range(len(shape)) if axis not in first))
    return Arranged(shape, axes, order, missing, roles, (ONE_PLANE,) * missing, None)


def _unnamed(shape: tuple[int, ...], names: tuple[str, ...]) -> Arranged:
    layout = unnamed_layout(shape)
    missing = len(layout.shape) - len(shape)
    axes = unnamed_axes(shape, layout)
    if len(names) == len(shape):
        axes = ("-",) * missing + names[max(0, -missing) :]
    return Arranged(layout.shape, axes, layout.order, missing, ("",) * len(layout.shape), layout.notes, layout.refusal)


def padded(decode: Decode, missing: int) -> Decode:
    """What decodes the file's own axes, as what decodes those of `Arranged`."""
    if not missing:
        return decode

    def more(wanted: Slices) -> Iterator[Block]:
        for where, values in decode(wanted[missing:]):
            yield (slice(0, 1),) * missing + where, values[(None,) * missing]

    def fewer(wanted: Slices) -> Iterator[Block]:
        for where, values in decode((slice(0, 1),) * -missing + wanted):
            yield where[-missing:], values[(0,) * -missing]

    return more if missing > 0 else fewer
