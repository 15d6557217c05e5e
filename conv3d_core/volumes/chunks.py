"""Arrays stored in chunks: only those that are wanted are decoded, and none to more bytes than a chunk has."""

from __future__ import annotations

import bz2
import itertools
import lzma
import math
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import Block, Decode, Slices
from conv3d_core.volumes.inflate import InflateError, decompressobj
from conv3d_core.volumes.limits import MIB, broken, clean, need

Buffer: TypeAlias = bytes | bytearray | memoryview
Step: TypeAlias = Callable[[Buffer, int], Buffer]
# Gives the blocks of the chunk of that number, as far as wanted, counted from its own start; None where it is missing.
ReadChunk: TypeAlias = Callable[[tuple[int, ...], Slices], Iterable[Block] | None]

MAX_CHUNK_BYTES = 256 * MIB
MAX_CHUNKS = 100_000
# Of all chunks that one reading touches: a minute's work, also where a few bytes declare them.
MAX_DECODED_BYTES = 64 * 2**30
MAX_LZMA_MEMORY = 128 * MIB
# What stored bytes may have beyond eight times a chunk's: filters may widen its numbers, and compressors add a frame.
SLACK = 64 * 1024
# What the decompressors raise on damaged data.
DAMAGED = (ValueError, TypeError, RuntimeError, OSError, EOFError, struct.error, InflateError, lzma.LZMAError)


def check_grid(shape: Sequence[int], chunk: Sequence[int], itemsize: int) -> int:
    """The number of chunks, before one of them is looked for.

    Raises:
        VolumeError: chunks that do not fit the array, are too large or too many.
    """
    shown = " x ".join(map(str, chunk))
    if len(chunk) != len(shape) or any(size < 1 for size in chunk):
        raise broken(f"chunks of {shown or 'no axis'} do not fit an array {tuple(shape)}", value=tuple(chunk))
    nbytes = math.prod(chunk) * itemsize
    if nbytes > MAX_CHUNK_BYTES:
        remedy = f"save it in chunks of at most {MAX_CHUNK_BYTES // MIB} MiB"
        raise broken(f"its chunks of {shown} need {nbytes / MIB:,.0f} MiB each", remedy, value=tuple(chunk))
    count = math.prod(counts(shape, chunk))
    if count > MAX_CHUNKS:
        remedy = f"save it in at most {MAX_CHUNKS:,}, for instance of 64 x 64 x 64"
        raise broken(f"chunks of {shown} cut it into {count:,} pieces", remedy, value=tuple(chunk))
    return count


def counts(shape: Sequence[int], chunk: Sequence[int]) -> tuple[int, ...]:
    """How many chunks lie along each axis.

    >>> counts((5, 4), (2, 4))
    (3, 1)
    """
    return tuple(-(-size // step) for size, step in zip(shape, chunk, strict=True))


def check_work(chunk: Sequence[int], itemsize: int, wanted: Slices) -> None:
    """Refuse to decode for hours.

    Raises:
        VolumeError: the chunks that are touched have too many bytes.
    """
    nbytes = math.prod(map(len, _touched(chunk, wanted))) * math.prod(chunk) * itemsize
    if nbytes > MAX_DECODED_BYTES:
        problem = f"{nbytes / 2**30:,.0f} GiB would have to be decoded"
        raise broken(problem, f"read a box of at most {MAX_DECODED_BYTES // 2**30} GiB", value=nbytes)


def over_chunks(shape: Sequence[int], chunk: Sequence[int], dtype: np.dtype[Any], fill: Any, read: ReadChunk) -> Decode:
    """Decode an array chunk by chunk; a missing one holds ``fill`` everywhere."""
    empty = np.asarray(fill, dtype)

    def decode(wanted: Slices) -> Iterator[Block]:
        for index in itertools.product(*_touched(chunk, wanted)):
            start = [at * step for at, step in zip(index, chunk, strict=True)]
            stop = [min(at + step, size) for at, step, size in zip(start, chunk, shape, strict=True)]
            inside = tuple(
                slice(max(part.start, a) - a, min(part.stop, b) - a)
                for part, a, b in zip(wanted, start, stop, strict=True)
            )
            blocks = read(index, inside)
            if blocks is None:
                blocks = [(inside, np.broadcast_to(empty, [part.stop - part.start for part in inside]))]
            for where, values in blocks:
                # A chunk at the end of an axis reaches over it.
                kept = tuple(
                    slice(part.start, min(part.stop, b - a)) for part, a, b in zip(where, start, stop, strict=True)
                )
                if all(part.start < part.stop for part in kept):
                    place = tuple(slice(a + part.start, a + part.stop) for a, part in zip(start, kept, strict=True))
                    yield place, values[tuple(slice(0, part.stop - part.start) for part in kept)]

    return decode


def _touched(chunk: Sequence[int], wanted: Slices) -> list[range]:
    return [range(part.start // step, -(-part.stop // step)) for part, step in zip(wanted, chunk, strict=True)]


@dataclass(frozen=True)
class Pipeline:
    """What turns the stored bytes of a chunk into its numbers' bytes.

    Attributes:
        steps: each with the number of bytes that come out of it, if that is known, in the order of decoding.
        nbytes: of a decoded chunk.
    """

    steps: tuple[tuple[Step, int | None], ...]
    nbytes: int

    def __call__(self, data: Buffer) -> Buffer:
        """The numbers' bytes.

        Raises:
            VolumeError: damaged, or another number of bytes than a chunk has.
        """
        if len(data) > 8 * self.nbytes + SLACK:
            raise broken(f"one of its chunks has {len(data):,} bytes, and {self.nbytes:,} are to come out of it")
        for step, size in self.steps:
            try:
                data = step(data, self.nbytes if size is None else size)
            except VolumeError:  # is a ValueError too
                raise
            except DAMAGED as error:
                raise broken(f"one of its chunks is damaged ({clean(str(error)) or type(error).__name__})") from error
            if size is not None:
                _check_length(data, size)
        _check_length(data, self.nbytes)
        return data


def _check_length(data: Buffer, size: int) -> None:
    if len(data) != size:
        raise broken(f"one of its chunks holds {len(data):,} bytes, and {size:,} are declared", value=len(data))


def inflated(data: Buffer, size: int, wbits: int = zlib.MAX_WBITS) -> bytes:
    """Deflated data, at most one byte more than it should have; gzip may follow gzip.

    >>> inflated(zlib.compress(bytes(1000)), 10) == bytes(11)
    True
    """
    result = b""
    rest = bytes(data)
    while True:
        stream = decompressobj(wbits)
        result += stream.decompress(rest, size + 1 - len(result))
        if len(result) > size:
            return result
        if not stream.eof:
            raise EOFError("it is cut off")
        rest = stream.unused_data
        if wbits <= zlib.MAX_WBITS or not rest.startswith(b"\x1f\x8b"):
            return result


def ungzipped(data: Buffer, size: int) -> bytes:
    """As `inflated`, of gzip's form."""
    return inflated(data, size, 16 + zlib.MAX_WBITS)


def unbzipped(data: Buffer, size: int) -> bytes:
    """As `inflated`, of bzip2."""
    stream = bz2.BZ2Decompressor()
    return _whole(stream, stream.decompress(data, size + 1), size)


def unlzma(data: Buffer, size: int) -> bytes:
    """As `inflated`, of xz or the older .lzma."""
    stream = lzma.LZMADecompressor(memlimit=MAX_LZMA_MEMORY)
    return _whole(stream, stream.decompress(data, size + 1), size)


def _whole(stream: Any, result: bytes, size: int) -> bytes:
    if not stream.eof and len(result) <= size:
        raise EOFError("it is cut off")
    return result


def unblosc(data: Buffer, size: int) -> Buffer:
    """A Blosc chunk, whose header says what it needs."""
    head = bytes(data[:16])
    if len(head) < 16:
        raise EOFError("it is cut off")
    nbytes, _, stored = struct.unpack_from("<3I", head, 4)
    # The library itself would read behind the end of what is cut off.
    if stored != len(data) or nbytes != size:
        raise ValueError(f"Blosc declares {nbytes:,} bytes in {stored:,}")
    tool = need("numcodecs.blosc", "numcodecs", "Blosc data")
    return _filled(tool.decompress, data, size)


def unzstd(data: Buffer, size: int) -> Buffer:
    """A Zstandard frame, whose header may say what it needs; never more than fits is written."""
    declared = _zstd_size(bytes(data[:18]))
    if declared not in (None, size):
        raise ValueError(f"Zstandard declares {declared:,} bytes")
    tool = need("numcodecs.zstd", "numcodecs", "Zstandard data")
    return _filled(tool.decompress, data, size)


def _zstd_size(head: bytes) -> int | None:
    if head[:4] != b"\x28\xb5\x2f\xfd" or len(head) < 6:
        raise ValueError("it does not start as Zstandard data does")
    flags = head[4]
    single = flags >> 5 & 1
    length = (single, 2, 4, 8)[flags >> 6]
    at = 5 + (1 - single) + (0, 1, 2, 4)[flags & 3]
    field = head[at : at + length]
    return int.from_bytes(field, "little") + (256 if length == 2 else 0) if length else None


def unlz4(data: Buffer, size: int) -> Buffer:
    """An LZ4 block behind its size."""
    if len(data) < 4 or int.from_bytes(data[:4], "little") != size:
        raise ValueError(f"LZ4 declares {int.from_bytes(data[:4], 'little'):,} bytes")
    tool = need("numcodecs.lz4", "numcodecs", "LZ4 data")
    return _filled(tool.decompress, data, size)


def _filled(decompress: Callable[[Any, Any], Any], data: Buffer, size: int) -> Buffer:
    target = np.empty(size, np.uint8)
    decompress(data, target)
    return target.data


def unshuffled(data: Buffer, itemsize: int) -> Buffer:
    """Bytes that were put together by their place in a number; those left over at the end are as they were.

    >>> bytes(unshuffled(b"acebdf!", 2))
    b'abcdef!'
    """
    count = len(data) // itemsize
    array = np.frombuffer(data, np.uint8)
    whole = array[: count * itemsize].reshape(itemsize, count).T
    return np.concatenate([whole.ravel(), array[count * itemsize :]]).data


# Each with the module it needs, if it is not in the standard library.
COMPRESSORS: dict[str, tuple[Step, str]] = {
    "zlib": (inflated, ""),
    "gzip": (ungzipped, ""),
    "bz2": (unbzipped, ""),
    "lzma": (unlzma, ""),
    "blosc": (unblosc, "numcodecs.blosc"),
    "zstd": (unzstd, "numcodecs.zstd"),
    "lz4": (unlz4, "numcodecs.lz4"),
}
