"""What programs write beside an HDF5 dataset to say what its axes are: no standard, but a few habits."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from conv3d_core.volumes.formats import hdf5_headers
from conv3d_core.volumes.limits import MAX_AXES, clean
from conv3d_core.volumes.named import Arranged
from conv3d_core.volumes.volume import Spacing

MAX_VALUES = 64
MAX_ATTRIBUTE_BYTES = 64 * 1024
# MATLAB counts rows first and stores them fastest; what HDF5 sees is turned round.
MATLAB_AXES = ("row", "column", "page")


class Thing(NamedTuple):
    """An object of a file.

    Attributes:
        id: h5py's.
        address: of its header.
    """

    id: Any
    address: int


class Attributes:
    """Reads small attributes of the objects of a file.

    Args:
        view: the file.
        names: of its objects, by their addresses.
    """

    def __init__(self, view: memoryview, names: Mapping[int, bytes]) -> None:
        self._view = view
        self._names = names

    def values(self, owner: Thing, name: str) -> list[Any]:
        """The numbers or texts of an attribute, all in one row; none where it is anything else."""
        from h5py import h5a, h5t

        if not h5a.exists(owner.id, name.encode()):
            return []
        found = h5a.open(owner.id, name.encode())
        kind = found.get_type()
        if kind.get_class() == h5t.STRING and kind.is_variable_str():
            return [_text(value) for value in hdf5_headers.lists(self._view, owner.address, name.encode())]
        if kind.get_class() not in (h5t.INTEGER, h5t.FLOAT, h5t.STRING):
            return []
        if not 0 < math.prod(found.shape) <= MAX_VALUES or found.get_storage_size() > MAX_ATTRIBUTE_BYTES:
            return []
        values = np.empty(found.shape, found.dtype)
        found.read(values)
        return [_text(value) if isinstance(value, bytes) else value for value in values.ravel().tolist()]

    def texts(self, owner: Thing, name: str) -> list[str]:
        """As `values`, of texts only."""
        return [value for value in self.values(owner, name) if isinstance(value, str)]

    def numbers(self, owner: Thing, name: str, count: int) -> list[float] | None:
        """As `values`, so many finite numbers or None."""
        values = self.values(owner, name)
        if len(values) != count or any(isinstance(value, str) for value in values):
            return None
        found = [float(value) for value in values]
        return found if all(map(math.isfinite, found)) else None

    def scales(self, owner: Thing) -> list[str]:
        """The names of its dimension scales, as netCDF-4 and xarray use them."""
        found = hdf5_headers.lists(self._view, owner.address, b"DIMENSION_LIST")
        # Each is a list of references, which are addresses.
        return [_text(self._names.get(int.from_bytes(scales[:8], "little"), b"")) for scales in found]


def _text(value: bytes) -> str:
    return value.split(b"\0", 1)[0].decode("utf-8", "replace")


def axis_names(attributes: Attributes, dataset: Thing, count: int, matlab: bool) -> tuple[str | None, ...] | None:
    """Names of a dataset's axes, if any program left some."""
    if matlab:
        rest = [f"dimension {number}" for number in range(4, count + 1)]
        return tuple([*MATLAB_AXES[:count], *rest][::-1])
    for found in (
        attributes.texts(dataset, "DIMENSION_LABELS"),
        _axistags(attributes.texts(dataset, "axistags")),
        "".join(attributes.texts(dataset, "dimorder")[:1]).split(",")[:MAX_AXES],
        attributes.scales(dataset),
    ):
        if len(found) == count and any(found):
            return tuple(name.strip() for name in found)
    return None


def _axistags(found: Sequence[str]) -> list[str]:
    """As ilastik and vigra write them."""
    try:
        axes = json.loads(found[0])["axes"] if found else []
        return [str(axis["key"])[:MAX_ATTRIBUTE_BYTES] for axis in axes[:MAX_AXES]]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError):
        return []


def spacing(attributes: Attributes, dataset: Thing, layout: Arranged) -> Spacing | None:
    """Along D, H and W in mm, of Fiji's and ilastik's habit: micrometres along z, y and x."""
    found = attributes.numbers(dataset, "element_size_um", 3)
    depth = layout.roles[layout.order[0]] if layout.order else ""
    if found is None or depth not in ("", "z") or not all(0 < size < 1e9 for size in found):
        return None
    d, h, w = (size / 1000 for size in found)
    return d, h, w


def shown_path(path: Sequence[bytes]) -> str:
    """A dataset's path, fit to be shown and to choose it by."""
    return clean("/".join(part.decode("utf-8", "replace") for part in path))
