"""The header of a DICOM file: of its elements only those that say what the image is, read in order and within bounds.

Nothing here knows of images. A value that is not wanted is passed over, whatever it declares.
"""

from __future__ import annotations

import struct
import warnings
from dataclasses import dataclass
from typing import BinaryIO

from conv3d_core.volumes.limits import MIB, broken
from conv3d_core.volumes.members import Member, Packed

PREAMBLE = 128
# Of all files together: 100,000 frames with some 60 elements each, which takes half a minute.
MAX_ELEMENTS = 8_000_000
MAX_KEPT = 512 * MIB
# What Python needs for a value, and for an item of a sequence, beside its bytes.
VALUE_BYTES, ITEM_BYTES = 100, 250
# In a file that is compressed, where a few bytes stand for many: of elements, and of bytes that are passed over.
MAX_INFLATED_ELEMENTS, MAX_PASSED = 1_000_000, 256 * MIB
MAX_DEPTH = 12
# Of one value that is wanted: a palette has 2**17 bytes, the offsets of a dose grid have some 10 for each frame.
MAX_VALUE = 2 * MIB
UNDEFINED = 0xFFFFFFFF
PIECE = 1 << 16
# Larger than any patient, scanner or slide in mm, small enough that a product of three does not overflow.
MOST = 1e12

IMPLICIT, EXPLICIT = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1"
DEFLATED, BIG_ENDIAN = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2"

SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
ITEM, ITEM_END, SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA = 0x7FE00010, 0x7FE00008, 0x7FE00009
PIXELS = (PIXEL_DATA, FLOAT_PIXEL_DATA, DOUBLE_PIXEL_DATA)

# The elements that are wanted, under the names that the standard gives them.
SYNTAX, MEDIA_CLASS = 0x00020010, 0x00020002
CHARSET, IMAGE_TYPE, SOP_CLASS, SOP_INSTANCE, MODALITY = 0x00080005, 0x00080008, 0x00080016, 0x00080018, 0x00080060
ACQUISITION_DATE_TIME, ACQUISITION_TIME, SERIES_DESCRIPTION = 0x0008002A, 0x00080032, 0x0008103E
SLICE_THICKNESS, SPACING_BETWEEN, ECHO_TIME, ECHO_NUMBER = 0x00180050, 0x00180088, 0x00180081, 0x00180086
TRIGGER_TIME, EFFECTIVE_ECHO_TIME = 0x00181060, 0x00189082
B_VALUE, GRADIENT = 0x00189087, 0x00189089
STUDY, SERIES, SERIES_NUMBER = 0x0020000D, 0x0020000E, 0x00200011
ACQUISITION_NUMBER, INSTANCE_NUMBER = 0x00200012, 0x00200013
POSITION, ORIENTATION = 0x00200032, 0x00200037
TEMPORAL_POSITION, TEMPORAL_INDEX, CARDIAC_DELAY = 0x00200100, 0x00209128, 0x00209153
SAMPLES, PHOTOMETRIC, PLANAR, FRAMES, ROWS, COLUMNS = (
    0x00280002, 0x00280004, 0x00280006, 0x00280008, 0x00280010, 0x00280011,
)  # fmt: skip
PIXEL_SPACING, ALLOCATED, STORED, HIGH_BIT, SIGNED = 0x00280030, 0x00280100, 0x00280101, 0x00280102, 0x00280103
INTERCEPT, SLOPE = 0x00281052, 0x00281053
PALETTES = ((0x00281101, 0x00281201), (0x00281102, 0x00281202), (0x00281103, 0x00281203))
SEGMENTED_PALETTE = 0x00281221
LUT_DESCRIPTOR, LUT_DATA = 0x00283002, 0x00283006
SEGMENT_NUMBER = 0x0062000B
DOSE_OFFSETS, DOSE_SCALING = 0x3004000C, 0x3004000E
OFFSETS, LENGTHS = 0x7FE00001, 0x7FE00002

MODALITY_LUT = 0x00283000
PER_FRAME, SHARED = 0x52009230, 0x52009229
# What a frame's own groups, and those that all frames share, are called; what they hold is told by its own tag.
GROUPS = (
    0x00209113,  # plane position
    0x00209116,  # plane orientation
    0x00289110,  # pixel measures
    0x00289145,  # pixel value transformation
    0x00209111,  # frame content
    0x00189114,  # MR echo
    0x00189117,  # MR diffusion
    0x00189076,  # gradient direction, inside of it
    0x00189118,  # cardiac synchronisation
    0x0062000A,  # segment
    0x00540022,  # detectors, of nuclear medicine
)
SEQUENCES = (*GROUPS, MODALITY_LUT, PER_FRAME, SHARED)
VALUES = (
    SYNTAX, MEDIA_CLASS, CHARSET, IMAGE_TYPE, SOP_CLASS, SOP_INSTANCE, MODALITY, ACQUISITION_DATE_TIME,
    ACQUISITION_TIME, SERIES_DESCRIPTION, SLICE_THICKNESS, SPACING_BETWEEN, ECHO_TIME, ECHO_NUMBER, TRIGGER_TIME,
    EFFECTIVE_ECHO_TIME, B_VALUE, GRADIENT, STUDY, SERIES, SERIES_NUMBER, ACQUISITION_NUMBER, INSTANCE_NUMBER,
    POSITION, ORIENTATION, TEMPORAL_POSITION, TEMPORAL_INDEX, CARDIAC_DELAY, SAMPLES, PHOTOMETRIC, PLANAR, FRAMES,
    ROWS, COLUMNS, PIXEL_SPACING, ALLOCATED, STORED, HIGH_BIT, SIGNED, INTERCEPT, SLOPE, SEGMENTED_PALETTE,
    LUT_DESCRIPTOR, LUT_DATA, SEGMENT_NUMBER, DOSE_OFFSETS, DOSE_SCALING, OFFSETS, LENGTHS,
    *(tag for pair in PALETTES for tag in pair),
)  # fmt: skip
# Looked up once for each element of a header.
WANTED = frozenset(VALUES)
WANTED_SEQUENCES = frozenset(SEQUENCES)


class Elements:
    """Wanted elements of a data set or of an item of a sequence, by their tags."""

    __slots__ = ("items", "little", "values")

    def __init__(self, little: bool) -> None:
        self.little = little
        self.values: dict[int, bytes] = {}
        self.items: dict[int, list[Elements]] = {}

    def text(self, tag: int) -> str:
        """A value in the default repertoire, without the padding; empty if it is not there."""
        return self.values.get(tag, b"").decode("latin-1").strip("\0 ")

    def numbers(self, tag: int, count: int = 1) -> tuple[float, ...] | None:
        """So many numbers written as text; None where there are not, or where one is none."""
        parts = self.text(tag).split("\\")
        if len(parts) < count or not parts[0]:
            return None
        try:
            found = tuple(float(part) for part in parts[:count])
        except ValueError:
            return None
        return found if all(abs(number) < MOST for number in found) else None

    def number(self, tag: int) -> float | None:
        """One number written as text, or None."""
        found = self.numbers(tag)
        return found[0] if found else None

    def doubles(self, tag: int, count: int = 1) -> tuple[float, ...] | None:
        """So many numbers of 8 bytes; None where there are not, or where one is none."""
        value = self.values.get(tag, b"")
        if len(value) < 8 * count:
            return None
        found = struct.unpack_from(f"{self._order}{count}d", value)
        return found if all(abs(number) < MOST for number in found) else None

    def short(self, tag: int, otherwise: int = 0) -> int:
        """A number of 2 bytes (4 where it is that long)."""
        value = self.values.get(tag, b"")
        if len(value) == 4:
            return int(struct.unpack(f"{self._order}L", value)[0])
        return int(struct.unpack_from(f"{self._order}H", value)[0]) if len(value) >= 2 else otherwise

    def item(self, tag: int) -> Elements | None:
        """The first item of a sequence."""
        items = self.items.get(tag)
        return items[0] if items else None

    def flat(self) -> dict[int, Elements]:
        """Where to find each value of this and of the groups in it: a frame's elements are told by their own tags."""
        found = dict.fromkeys(self.values, self)
        for tag, items in self.items.items():
            if tag in GROUPS and items:
                found |= items[0].flat()
        return found

    @property
    def _order(self) -> str:
        return "<" if self.little else ">"


@dataclass
class Allowance:
    """What is left of what the headers of all files together may be.

    Attributes:
        elements: how many may still be walked over.
        kept: bytes of memory for those that are wanted.
    """

    elements: int = MAX_ELEMENTS
    kept: int = MAX_KEPT

    @property
    def spent(self) -> bool:
        """Whether nothing is left, so that no further file can be read either."""
        return self.elements < 0 or self.kept < 0

    def walk(self) -> None:
        """Over one element.

        Raises:
            VolumeError: it is one too many.
        """
        self.elements -= 1
        if self.elements < 0:
            raise broken("its DICOM headers have more elements than are read here", "hand in fewer files at a time")

    def keep(self, nbytes: int) -> None:
        """So many bytes.

        Raises:
            VolumeError: they are too many.
        """
        self.kept -= nbytes
        if self.kept < 0:
            raise broken("its DICOM headers are larger than is read here", "hand in fewer files at a time")


@dataclass(frozen=True)
class Header:
    """What a file says of its image.

    Attributes:
        member: the bytes that ``offset`` counts in: the file, or what its deflated part inflates to.
        syntax: transfer syntax, as a UID.
        little: whether numbers are little endian.
        elements: what is wanted of the data set.
        tag: of the element with the pixels; 0 where there is none.
        vr: how it is typed, b"OW".
        offset: of the first byte of the pixels.
        length: of the pixels, None where they are in fragments.
    """

    member: Member
    syntax: str
    little: bool
    elements: Elements
    tag: int
    vr: bytes
    offset: int
    length: int | None

    def described(self) -> str:
        """The series' description in the file's own alphabet, or an empty string."""
        value = self.elements.values.get(SERIES_DESCRIPTION, b"")
        names = self.elements.text(CHARSET)
        if not names or value.isascii():
            return value.decode("latin-1").strip("\0 ")
        return _decoded(value, names).strip("\0 ")


def recognises(member: Member) -> bool:
    """Whether it is DICOM: by its mark, or where that is missing by two elements as a data set begins with them."""
    head = member.head
    return head[PREAMBLE : PREAMBLE + 4] == b"DICM" or _plausible(head)


def read_header(member: Member, allowed: Allowance) -> Header:
    """The header of a file.

    Args:
        member: the file.
        allowed: what it may be, which becomes less by what it is.

    Raises:
        VolumeError: it is damaged, cut off, or larger than any header is.
    """
    with member.open() as stream:
        reader = _Reader(stream, member.nbytes, allowed)
        start = reader.peek(PREAMBLE + 4)
        if start[PREAMBLE:] == b"DICM":
            reader.skip(PREAMBLE + 4)
        meta = reader.meta()
        syntax = meta.text(SYNTAX)
        if syntax != DEFLATED:
            return _finished(reader, member, syntax, meta)
        begin = reader.at
    inflated = Packed(member.name, member.data, member, begin, "deflate")
    with inflated.open() as stream:
        return _finished(_Reader(stream, None, allowed), inflated, syntax, meta)


class _Reader:
    """Walks over a stream once, from front to back."""

    def __init__(self, stream: BinaryIO, size: int | None, allowed: Allowance) -> None:
        self._stream = stream
        self._size = size
        self._allowed = allowed
        self._ahead = b""
        self._walked = 0
        self.at = 0
        self.little = True
        self.implicit = False
        self.tag = 0
        self.vr = b""
        self.length: int | None = None

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay to be read; fewer at the end."""
        if len(self._ahead) < count:
            self._ahead += self._stream.read(count - len(self._ahead))
        return self._ahead[:count]

    def read(self, count: int) -> bytes:
        """So many bytes.

        Raises:
            VolumeError: the file ends before.
        """
        piece = self._ahead[:count]
        self._ahead = self._ahead[count:]
        if len(piece) < count:
            piece += self._stream.read(count - len(piece))
        if len(piece) < count:
            raise broken("it is cut off inside its DICOM header")
        self.at += count
        return piece

    def skip(self, count: int) -> None:
        """Pass over so many bytes."""
        if self._size is not None and self.at + count > self._size:
            raise broken("it is cut off inside its DICOM header")
        if self._size is None and self.at + count > MAX_PASSED:
            raise broken(f"its DICOM header is longer than {MAX_PASSED // MIB} MiB", "save it uncompressed")
        while count:
            count -= len(self.read(min(count, PIECE)))

    def meta(self) -> Elements:
        """The elements of group 2, by which a file begins."""
        self._detect("")
        found = Elements(self.little)
        while len(start := self.peek(2)) == 2 and struct.unpack(self._order + "H", start)[0] == 2:
            self._element(found, None, 0)
        return found

    def data_set(self, syntax: str) -> Elements:
        """The elements up to the pixels, or to the end."""
        self._detect(syntax)
        found = Elements(self.little)
        while not self.tag and len(self.peek(8)) == 8:
            self._element(found, None, 0)
        if not self.tag and self.peek(8).strip(b"\0"):
            raise broken("it is cut off inside its DICOM header")
        return found

    def _detect(self, syntax: str) -> None:
        """How elements are written, by the next one: what a file says of their types is sometimes wrong.

        Where it does not say anything, the byte order shows too: no group that comes first reaches 256.
        """
        start = self.peek(6)
        self.little = syntax != BIG_ENDIAN if syntax else start[:1] >= start[1:2]
        self.implicit = start[4:6] not in SHORT_VRS and start[4:6] not in LONG_VRS

    @property
    def _order(self) -> str:
        return "<" if self.little else ">"

    def _element(self, found: Elements, end: int | None, depth: int, implicit: bool | None = None) -> bool:
        """Read one element, or pass over it; whether it is the mark of an item's end."""
        implicit = self.implicit if implicit is None else implicit
        tag, vr, length = self._head(implicit)
        if tag in (ITEM_END, SEQUENCE_END):
            return True
        if depth == 0 and tag in PIXELS:
            self.tag, self.vr = tag, vr
            self.length = None if length == UNDEFINED else length
            return False
        if length == UNDEFINED:
            self._undefined(found, tag, vr, depth, implicit)
            return False
        if end is not None and self.at + length > end:
            raise broken(
                f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) of its DICOM header is longer than what holds it"
            )
        if tag in WANTED_SEQUENCES:
            items = self._sequence(self.at + length, depth + 1, implicit or vr == b"UN")
            found.items[tag] = items
        elif tag in WANTED:
            if length > MAX_VALUE:
                problem = f"element ({tag >> 16:04X},{tag & 0xFFFF:04X}) of its DICOM header declares {length:,} bytes"
                raise broken(problem)
            self._allowed.keep(length + VALUE_BYTES)
            found.values[tag] = self.read(length)
        else:
            self.skip(length)
        return False

    def _head(self, implicit: bool) -> tuple[int, bytes, int]:
        self._allowed.walk()
        self._walked += 1
        if self._size is None and self._walked > MAX_INFLATED_ELEMENTS:
            raise broken(f"its DICOM header has more than {MAX_INFLATED_ELEMENTS:,} elements", "save it uncompressed")
        start = self.read(8)
        group, element = struct.unpack_from(self._order + "HH", start)
        tag = group << 16 | element
        vr = start[4:6]
        if group == 0xFFFE or implicit or not (vr in SHORT_VRS or vr in LONG_VRS):
            return tag, b"", struct.unpack_from(self._order + "L", start, 4)[0]
        if vr in LONG_VRS:
            return tag, vr, struct.unpack(self._order + "L", self.read(4))[0]
        return tag, vr, struct.unpack_from(self._order + "H", start, 6)[0]

    def _undefined(self, found: Elements, tag: int, vr: bytes, depth: int, implicit: bool) -> None:
        """What has no length: a sequence, or fragments as in an icon."""
        if vr in (b"SQ", b"UN", b""):
            wanted = tag in WANTED_SEQUENCES
            items = self._sequence(None, depth + 1, implicit or vr == b"UN", wanted)
            if wanted:
                found.items[tag] = items
            return
        while True:
            part, _, length = self._head(True)
            if part == SEQUENCE_END:
                return
            if part != ITEM or length == UNDEFINED:
                raise broken("the fragments of an element of its DICOM header are damaged")
            self.skip(length)

    def _sequence(self, end: int | None, depth: int, implicit: bool, wanted: bool = True) -> list[Elements]:
        if depth > MAX_DEPTH:
            raise broken(f"sequences in its DICOM header are nested deeper than {MAX_DEPTH}")
        items = []
        while end is None or self.at < end:
            tag, _, length = self._head(True)
            if tag == SEQUENCE_END:
                break
            if tag != ITEM:
                raise broken("a sequence of its DICOM header is damaged")
            item = self._item(None if length == UNDEFINED else self.at + length, depth, implicit)
            if wanted:
                self._allowed.keep(ITEM_BYTES)
                items.append(item)
        return items

    def _item(self, end: int | None, depth: int, implicit: bool) -> Elements:
        found = Elements(self.little)
        while end is None or self.at < end:
            if self._element(found, end, depth, implicit):
                break
        return found


def _finished(reader: _Reader, member: Member, syntax: str, meta: Elements) -> Header:
    elements = reader.data_set(syntax)
    if MEDIA_CLASS in meta.values:
        elements.values.setdefault(SOP_CLASS, meta.values[MEDIA_CLASS])
    if not syntax:
        syntax = BIG_ENDIAN if not reader.little else IMPLICIT if reader.implicit else EXPLICIT
    return Header(member, syntax, reader.little, elements, reader.tag, reader.vr, reader.at, reader.length)


def _plausible(head: bytes) -> bool:
    """Whether two elements follow each other as at the start of a data set; numbers of an image hardly ever do so."""
    if len(head) < 16:
        return False
    order = "<" if head[0] >= head[1] else ">"
    at, last = 0, 0
    for _ in range(2):
        if at + 8 > len(head):
            return False
        group, element = struct.unpack_from(order + "HH", head, at)
        tag = group << 16 | element
        if group not in (2, 8) or element > 0x2000 or (tag <= last and at > 0):
            return False
        vr = head[at + 4 : at + 6]
        if vr in SHORT_VRS:
            length = struct.unpack_from(order + "H", head, at + 6)[0] + 8
        elif vr in LONG_VRS:
            if head[at + 6 : at + 8] != b"\0\0" or at + 12 > len(head):
                return False
            length = struct.unpack_from(order + "L", head, at + 8)[0] + 12
        else:
            # Without types only what a data set really begins with: group length, alphabet, image type, dates, class.
            if element not in (0x0000, 0x0001, 0x0002, 0x0005, 0x0008, 0x0012, 0x0013, 0x0014, 0x0016, 0x0018):
                return False
            length = struct.unpack_from(order + "L", head, at + 4)[0] + 8
        if length % 2:
            return False
        at, last = at + length, tag
    return True


def _decoded(value: bytes, names: str) -> str:
    from pydicom.charset import convert_encodings, decode_bytes

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of misspelt alphabets, which it then guesses
        try:
            return decode_bytes(value, convert_encodings(names.split("\\")), {0x0A, 0x0C, 0x0D})
        except (LookupError, UnicodeError, ValueError):
            return value.decode("latin-1")


def uid_in_words(uid: str) -> str:
    """What the standard calls it; itself where it is not of the standard.

    >>> uid_in_words("1.2.840.10008.1.2.5")
    'RLE Lossless'
    """
    from pydicom.config import IGNORE
    from pydicom.uid import UID

    return str(UID(uid, IGNORE).name)
