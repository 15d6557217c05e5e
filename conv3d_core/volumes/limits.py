"""What a file may ask of this machine, decided from its header before anything is allocated."""

from __future__ import annotations

import math
import unicodedata
import zlib
from collections.abc import Sequence

import numpy as np

from conv3d_core.errors import VolumeError

MAX_VOLUME_BYTES = 512 * 2**20
MAX_NAME = 80
MIB = 2**20
GZIP = b"\x1f\x8b"
FIRST_PIECE = 128


def shown(name: str) -> str:
    r"""A file's name, fit to be shown: the last part of a path, without control characters, cut to 80.

    >>> shown("../secret/scan\x1b[31m.nii")
    'scan[31m.nii'
    """
    last = name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    clean = "".join(letter for letter in last if not unicodedata.category(letter).startswith("C"))
    return clean if len(clean) <= MAX_NAME else clean[: MAX_NAME - 3] + "..."


def broken(problem: str, remedy: str = "save or copy it again", **fields: object) -> VolumeError:
    """The error of a file that is not what its header says."""
    return VolumeError("file", problem, remedy, **fields)  # type: ignore[arg-type]


def check_size(shape: Sequence[int]) -> int:
    """Number of elements of a declared shape, in Python's integers, which cannot overflow.

    Raises:
        VolumeError: a size below 1, or more than `MAX_VOLUME_BYTES` as float32.
    """
    sizes = tuple(int(size) for size in shape)
    if any(size < 1 for size in sizes):
        raise broken(f"the declared shape {sizes} holds no voxel", "use a volume whose sizes are all >= 1", value=sizes)
    elements = math.prod(sizes)
    if 4 * elements > MAX_VOLUME_BYTES:
        raise broken(
            f"the declared shape {sizes} needs {4 * elements / MIB:,.0f} MiB as float32",
            f"crop or reduce it to at most {MAX_VOLUME_BYTES // MIB} MiB first",
            value=sizes,
        )
    return elements


def check_dtype(dtype: np.dtype[np.generic]) -> None:
    """Let real numbers of up to 8 bytes pass.

    Raises:
        VolumeError: complex, structured, object, text, date or extended precision values.
    """
    if dtype.kind == "c":
        raise broken(f"{dtype} values are complex", "save the magnitude or the real part as float32", value=str(dtype))
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        problem = f"{dtype} values are not plain numbers"
        raise broken(problem, "save integers or floats of 8 to 64 bits", value=str(dtype))


def check_present(needed: int, present: int) -> None:
    """Refuse a file that ends before its data does.

    Raises:
        VolumeError: fewer bytes present than needed.
    """
    if present < needed:
        raise broken(f"it is cut off: its header declares {needed:,} bytes and {present:,} are there", value=present)


def inflate(data: bytes, limit: int) -> bytes:
    """The first ``limit`` bytes of gzip data (of all its members), never more than that in memory.

    Where the data ends within the limit its checksum is verified.

    Raises:
        VolumeError: damaged or cut-off gzip data.
    """
    # Fed piece by piece: zlib hands back what lies behind a member's end as a copy, and there may be a million members.
    view = memoryview(data)
    parts: list[bytes] = []
    left, at = limit, 0
    while view[at : at + 2] == GZIP:
        stream = zlib.decompressobj(wbits=31)
        length = FIRST_PIECE
        while not stream.eof:
            piece = view[at : at + length]
            if not piece:
                raise broken("its gzip data is cut off", value=len(data))
            try:
                # One byte more lets zlib reach the checksum behind the last byte wanted.
                part = stream.decompress(piece, left + 1)
            except zlib.error as error:
                raise broken(f"its gzip data is damaged ({error})") from error
            if len(part) > left:
                return b"".join([*parts, part[:left]])
            # Fewer bytes than asked for: all of the piece has been read.
            parts.append(part)
            left -= len(part)
            at += len(piece)
            length = min(2 * length, MIB)
        at -= len(stream.unused_data)
    return b"".join(parts)
