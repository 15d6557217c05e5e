""".npy and .npz, by their headers: nothing is ever unpickled."""

from __future__ import annotations

import io
import struct
import tokenize
import zipfile
import zlib
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.layout import numpy_layout, to_float32
from conv3d_core.volumes.limits import broken, check_dtype, check_present, check_size, shown
from conv3d_core.volumes.volume import Volume

# The header is a Python literal, so a hostile one raises whatever literal_eval and dtype() raise.
BAD_HEADER = (
    ValueError, TypeError, KeyError, IndexError, SyntaxError, EOFError, OverflowError, RecursionError, MemoryError,
    tokenize.TokenError,
)  # fmt: skip
# What zipfile raises on damaged, encrypted or exotic archives.
BAD_ZIP = (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, OSError, ValueError, struct.error)
MAX_DIRECTORY = 2**20
LISTED = 8


class Header(NamedTuple):
    """What an .npy file says of itself; ``offset`` is where its data begins."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype[Any]
    offset: int

    def __str__(self) -> str:
        return f"{self.dtype} {self.shape}"


def read_npy(data: bytes, name: str) -> Volume:
    """The volume in an .npy file.

    Raises:
        VolumeError: a damaged, cut-off or too large file, or values that are not real numbers.
    """
    header = _header(io.BytesIO(data))
    return _volume(header, data, name, "NumPy .npy")


def read_npz(data: bytes, name: str, member: str | None = None) -> Volume:
    """The only array of an .npz file, its only 3-D or 4-D one, or the ``member`` asked for.

    Raises:
        VolumeError: no such array, several to choose from, or a file as `read_npy` refuses it.
    """
    _check_directory(data)
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = {info.filename.removesuffix(".npy"): info for info in archive.infolist() if _is_array(info)}
            headers = {key: _member_header(archive, info) for key, info in entries.items()}
            key = _choose(headers, member)
            header = headers[key]
            content = _bounded(archive, entries[key], header)
    except VolumeError:  # is a ValueError too
        raise
    except BAD_ZIP as error:
        raise broken(f"its zip archive is damaged ({shown(str(error))})") from error
    return _volume(header, content, name, f"NumPy .npz, member '{shown(key)}'")


def _header(stream: IO[bytes]) -> Header:
    try:
        version = npy.read_magic(stream)
        # Version 3 exists for structured arrays with names beyond Latin-1, which are refused anyway.
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        if version not in ((1, 0), (2, 0)):
            raise broken(f"version {version[0]}.{version[1]} of .npy is not read here", "save it with numpy.save")
        shape, fortran, dtype = read(stream)
    except VolumeError:
        raise
    except BAD_HEADER as error:
        raise broken(f"its .npy header is damaged ({shown(str(error))})") from error
    return Header(shape, fortran, dtype, stream.tell())


def _count(header: Header) -> int:
    """Number of elements, if the array is one that is read."""
    if header.dtype.hasobject:
        raise broken("it holds Python objects, and reading those would run code from the file", "save numbers only")
    check_dtype(header.dtype)
    return check_size(header.shape)


def _volume(header: Header, data: bytes, name: str, kind: str) -> Volume:
    count = _count(header)
    check_present(count * header.dtype.itemsize, len(data) - header.offset)
    values = np.frombuffer(data, header.dtype, count, header.offset)
    array, axes, notes = numpy_layout(values.reshape(header.shape, order="F" if header.fortran else "C"))
    result, losses = to_float32(array)
    dtype = header.dtype.newbyteorder("=").name
    source = f"{kind}, {dtype} {header.shape} read as {axes}"
    return Volume(result, name, dtype=dtype, source=source, notes=notes + losses)


def _check_directory(data: bytes) -> None:
    """Look at the end record, because zipfile makes an object of every entry before it can be asked how many."""
    at = data.rfind(b"PK\x05\x06")
    size = int.from_bytes(data[at + 12 : at + 16], "little") if at >= 0 else 0
    if size > MAX_DIRECTORY or data.rfind(b"PK\x06\x07", 0, max(at, 0)) == at - 20 >= 0:
        raise broken("its zip directory is larger than that of any set of arrays", "save the one array with numpy.save")


def _is_array(info: zipfile.ZipInfo) -> bool:
    return info.filename.endswith(".npy") and not info.is_dir()


def _check_member(info: zipfile.ZipInfo) -> None:
    if info.flag_bits & 1:
        raise broken(f"member '{shown(info.filename)}' is encrypted", "save it without a password")
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise broken(
            f"member '{shown(info.filename)}' is compressed with method {info.compress_type}",
            "use numpy.savez or numpy.savez_compressed",
        )


def _member_header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> Header:
    _check_member(info)
    with archive.open(info) as stream:
        return _header(stream)


def _choose(headers: dict[str, Header], member: str | None) -> str:
    listed = "; ".join(f"'{shown(key)}' {header}" for key, header in list(headers.items())[:LISTED])
    if len(headers) > LISTED:
        listed += f"; and {len(headers) - LISTED} more"
    if not headers:
        raise broken("its zip archive holds no .npy array", "use numpy.savez")
    if member is not None:
        key = member.removesuffix(".npy")
        if key not in headers:
            raise VolumeError("member", f"there is no '{shown(member)}'", f"choose one of {listed}", value=member)
        return key
    if len(headers) == 1:
        return next(iter(headers))
    candidates = [key for key, header in headers.items() if len(header.shape) in (3, 4) and not header.dtype.hasobject]
    if len(candidates) == 1:
        return candidates[0]
    count = f"{len(candidates)} of its {len(headers)} arrays could be" if candidates else "none of its arrays is"
    raise VolumeError("member", f"{count} the volume", f"name one of {listed}", value=tuple(headers))


def _bounded(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: Header) -> bytes:
    """As many bytes as the array's header declares: a member that inflates to more is not inflated further."""
    wanted = header.offset + _count(header) * header.dtype.itemsize
    check_present(wanted, info.file_size)
    with archive.open(info) as stream:
        content = stream.read(wanted)
        # Reading on to the end makes zipfile compare the checksum.
        stream.read(1)
    check_present(wanted, len(content))
    return content
