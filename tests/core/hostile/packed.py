"""Few bytes that stand for many, made without compressing the many."""

from __future__ import annotations

import bz2
import gzip
import io
import struct
import zipfile
import zlib
from functools import cache

MIB = 2**20


def zeros_deflated(mebibytes: int, before: bytes = b"") -> bytes:
    """Raw deflated data of some bytes, and then so many MiB of zeros: blocks that begin at a byte can be repeated."""
    press = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    start = press.compress(before) + press.flush(zlib.Z_FULL_FLUSH)
    return start + _mebibyte() * mebibytes + press.flush()


@cache
def _mebibyte() -> bytes:
    press = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return press.compress(bytes(MIB)) + press.flush(zlib.Z_FULL_FLUSH)


def zeros_gzip(mebibytes: int, before: bytes = b"") -> bytes:
    """As a gzip file; its checksum is wrong, which nobody should come to see."""
    return b"\x1f\x8b\x08\0\0\0\0\0\0\xff" + zeros_deflated(mebibytes, before) + bytes(8)


def zeros_zlib(mebibytes: int, before: bytes = b"") -> bytes:
    """As a zlib stream, its checksum wrong likewise."""
    return b"\x78\xda" + zeros_deflated(mebibytes, before) + bytes(4)


@cache
def _many_zeros() -> bytes:
    return bz2.compress(bytes(45_000_000))


def zeros_bzip2(gigabytes: int, before: bytes = b"") -> bytes:
    """Streams one behind the other are one file; 45 MB of zeros take 45 bytes."""
    return bz2.compress(before) + _many_zeros() * (gigabytes * 1000 // 45 + 1)


def zipped(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """An ordinary archive."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, content in members:
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return file.getvalue()


def zip_of(
    *members: tuple[bytes, bytes, int],
    method: int = 8,
    flags: int = 0,
    attributes: int = 0,
    at: int | None = None,
) -> bytes:
    """An archive whose directory says what it is told: of each member (name, deflated bytes, declared size).

    Args:
        members: their data is stored as it is given.
        method: of compression, as declared.
        flags: of each member, 1 is encrypted.
        attributes: Unix's mode, in the upper half.
        at: the place of every member, where all of them are to share one.
    """
    body, directory = b"", b""
    for name, data, size in members:
        local = struct.pack("<4s5H3L2H", b"PK\3\4", 20, flags, method, 0, 0, 0, len(data), size, len(name), 0)
        place = len(body) if at is None else at
        directory += struct.pack(
            "<4s6H3L5H2L", b"PK\1\2", 3 << 8 | 20, 20, flags, method, 0, 0, 0, len(data), size, len(name), 0, 0, 0, 0,
            attributes, place,
        ) + name  # fmt: skip
        if at is None or not body:
            body += local + name + data
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, len(members), len(members), len(directory), len(body), 0)
    return body + directory + end


def gzipped(data: bytes) -> bytes:
    """An ordinary file, the same each time."""
    return gzip.compress(data, mtime=0)
