"""MRC2014 and CCP4 maps of electron microscopy: the axes as the header names them, their spacing out of the cell."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import Entry, plain
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.limits import MIB, broken, check_sizes, clean
from conv3d_core.volumes.members import Member
from conv3d_core.volumes.volume import Spacing
from conv3d_core.volumes.world import distances

HEADER_BYTES = 1024
MAX_EXTENDED = 256 * MIB
ANGSTROM_MM = 1e-7
# The machine stamp: how a 4 in the upper half of a byte says that floats, and integers, are little-endian.
STAMPS = {0x44: "<", 0x11: ">"}
TYPES = {0: "i1", 1: "i2", 2: "f4", 6: "u2", 12: "f2"}
NOT_READ = {
    3: ("its values are complex (mode 3)", "save the magnitude or the real part in mode 2"),
    4: ("its values are complex (mode 4)", "save the magnitude or the real part in mode 2"),
    16: ("its values are colours (mode 16)", "save one channel in mode 0"),
    101: ("its values are packed into 4 bits each (mode 101)", "save them in mode 0 or 6"),
}
# IMOD's own mark, and the bit that says that its bytes have a sign; without either, bytes have one.
IMOD, IMOD_SIGNED = 1146047817, 1
STACK, VOLUMES = 0, range(401, 631)


class _Header(NamedTuple):
    """Numbers of a header; those of three are along x, y, z but for ``sizes`` and ``axes``, of columns, rows, sections.

    Attributes:
        sizes: of the array, the fastest first.
        mode: of its values.
        sampling: intervals along the cell.
        cell: lengths of its edges in Angstrom.
        angles: between them in degrees.
        axes: which of x, y, z (1, 2, 3) columns, rows and sections run along.
        group: the space group; 0 means a stack of pictures, 401 and above one of volumes.
        extended: bytes between this header and the data.
        unsigned: whether bytes have no sign.
    """

    sizes: tuple[int, ...]
    mode: int
    sampling: tuple[int, ...]
    cell: tuple[float, ...]
    angles: tuple[float, ...]
    axes: tuple[int, ...]
    group: int
    extended: int
    unsigned: bool


def _recognises(member: Member) -> bool:
    head = member.head
    return len(head) == HEADER_BYTES and head[208:211] == b"MAP" and head[211] in b" \0"


def _entries(members: Sequence[Member], _others: Sequence[Member]) -> list[Entry]:
    return [_entry(member) for member in members]


def _entry(member: Member) -> Entry:
    head = member.head
    byte_order, notes = _byte_order(head)
    header = _header(head, byte_order)
    if header.mode not in TYPES:
        problem, remedy = NOT_READ.get(
            header.mode, (f"mode {header.mode} of MRC is not read here", "save it in mode 2")
        )
        raise VolumeError("file", problem, remedy, value=header.mode)
    dtype = np.dtype(byte_order + ("u1" if header.mode == 0 and header.unsigned else TYPES[header.mode]))
    check_sizes(header.sizes)
    if not 0 <= header.extended <= MAX_EXTENDED:
        raise broken(f"its MRC header declares {header.extended:,} bytes of extended header")
    columns, rows, sections, axis_notes = _axes(header)
    names: tuple[str, ...] = (sections, rows, columns)
    shape = header.sizes[::-1]
    # Of the stored axes, those along z, y, x become D, H, W.
    order = [names.index(name) for name in "zyx"]
    spacing, spacing_notes = _spacing(header)
    depth = header.sampling[2]
    if header.group in VOLUMES and 0 < depth < shape[0] and shape[0] % depth == 0:
        shape, names = (shape[0] // depth, depth, *shape[1:]), ("n", *names)
        order = [*(axis + 1 for axis in order), 0]
    return Entry(
        kind="MRC",
        shape=shape,
        dtype=dtype,
        axes=names,
        order=tuple(order),
        decode=plain(member, HEADER_BYTES + header.extended, dtype, shape),
        name=clean(member.name),
        spacing_mm=spacing,
        fastest_first=True,
        notes=notes + axis_notes + spacing_notes,
    )


def _byte_order(head: bytes) -> tuple[str, tuple[str, ...]]:
    stamp = STAMPS.get(head[212])
    if stamp:
        return stamp, ()
    # Older programs leave it out. In the wrong order any number of ordinary size is a huge one.
    (mode,) = struct.unpack_from("<i", head, 12)
    guess = "<" if 0 <= mode < 2**16 else ">"
    return guess, (f"its machine stamp is unknown; read as {'little' if guess == '<' else 'big'}-endian",)


def _header(head: bytes, byte_order: str) -> _Header:
    words = struct.unpack_from(byte_order + "10i6f3i", head)
    group, extended = struct.unpack_from(byte_order + "2i", head, 88)
    imod, flags = struct.unpack_from(byte_order + "2i", head, 152)
    return _Header(
        sizes=words[:3],
        mode=words[3],
        sampling=words[7:10],
        cell=words[10:13],
        angles=words[13:16],
        axes=words[16:19],
        group=group,
        extended=extended,
        unsigned=imod == IMOD and not flags & IMOD_SIGNED,
    )


def _axes(header: _Header) -> tuple[str, str, str, tuple[str, ...]]:
    """What columns, rows and sections run along, and what is to be said about it."""
    if sorted(header.axes) == [1, 2, 3]:
        columns, rows, sections = ("xyz"[axis - 1] for axis in header.axes)
        return columns, rows, sections, ()
    # Old programs leave zeros there.
    notes = () if header.axes == (0, 0, 0) else (f"its axes {header.axes} are no order of 1, 2, 3: read as stored",)
    return "x", "y", "z", notes


def _spacing(header: _Header) -> tuple[Spacing | None, tuple[str, ...]]:
    notes: tuple[str, ...] = ()
    if header.group == STACK and header.sizes[2] > 1:
        notes = ("the header declares a stack of pictures (ISPG 0): its planes need not be neighbours in space",)
        if header.sampling[2] != header.sizes[2]:
            return None, notes
    if min(header.sampling) < 1:
        return None, notes
    x, y, z = (length / steps * ANGSTROM_MM for length, steps in zip(header.cell, header.sampling, strict=True))
    found = distances(z, y, x)
    if found and any(angle not in (0.0, 90.0) for angle in header.angles):
        angles = ", ".join(f"{angle:g}" for angle in header.angles)
        notes += (f"its cell has angles of {angles} degrees: the spacing is along its edges",)
    return found, notes


FORMAT = Format("MRC", (".mrc", ".map"), _recognises, _entries)
