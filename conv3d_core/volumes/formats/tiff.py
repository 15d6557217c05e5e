"""TIFF: stacks, ImageJ, OME, pyramids and plain pages. tifffile gets bytes, so that no file can name another one."""

from __future__ import annotations

import importlib.util
import io
import logging
import math
import re
import struct
import zlib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import ONE_PLANE, Block, Decode, Entry, Slices, in_place, plain
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.formats.jpeg_headers import COMMON, Frame, check_scans, jpeg_2000_size, jpeg_frame
from conv3d_core.volumes.formats.stacks import stacked, unreadable
from conv3d_core.volumes.formats.tiff_directories import Directories, directories
from conv3d_core.volumes.limits import (
    MAX_FRAMES,
    MAX_INFLATED_BYTES,
    MAX_VOLUME_BYTES,
    MIB,
    broken,
    check_dtype,
    check_present,
    check_sizes,
    clean,
    need,
    shown,
)
from conv3d_core.volumes.members import MOST_DEFLATE, Member, Window
from conv3d_core.volumes.volume import Spacing

if TYPE_CHECKING:
    from tifffile import TiffFile, TiffPage, TiffPageSeries

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
HEADER_BYTES = 8
NONE, LZW, JPEG, PACKBITS = 1, 5, 7, 32773
DEFLATE = (8, 32946)
JPEG_2000 = (33003, 33004, 33005, 34712)
ZSTANDARD = (34926, 50000)
# Most bytes that one byte of a compression can stand for. LZW: a code of 9 bits or more is a run of at most 4096.
# Zstandard: a block of at most 128 KiB takes 4 bytes or more.
MOST = {NONE: 1, LZW: 3641, PACKBITS: 64, **dict.fromkeys(DEFLATE, MOST_DEFLATE), **dict.fromkeys(ZSTANDARD, 32768)}
# The JPEG ones have no such number; their own header says what comes out.
PICTURES = (JPEG, *JPEG_2000)
# Of a strip or tile, which is decoded as a whole.
MAX_SEGMENT_BYTES = 512 * MIB
# A number of bits that NumPy has no type for has to be unpacked.
PLAIN_BITS = (1, 8, 16, 32, 64)
FLOATING_PREDICTORS = (3, 34894, 34895)
PALETTE, MIN_IS_WHITE, YCBCR = 3, 0, 6
# What these mean as numbers needs no word: the lesser or the greater is white, RGB, palette, mask.
PLAIN_COLOURS = (0, 1, 2, 3, 4)
# Axes of tifffile that a stack may run along, in the order in which one of them is taken as depth.
DEPTH_AXES = "ZQIRT"
# Kinds of TIFF that tifffile would look beside the file for, or whose own layout is not worth its risk: their pages
# are read as those of any TIFF.
NOT_ASKED = (
    "avs", "bif", "eer", "indica", "mdgel", "mmstack", "ndpi", "ndtiff", "nih", "philips", "qpi", "scanimage", "scn",
    "sis", "svs",
)  # fmt: skip
MILLIMETRES = {
    "nm": 1e-6, "nanometer": 1e-6, "um": 1e-3, "µm": 1e-3, "μm": 1e-3, "micron": 1e-3, "microns": 1e-3,
    "micrometer": 1e-3, "mm": 1.0, "millimeter": 1.0, "cm": 10.0, "centimeter": 10.0, "m": 1000.0, "meter": 1000.0,
    "inch": 25.4, "in": 25.4,
}  # fmt: skip
# tifffile trusts what it reads, and a damaged file makes it raise nearly anything; its own error is a ValueError.
DAMAGED = (
    ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, ArithmeticError, RuntimeError,
    MemoryError, EOFError, OSError, struct.error, zlib.error, ElementTree.ParseError,
)  # fmt: skip


class Axes(NamedTuple):
    """A series' axes as a volume's.

    Attributes:
        shape: of the entry.
        names: of its axes.
        order: which become D, H, W, then C.
        notes: what a user must know.
    """

    shape: tuple[int, ...]
    names: tuple[str, ...]
    order: tuple[int, ...]
    notes: tuple[str, ...]


def _entries(members: Sequence[Member], _others: Sequence[Member]) -> list[Entry]:
    left = MAX_INFLATED_BYTES
    planes: list[tuple[str, Entry]] = []
    series: list[Entry] = []
    several = len(members) > 1
    for member in members:
        try:
            data = member.view()
            own = _entries_of(member, data)
        except VolumeError as error:
            if not several:
                raise
            planes.append((member.name, unreadable("TIFF", member.name, error)))
            continue
        left -= 0 if member.direct else len(data)
        if left < 0:
            limit = f"{MAX_INFLATED_BYTES // MIB:,} MiB"
            raise broken(f"the compressed TIFF files hold more than {limit}", "hand in the unpacked files")
        if len(own) == 1:
            planes.append((member.name, replace(own[0], name=clean(member.name))))
        elif not several:
            series += own
        else:
            series += [replace(entry, name=f"{clean(member.name)}, {entry.name}") for entry in own]
    return stacked(planes) + series


def _entries_of(member: Member, data: memoryview) -> list[Entry]:
    entries = []
    with _opened(data) as (file, found):
        if not file.series:
            raise broken("it holds no image")
        _check_imagej(file, len(found.pages))
        spacings = _spacings(file)
        for number, series in enumerate(file.series):
            for level in range(len(series.levels)):
                entry = _entry(member, file, found, (number, level), spacings[number])
                called = clean(series.name) if not level else f"level {level}"
                entries.append(replace(entry, name=f"series {number} {called}".rstrip()))
    return entries


@contextmanager
def _opened(data: memoryview, known: Directories | None = None) -> Iterator[tuple[TiffFile, Directories]]:
    """The file, and its directories; those of a file that was opened before are not followed again."""
    import tifffile

    # What it would log of a damaged file is said by the error.
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)
    found = known or directories(data)
    flags: dict[str, Any] = {f"is_{kind}": False for kind in NOT_ASKED}
    if found.mixed:
        # Its pages are sorted into series by what they are; tifffile looks at three of them before it joins all.
        flags["is_uniform"] = False
    with _damage():
        # It looks for the other files that an OME header names only beside a file with a path.
        file = tifffile.TiffFile(io.BufferedReader(Window(data)), **flags)
        with file:
            _check_ome(file, len(found.pages))
            yield file, found


@contextmanager
def _damage() -> Iterator[None]:
    try:
        yield
    except VolumeError:  # is a ValueError too
        raise
    except DAMAGED as error:
        raise broken(f"its TIFF structure is damaged ({shown(str(error)) or type(error).__name__})") from error


def _check_ome(file: TiffFile, pages: int) -> None:
    """What the XML declares is made room for by tifffile before it is compared with the file."""
    if not file.is_ome:
        return
    planes = 0
    for item in ElementTree.fromstring(file.ome_metadata or "").iter():
        tag = item.tag.rsplit("}", 1)[-1]
        if tag == "Pixels":
            sizes = [int(item.get(f"Size{axis}", 1)) for axis in "ZCT"]
            planes += math.prod(sizes) if min(sizes) > 0 else MAX_FRAMES
        elif tag == "TiffData":
            given = item.get("PlaneCount", item.get("NumPlanes"))
            first = [int(item.get(f"First{axis}", 0)) for axis in "ZCT"]
            planes += int(given) if given is not None else 1 if "IFD" in item.attrib else pages
            planes += MAX_FRAMES * (given is not None and int(given) < 0) + max(first)
        elif tag.startswith("ModuloAlong") and "Start" in item.attrib:
            start, stop, step = (float(item.get(key, 1)) for key in ("Start", "End", "Step"))
            planes += int(abs((stop - start) / step))
        if planes > 10 * MAX_FRAMES:
            raise broken("its OME header declares more planes than any file has")


def _check_imagej(file: TiffFile, pages: int) -> None:
    """Of a large stack of ImageJ's, all planes behind one page, tifffile takes the first if the last is cut off."""
    declared = (file.imagej_metadata or {}).get("images") if file.is_imagej else None
    if pages != 1 or not isinstance(declared, int):
        return
    series = file.series[0]
    present = series.size // series.keyframe.size
    if present < declared:
        raise broken(f"it is cut off: its ImageJ header declares {declared:,} planes and {present:,} are there")


def _entry(
    member: Member, file: TiffFile, found: Directories, which: tuple[int, int], spacing: Spacing | None
) -> Entry:
    number, level = which
    series = file.series[number].levels[level]
    page = series.keyframe
    kind = "OME-TIFF" if file.is_ome else "ImageJ TIFF" if file.is_imagej else "TIFF"
    shape, letters = tuple(int(size) for size in series.get_shape(False)), series.get_axes(False)
    if page.dtype is None:
        bits = page.bitspersample
        refusal = broken(f"its numbers of {bits} bits are of a kind that is not read here", "save 8 to 64 bits")
        return _refused(kind, shape, np.dtype("V1"), letters, refusal)
    dtype: np.dtype[Any] = series.dtype
    try:
        check_dtype(dtype)
        check_sizes(shape)
        axes = _axes(shape, letters)
        with _damage(), np.errstate(divide="ignore", invalid="ignore"):  # a damaged tile of no width
            decode = _decoder(member, file.filehandle.size, series, found, which, axes.shape)
    except VolumeError as error:
        return _refused(kind, shape, dtype, letters, error)
    if level and spacing is not None:
        full = file.series[number]
        ratio = [_size(full, letter) / _size(series, letter) for letter in "YX"]
        spacing = (spacing[0], spacing[1] * ratio[0], spacing[2] * ratio[1])
    entry = Entry(
        kind=kind,
        shape=axes.shape,
        dtype=dtype,
        axes=axes.names,
        order=axes.order,
        decode=decode,
        spacing_mm=spacing,
        notes=axes.notes + _remarks(page),
        reduced=level > 0,
    )
    return _coloured(entry, page, file.is_imagej)


def _refused(kind: str, shape: tuple[int, ...], dtype: np.dtype[Any], letters: str, error: VolumeError) -> Entry:
    return Entry(kind=kind, shape=shape, dtype=dtype, axes=tuple(letters), order=(), refusal=error)


def _size(series: TiffPageSeries, letter: str) -> int:
    return int(series.get_shape(False)[series.get_axes(False).index(letter)])


def _axes(shape: tuple[int, ...], letters: str) -> Axes:
    """The axes of tifffile as (D, H, W, C). What is left beside depth, Y and X is channels."""
    if len(shape) != len(letters) or letters.count("Y") != 1 or letters.count("X") != 1:
        problem = f"a TIFF with axes {clean(letters)} is not a volume"
        raise VolumeError("file", problem, "save a stack Z Y X", value=letters)
    kept = [(letter, size) for letter, size in zip(letters, shape, strict=True) if size > 1 or letter in "YX"]
    rest = [index for index, (letter, _) in enumerate(kept) if letter not in "YX"]
    notes: tuple[str, ...] = ()
    depth = next((index for letter in DEPTH_AXES for index in rest if kept[index][0] == letter), None)
    if depth is None:
        channels = math.prod(size for letter, size in kept if letter == "C")
        hint = f"its {channels} C are read as channels: if they are planes, save them as Z"
        notes = (ONE_PLANE, hint) if channels > 1 else (ONE_PLANE,)
        kept = [("-", 1), *kept]
        rest = [index + 1 for index in rest]
        depth = 0
    else:
        rest.remove(depth)
        if kept[depth][0] == "T":
            notes = ("it has no depth: D is time",)
    names = tuple(letter for letter, _ in kept)
    order = (depth, names.index("Y"), names.index("X"), *rest)
    return Axes(tuple(size for _, size in kept), names, order, notes)


def _remarks(page: TiffPage) -> tuple[str, ...]:
    notes = []
    photometric = int(page.photometric)
    if photometric not in PLAIN_COLOURS and not (photometric == YCBCR and int(page.compression) == JPEG):
        name = clean(getattr(page.photometric, "name", str(photometric)))
        notes.append(f"its channels are {name}, and not turned into RGB")
    if any(int(extra) in (1, 2) for extra in page.extrasamples):
        notes.append("the last channel is alpha")
    orientation = page.tags.valueof(274)
    if orientation not in (None, 1):
        notes.append(f"read as stored: its orientation tag ({clean(str(orientation))}) is not applied")
    return tuple(notes)


def _coloured(entry: Entry, page: TiffPage, imagej: bool) -> Entry:
    """Apply what a page says of its numbers: that the least is white, or that they are places in a colour table."""
    photometric = int(page.photometric)
    if photometric == MIN_IS_WHITE and entry.dtype.kind in "bu":
        most = 2 ** int(page.bitspersample if isinstance(page.bitspersample, int) else 8) - 1
        note = (f"stored with 0 as white, and inverted: {most} minus the value",)
        return replace(entry, slope=-1.0, intercept=float(most), notes=entry.notes + note)
    table = page.tags.valueof(320)
    if photometric != PALETTE or table is None:
        return entry
    if imagej:
        return replace(entry, notes=(*entry.notes, "its colour table is for display, and is not applied"))
    colours = np.asarray(table, np.uint16).reshape(3, -1)
    if colours.shape[1] < 2 ** int(page.bitspersample) or entry.dtype.kind != "u":
        raise broken("its colour table is shorter than its numbers")
    if not (colours % 257).any():
        colours = (colours // 257).astype(np.uint8)
    if (colours == colours[0]).all():
        return replace(
            entry,
            dtype=colours.dtype,
            decode=_looked_up(entry.decode, colours[0]),
            notes=(*entry.notes, "its grey table is applied"),
        )
    last = len(entry.shape)
    return replace(
        entry,
        shape=(*entry.shape, 3),
        dtype=colours.dtype,
        axes=(*entry.axes, "RGB"),
        order=(*entry.order, last),
        decode=_looked_up(entry.decode, np.ascontiguousarray(colours.T)),
        notes=(*entry.notes, "its colour table is applied: C is red, green, blue"),
    )


def _looked_up(decode: Decode, table: NDArray[Any]) -> Decode:
    def look_up(wanted: Slices) -> Iterator[Block]:
        for where, values in decode(wanted[:-1] if table.ndim == 2 else wanted):
            yield ((*where, slice(0, 3)) if table.ndim == 2 else where), table[values]

    return look_up


def _decoder(
    member: Member,
    size: int,
    series: TiffPageSeries,
    found: Directories,
    which: tuple[int, int],
    shape: tuple[int, ...],
) -> Decode:
    page = series.keyframe
    if series.dataoffset is not None:
        if page.dtype is None or page.nbytes <= 0:
            raise broken("its first page is empty")
        if series.dataoffset < HEADER_BYTES:
            raise broken(f"its numbers lie at byte {series.dataoffset}, inside of its own header")
        dtype = page.dtype.newbyteorder(page.parent.byteorder)
        _check_same(series, found)
        return plain(member, int(series.dataoffset), dtype, shape)
    _check_codec(page)
    _check_same(series, found)
    plan = _Plan(series, shape)
    _check_borne_out(series, size)

    def decode(wanted: Slices) -> Iterator[Block]:
        number, level = which
        data = member.view()
        with _opened(data, found) as (file, _):
            again = file.series[number].levels[level]
            for place, item in plan.wanted(again, wanted):
                yield from _page(plan, item, again.keyframe, data, place, wanted)

    return decode


def _check_same(series: TiffPageSeries, found: Directories) -> None:
    """All pages of a series are stored as its first one is, by which tifffile decodes them."""
    expected = found.layouts.get(series.keyframe.offset)
    for page in series._pages:
        if page is None:
            raise broken("some of its planes lie in other files or are missing", "save the whole stack as one TIFF")
        if found.layouts.get(page.offset) != expected:
            raise broken("its pages differ in size, type or colours", "save pages of one kind")


def _check_codec(page: TiffPage) -> None:
    """Only compressions whose output can be bounded, and only with what decodes them."""
    compression, bits = int(page.compression), page.bitspersample
    if compression not in MOST and compression not in PICTURES:
        name = clean(getattr(page.compression, "name", str(compression)))
        remedy = "save it uncompressed or with deflate, LZW, Zstandard, JPEG or JPEG 2000"
        raise broken(f"its compression {name} is not read here", remedy, value=compression)
    if compression in (NONE, PACKBITS, *DEFLATE) and bits in PLAIN_BITS and page.predictor not in FLOATING_PREDICTORS:
        return
    name = clean(getattr(page.compression, "name", str(compression)))
    how = f"compression {name}" if compression != NONE else f"{bits} bits"
    need("imagecodecs", "imagecodecs", f"a TIFF with {how}")


class _Plan:
    """Where in an entry's shape the pages of a series lie, and where in a page its strips or tiles."""

    def __init__(self, series: TiffPageSeries, shape: tuple[int, ...]) -> None:
        page = series.keyframe
        self.shaped = tuple(int(size) for size in page.shaped)
        size = math.prod(self.shaped)
        split = next((at for at in range(len(shape) + 1) if math.prod(shape[at:]) == size), None)
        wide = [size for size in self.shaped if size > 1]
        if (
            split is None
            or math.prod(shape[:split]) != len(series)
            or [size for size in shape[split:] if size > 1] != wide
        ):
            raise broken("its pages do not fill the shape that its header declares", value=shape)
        self.lead, self.tail = shape[:split], shape[split:]
        # Which axis of a page, as (sample, depth, length, width, sample), is which of the tail's; sizes of 1 are none.
        axes = iter([axis for axis, size in enumerate(self.shaped) if size > 1])
        self._axes = [next(axes) if size > 1 else None for size in self.tail]

    def wanted(self, series: TiffPageSeries, wanted: Slices) -> Iterator[tuple[Slices, Any]]:
        """The pages of some slices, and the place of each."""
        lead = wanted[: len(self.lead)]
        for index in np.ndindex(*(part.stop - part.start for part in lead)):
            at = tuple(part.start + step for part, step in zip(lead, index, strict=True))
            number = int(np.ravel_multi_index(at, self.lead)) if at else 0
            yield tuple(slice(start, start + 1) for start in at), series[number]

    def place(self, start: Sequence[int], shape: Sequence[int]) -> tuple[Slices, Slices]:
        """A strip or tile, cut to the page: where it lies in the tail, and what of it that is."""
        sizes = (1, *shape)
        ends = [min(at + size, whole) for at, size, whole in zip(start, sizes, self.shaped, strict=True)]
        where = tuple(slice(0, 1) if axis is None else slice(start[axis], ends[axis]) for axis in self._axes)
        return where, tuple(slice(0, end - at) for at, end in zip(start[1:], ends[1:], strict=True))


def _page(
    plan: _Plan, page: Any, keyframe: TiffPage, data: memoryview, place: Slices, wanted: Slices
) -> Iterator[Block]:
    tail = wanted[len(place) :]
    if keyframe.is_final and keyframe.dtype is not None:
        dtype = keyframe.dtype.newbyteorder(keyframe.parent.byteorder)
        array = np.frombuffer(data, dtype, math.prod(plan.tail), int(page.dataoffsets[0])).reshape(plan.tail)
        ones = (1,) * len(place)
        for where, values in in_place(array)(tail):
            yield (*place, *where), values.reshape(ones + values.shape)
        return
    for index in range(len(page.dataoffsets)):
        _, start, shape = keyframe.decode(None, index)
        where, kept = plan.place(start, shape)
        if all(a.start < b.stop and b.start < a.stop for a, b in zip(where, tail, strict=True)):
            offset, length = int(page.dataoffsets[index]), int(page.databytecounts[index])
            values = _segment(page, keyframe, index, data[offset : offset + length], shape)[kept]
            sizes = (1,) * len(place) + tuple(part.stop - part.start for part in where)
            yield (*place, *where), values.reshape(sizes)


def _segment(page: Any, keyframe: TiffPage, index: int, packed: memoryview, shape: Sequence[int]) -> NDArray[Any]:
    """A decoded strip or tile."""
    compression = int(keyframe.compression)
    most = math.prod(shape)
    if compression in PICTURES:
        if compression == JPEG:
            check_scans(packed)
            size = _checked_frame(packed).size
        else:
            size = jpeg_2000_size(packed)
        if size.values > most:
            problem = f"one of its strips or tiles declares {size.width} x {size.height} x {size.samples} values"
            raise broken(f"{problem}, and has room for {most:,}", value=size)
    elif compression in DEFLATE and len(packed) * MOST_DEFLATE > MAX_VOLUME_BYTES:
        _check_inflated(packed, 2 * max(MIB, most * keyframe.dtype.itemsize if keyframe.dtype else 0))
    options: dict[str, Any] = {"jpegtables": page.jpegtables} if compression == JPEG else {}
    values = keyframe.decode(bytes(packed), index, **options)[0]
    if values is None:
        raise broken("one of its strips or tiles is empty")
    return values


def _checked_frame(packed: memoryview) -> Frame:
    frame = jpeg_frame(io.BufferedReader(Window(packed)))
    if frame.kind not in COMMON:
        remedy = "save it with deflate, LZW or Zstandard"
        raise broken(f"a TIFF with JPEG of process {frame.kind:X} is not read here", remedy, value=frame.kind)
    check_present(frame.least, len(packed))
    return frame


def _check_inflated(packed: memoryview, most: int) -> None:
    """Without imagecodecs, tifffile inflates whatever is there."""
    if importlib.util.find_spec("imagecodecs") is not None:
        return
    stream = zlib.decompressobj()
    left: bytes | memoryview = packed
    size = 0
    while len(left) and not stream.eof:
        size += len(stream.decompress(left, 2**24))
        left = stream.unconsumed_tail
        if size > most:
            raise broken(f"one of its strips inflates to more than {most // MIB} MiB")


def _check_borne_out(series: TiffPageSeries, present: int) -> None:
    """The bytes that the pages point at are there, once each, and enough for what the pages declare."""
    keyframe = series.keyframe
    count = math.prod(keyframe.chunked)
    _, _, shape = keyframe.decode(None, 0)
    if math.prod(shape) * series.dtype.itemsize > MAX_SEGMENT_BYTES:
        limit = f"save it in strips or tiles of at most {MAX_SEGMENT_BYTES // MIB} MiB"
        raise broken(f"one of its strips holds {math.prod(shape) * series.dtype.itemsize / MIB:,.0f} MiB", limit)
    spans: list[tuple[int, int]] = []
    for page in series:
        if page is None:
            raise broken("some of its planes lie in other files or are missing", "save the whole stack as one TIFF")
        offsets, lengths = page.dataoffsets, page.databytecounts
        if len(offsets) != count or len(lengths) != count:
            raise broken(f"one of its pages has {len(offsets)} strips or tiles of {count}")
        for offset, length in zip(offsets, lengths, strict=True):
            if offset <= 0 or length <= 0:
                raise broken("some of its strips or tiles are empty", "save it in full")
            check_present(int(offset) + int(length), present)
            spans.append((int(offset), int(length)))
    compression = int(keyframe.compression)
    distinct = _covered(spans)
    if compression in PICTURES:
        if distinct < sum(length for _, length in spans):
            raise broken("its strips or tiles share their bytes")
        return
    bits = keyframe.bitspersample
    per_value = bits if isinstance(bits, int) else min(bits)
    declared = len(series) * keyframe.size * int(per_value) // 8
    if declared > distinct * MOST[compression]:
        problem = f"its header declares {declared:,} bytes, and the {distinct:,} that are there cannot hold them"
        raise broken(problem, value=declared)


def _covered(spans: Iterable[tuple[int, int]]) -> int:
    """How many bytes lie in any of those (start, length)."""
    covered = end = 0
    for start, length in sorted(spans):
        covered += max(0, start + length - max(start, end))
        end = max(end, start + length)
    return covered


def _spacings(file: TiffFile) -> list[Spacing | None]:
    """(D, H, W) in mm of each series; None unless the file gives all three with a unit: a guess would look measured."""
    count = len(file.series)
    found: list[Spacing | None] = [None] * count
    if file.is_ome:
        ome = _ome_spacings(file.ome_metadata)
        if len(ome) == count:
            found = ome
    elif file.is_imagej:
        found[0] = _imagej_spacing(file)
    return [each if each is not None and all(0 < length < np.inf for length in each) else None for each in found]


def _ome_spacings(text: str | None) -> list[Spacing | None]:
    root = ElementTree.fromstring(text or "")
    return [_pixel_spacing(item) for item in root.iter() if item.tag.rsplit("}", 1)[-1] == "Pixels"]


def _pixel_spacing(pixels: ElementTree.Element) -> Spacing | None:
    lengths = []
    for letter in "ZYX":
        size = pixels.get(f"PhysicalSize{letter}")
        factor = MILLIMETRES.get(pixels.get(f"PhysicalSize{letter}Unit", "µm"))
        if size is None or factor is None:
            return None
        lengths.append(float(size) * factor)
    d, h, w = lengths
    return d, h, w


def _imagej_spacing(file: TiffFile) -> Spacing | None:
    metadata = file.imagej_metadata or {}
    # ImageJ writes the micro sign as the six letters \u00B5.
    unit = re.sub(r"\\u00b5", "µ", str(metadata.get("unit", "")), flags=re.IGNORECASE)
    factor = MILLIMETRES.get(unit)
    tags = file.pages.first.tags
    resolutions = [tags.get(name) for name in ("YResolution", "XResolution")]
    if factor is None or "spacing" not in metadata or None in resolutions:
        return None
    (h_voxels, h_units), (w_voxels, w_units) = (tag.value for tag in resolutions if tag is not None)
    if not h_voxels or not w_voxels:
        return None
    return float(metadata["spacing"]) * factor, h_units / h_voxels * factor, w_units / w_voxels * factor


FORMAT = Format(
    "TIFF", (".tif", ".tiff", ".ome.tif"), lambda member: member.head.startswith(MAGIC), _entries, together=True
)
