"""The pixels of a DICOM file: frame by frame, from plain numbers, run lengths, JPEG, JPEG-LS or JPEG 2000."""

from __future__ import annotations

import math
import re
import struct
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conv3d_core.volumes.entry import plain
from conv3d_core.volumes.formats import dicom_header as dicom
from conv3d_core.volumes.formats.dicom_header import Elements, Header
from conv3d_core.volumes.limits import MAX_FRAMES, broken, check_sizes, clean, need

Array = NDArray[Any]

# Of a frame that has to be decoded as a whole.
MAX_FRAME_SAMPLES = 64 * 2**20
MAX_FRAGMENTS = 1_000_000
MAX_TILES = 65_535  # a JPEG 2000 codestream can number no more
NATIVE = (dicom.IMPLICIT, dicom.EXPLICIT, dicom.DEFLATED, dicom.BIG_ENDIAN)
RLE = "1.2.840.10008.1.2.5"
JPEG = {
    "1.2.840.10008.1.2.4.50": "JPEG baseline",
    "1.2.840.10008.1.2.4.51": "JPEG extended",
}
JPEG_LOSSLESS = {
    "1.2.840.10008.1.2.4.57": "JPEG lossless",
    "1.2.840.10008.1.2.4.70": "JPEG lossless",
}
JPEG_LS = {
    "1.2.840.10008.1.2.4.80": "JPEG-LS",
    "1.2.840.10008.1.2.4.81": "JPEG-LS",
}
JPEG_2000 = {
    "1.2.840.10008.1.2.4.90": "JPEG 2000",
    "1.2.840.10008.1.2.4.91": "JPEG 2000",
}
CODECS = JPEG | JPEG_LOSSLESS | JPEG_LS | JPEG_2000
# Which of pydicom's decoders, so that it does not depend on what else is installed.
PLUGINS = (
    dict.fromkeys(JPEG, "pillow")
    | dict.fromkeys(JPEG_LOSSLESS, "gdcm")
    | dict.fromkeys(JPEG_LS, "pyjpegls")
    | dict.fromkeys(JPEG_2000, "pillow")
)
# The start-of-frame markers each of them may have: no progressive JPEG, which can take any number of passes.
FRAME_MARKERS = (
    dict.fromkeys(JPEG, (0xC0, 0xC1)) | dict.fromkeys(JPEG_LOSSLESS, (0xC3,)) | dict.fromkeys(JPEG_LS, (0xF7,))
)
# Every start of a frame that there is, and what else stands in the header of a lossless one.
FRAMES_START = (*(0xC0 + number for number in range(16) if number not in (4, 8, 12)), 0xF7)
HUFFMAN, SCAN_START, ADOBE = 0xC4, 0xDA, 0xEE
HARMLESS = (*range(0xE0, 0xEE), 0xEF, 0xDD, 0xFE)  # of applications, the restart interval, comments
GREY = ("MONOCHROME1", "MONOCHROME2")
COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
# What pydicom and the codecs below it raise on damaged data.
DAMAGED = (
    RuntimeError, ValueError, TypeError, KeyError, IndexError, AttributeError, OverflowError, EOFError, OSError,
    SyntaxError, NotImplementedError, struct.error, MemoryError, ZeroDivisionError,
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Table:
    """A look-up table: what stands for the values from ``first`` on; those outside are what its ends are."""

    first: int
    values: Array
    bits: int

    def __call__(self, stored: Array) -> Array:
        """The values that stand for these."""
        index = np.clip(stored.astype(np.int64) - self.first, 0, len(self.values) - 1)
        found: Array = self.values[index]
        return found


@dataclass(frozen=True, eq=False)
class Pixels:
    """How a file's pixels are stored.

    Attributes:
        header: of the file.
        frames: how many.
        rows: of a frame.
        columns: of a frame.
        samples: of a pixel, as stored.
        allocated: bits of a sample.
        stored: how many of them count.
        high: which is the highest of those.
        signed: whether negative ones are possible.
        photometric: "MONOCHROME2".
        planar: whether samples lie in planes.
        palette: of red, green and blue.
        lookup: of the values that the machine meant, in place of a slope.
        notes: what a user must know.
    """

    header: Header
    frames: int
    rows: int
    columns: int
    samples: int
    allocated: int
    stored: int
    high: int
    signed: bool
    photometric: str
    planar: bool
    palette: tuple[Table, ...] = ()
    lookup: Table | None = None
    notes: tuple[str, ...] = field(default=())

    @property
    def floats(self) -> bool:
        """Whether samples are floating point numbers."""
        return self.header.tag != dicom.PIXEL_DATA

    @property
    def sample(self) -> np.dtype[Any]:
        """Of a sample as stored, in the file's byte order."""
        kind = "f" if self.floats else "i" if self.signed else "u"
        return np.dtype(f"{'<' if self.header.little else '>'}{kind}{max(1, self.allocated // 8)}")

    @property
    def dtype(self) -> np.dtype[Any]:
        """Of a sample as it comes out."""
        tables = self.palette or ((self.lookup,) if self.lookup else ())
        return tables[0].values.dtype if tables else self.sample.newbyteorder("=")

    @property
    def channels(self) -> int:
        """Of a pixel as it comes out."""
        return 3 if self.palette else self.samples

    @property
    def native(self) -> bool:
        """Whether pixels are plain numbers."""
        return self.header.syntax in NATIVE

    @property
    def mirror(self) -> int | None:
        """The sum of the smallest and the largest value, where white is the smallest; subtracted from it, it is not."""
        if self.photometric != "MONOCHROME1" or self.floats:
            return None
        bits = self.lookup.bits if self.lookup else self.stored
        return -1 if self.signed and not self.lookup else 2**bits - 1

    @property
    def bits(self) -> int:
        """Of all frames, as plain numbers."""
        samples = 2 if self.photometric == "YBR_FULL_422" and self.samples == 3 else self.samples
        return self.frames * self.rows * self.columns * samples * self.allocated

    def check(self) -> None:
        """Refuse what cannot be read, from the header alone.

        Raises:
            VolumeError: an unknown kind of pixels, or fewer bytes than they need.
        """
        check_sizes((self.frames, self.rows, self.columns, self.samples))
        self._check_kind()
        header = self.header
        if self.native:
            needed = -(-self.bits // 8)
            if header.length is None:
                raise broken("its pixels are in fragments, although its transfer syntax is not a compressed one")
            if header.length < needed:
                problem = f"it is cut off: its header declares {needed:,} bytes of pixels and has {header.length:,}"
                raise broken(problem, value=header.length)
            header.member.check_holds(header.offset + needed)
            return
        if header.length is not None:
            raise broken("its pixels are not in fragments, although its transfer syntax is a compressed one")
        # The table of offsets, and of every frame at least an item of two bytes.
        header.member.check_holds(header.offset + 8 + 10 * self.frames)
        if self.rows * self.columns * self.samples > MAX_FRAME_SAMPLES:
            raise broken(f"a compressed frame of {self.rows} x {self.columns} pixels is larger than is read here")
        if header.syntax in JPEG_LOSSLESS:
            need("gdcm", "python-gdcm", "JPEG lossless DICOM")
        if header.syntax in JPEG_LS:
            need("jpeg_ls", "pyjpegls", "JPEG-LS DICOM")
        if header.syntax == "1.2.840.10008.1.2.4.51" and self.stored > 8:
            remedy = "convert it, with dcmtk's dcmdjpeg for example"
            raise broken("JPEG extended of 12 bits is not read here", remedy)

    def _check_kind(self) -> None:
        if self.frames > MAX_FRAMES:
            raise broken(f"{self.frames:,} frames are more than the {MAX_FRAMES:,} that are read here")
        if self.header.syntax not in (*NATIVE, RLE, *CODECS):
            name = clean(dicom.uid_in_words(self.header.syntax))
            remedy = "save it uncompressed, or as JPEG 2000"
            raise broken(f"its transfer syntax ({name}) is not read here", remedy, value=self.header.syntax)
        if self.floats:
            right = self.allocated in (32, 64) and self.samples == 1 and self.native
            if not right:
                raise broken(f"{self.allocated} bits of {self.samples} samples are no floating point pixels")
        elif self.allocated == 1:
            if self.samples != 1 or not self.native:
                raise broken("pixels of 1 bit are read only uncompressed, and of one sample")
        elif self.allocated not in (8, 16, 32, 64):
            remedy = "use 1, 8, 16, 32 or 64 bits allocated"
            raise broken(f"pixels of {self.allocated} bits are not read here", remedy, value=self.allocated)
        if not 1 <= self.stored <= self.allocated or not self.stored - 1 <= self.high < self.allocated:
            problem = f"{self.stored} bits stored up to bit {self.high} of {self.allocated} are not possible"
            raise broken(problem)
        kinds = GREY if self.samples == 1 and not self.palette else COLOURS
        if self.samples not in (1, 3) or (self.photometric not in kinds and not self.palette):
            problem = f"pixels of {self.samples} samples, '{clean(self.photometric)}', are not read here"
            raise broken(problem, "save it as MONOCHROME2 or RGB", value=self.photometric)
        if "YBR" in self.photometric and self.native and (self.allocated != 8 or self.photometric[4:8] != "FULL"):
            raise broken(f"uncompressed pixels of {self.allocated} bits in {self.photometric} are not read here")
        if self.photometric == "YBR_FULL_422" and self.native and self.columns % 2:
            raise broken(f"YBR_FULL_422 of {self.columns} columns, an odd number, is not possible")

    def blocks(self, wanted: Sequence[int], rows: slice, columns: slice) -> Iterator[tuple[int, slice, slice, Array]]:
        """Frames, or parts of them: (frame, rows, columns, values); values are (rows, columns, channels).

        They reach at least over the rows and columns that are asked for.

        Raises:
            VolumeError: damaged data.
        """
        if self._simple:
            yield from self._plain(wanted, rows, columns)
            return
        if self.rows * self.columns * self.samples > MAX_FRAME_SAMPLES:
            raise broken(f"a frame of {self.rows} x {self.columns} pixels of this kind is larger than is read here")
        frames = self._native if self.native else self._compressed
        for frame, values in frames(wanted):
            yield frame, slice(0, self.rows), slice(0, self.columns), self._looked_up(values)

    @property
    def _simple(self) -> bool:
        """Whether each value stands for itself."""
        swapped = not self.header.little and self.allocated == 8 and self.header.vr == b"OW"
        return self.native and self.allocated >= 8 and not self.planar and "YBR" not in self.photometric and not swapped

    def _plain(self, wanted: Sequence[int], rows: slice, columns: slice) -> Iterator[tuple[int, slice, slice, Array]]:
        shape = (self.frames, self.rows, self.columns, self.samples)
        decode = plain(self.header.member, self.header.offset, self.sample, shape)
        asked = set(wanted)
        region = (slice(min(asked), max(asked) + 1), rows, columns, slice(0, self.samples))
        for where, values in decode(region):
            for frame in range(where[0].start, where[0].stop):
                if frame in asked:
                    part = self._counted(values[frame - where[0].start])
                    yield frame, where[1], where[2], self._looked_up(part)

    def _counted(self, values: Array) -> Array:
        """Only the bits that count, with their sign."""
        if self.floats or self.allocated == 1 or (self.stored, self.high) == (self.allocated, self.allocated - 1):
            return values
        native = values.astype(values.dtype.newbyteorder("="))
        return native << (self.allocated - 1 - self.high) >> (self.allocated - self.stored)

    def _looked_up(self, values: Array) -> Array:
        if self.palette:
            return np.concatenate([table(values) for table in self.palette], axis=-1)
        return self.lookup(values) if self.lookup else values

    def _native(self, wanted: Sequence[int]) -> Iterator[tuple[int, Array]]:
        """Plain numbers that have to be put in order."""
        content = self.header.member.view()[self.header.offset :]
        each = self.bits // self.frames
        swapped = not self.header.little and self.header.vr == b"OW" and self.allocated <= 8
        for frame in wanted:
            first, last = frame * each // 8, -(-(frame + 1) * each // 8)
            if swapped:
                # Bytes lie in pairs, of which the second one comes first.
                start = first - first % 2
                raw = np.frombuffer(content, np.uint8, last + last % 2 - start, start)
                raw = raw.reshape(-1, 2)[:, ::-1].reshape(-1)[first - start : last - start]
            else:
                raw = np.frombuffer(content, np.uint8, last - first, first)
            yield frame, self._in_order(raw, frame * each % 8)

    def _in_order(self, raw: Array, lead: int) -> Array:
        shape = (self.rows, self.columns, self.samples)
        if self.allocated == 1:
            bits = np.unpackbits(raw, bitorder="little")[lead : lead + math.prod(shape)]
            return bits.reshape(shape)
        if self.photometric == "YBR_FULL_422":
            # Two pixels share their colour: Y Y B R.
            pairs = raw.reshape(-1, 4)
            shared = pairs[:, None, 2:].repeat(2, axis=1)
            return _rgb(np.concatenate([pairs[:, :2, None], shared], axis=2).reshape(shape))
        values = raw.view(self.sample)
        if self.planar:
            values = np.moveaxis(values.reshape(self.samples, self.rows, self.columns), 0, -1)
        values = self._counted(values.reshape(shape))
        return _rgb(values) if self.photometric == "YBR_FULL" else values

    def _compressed(self, wanted: Sequence[int]) -> Iterator[tuple[int, Array]]:
        content = self.header.member.view()
        spans = frame_spans(content, self.header, self.frames)
        for frame in wanted:
            data = b"".join(bytes(content[first:last]) for first, last in spans[frame])
            values = self._unrolled(data) if self.header.syntax == RLE else self._decoded(data)
            yield frame, values

    def _unrolled(self, data: bytes) -> Array:
        """A frame in run lengths: a segment for each byte of each sample, the highest byte first."""
        each = self.allocated // 8
        count = each * self.samples
        area = self.rows * self.columns
        if len(data) < 64 or struct.unpack_from("<L", data)[0] != count:
            raise broken(f"its RLE data is damaged: it needs {count} segments")
        starts = [*struct.unpack_from(f"<{count}L", data, 4), len(data)]
        if any(not 64 <= a <= b for a, b in pairwise(starts)):
            raise broken("its RLE data is damaged: its segments are out of order")
        planes = np.empty((self.samples, each, area), np.uint8)
        for index, (first, last) in enumerate(pairwise(starts)):
            planes[divmod(index, each)] = np.frombuffer(unpacked(data[first:last], area), np.uint8)
        kind = self.sample.newbyteorder(">")
        values = np.ascontiguousarray(planes.transpose(2, 0, 1)).view(kind).astype(kind.newbyteorder("="))
        values = self._counted(values.reshape(self.rows, self.columns, self.samples))
        return _rgb(values) if self.photometric in ("YBR_FULL", "YBR_FULL_422") else values

    def _decoded(self, data: bytes) -> Array:
        """A frame in one of the JPEGs, once its own header has been compared with the file's."""
        syntax = self.header.syntax
        data = _codestream(data) if syntax in JPEG_2000 else data
        size = j2k_size(data) if syntax in JPEG_2000 else jpeg_size(data, FRAME_MARKERS[syntax])
        if size != (self.rows, self.columns, self.samples):
            problem = f"its {CODECS[syntax]} data is of {size}, and its header of"
            raise broken(f"{problem} {(self.rows, self.columns, self.samples)} rows, columns and samples", value=size)
        # Without its mark of the end, CharLS reads on for seconds behind what it was given.
        if syntax in JPEG_LS and not data.rstrip(b"\0").endswith(b"\xff\xd9"):
            raise broken("its JPEG-LS data is cut off")
        if syntax in JPEG_LOSSLESS:
            check_lossless(data, self.allocated)
        from pydicom.encaps import encapsulate
        from pydicom.pixels.decoders.base import get_decoder

        options: dict[str, Any] = {
            "rows": self.rows,
            "columns": self.columns,
            "samples_per_pixel": self.samples,
            "bits_allocated": self.allocated,
            "bits_stored": self.stored,
            "number_of_frames": 1,
            "pixel_representation": int(self.signed),
            # A palette's indices are grey to a codec.
            "photometric_interpretation": "MONOCHROME2" if self.samples == 1 else self.photometric,
            "planar_configuration": int(self.planar),
            "pixel_keyword": "PixelData",
        }
        with warnings.catch_warnings():
            # pydicom warns of what it corrects, and Pillow of pictures below our own limit.
            warnings.simplefilter("ignore")
            try:
                values, _ = get_decoder(syntax).as_array(
                    encapsulate([data], has_bot=False), index=0, decoding_plugin=PLUGINS[syntax], **options
                )
            except DAMAGED as error:
                said = clean(str(error).rsplit("plugins:", 1)[-1].strip()) or type(error).__name__
                raise broken(f"its {CODECS[syntax]} data is damaged ({said})") from error
        return values.reshape(self.rows, self.columns, self.samples)


def pixels_of(header: Header) -> Pixels:
    """How a file's pixels are stored, by its header.

    Raises:
        VolumeError: a palette or another table that is damaged.
    """
    elements = header.elements
    notes: list[str] = []
    samples = elements.short(dicom.SAMPLES, 1)
    photometric = elements.text(dicom.PHOTOMETRIC).upper()
    if not photometric:
        photometric = "MONOCHROME2" if samples == 1 else "RGB"
        notes.append(f"the header does not say what its pixels are: read as {photometric}")
    frames = elements.number(dicom.FRAMES)
    floats = {dicom.FLOAT_PIXEL_DATA: 32, dicom.DOUBLE_PIXEL_DATA: 64}
    allocated = floats.get(header.tag) or elements.short(dicom.ALLOCATED)
    stored = allocated if header.tag in floats else elements.short(dicom.STORED, allocated)
    signed = elements.short(dicom.SIGNED) == 1
    palette: tuple[Table, ...] = ()
    if photometric == PALETTE:
        if dicom.SEGMENTED_PALETTE in elements.values:
            raise broken("its palette is segmented, which is not read here", "save it as RGB")
        palette = tuple(_table(elements, *tags, signed) for tags in dicom.PALETTES)
        if len({table.values.dtype for table in palette}) > 1:
            raise broken("the tables of its palette are not alike", "save it as RGB")
    item = elements.item(dicom.MODALITY_LUT)
    lookup = _table(item, dicom.LUT_DESCRIPTOR, dicom.LUT_DATA, signed) if item and samples == 1 else None
    if photometric == "MONOCHROME1":
        problem = "not inverted: floating point pixels have no largest value" if header.tag in floats else "inverted"
        notes.append(f"in the file white is the smallest value (MONOCHROME1); {problem}")
    return Pixels(
        header=header,
        frames=max(1, int(frames or 1)),
        rows=elements.short(dicom.ROWS),
        columns=elements.short(dicom.COLUMNS),
        samples=samples,
        allocated=allocated,
        stored=stored,
        high=stored - 1 if header.tag in floats else elements.short(dicom.HIGH_BIT, stored - 1),
        signed=signed,
        photometric=photometric,
        planar=samples > 1 and elements.short(dicom.PLANAR) == 1,
        palette=palette,
        lookup=None if palette else lookup,
        notes=tuple(notes),
    )


def unpacked(segment: bytes, size: int) -> bytes:
    """So many bytes out of run lengths, never more.

    Raises:
        VolumeError: there are fewer.

    >>> unpacked(bytes([1, 7, 8, 254, 9]), 5)
    b'\\x07\\x08\\t\\t\\t'
    """
    out = bytearray()
    at, last = 0, len(segment)
    while len(out) < size and at < last:
        count = segment[at]
        if count < 128:
            out += segment[at + 1 : at + 2 + count]
            at += 2 + count
        else:
            if count > 128:
                out += segment[at + 1 : at + 2] * (257 - count)
            at += 2 if count > 128 else 1
    if len(out) < size:
        raise broken(f"its RLE data is cut off: a segment holds {len(out):,} of {size:,} bytes")
    return bytes(out[:size])


def frame_spans(content: memoryview, header: Header, frames: int) -> list[list[tuple[int, int]]]:
    """Where each frame lies: the first and the end of each of its fragments.

    Raises:
        VolumeError: fragments that are damaged, cut off, or cannot be shared out among the frames.
    """
    table, fragments = _fragments(content, header.offset)
    if len(fragments) == frames:
        return [[fragment] for fragment in fragments]
    if frames == 1:
        return [fragments]
    if not fragments:
        raise broken("it has no pixels")
    starts = _starts(table, header, frames)
    # Offsets count from the first fragment's item, whose head has 8 bytes.
    origin = fragments[0][0] - 8
    if starts is None:
        begins = [index for index, (first, _) in enumerate(fragments) if _begins(content, first, header.syntax)]
    else:
        where = {first - 8 - origin: index for index, (first, _) in enumerate(fragments)}
        begins = [where.get(start, -1) for start in starts]
    if len(begins) != frames or begins != sorted(set(begins)) or begins[0] != 0:
        raise broken(f"its {len(fragments)} fragments cannot be shared out among {frames} frames")
    ends = [*begins[1:], len(fragments)]
    return [fragments[a:b] for a, b in zip(begins, ends, strict=True)]


def _fragments(content: memoryview, at: int) -> tuple[memoryview, list[tuple[int, int]]]:
    """The table of offsets, and the fragments behind it."""
    found: list[tuple[int, int]] = []
    while True:
        if at + 8 > len(content):
            # The mark of the end is often missing; what is cut off in a fragment is not let pass.
            break
        tag, length = struct.unpack_from("<HH", content, at), struct.unpack_from("<L", content, at + 4)[0]
        if tag == (0xFFFE, 0xE0DD):
            break
        if tag != (0xFFFE, 0xE000):
            raise broken("the fragments of its pixels are damaged")
        if at + 8 + length > len(content):
            raise broken("it is cut off inside a fragment of its pixels")
        found.append((at + 8, at + 8 + length))
        if len(found) > MAX_FRAGMENTS:
            raise broken(f"its pixels are in more than {MAX_FRAGMENTS:,} fragments")
        at += 8 + length
    if len(found) < 2:
        raise broken("it has no pixels")
    (first, last), *rest = found
    return content[first:last], rest


def _starts(table: memoryview, header: Header, frames: int) -> list[int] | None:
    """Where frames begin, by one of the two tables; None where there is none."""
    extended = header.elements.values.get(dicom.OFFSETS, b"")
    if len(extended) == 8 * frames:
        return list(struct.unpack(f"<{frames}Q", extended))
    if len(table) == 4 * frames:
        return list(struct.unpack(f"<{frames}L", table))
    return None


def _begins(content: memoryview, at: int, syntax: str) -> bool:
    """Whether a frame begins in this fragment, where no table says so."""
    start = bytes(content[at : at + 4])
    if syntax == RLE:
        return True
    return start in (b"\xff\x4f\xff\x51", b"\0\0\0\x0c") if syntax in JPEG_2000 else start[:3] == b"\xff\xd8\xff"


@dataclass(frozen=True)
class Segment:
    """A part of a JPEG's header: what it is, and what is in it."""

    marker: int
    content: bytes


def jpeg_size(data: bytes, allowed: Sequence[int]) -> tuple[int, int, int]:
    """Rows, columns and samples that a JPEG or JPEG-LS declares in its own header, of which it must have one.

    Raises:
        VolumeError: it is damaged, or of another kind than those.
    """
    frames = [segment for segment in jpeg_header(data) if segment.marker in FRAMES_START]
    if len(frames) != 1 or len(frames[0].content) < 6:
        raise broken("its JPEG data is damaged")
    if frames[0].marker not in allowed:
        problem = f"its JPEG data is of another kind (marker FF{frames[0].marker:02X}) than its header says"
        raise broken(problem)
    rows, columns, samples = struct.unpack_from(">HHB", frames[0].content, 1)
    return rows, columns, samples


def jpeg_header(data: bytes) -> list[Segment]:
    """The segments up to the first scan, and that one's.

    Raises:
        VolumeError: something else is between them, or there is no scan.
    """
    at = 2
    found: list[Segment] = []
    while data[:2] == b"\xff\xd8" and at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:  # fills
            at += 1
            continue
        end = at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        if end < at + 4 or end > len(data):
            break
        found.append(Segment(marker, data[at + 4 : end]))
        if marker == SCAN_START:
            return found
        at = end
    raise broken("its JPEG data is damaged")


def check_lossless(data: bytes, allocated: int) -> None:
    """Refuse a lossless JPEG whose header is not as it must be, because GDCM's decoder writes where that points.

    Raises:
        VolumeError: so, or one that is made in an unusual way.
    """
    damaged = broken("its JPEG lossless data is damaged")
    tables: set[int] = set()
    components: list[tuple[int, int]] = []
    precision = 0
    for segment in jpeg_header(data):
        content = segment.content
        if segment.marker == ADOBE and not (len(content) == 12 and content[:5] == b"Adobe" and content[11] == 0):
            raise damaged
        if segment.marker == HUFFMAN:
            tables |= _huffman_tables(content)
        elif segment.marker in FRAMES_START:
            precision = content[0]
            parts = content[6:]
            # Of each: its name, its sampling, which must be 1 x 1, and its quantization, which there is none of.
            if len(parts) != 3 * content[5] or any(
                parts[at + 1 : at + 3] != b"\x11\0" for at in range(0, len(parts), 3)
            ):
                raise damaged
            components = [(parts[at], 0) for at in range(0, len(parts), 3)]
            if not 2 <= precision <= min(16, allocated) or (precision > 8) != (allocated > 8):
                raise damaged
        elif segment.marker == SCAN_START:
            _check_scan(content, [name for name, _ in components], tables, precision)
        elif segment.marker not in HARMLESS and segment.marker != ADOBE:
            raise damaged
    scan = data[sum(4 + len(segment.content) for segment in jpeg_header(data)) :]
    markers = {match[0] for match in re.finditer(rb"\xff[^\0\xff\xd0-\xd7]", scan.rstrip(b"\0")[:-2])}
    if markers or not scan.rstrip(b"\0").endswith(b"\xff\xd9"):
        raise broken("its JPEG lossless data is cut off, or more than one scan")


def _check_scan(content: bytes, names: Sequence[int], tables: set[int], precision: int) -> None:
    """All samples in one scan, each with a table that is there, and a predictor of those that there are."""
    count = len(names)
    right = (
        len(content) == 4 + 2 * count
        and content[0] == count
        and [content[1 + 2 * index] for index in range(count)] == list(names)
        and len(set(names)) == count
        and all(content[2 + 2 * index] >> 4 in tables for index in range(count))
        and 1 <= content[-3] <= 7
        and content[-2] == 0
        and content[-1] < precision
    )
    if not right:
        raise broken("its JPEG lossless data is damaged")


def _huffman_tables(content: bytes) -> set[int]:
    """The numbers of the tables in a segment, each of which must be a code for 0 to 16 bits."""
    found: set[int] = set()
    at = 0
    while at < len(content):
        kind, counts = content[at], content[at + 1 : at + 17]
        values = content[at + 17 : at + 17 + sum(counts)]
        room = sum(number * 2 ** (16 - bits) for bits, number in enumerate(counts, 1))
        if kind > 3 or len(counts) < 16 or len(values) < sum(counts) or not values or max(values) > 16 or room > 2**16:
            raise broken("its JPEG lossless data is damaged")
        found.add(kind)
        at += 17 + len(values)
    return found


def j2k_size(data: bytes) -> tuple[int, int, int]:
    """Rows, columns and samples that a JPEG 2000 codestream declares.

    Raises:
        VolumeError: it is damaged, or cut into more tiles than there can be.
    """
    if len(data) < 42:
        raise broken("its JPEG 2000 data is cut off")
    width, height, left, top, tile_width, tile_height, tile_left, tile_top, samples = struct.unpack_from(
        ">8LH", data, 8
    )
    if not (tile_width and tile_height and left < width and top < height and tile_left <= left and tile_top <= top):
        raise broken("its JPEG 2000 data is damaged")
    tiles = -(-(width - tile_left) // tile_width) * -(-(height - tile_top) // tile_height)
    if tiles > MAX_TILES:
        raise broken(f"its JPEG 2000 data is cut into {tiles:,} tiles")
    return height - top, width - left, samples


def _codestream(data: bytes) -> bytes:
    """What is decoded: some files wrap it into boxes, whose sizes nobody needs."""
    at = data[:4096].find(b"\xff\x4f\xff\x51")
    if at < 0:
        raise broken("its JPEG 2000 data is damaged")
    return data[at:]


def _table(elements: Elements, descriptor: int, data: int, signed: bool) -> Table:
    """A look-up table, by the three numbers that describe it and its values of one or two bytes."""
    order = "<" if elements.little else ">"
    described = elements.values.get(descriptor, b"")
    content = elements.values.get(data, b"")
    if len(described) != 6:
        raise broken("one of its look-up tables is damaged")
    count, first, bits = struct.unpack(f"{order}HhH" if signed else f"{order}HHH", described)
    count = count or 2**16
    if len(content) >= 2 * count and bits <= 16:
        values = np.frombuffer(content, f"{order}u2", count).astype(np.uint16)
    elif len(content) >= count and bits <= 8:
        # In big endian files words of two entries are swapped.
        values = np.frombuffer(content, np.uint8)
        values = (values[: len(values) // 2 * 2].reshape(-1, 2)[:, ::-1].reshape(-1) if order == ">" else values)[
            :count
        ]
    else:
        raise broken(f"a look-up table declares {count:,} values of {bits} bits and has {len(content):,} bytes")
    return Table(first, values, bits)


def _rgb(values: Array) -> Array:
    """YBR_FULL in 8 bits as RGB."""
    if values.dtype != np.uint8:
        raise broken(f"pixels of {8 * values.dtype.itemsize} bits in YBR_FULL are not read here", "save it as RGB")
    from pydicom.pixels.processing import convert_color_space

    return np.asarray(convert_color_space(values, "YBR_FULL", "RGB"))
