"""What was handed in, as members: a file alone, several files, what a zip archive holds, what gzip or bzip2 wraps.

A member never is a path: what a file names beside itself cannot be reached from here.
"""

from __future__ import annotations

import bz2
import io
import mmap
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any, BinaryIO, TypeAlias

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.inflate import GzipFile, InflateError, decompressobj
from conv3d_core.volumes.limits import MAX_INFLATED_BYTES, MAX_MEMBERS, MIB, broken, check_present, shown

Data: TypeAlias = bytes | bytearray | memoryview | mmap.mmap

HEAD_BYTES = 1024
GZIP = b"\x1f\x8b"
BZIP2 = b"BZh"
ZIP = b"PK"
# A byte of deflated data holds at most 1032 bytes; of bzip2 no such number is known, so any size may be there.
MOST_DEFLATE = 1032
MAX_DIRECTORY = 16 * MIB
BUFFER = 1 << 18
PIECE = 1 << 16
# What the decompressors raise on damaged, cut-off, encrypted or exotic data; the last of a gzip head without end.
DAMAGED = (
    zipfile.BadZipFile, zlib.error, InflateError, EOFError, OSError, RuntimeError, ValueError, struct.error,
    OverflowError,
)  # fmt: skip


class Window(io.RawIOBase):
    """A read-only file over bytes that are not copied."""

    def __init__(self, data: Data) -> None:
        self._view = memoryview(data).cast("B")
        self._at = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where the next byte is read."""
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move; behind the end nothing is read."""
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        if start + offset < 0:
            # As a file does: zipfile relies on it in an archive that is all but empty.
            raise OSError(f"{start + offset} lies before the start")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: Any, /) -> int:
        """Fill a buffer as far as there are bytes."""
        target = memoryview(buffer).cast("B")
        part = self._view[self._at : self._at + len(target)]
        target[: len(part)] = part
        self._at += len(part)
        return len(part)


@contextmanager
def inflating(what: str) -> Iterator[None]:
    """Say of damaged compressed data that it is that.

    Raises:
        VolumeError: in place of what the decompressor raises.
    """
    try:
        yield
    except VolumeError:  # is a ValueError too
        raise
    except EOFError as error:
        raise broken(f"its {what} data is cut off") from error
    except DAMAGED as error:
        raise broken(f"its {what} data is damaged ({shown(str(error)) or type(error).__name__})") from error


@dataclass(frozen=True, eq=False)
class Member:
    """A file whose bytes are there.

    Attributes:
        name: to be shown, to find its natural order and what belongs together; never trusted for what it is.
        data: all of it.
    """

    name: str
    data: memoryview

    @property
    def nbytes(self) -> int | None:
        """How many bytes it has; None where only reading to the end would tell."""
        return len(self.data)

    @property
    def direct(self) -> bool:
        """Whether its bytes can be looked at in any order, without decompressing."""
        return True

    @cached_property
    def head(self) -> bytes:
        """The first 1024 bytes, or all if there are fewer."""
        with self.open() as stream:
            return stream.read(HEAD_BYTES)

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes one after the other. Whatever is read of it is bounded by what is asked for.

        Raises:
            VolumeError: inside, where compressed data turns out to be damaged or cut off.
        """
        yield io.BufferedReader(Window(self.data))

    def view(self) -> memoryview:
        """All its bytes.

        Raises:
            VolumeError: they are compressed, and damaged or more than may be inflated.
        """
        return self.data

    def check_holds(self, needed: int) -> None:
        """Refuse a size that these bytes cannot bear out, before anything is made of it.

        Raises:
            VolumeError: it is cut off, or its header lies.
        """
        check_present(needed, len(self.data))


@dataclass(frozen=True, eq=False)
class Zipped(Member):
    """A member of a zip archive; ``data`` is the whole archive."""

    archive: zipfile.ZipFile
    info: zipfile.ZipInfo

    @property
    def nbytes(self) -> int | None:
        """What the directory declares; reading stops there."""
        return self.info.file_size

    @property
    def direct(self) -> bool:
        """Never: also of a stored member the checksum is to be compared."""
        return False

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes, inflated as they are read; at the end its checksum is compared."""
        with inflating("zip"), self.archive.open(self.info) as stream:
            yield stream  # type: ignore[misc]  # typed as IO[bytes], which it is

    def view(self) -> memoryview:
        """All its bytes, inflated."""
        self.check_holds(0)
        with self.open() as stream:
            content = stream.read(self.info.file_size)
            stream.read(1)  # compares the checksum
        return memoryview(content)

    def check_holds(self, needed: int) -> None:
        """Refuse a size that its declared and its compressed size cannot bear out."""
        declared = self.info.file_size
        most = self.info.compress_size * (MOST_DEFLATE if self.info.compress_type else 1)
        if declared > MAX_INFLATED_BYTES:
            problem = f"member '{shown(self.name)}' declares {declared / MIB:,.0f} MiB"
            raise broken(problem, f"unpack it, and use a file of at most {MAX_INFLATED_BYTES // MIB:,} MiB")
        check_present(needed, min(declared, most))


@dataclass(frozen=True, eq=False)
class Inflated(Member):
    """Bytes that are known by decompressing only; ``data`` is what they are compressed in."""

    @property
    def nbytes(self) -> int | None:
        """Not known: what gzip says of it may lie."""
        return None

    @property
    def direct(self) -> bool:
        """Never."""
        return False

    def view(self) -> memoryview:
        """All its bytes, inflated, up to the limit."""
        content = bytearray()
        with self.open() as stream:
            while piece := stream.read(MIB):
                content += piece
                if len(content) > MAX_INFLATED_BYTES:
                    limit = f"use a file of at most {MAX_INFLATED_BYTES // MIB:,} MiB"
                    raise broken(f"it inflates to more than {MAX_INFLATED_BYTES // MIB:,} MiB", limit)
        return memoryview(content)


@dataclass(frozen=True, eq=False)
class Wrapped(Inflated):
    """What a gzip or bzip2 file holds; ``data`` is that file."""

    @property
    def method(self) -> str:
        """What it is wrapped in: "gzip" or "bzip2"."""
        return "gzip" if bytes(self.data[:2]) == GZIP else "bzip2"

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes, inflated as they are read; at the end the checksum is compared."""
        with _unpacked(io.BufferedReader(Window(self.data)), self.method) as stream:
            yield stream

    def check_holds(self, needed: int) -> None:
        """Refuse what not even the densest deflate data could bear out."""
        if self.method == "gzip":
            check_present(needed, len(self.data) * MOST_DEFLATE)


@dataclass(frozen=True, eq=False)
class Packed(Inflated):
    """What is compressed behind a header of another member.

    Attributes:
        source: that member; ``name`` and ``data`` are its own.
        offset: where the compressed data starts in it.
        method: "gzip", "bzip2", "deflate" without a head, or "zlib", of which gzip's own form is taken too.
    """

    source: Member
    offset: int
    method: str

    @contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its bytes, inflated as they are read; at the end the checksum is compared."""
        with self.source.open() as stream:
            with inflating(self.method):
                skip(stream, self.offset)
            with _unpacked(stream, self.method) as inflated:
                yield inflated

    def check_holds(self, needed: int) -> None:
        """Refuse what not even the densest deflate data could bear out."""
        present = self.source.nbytes
        if present is not None and self.method != "bzip2":
            check_present(needed, max(0, present - self.offset) * MOST_DEFLATE)


class _Deflated(io.RawIOBase):
    """The bytes of one zlib stream, which ends where it says; what follows is not looked at.

    Args:
        source: the compressed bytes.
        raw: whether they have neither zlib's head nor a checksum.
    """

    def __init__(self, source: BinaryIO, raw: bool) -> None:
        self._source = source
        # 32 more than the window: by its head, zlib's form or gzip's. Less than zero: neither.
        self._inflate = decompressobj(wbits=-zlib.MAX_WBITS if raw else 32 + zlib.MAX_WBITS)
        self._piece = b""

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any, /) -> int:
        target = memoryview(buffer).cast("B")
        while len(target) and not self._inflate.eof:
            # Also without more of the source there may be more of the result.
            found = self._inflate.decompress(self._piece, len(target))
            self._piece = self._inflate.unconsumed_tail
            if found:
                target[: len(found)] = found
                return len(found)
            if not self._piece and not self._inflate.eof:
                self._piece = self._source.read(PIECE)
                if not self._piece:
                    raise EOFError
        return 0


@contextmanager
def _unpacked(source: BinaryIO, method: str) -> Iterator[BinaryIO]:
    with inflating(method):
        if method == "gzip":
            # The mode is said because gzip would ask the source for its own, which may be no text.
            with GzipFile(fileobj=source, mode="rb") as stream:  # type: ignore[no-untyped-call]
                yield io.BufferedReader(stream, BUFFER)
        elif method == "bzip2":
            with bz2.BZ2File(source) as bzip2:
                yield io.BufferedReader(bzip2, BUFFER)
        else:
            yield io.BufferedReader(_Deflated(source, method == "deflate"), BUFFER)


def skip(stream: BinaryIO, nbytes: int) -> None:
    """Read so many bytes and drop them.

    Raises:
        EOFError: there are fewer.
    """
    while nbytes:
        piece = stream.read(min(nbytes, MIB))
        if not piece:
            raise EOFError
        nbytes -= len(piece)


def companion(header: Member, others: Sequence[Member], path: str) -> Member | None:
    """The one of the other members that a header names as its data's file, or None.

    Only the last part of that path counts: nothing is looked for but what was handed in.
    """
    last = _parts(path)[-1]
    found = [other for other in others if _parts(other.name)[-1] == last]
    if len(found) > 1:
        found = [other for other in found if _parts(other.name)[:-1] == _parts(header.name)[:-1]]
    return found[0] if len(found) == 1 else None


def _parts(path: str) -> list[str]:
    return path.replace("\\", "/").split("/")


def members_of(files: Sequence[tuple[str, Data]]) -> list[Member]:
    """The members of files: what is in a zip archive in its place, gzip and bzip2 unwrapped when read.

    Raises:
        VolumeError: too many of them, or a damaged or hostile archive.
    """
    members: list[Member] = []
    for name, data in files:
        view = memoryview(data).cast("B").toreadonly()
        if view[:2] == ZIP:
            members += _unzipped(view)
        elif view[:2] == GZIP or view[:3] == BZIP2:
            members.append(Wrapped(name, view))
        else:
            members.append(Member(name, view))
        if len(members) > MAX_MEMBERS:
            raise broken(f"it holds more than {MAX_MEMBERS:,} files", "hand in fewer at a time")
    return members


def natural(name: str) -> list[tuple[int, int | str]]:
    """A key that sorts "slice 2" before "slice 10".

    >>> sorted(["s10.png", "s2.png", "s1.png"], key=natural)
    ['s1.png', 's2.png', 's10.png']
    """
    parts = re.split(r"([0-9]{1,18})", name.lower())
    return [(0, int(part)) if part[:1].isdecimal() and part.isascii() else (1, part) for part in parts if part]


def _unzipped(data: memoryview) -> list[Member]:
    _check_directory(data)
    with inflating("zip"):
        archive = zipfile.ZipFile(io.BufferedReader(Window(data)))
    members: list[Member] = []
    for info in archive.infolist():
        if not info.filename:  # which zipfile itself would fall over
            raise broken("one of the members of its zip archive has no name", "zip the folder anew")
        if not info.is_dir() and not _is_litter(info.filename):
            _check_zipped(info)
            members.append(Zipped(info.filename, data, archive, info))
    return members


def _check_directory(data: memoryview) -> None:
    """Look at the end record, because zipfile makes an object of every entry before it can be asked how many."""
    start = max(0, len(data) - 22 - 2**16)
    tail = bytes(data[start:])
    at = tail.rfind(b"PK\x05\x06")
    count, size = struct.unpack_from("<HL", tail, at + 10) if 0 <= at <= len(tail) - 22 else (0, 0)
    if at >= 20 and tail[at - 20 : at - 16] == b"PK\x06\x07":
        # Of more than 65,535 entries, or larger than 4 GiB.
        raise broken("its zip archive is in the 64-bit form", "hand in fewer files at a time")
    if count > MAX_MEMBERS or size > MAX_DIRECTORY:
        raise broken(f"its zip archive declares {count:,} files in a directory of {size:,} bytes", "hand in fewer")


def _check_zipped(info: zipfile.ZipInfo) -> None:
    name = f"member '{shown(info.filename)}'"
    if info.flag_bits & 1:
        raise broken(f"{name} is encrypted", "save it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise broken(f"{name} is compressed with method {info.compress_type}", "use an ordinary zip (deflate)")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise broken(f"{name} is a link", "put the file itself into the zip")
    parts = re.split(r"[/\\]", info.filename)
    if ".." in parts or info.filename[:1] in "/\\" or ":" in parts[0]:
        raise broken(f"{name} points out of its archive", "zip the folder anew")


def _is_litter(name: str) -> bool:
    """What desktops put into archives beside the files."""
    last = name.rsplit("/", 1)[-1]
    return name.startswith("__MACOSX/") or last.startswith("._") or last in (".DS_Store", "Thumbs.db", "desktop.ini")
