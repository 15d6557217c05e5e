"""Where the numbers of an HDF5 dataset lie, and how they are packed.

The library says where; the bytes are then taken and unpacked here, because its filters inflate a chunk to any size. It
unpacks no more than szip, whose chunks say how large they are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import lru_cache, partial
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from conv3d_core.volumes.chunks import (
    Buffer,
    Pipeline,
    Step,
    check_grid,
    check_work,
    counts,
    inflated,
    over_chunks,
    unshuffled,
)
from conv3d_core.volumes.entry import Block, Decode, Slices, plain
from conv3d_core.volumes.formats.hdf5_headers import compact, fill_value
from conv3d_core.volumes.limits import broken, check_dtype, check_present, check_sizes
from conv3d_core.volumes.members import Member

DEFLATE, SHUFFLE, FLETCHER32, SZIP, LZF = 1, 2, 3, 4, 32000
CHECKSUM_BYTES = 4
MAX_SZIP_LINE = 4_096
NEVER_WRITTEN = "none of its values was ever written"
# Of all datasets of a file, whose lists of chunks may be one and the same.
MAX_ALL_CHUNKS = 1_000_000
# A word's weight in Fletcher's second sum is its distance from the end: so many stay within 64 bits.
FLETCHER_WORDS = 2**20

# Gives the dataset again, of a file that is opened for it.
Reopen = Callable[[], AbstractContextManager[Any]]


class Place(NamedTuple):
    """Where a chunk lies.

    Attributes:
        offset: of its first byte.
        nbytes: that are stored.
        mask: of filters that were left out, by their bits.
    """

    offset: int
    nbytes: int
    mask: int


class Filter(NamedTuple):
    """A step of packing.

    Attributes:
        code: its number, as the HDF Group gives them.
        values: its parameters.
    """

    code: int
    values: tuple[int, ...]


class Contents:
    """The bytes of a file, and where chunks lie in them.

    Args:
        view: all of it.
    """

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self._left = MAX_ALL_CHUNKS

    def places(self, dataset: Any, chunk: Sequence[int], grid: Sequence[int]) -> dict[tuple[int, ...], Place]:
        """Of each chunk that was written and is inside.

        Raises:
            VolumeError: one lies behind the end, or all datasets together have too many.
        """
        places: dict[tuple[int, ...], Place] = {}
        end = 0

        def take(found: Any) -> bool | None:
            nonlocal end
            self._left -= 1
            index = tuple(int(at) // step for at, step in zip(found.chunk_offset, chunk, strict=False))
            if len(index) == len(grid) and all(at < count for at, count in zip(index, grid, strict=True)):
                places[index] = Place(int(found.byte_offset), int(found.size), int(found.filter_mask))
                end = max(end, places[index].offset + places[index].nbytes)
            return True if self._left < 0 else None

        dataset.chunk_iter(take)
        if self._left < 0:
            raise broken(f"it has more than {MAX_ALL_CHUNKS:,} chunks", "put the volume into a file of its own")
        check_present(end, len(self.view))
        return places


def number_type(dataset: Any) -> np.dtype[Any]:
    """What its numbers are.

    Raises:
        VolumeError: anything but plain numbers in whole bytes, or booleans.
    """
    from h5py import h5t

    kind = dataset.get_type()
    plain_kinds = {h5t.INTEGER: "integers", h5t.FLOAT: "floats", h5t.BITFIELD: "bits", h5t.ENUM: "names for numbers"}
    if kind.get_class() not in plain_kinds:
        others = {
            h5t.STRING: "text",
            h5t.COMPOUND: "records or complex numbers",
            h5t.REFERENCE: "references",
            h5t.VLEN: "lists",
            h5t.ARRAY: "arrays",
        }
        problem = f"its values are {others.get(kind.get_class(), 'of another kind')}"
        raise broken(problem, "save integers or floats of 8 to 64 bits")
    dtype: np.dtype[Any] = np.dtype(kind.dtype)
    check_dtype(dtype)
    if kind.get_class() == h5t.ENUM and dtype.kind != "b":
        raise broken("its values are names for numbers (an enumeration)", "save the numbers")
    if kind.get_class() == h5t.BITFIELD:
        usual = [getattr(h5t, f"STD_B{bits}{order}") for bits in (8, 16, 32, 64) for order in ("LE", "BE")]
    else:
        usual = [h5t.py_create(dtype)]
    whole = dtype.kind == "b" or any(kind.equal(each) for each in usual)
    if not whole:
        raise broken(f"its {dtype.name} values are packed in an unusual way", "save them as ordinary numbers")
    return dtype


def storage(
    dataset: Any, address: int, dtype: np.dtype[Any], shape: tuple[int, ...], contents: Contents, reopen: Reopen
) -> tuple[Decode, tuple[str, ...]]:
    """How to decode a dataset, and notes.

    Raises:
        VolumeError: its values are in another file, never were written, or are packed in a way not read here.
    """
    from h5py import h5d

    properties = dataset.get_create_plist()
    layout = properties.get_layout()
    if layout == h5d.CHUNKED:
        fill = np.frombuffer(fill_value(contents.view, address, dtype.itemsize), dtype).reshape(())
        return _chunked(dataset, properties, fill, shape, contents, reopen)
    needed = check_sizes(shape) * dtype.itemsize
    stored = int(dataset.get_storage_size())
    if not stored:
        raise broken(NEVER_WRITTEN, "save it after the values are in")
    check_present(needed, stored)
    if layout == h5d.COMPACT:
        # Lies in the header, in at most 64 KiB.
        return plain(Member("", memoryview(compact(contents.view, address))), 0, dtype, shape), ()
    offset = dataset.get_offset()
    if layout != h5d.CONTIGUOUS or offset is None:
        raise broken(NEVER_WRITTEN, "save it after the values are in")
    return plain(Member("", contents.view), int(offset), dtype, shape), ()


def check_local(dataset: Any) -> None:
    """Refuse values that are in other files. Nothing else may be asked of a dataset before.

    Raises:
        VolumeError: a virtual dataset, or external storage.
    """
    from h5py import h5d

    properties = dataset.get_create_plist()
    if properties.get_layout() == h5d.VIRTUAL or properties.get_external_count():
        raise broken("its values are in other files, which are not looked at", "save them in the file itself")


def _chunked(
    dataset: Any, properties: Any, fill: Any, shape: tuple[int, ...], contents: Contents, reopen: Reopen
) -> tuple[Decode, tuple[str, ...]]:
    dtype: np.dtype[Any] = fill.dtype
    chunk = tuple(int(size) for size in properties.get_chunk())
    total = check_grid(shape, chunk, dtype.itemsize)
    filters = tuple(
        Filter(int(found[0]), tuple(int(value) for value in found[2]))
        for found in (properties.get_filter(at) for at in range(properties.get_nfilters()))
    )
    nbytes = math.prod(chunk) * dtype.itemsize
    _check_filters(filters, dtype.itemsize)
    places = contents.places(dataset, chunk, counts(shape, chunk))
    if not places:
        raise broken(NEVER_WRITTEN, "save it after the values are in")
    notes: tuple[str, ...] = ()
    if len(places) < total:
        notes = (f"{total - len(places):,} of its {total:,} chunks are missing and hold its fill value {fill}",)
    pipeline = lru_cache(lambda mask: _pipeline(filters, mask, nbytes))

    def read(again: Any, index: tuple[int, ...], wanted: Slices) -> Iterable[Block] | None:
        place = places.get(index)
        if place is None:
            return None
        data = contents.view[place.offset : place.offset + place.nbytes]
        if any(step.code == SZIP for step in _applied(filters, place.mask)):
            _check_szip(data, nbytes)
            start = [at * step for at, step in zip(index, chunk, strict=True)]
            where = tuple(slice(a + part.start, a + part.stop) for a, part in zip(start, wanted, strict=True))
            return [(wanted, np.asarray(again[where]))]
        values = np.frombuffer(pipeline(place.mask)(data), dtype).reshape(chunk)
        return [(tuple(slice(0, size) for size in chunk), values)]

    def decode(wanted: Slices) -> Iterator[Block]:
        check_work(chunk, dtype.itemsize, wanted)
        with reopen() if any(step.code == SZIP for step in filters) else nullcontext() as again:
            yield from over_chunks(shape, chunk, dtype, fill, partial(read, again))(wanted)

    return decode, notes


def _check_szip(data: memoryview, nbytes: int) -> None:
    """The library makes room for what the first bytes say."""
    declared = int.from_bytes(data[:4], "little")
    if len(data) < 4 or declared != nbytes:
        raise broken(f"one of its chunks declares {declared:,} bytes, and {nbytes:,} are to come out of it")


# ---- filters


def _check_filters(filters: Sequence[Filter], itemsize: int) -> None:
    from h5py import h5z

    codes = [found.code for found in filters]
    for code in codes:
        if code not in (DEFLATE, SHUFFLE, FLETCHER32, SZIP, LZF):
            problem = f"its filter {code} is not read here"
            raise broken(problem, "save it with gzip, for instance with h5repack -f GZIP=4", value=code)
    packed = [code for code in codes if code in (DEFLATE, SZIP, LZF)]
    if len(packed) > 1 or len(codes) > 4 or (packed and SHUFFLE in codes[codes.index(packed[0]) :]):
        raise broken(f"its filters {codes} come in an unusual order", "save it with shuffle and gzip")
    if SZIP in codes:
        if FLETCHER32 in codes[: codes.index(SZIP)]:
            raise broken(f"its filters {codes} come in an unusual order", "save it with shuffle and gzip")
        if not h5z.filter_avail(SZIP):
            raise broken("it is compressed with szip, which this h5py cannot read", "save it with gzip")
        _, block, bits, line, *_ = (*filters[codes.index(SZIP)].values, 0, 0, 0, 0)
        # With others the library divides by 0.
        if not (2 <= block <= 32 and block % 2 == 0 and bits == 8 * itemsize and block <= line <= MAX_SZIP_LINE):
            raise broken("its szip parameters make no sense", value=(block, bits, line))


def _applied(filters: Sequence[Filter], mask: int) -> list[Filter]:
    return [found for at, found in enumerate(filters) if not mask >> at & 1]


def _pipeline(filters: Sequence[Filter], mask: int, size: int) -> Pipeline:
    steps: list[tuple[Step, int | None]] = []
    nbytes: int | None = size
    for found in _applied(filters, mask):
        if found.code == SHUFFLE:
            steps.append((_unshuffling(found.values), nbytes))
        elif found.code == FLETCHER32:
            steps.append((_summed, nbytes))
            nbytes = None if nbytes is None else nbytes + CHECKSUM_BYTES
        else:
            steps.append((inflated if found.code == DEFLATE else unlzf, nbytes))
            nbytes = None
    return Pipeline(tuple(reversed(steps)), size)


def _unshuffling(values: Sequence[int]) -> Step:
    itemsize = values[0] if values else 1
    return (lambda data, _: unshuffled(data, itemsize)) if itemsize > 1 else (lambda data, _: data)


def _summed(data: Buffer, _size: int) -> Buffer:
    """What stands before its checksum. HDF5 before 1.6.3 wrote its two halves turned round on some machines."""
    view = memoryview(data)
    if len(view) < CHECKSUM_BYTES:
        raise EOFError("it is cut off")
    kept, found = view[:-CHECKSUM_BYTES], int.from_bytes(view[-CHECKSUM_BYTES:], "little")
    total = fletcher32(kept)
    turned = (total >> 8 & 0x00FF00FF) | (total << 8 & 0xFF00FF00)
    if found not in (total, turned):
        raise ValueError("its checksum does not match")
    return kept


def fletcher32(data: Buffer) -> int:
    """The checksum of HDF5's filter 3: over 16-bit words, the first byte counting more.

    >>> hex(fletcher32(b"abcdef"))
    '0x50562a2d'
    """
    words: NDArray[Any] = np.frombuffer(bytes(data) + bytes(len(data) % 2), ">u2")
    first = second = 0
    for start in range(0, len(words), FLETCHER_WORDS):
        part = words[start : start + FLETCHER_WORDS].astype(np.int64)
        second += first * len(part) + int((part * np.arange(len(part), 0, -1)).sum())
        first += int(part.sum())
    # Modulo 65535, where what is not 0 ends as 65535.
    first, second = ((total - 1) % 65535 + 1 if total else 0 for total in (first, second))
    return second << 16 | first


def unlzf(data: Buffer, size: int) -> bytes:
    """LZF data, at most a copy more than it should have.

    >>> unlzf(b"\\x00a\\x60\\x00\\x01bc", 8)
    b'aaaaaabc'
    """
    source = bytes(data)
    result = bytearray()
    at, end = 0, len(source)
    while at < end and len(result) <= size:
        control = source[at]
        at += 1
        if control < 32:
            result += source[at : at + control + 1]
            at += control + 1
            continue
        length = control >> 5
        if length == 7:
            length += source[at] if at < end else 0
            at += 1
        length += 2
        back = ((control & 31) << 8 | (source[at] if at < end else 0)) + 1
        at += 1
        start = len(result) - back
        if start < 0:
            raise ValueError("it points before its start")
        piece = result[start : start + length]
        # Where it reaches into itself it goes on with what it has just written.
        result += piece if len(piece) == length else (piece * (length // back + 1))[:length]
    if at > end:
        raise EOFError("it is cut off")
    return bytes(result)
