"""NRRD, its data behind the header or in a file that was handed in with it; turned to the closest LPS axes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from conv3d_core.volumes.entry import ONE_PLANE, Decode, Entry, plain, spelled
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.limits import MIB, broken, check_sizes, clean, shown
from conv3d_core.volumes.members import Member, Packed, Wrapped, companion
from conv3d_core.volumes.volume import Float64, Spacing
from conv3d_core.volumes.world import LPS_TO_RAS, MILLIMETRES, distances, turned

MAGIC = re.compile(rb"NRRD000[1-5]\r?\n")
# Of the header: what programs keep beside the fields, such as the segments of a segmentation, can be long.
MAX_HEADER = 4 * MIB
MAX_LINES = 100_000
MAX_AXES = 16
# Of lines and bytes between header and data.
MAX_SKIPPED_LINES = 100_000
MAX_SKIPPED = 64 * MIB
NUMBER = re.compile(r"-?[0-9]{1,18}")
VECTOR = re.compile(r"none|\([^()]*\)")
QUOTED = re.compile(r'"([^"]*)"')

TYPES = {
    "i1": ("signed char", "int8", "int8_t"),
    "u1": ("uchar", "unsigned char", "uint8", "uint8_t"),
    "i2": ("short", "short int", "signed short", "signed short int", "int16", "int16_t"),
    "u2": ("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"),
    "i4": ("int", "signed int", "int32", "int32_t"),
    "u4": ("uint", "unsigned int", "uint32", "uint32_t"),
    "i8": ("longlong", "long long", "long long int", "signed long long", "signed long long int", "int64", "int64_t"),
    "u8": ("ulonglong", "unsigned long long", "unsigned long long int", "uint64", "uint64_t"),
    "f4": ("float",),
    "f8": ("double",),
}
CODES = {name: code for code, names in TYPES.items() for name in names}
ENCODINGS = {
    "raw": "raw", "gzip": "gzip", "gz": "gzip", "bzip2": "bzip2", "bz2": "bzip2", "ascii": "text", "text": "text",
    "txt": "text", "hex": "hex",
}  # fmt: skip
# What turns a space into RAS. Those with time have a fourth number, which is no place.
LAS_TO_RAS = np.diag([-1.0, 1.0, 1.0, 1.0])
SPACES = {
    "right-anterior-superior": np.eye(4), "ras": np.eye(4), "left-anterior-superior": LAS_TO_RAS, "las": LAS_TO_RAS,
    "left-posterior-superior": LPS_TO_RAS, "lps": LPS_TO_RAS, "right-anterior-superior-time": np.eye(4),
    "rast": np.eye(4), "left-anterior-superior-time": LAS_TO_RAS, "last": LAS_TO_RAS,
    "left-posterior-superior-time": LPS_TO_RAS, "lpst": LPS_TO_RAS,
}  # fmt: skip
# Kinds of an axis along which one moves through space, or may: most files without directions do not say.
SPATIAL = ("domain", "space", "???", "none", "")

Fields = dict[str, str]
Vectors = list[list[float] | None]


class _Axes(NamedTuple):
    """The axes of a file, the fastest first as the file has them; which are x, y, z; where they lie."""

    names: tuple[str, ...]
    spatial: tuple[int, ...]
    affine: Float64 | None
    spacing: Spacing | None
    notes: tuple[str, ...]


def _entries(members: Sequence[Member], others: Sequence[Member]) -> list[Entry]:
    return [_entry(member, others) for member in members]


def _entry(member: Member, others: Sequence[Member]) -> Entry:
    fields, offset = _header(member)
    sizes = _sizes(fields)
    dtype = _dtype(fields)
    axes = _axes(fields, sizes)
    # As the array comes, what varies slowest is first.
    last = len(sizes) - 1
    shape, names = sizes[::-1], axes.names[::-1]
    order = [last - axis for axis in axes.spatial[::-1]]
    order += [axis for axis in range(len(sizes)) if axis not in order]
    data = _data(member, fields, others)
    decode = _decode(data, fields, 0 if data is not member else offset, dtype, shape)
    notes = axes.notes
    if len(axes.spatial) == 2:
        shape, names, order = (1, *shape), ("z", *names), [0, *(axis + 1 for axis in order)]
        decode, notes = _as_one_plane(decode), (ONE_PLANE, *notes)
    place = turned(axes.affine, shape, order)
    return Entry(
        kind="NRRD",
        shape=shape,
        dtype=dtype,
        axes=names,
        order=place.order,
        decode=decode,
        name=clean(member.name),
        flipped=place.flipped,
        spacing_mm=place.spacing_mm or axes.spacing,
        affine=place.affine,
        direction=place.direction,
        fastest_first=True,
        notes=notes + place.notes,
        companions=() if data is member else (data.name,),
    )


def _as_one_plane(decode: Decode) -> Decode:
    return lambda wanted: (((slice(0, 1), *where), values[None]) for where, values in decode(wanted[1:]))


def _header(member: Member) -> tuple[Fields, int]:
    """The fields by their names in small letters, and where the header ends."""
    fields: Fields = {}
    with member.open() as stream:
        at = len(stream.readline(16))
        for _ in range(MAX_LINES):
            line = stream.readline(MAX_HEADER - at + 1)
            at += len(line)
            if at > MAX_HEADER:
                break
            text = line.decode("utf-8", "replace").rstrip()
            if not text:
                # An empty line, or the end of the file: of a header without data there need be none.
                return fields, at
            name, colon, value = text.partition(":")
            # After "#" stands a comment, and what has ":=" is no field but somebody's own.
            if text[0] == "#" or not colon or value[:1] == "=":
                continue
            name = name.strip().lower()
            if name in fields:
                raise broken(f"its NRRD header has two fields '{clean(name)}'")
            fields[name] = value.strip()
    raise broken(f"its NRRD header is longer than {MAX_HEADER // MIB} MiB or {MAX_LINES:,} lines")


def _field(fields: Fields, name: str) -> str:
    if name not in fields:
        raise broken(f"its NRRD header has no field '{name}'")
    return fields[name]


def _whole(text: str, name: str) -> int:
    if not NUMBER.fullmatch(text):
        raise broken(f"'{clean(text)}' in field '{name}' of its NRRD header is no whole number")
    return int(text)


def _sizes(fields: Fields) -> tuple[int, ...]:
    dimension = _whole(_field(fields, "dimension"), "dimension")
    if not 1 <= dimension <= MAX_AXES:
        raise broken(f"its NRRD header declares {dimension} axes", f"use one with at most {MAX_AXES}")
    sizes = tuple(_whole(text, "sizes") for text in _field(fields, "sizes").split(None, MAX_AXES))
    if len(sizes) != dimension:
        raise broken(f"its NRRD header declares {dimension} axes and {len(sizes)} sizes")
    check_sizes(sizes)
    return sizes


def _dtype(fields: Fields) -> np.dtype[Any]:
    name = " ".join(_field(fields, "type").lower().split())
    if name not in CODES:
        problem = f"its NRRD type '{clean(name)}' is not a plain number"
        raise broken(problem, "save integers or floats of 8 to 64 bits", value=name)
    code = CODES[name]
    if code[1] == "1" or _encoding(fields) == "text":
        return np.dtype(code)
    endian = _field(fields, "endian").lower()
    if endian not in ("little", "big"):
        raise broken(f"its NRRD header has the endian '{clean(endian)}'", "use little or big")
    return np.dtype(("<" if endian == "little" else ">") + code)


def _encoding(fields: Fields) -> str:
    encoding = _field(fields, "encoding").lower()
    if encoding not in ENCODINGS:
        problem = f"its NRRD encoding '{clean(encoding)}' is not read here"
        raise broken(problem, "save it with encoding raw, gzip, bzip2, hex or text", value=encoding)
    return ENCODINGS[encoding]


def _data(member: Member, fields: Fields, others: Sequence[Member]) -> Member:
    """The file that the data is in.

    Raises:
        VolumeError: several, or one that was not handed in.
    """
    path = fields.get("data file", fields.get("datafile"))
    if path is None:
        return member
    words = path.split(None, 1)
    if not words or words[0].upper() == "LIST" or "%" in path:
        problem = f"'{clean(member.name)}' is a NRRD header whose data is spread over several files"
        raise broken(problem, "save it as one .nrrd with its data inside")
    found = companion(member, others, path)
    if found is None:
        problem = f"'{clean(member.name)}' is a NRRD header whose data is in another file, '{shown(path)}'"
        raise broken(problem, "hand in header and data together, or save it as one .nrrd with its data inside")
    return found


def _decode(data: Member, fields: Fields, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Decode:
    encoding = _encoding(fields)
    lines = _whole(_either(fields, "line skip", "lineskip"), "line skip")
    skipped = _whole(_either(fields, "byte skip", "byteskip"), "byte skip")
    if not 0 <= lines <= MAX_SKIPPED_LINES or not -1 <= skipped <= MAX_SKIPPED:
        problem = f"its NRRD header skips {lines:,} lines and {skipped:,} bytes"
        raise broken(problem, "save it with its data right behind the header")
    if lines:
        offset = _behind_lines(data, offset, lines)
    # Of a data file that is a .gz itself, the member's bytes are inflated ones already.
    unwrapped = offset == 0 and isinstance(data, Wrapped) and data.method == encoding
    if encoding in ("gzip", "bzip2") and not unwrapped:
        data, offset = Packed(data.name, data.data, data, offset, encoding), 0
    if skipped == -1:
        offset = _at_the_end(data, encoding, dtype, shape)
    else:
        offset += skipped
    if encoding in ("text", "hex"):
        return spelled(data, offset, dtype, shape, 16 if encoding == "hex" else 10)
    return plain(data, offset, dtype, shape)


def _either(fields: Fields, name: str, other: str) -> str:
    return fields.get(name, fields.get(other, "0"))


def _behind_lines(data: Member, offset: int, lines: int) -> int:
    with data.open() as stream:
        stream.read(offset)
        for _ in range(lines):
            line = stream.readline(MAX_SKIPPED)
            offset += len(line)
            if not line.endswith(b"\n") or offset > MAX_SKIPPED:
                raise broken(f"its NRRD header skips {lines:,} lines, and its data has no such lines")
    return offset


def _at_the_end(data: Member, encoding: str, dtype: np.dtype[Any], shape: tuple[int, ...]) -> int:
    """A byte skip of -1: the data is the last of the file, whatever comes before it."""
    needed = check_sizes(shape) * dtype.itemsize
    if encoding != "raw" or data.nbytes is None:
        raise broken("its NRRD header has the byte skip -1 with compressed data", "unpack it, or use a byte skip >= 0")
    data.check_holds(needed)
    return data.nbytes - needed


def _axes(fields: Fields, sizes: tuple[int, ...]) -> _Axes:
    """Which axes run through space: those with a direction; else those whose kind does not say something else.

    Raises:
        VolumeError: fewer than two of them.
    """
    kinds = [kind.lower() for kind in fields.get("kinds", "").split(None, MAX_AXES)]
    kinds = kinds if len(kinds) == len(sizes) else [""] * len(sizes)
    vectors = _vectors(fields, len(sizes))
    if vectors is not None:
        candidates = [axis for axis, vector in enumerate(vectors) if vector is not None and any(vector[:3])]
    else:
        candidates = [axis for axis, kind in enumerate(kinds) if kind in SPATIAL]
    if len(candidates) < 2:
        problem = f"a NRRD array {sizes} with {len(candidates)} axes through space is not a volume"
        raise broken(problem, "save one with three axes of kind space or domain", value=sizes)
    spatial = tuple(candidates[:3])
    names = tuple(
        "xyz"[spatial.index(axis)] if axis in spatial else "c" if kinds[axis] in SPATIAL else clean(kinds[axis])
        for axis in range(len(sizes))
    )
    if len(spatial) == 2:
        return _Axes(names, spatial, None, None, ())
    if vectors is None:
        spacing, notes = _spacing(fields, spatial, len(sizes))
        return _Axes(names, spatial, None, spacing, notes)
    return _placed(fields, names, spatial, vectors)


def _vectors(fields: Fields, dimension: int) -> Vectors | None:
    """The field "space directions": a vector for each axis, None where it does not run through space."""
    text = fields.get("space directions")
    if text is None:
        return None
    found = VECTOR.findall(text.lower())
    if len(found) != dimension:
        raise broken(f"its NRRD header declares {dimension} axes and {len(found)} space directions")
    return [None if vector == "none" else _numbers(vector) for vector in found]


def _numbers(vector: str) -> list[float]:
    parts = vector.strip().removeprefix("(").removesuffix(")").split(",", MAX_AXES)
    try:
        return [float(part) for part in parts]
    except ValueError as error:
        raise broken(f"'{clean(vector)}' in its NRRD header is no vector") from error


def _placed(fields: Fields, names: tuple[str, ...], spatial: tuple[int, ...], vectors: Vectors) -> _Axes:
    factors = _factors(fields.get("space units", ""), range(3))
    if factors is None:
        unit = clean(fields["space units"])
        return _Axes(names, spatial, None, None, (f"its space units {unit} are no lengths: read without spacing",))
    affine = np.full((4, 4), np.nan)
    affine[3] = 0, 0, 0, 1
    columns = [*(vectors[axis] or [] for axis in spatial), _numbers(fields.get("space origin", "(0,0,0)"))]
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        for column, vector in enumerate(columns):
            # A fourth number is time.
            if len(vector) in (3, 4):
                affine[:3, column] = np.array(vector[:3]) * factors
        x, y, z = (float(length) for length in np.linalg.norm(affine[:3, :3], axis=0))
        to_ras = SPACES.get(fields.get("space", "").lower())
        if to_ras is not None:
            return _Axes(names, spatial, to_ras @ affine, None, ())
    space = clean(fields.get("space", ""))
    problem = f"its space '{space}' names no side of the body" if space else "its header names no space"
    return _Axes(names, spatial, None, distances(z, y, x), (f"{problem}: axes are read as stored",))


def _spacing(fields: Fields, spatial: tuple[int, ...], dimension: int) -> tuple[Spacing | None, tuple[str, ...]]:
    """The field "spacings", where there are no directions."""
    parts = fields.get("spacings", "").split(None, MAX_AXES)
    if len(parts) != dimension:
        return None, ()
    factors = _factors(fields.get("units", ""), spatial)
    if factors is None:
        return None, (f"its units {clean(fields['units'])} are no lengths: read without spacing",)
    x, y, z = (_numbers(parts[axis])[0] * factor for axis, factor in zip(spatial, factors, strict=True))
    return distances(z, y, x), ()


def _factors(units: str, axes: Sequence[int]) -> list[float] | None:
    """Millimetres in the unit of each of these axes; None if one of them is no length.

    Without units they are millimetres, as every viewer reads them.
    """
    names = [name.strip().lower() for name in QUOTED.findall(units)]
    factors = [MILLIMETRES.get(names[axis] or "mm") if axis < len(names) else 1.0 for axis in axes]
    found = [factor for factor in factors if factor is not None]
    return found if len(found) == len(axes) else None


FORMAT = Format("NRRD", (".nrrd", ".nhdr with its data"), lambda member: bool(MAGIC.match(member.head)), _entries)
