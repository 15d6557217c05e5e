"""MetaImage: .mha, or .mhd with its data in another file that was handed in with it; turned to the closest LPS axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from conv3d_core.volumes.entry import ONE_PLANE, Decode, Entry, plain, spelled
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.limits import MIB, broken, check_present, check_sizes, clean, shown
from conv3d_core.volumes.members import Member, Packed, Wrapped, companion
from conv3d_core.volumes.volume import Float64
from conv3d_core.volumes.world import LPS_TO_RAS, MILLIMETRES, turned

START = re.compile(rb"[A-Za-z]+[ \t]*=[^\n]*\n")
NAMES = re.compile(rb"^(ObjectType|NDims)[ \t]*=", re.MULTILINE)
MAX_HEADER = MIB
MAX_LINES = 10_000
MAX_AXES = 4
MAX_CHANNELS = 65_536
MAX_SKIPPED = 64 * MIB
WHOLE = re.compile(r"-?[0-9]{1,18}")
# A long is of four bytes there, whatever it is on the machine.
TYPES = {
    "MET_ASCII_CHAR": "i1", "MET_CHAR": "i1", "MET_UCHAR": "u1", "MET_SHORT": "i2", "MET_USHORT": "u2", "MET_INT": "i4",
    "MET_UINT": "u4", "MET_LONG": "i4", "MET_ULONG": "u4", "MET_LONG_LONG": "i8", "MET_ULONG_LONG": "u8",
    "MET_FLOAT": "f4", "MET_DOUBLE": "f8",
}  # fmt: skip
ORIGIN = ("Offset", "Origin", "Position")
DIRECTIONS = ("TransformMatrix", "Rotation", "Orientation")
SPACING = ("ElementSpacing", "ElementSize")

Fields = dict[str, str]


def _recognises(member: Member) -> bool:
    head = member.head
    return bool(START.match(head) and NAMES.search(head))


def _entries(members: Sequence[Member], others: Sequence[Member]) -> list[Entry]:
    return [_entry(member, others) for member in members]


def _entry(member: Member, others: Sequence[Member]) -> Entry:
    fields, offset = _header(member)
    kind = fields.get("ObjectType", "Image")
    if kind.lower() != "image":
        raise broken(f"it is a MetaIO {clean(kind)}, not an image", "use a MetaImage (.mha)")
    sizes = _sizes(fields)
    dtype = _dtype(fields)
    notes: tuple[str, ...] = ()
    shape, axes = sizes[::-1], tuple("tzyx"[-len(sizes) :])
    if len(sizes) == 2:
        shape, axes, notes = (1, *shape), ("z", *axes), (ONE_PLANE,)
    channels = _whole(fields.get("ElementNumberOfChannels", "1"), "ElementNumberOfChannels")
    if not 1 <= channels <= MAX_CHANNELS:
        raise broken(f"its MetaImage header declares {channels:,} channels")
    order = [len(shape) - 3, len(shape) - 2, len(shape) - 1, *range(len(shape) - 3)]
    if channels > 1:
        order.append(len(shape))
        shape, axes = (*shape, channels), (*axes, "c")
    data = _data(member, fields, others)
    place = turned(_affine(fields, len(sizes)), shape, order)
    return Entry(
        kind="MetaImage",
        shape=shape,
        dtype=dtype,
        axes=axes,
        order=place.order,
        decode=_decode(data, fields, 0 if data is not member else offset, dtype, shape),
        name=clean(member.name),
        flipped=place.flipped,
        spacing_mm=place.spacing_mm,
        affine=place.affine,
        direction=place.direction,
        fastest_first=True,
        notes=notes + place.notes,
        companions=() if data is member else (data.name,),
    )


def _header(member: Member) -> tuple[Fields, int]:
    """The fields, of which ElementDataFile is the last, and where they end."""
    fields: Fields = {}
    at = 0
    with member.open() as stream:
        for _ in range(MAX_LINES):
            line = stream.readline(MAX_HEADER - at + 1)
            at += len(line)
            if at > MAX_HEADER:
                break
            if not line:
                raise broken("its MetaImage header has no field 'ElementDataFile'")
            name, equals, value = line.decode("utf-8", "replace").partition("=")
            name = name.strip()
            if not equals:
                continue
            if name in fields and name != "Comment":
                raise broken(f"its MetaImage header has two fields '{clean(name)}'")
            fields[name] = value.strip()
            if name == "ElementDataFile":
                return fields, at
    raise broken(f"its MetaImage header is longer than {MAX_HEADER // MIB} MiB or {MAX_LINES:,} lines")


def _field(fields: Fields, name: str) -> str:
    if name not in fields:
        raise broken(f"its MetaImage header has no field '{name}'")
    return fields[name]


def _whole(text: str, name: str) -> int:
    if not WHOLE.fullmatch(text):
        raise broken(f"'{clean(text)}' in field '{name}' of its MetaImage header is no whole number")
    return int(text)


def _true(fields: Fields, *names: str) -> bool:
    return any(fields.get(name, "").lower() in ("true", "t", "1") for name in names)


def _numbers(fields: Fields, names: Sequence[str], count: int) -> list[float] | None:
    """Numbers of the first of these fields that is there; None if none is."""
    name = next((name for name in names if name in fields), None)
    if name is None:
        return None
    parts = fields[name].split(None, count)
    try:
        numbers = [float(part) for part in parts]
    except ValueError as error:
        raise broken(f"'{clean(fields[name])}' in field '{name}' of its MetaImage header are no numbers") from error
    if len(numbers) != count:
        raise broken(f"field '{name}' of its MetaImage header has {len(numbers)} numbers, and {count} are needed")
    return numbers


def _sizes(fields: Fields) -> tuple[int, ...]:
    dimension = _whole(_field(fields, "NDims"), "NDims")
    if not 2 <= dimension <= MAX_AXES:
        raise broken(f"its MetaImage header declares {dimension} axes", f"use one with 2 to {MAX_AXES}")
    sizes = tuple(_whole(text, "DimSize") for text in _field(fields, "DimSize").split(None, MAX_AXES))
    if len(sizes) != dimension:
        raise broken(f"its MetaImage header declares {dimension} axes and {len(sizes)} sizes")
    check_sizes(sizes)
    return sizes


def _dtype(fields: Fields) -> np.dtype[Any]:
    name = _field(fields, "ElementType").upper().removesuffix("_ARRAY")
    if name not in TYPES:
        problem = f"its MetaImage type '{clean(name)}' is not a plain number"
        raise broken(problem, "save integers or floats of 8 to 64 bits", value=name)
    big = _true(fields, "BinaryDataByteOrderMSB", "ElementByteOrderMSB")
    return np.dtype((">" if big else "<") + TYPES[name])


def _data(member: Member, fields: Fields, others: Sequence[Member]) -> Member:
    """The file that the data is in.

    Raises:
        VolumeError: several, or one that was not handed in.
    """
    path = fields["ElementDataFile"]
    if path.upper() == "LOCAL":
        return member
    if not path or path.split(None, 1)[0].upper() == "LIST" or "%" in path:
        problem = f"'{clean(member.name)}' is a MetaImage header whose data is spread over several files"
        raise broken(problem, "save it as one .mha")
    found = companion(member, others, path)
    if found is None:
        problem = f"'{clean(member.name)}' is a MetaImage header whose data is in another file, '{shown(path)}'"
        raise broken(problem, "hand in header and data together, or save it as .mha")
    return found


def _decode(data: Member, fields: Fields, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Decode:
    skipped = _whole(fields.get("HeaderSize", "0"), "HeaderSize")
    if not -1 <= skipped <= MAX_SKIPPED:
        raise broken(f"its MetaImage header skips {skipped:,} bytes", "save it as .mha")
    if not _true({"BinaryData": "True", **fields}, "BinaryData"):
        return spelled(data, offset + max(0, skipped), dtype.newbyteorder("="), shape)
    if _true(fields, "CompressedData"):
        size = _whole(fields.get("CompressedDataSize", "0"), "CompressedDataSize")
        if data.nbytes is not None:
            check_present(offset + max(0, skipped) + size, data.nbytes)
        # Of a data file that is a .gz itself, the member's bytes are inflated ones already.
        if not isinstance(data, Wrapped) or offset > 0:
            data, offset = Packed(data.name, data.data, data, offset + max(0, skipped), "zlib"), 0
        return plain(data, offset, dtype, shape)
    if skipped == -1:
        needed = check_sizes(shape) * dtype.itemsize
        if data.nbytes is None:
            raise broken("its MetaImage header has the HeaderSize -1 and its data is compressed", "unpack it")
        data.check_holds(needed)
        return plain(data, data.nbytes - needed, dtype, shape)
    return plain(data, offset + skipped, dtype, shape)


def _affine(fields: Fields, dimension: int) -> Float64 | None:
    """(x, y, z, 1) -> mm in RAS+; None where the file says nothing, or has two axes only."""
    if dimension < 3 or not any(name in fields for name in (*ORIGIN, *DIRECTIONS, *SPACING)):
        return None
    spacing = np.array(_numbers(fields, SPACING, dimension) or [1.0] * dimension)
    origin = np.array(_numbers(fields, ORIGIN, dimension) or [0.0] * dimension)
    matrix = _numbers(fields, DIRECTIONS, dimension**2)
    # Row i is the direction of axis i.
    directions = np.eye(dimension) if matrix is None else np.array(matrix).reshape(dimension, dimension)
    unit = MILLIMETRES.get(fields.get("DistanceUnits", "mm").lower(), 1.0)
    affine = np.eye(4)
    with np.errstate(over="ignore", invalid="ignore"):
        affine[:3, :3] = directions[:3, :3].T * spacing[:3] * unit
        affine[:3, 3] = origin[:3] * unit
        return np.asarray(LPS_TO_RAS @ affine) if np.isfinite(affine).all() else np.full((4, 4), np.nan)


FORMAT = Format("MetaImage", (".mha", ".mhd with its data"), _recognises, _entries)
