"""HDF5, and what is made of it: MATLAB 7.3, netCDF-4, MINC 2, ilastik's and Fiji's files. Any dataset can be chosen.

Nothing outside of the file is looked at: of links only hard ones are followed, and virtual datasets and external
storage are refused before anything else is asked of them.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import Entry, everything
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.formats import hdf5_minc, hdf5_names
from conv3d_core.volumes.formats.hdf5_names import Attributes, Thing
from conv3d_core.volumes.formats.hdf5_storage import Contents, check_local, number_type, storage
from conv3d_core.volumes.limits import MAX_FRAMES, broken, check_sizes, clean, need
from conv3d_core.volumes.members import Member, Window
from conv3d_core.volumes.named import arranged, padded
from conv3d_core.volumes.volume import Float64
from conv3d_core.volumes.world import Place, turned

MAGIC = b"\x89HDF\r\n\x1a\n"
# MATLAB puts 512 bytes of its own in front.
STARTS = (0, 512)
MATLAB = b"MATLAB 7.3"
MAX_OBJECTS = 10_000
MAX_LISTED = 2_000
MAX_DEPTH = 32
# What h5py makes of the errors of the library, and what NumPy says to types that make no sense.
DAMAGED = (
    OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError, NotImplementedError, ArithmeticError,
    MemoryError, SystemError, IndexError,
)  # fmt: skip


class Source(NamedTuple):
    """An opened file.

    Attributes:
        root: its topmost group.
        contents: its bytes.
        attributes: reads those of its objects.
        kind: of file, in words.
    """

    root: Any
    contents: Contents
    attributes: Attributes
    kind: str


class Found(NamedTuple):
    """A dataset, or what is wrong with it."""

    path: tuple[bytes, ...]
    dataset: Thing
    error: VolumeError | None = None


def _start(member: Member) -> int | None:
    """Where its HDF5 starts."""
    return next((at for at in STARTS if member.head[at : at + len(MAGIC)] == MAGIC), None)


def _entries(members: Sequence[Member], _others: Sequence[Member]) -> list[Entry]:
    need("h5py", "h5py", "an HDF5 file")
    return [entry for member in members for entry in _entries_of(member)]


def _entries_of(member: Member) -> list[Entry]:
    # What stands in front counts in no address.
    view = member.view()[_start(member) or 0 :]
    kind = "MATLAB 7.3" if member.head.startswith(MATLAB) else "HDF5"
    entries: list[Entry] = []
    with _opened(view) as root:
        datasets = list(_walk(root))
        names = {found.dataset.address: found.path[-1] for found in datasets}
        source = Source(root, Contents(view), Attributes(view, names), kind)
        for found in datasets:
            entry = _entry(found, source)
            if entry is not None:
                entries.append(entry)
            if len(entries) > MAX_LISTED:
                raise broken(f"it has more than {MAX_LISTED:,} datasets", "put the volume into a file of its own")
    if not entries:
        raise broken("its HDF5 holds no dataset of two or more axes", "save the volume as a dataset")
    return entries


# ---- what there is


@contextmanager
def _opened(view: memoryview) -> Iterator[Any]:
    """The topmost group.

    Raises:
        VolumeError: in place of what h5py raises inside.
    """
    from h5py import File, h5g, h5pl

    try:
        # Filters that are loaded by what a file asks for are none of ours.
        while h5pl.size():
            h5pl.remove(0)
        # An object and not a path: the library then has no name beside which it could look for others.
        with File(io.BufferedReader(Window(view)), "r") as file:
            yield h5g.open(file.id, b"/")
    except VolumeError:  # is a ValueError too
        raise
    except DAMAGED as error:
        raise broken(f"its HDF5 structure is damaged ({clean(str(error)) or type(error).__name__})") from error


def _walk(root: Any) -> Iterator[Found]:
    """Its datasets by their paths; each object once, however many links lead there."""
    from h5py import h5d, h5g, h5o

    seen: set[int] = set()
    waiting: list[tuple[tuple[bytes, ...], Any]] = [((), root)]
    while waiting:
        path, group = waiting.pop()
        groups = []
        for name, address in _hard_links(group):
            if address in seen:
                continue
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise broken(f"it has more than {MAX_OBJECTS:,} objects", "put the volume into a file of its own")
            own = (*path, name)
            try:
                found = h5o.open(group, name)
            except DAMAGED as error:
                yield Found(
                    own, Thing(None, address), broken(f"it is damaged ({clean(str(error)) or type(error).__name__})")
                )
                continue
            if isinstance(found, h5d.DatasetID):
                yield Found(own, Thing(found, address))
            elif isinstance(found, h5g.GroupID) and len(own) < MAX_DEPTH:
                groups.append((own, found))
        waiting += groups[::-1]


def _hard_links(group: Any) -> list[tuple[bytes, int]]:
    """Names in a group, and where the objects lie, without those that lead to another path or file."""
    from h5py import h5l

    links: list[tuple[bytes, int]] = []

    def take(name: bytes, info: Any) -> bool | None:
        # MATLAB keeps what its cells and objects are made of under such names.
        if info.type == h5l.TYPE_HARD and not name.startswith(b"#"):
            links.append((bytes(name), int(info.u)))
        return True if len(links) > MAX_OBJECTS else None

    group.links.iterate(take, info=True)
    return links


def _at(root: Any, path: Sequence[bytes]) -> Thing | None:
    """The object of a path, if hard links lead there."""
    from h5py import h5g, h5l, h5o

    found = Thing(root, 0)
    for name in path:
        if not isinstance(found.id, h5g.GroupID) or not found.id.links.exists(name):
            return None
        info = found.id.links.get_info(name)
        if info.type != h5l.TYPE_HARD:
            return None
        found = Thing(h5o.open(found.id, name), int(info.u))
    return found


@contextmanager
def _reopened(view: memoryview, path: Sequence[bytes]) -> Iterator[Any]:
    from h5py import Dataset, h5d

    with _opened(view) as root:
        found = _at(root, path)
        if found is None or not isinstance(found.id, h5d.DatasetID):
            raise broken("its HDF5 structure is damaged")
        check_local(found.id)
        yield Dataset(found.id)


# ---- a dataset


def _entry(found: Found, source: Source) -> Entry | None:
    """A dataset of two or more axes; None for any other."""
    name = hdf5_names.shown_path(found.path)
    shape: tuple[int, ...] = ()
    dtype = np.dtype("V1")
    try:
        if found.error:
            raise found.error
        dataset = found.dataset.id
        check_local(dataset)
        shape = tuple(int(size) for size in dataset.shape or ())
        if len(shape) < 2:
            return None
        check_sizes(shape)
        dtype = number_type(dataset)
        if source.kind != "HDF5" and source.attributes.texts(found.dataset, "MATLAB_class") == ["char"]:
            raise broken("its values are text", "save numbers")
        return _readable(found, source, shape, dtype, name)
    except VolumeError as error:
        return _refused(source.kind, shape, dtype, name, error)
    except DAMAGED as error:
        problem = f"it is damaged ({clean(str(error)) or type(error).__name__})"
        return _refused(source.kind, shape, dtype, name, broken(problem))


def _refused(kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], name: str, error: VolumeError) -> Entry:
    return Entry(kind=kind, shape=shape, dtype=dtype, axes=(), order=(), name=name, refusal=error)


def _readable(found: Found, source: Source, shape: tuple[int, ...], dtype: np.dtype[Any], name: str) -> Entry:
    root, contents, attributes, kind = source
    decode, notes = storage(
        found.dataset.id, found.dataset.address, dtype, shape, contents, partial(_reopened, contents.view, found.path)
    )
    names = hdf5_names.axis_names(attributes, found.dataset, len(shape), kind != "HDF5")
    layout = arranged(shape, names)
    spacing = hdf5_names.spacing(attributes, found.dataset, layout)
    place = Place(layout.order, frozenset(), None, spacing, "", ())
    if found.path == hdf5_minc.IMAGE and not layout.refusal:
        kind = "MINC 2"
        affine = hdf5_minc.affine(attributes, layout.axes, partial(_at, root))
        place = turned(affine, layout.shape, layout.order)
        values = partial(_numbers, root, contents)
        decode, scale_notes = hdf5_minc.scaled(attributes, found.dataset, dtype, shape, decode, values)
        notes += scale_notes
    return Entry(
        kind=kind,
        shape=layout.shape,
        dtype=dtype,
        axes=layout.axes,
        order=place.order,
        decode=padded(decode, layout.missing),
        name=name,
        flipped=place.flipped,
        spacing_mm=place.spacing_mm,
        affine=place.affine,
        direction=place.direction,
        notes=layout.notes + place.notes + notes,
        refusal=layout.refusal,
    )


def _numbers(root: Any, contents: Contents, path: Sequence[bytes]) -> Float64 | None:
    """All of a small dataset, or None where there is none of that kind."""
    from h5py import h5d

    found = _at(root, path)
    if found is None or not isinstance(found.id, h5d.DatasetID):
        return None
    check_local(found.id)
    shape = tuple(int(size) for size in found.id.shape or ())
    if check_sizes(shape) > MAX_FRAMES:
        return None
    decode, _ = storage(
        found.id, found.address, number_type(found.id), shape, contents, partial(_reopened, contents.view, path)
    )
    result = np.empty(shape)
    for where, values in decode(everything(shape)):
        result[where] = values
    return result


FORMAT = Format(
    "HDF5", (".h5", ".hdf5", ".mat 7.3", ".nc", ".mnc"), lambda member: _start(member) is not None, _entries
)
