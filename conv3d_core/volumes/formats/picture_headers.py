"""What a PNG, JPEG, GIF, WebP or BMP file says of itself, without a decoder: size, colours, frames, the way it lies."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple

from conv3d_core.volumes.formats.jpeg_headers import COMMON, FRAMES, frame_of, segments
from conv3d_core.volumes.limits import MIB, broken
from conv3d_core.volumes.members import MOST_DEFLATE, Member

# As many as a camera's largest; of a WebP file, which may declare any size in a few bytes, fewer.
MAX_PIXELS = 64 * MIB
MAX_WEBP_PIXELS = 32 * MIB
# Of all frames together: each is put on top of those before it.
MAX_FRAME_PIXELS = 2048 * MIB
# Of an animation; each costs a step in Python, however small it is.
MAX_PICTURES = 20_000
MAX_CHUNK = 16 * MIB
# Pieces that a file is made of, each of which costs a step in Python.
MAX_PIECES = 4 * MIB
PIECE = MIB
PNG = b"\x89PNG\r\n\x1a\n"
JPEG = b"\xff\xd8\xff"
GIFS = (b"GIF87a", b"GIF89a")
BMP_HEADERS = (12, 40, 52, 56, 64, 108, 124)
# Channels of a PNG file by its colour type; 3 are places in a palette.
PNG_CHANNELS = {0: 1, 2: 3, 3: 3, 4: 2, 6: 4}
# First column and step, first row and step of each pass.
ADAM7 = ((0, 8, 0, 8), (4, 8, 0, 8), (0, 4, 4, 8), (2, 4, 0, 4), (0, 2, 2, 4), (1, 2, 0, 2), (0, 1, 1, 2))
ALPHA = "the last channel is alpha"
NO_ALPHA = "its transparency is left out"


@dataclass(frozen=True, slots=True)
class Header:
    """A picture before it is decoded.

    Attributes:
        kind: "PNG", as Pillow calls it too.
        height: in rows.
        width: in columns.
        channels: of the values that come out.
        bits: of a value: 1, 8 or 16.
        grey: whether its colours are all greys, so that one channel of three says it all.
        frames: how many, where it is an animation.
        first: how many pictures are in front of them that do not belong to it.
        scale: by what the decoder multiplies values of 2 or 4 bits.
        orientation: as EXIF counts, 1 to 8.
        raw: bytes that a PNG's data inflates to.
        interlaced: whether a PNG's rows come in seven passes.
        least: bytes that the file has at the very least, if its header says the truth.
        notes: what a user must know.
    """

    kind: str
    height: int
    width: int
    channels: int
    bits: int = 8
    grey: bool = False
    frames: int = 1
    first: int = 0
    scale: int = 1
    orientation: int = 1
    raw: int = 0
    interlaced: bool = False
    least: int = 0
    notes: tuple[str, ...] = ()


def kind_of(head: bytes) -> str:
    """The kind of picture that starts so, or ""."""
    if head.startswith(PNG):
        return "PNG"
    if head.startswith(JPEG):
        return "JPEG"
    if head.startswith(GIFS):
        return "GIF"
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "WEBP"
    # Its two letters are not enough: a text may begin with them.
    if head[:2] == b"BM" and head[6:10] == bytes(4) and len(head) > 18 and _little(head[14:18]) in BMP_HEADERS:
        return "BMP"
    return ""


def header_of(member: Member) -> Header:
    """What a picture's header says.

    Raises:
        VolumeError: it is damaged, cut off, of a kind that is not read, or declares more than its bytes can hold.
    """
    kind = kind_of(member.head)
    with member.open() as stream:
        try:
            header = READERS[kind](stream)
        except (struct.error, IndexError) as error:
            raise broken(f"its {kind} header is cut off") from error
    if header.height < 1 or header.width < 1:
        raise broken(f"its {kind} header declares {header.width} x {header.height} pixels")
    pixels = header.height * header.width
    if pixels > (MAX_WEBP_PIXELS if kind == "WEBP" else MAX_PIXELS):
        most = (MAX_WEBP_PIXELS if kind == "WEBP" else MAX_PIXELS) // MIB
        problem = f"its {header.width:,} x {header.height:,} pixels are more than {most} x 2^20"
        raise broken(problem, "crop or reduce it, or save it as a TIFF in tiles", value=pixels)
    if not 1 <= header.frames <= MAX_PICTURES or header.frames * pixels > MAX_FRAME_PIXELS * (header.frames > 1) + (
        pixels * (header.frames == 1)
    ):
        problem = f"its {header.frames:,} frames of {header.width:,} x {header.height:,} pixels are too many"
        raise broken(problem, "save fewer, or each as a file of its own", value=header.frames)
    member.check_holds(header.least)
    return header


def _png(stream: BinaryIO) -> Header:
    stream.read(len(PNG))
    length, name = _chunk(stream)
    if name != b"IHDR" or length != 13:
        raise broken("its PNG header is damaged")
    width, height, depth, colour, _, _, interlace = struct.unpack(">2L5B", stream.read(13))
    stream.read(4)
    if colour not in PNG_CHANNELS or depth not in (1, 2, 4, 8, 16):
        raise broken(f"its PNG header declares colours of type {colour} with {depth} bits")
    frames, first, controls, grey, orientation = 1, 0, 0, False, 1
    notes: tuple[str, ...] = (ALPHA,) if colour in (4, 6) else ()
    pieces = 0
    while name != b"IDAT":
        pieces = _counted(pieces)
        length, name = _chunk(stream)
        if name == b"acTL":
            frames = int.from_bytes(_content(stream, length)[:4], "big")
        elif name == b"PLTE" and colour == 3:
            grey = _is_grey(_content(stream, length))
        elif name == b"eXIf":
            orientation = _orientation(_content(stream, length))
        elif name != b"IDAT":
            controls += name == b"fcTL"
            if name == b"tRNS":
                notes = (NO_ALPHA,)
            _skip(stream, length)
        stream.read(4)
    # Without a control in front of it, the first picture is one for those who cannot show the others.
    first = int(frames > 1 and controls == 0)
    channels = PNG_CHANNELS[colour]
    raw = _raw(width, height, (1 if colour == 3 else channels) * depth, bool(interlace))
    bits = {1: 1, 16: 16}.get(depth, 8) if colour != 3 else 8
    return Header(
        "PNG",
        height,
        width,
        1 if grey else channels,
        bits,
        grey,
        frames,
        first,
        scale={2: 85, 4: 17}.get(depth, 1) if colour == 0 else 1,
        orientation=orientation,
        raw=raw,
        interlaced=bool(interlace),
        # Of each further frame at least its control and an empty piece of data.
        least=raw // MOST_DEFLATE + 50 * (frames - 1),
        notes=notes,
    )


def _raw(width: int, height: int, bits: int, interlaced: bool) -> int:
    """Bytes of rows, each behind its filter; without gaps, or in seven passes over a grid of 8 x 8."""
    steps = ADAM7 if interlaced else ((0, 1, 0, 1),)
    sizes = [(-(-(width - x) // step_x), -(-(height - y) // step_y)) for x, step_x, y, step_y in steps]
    return sum(rows * (1 + (columns * bits + 7) // 8) for columns, rows in sizes if columns > 0 and rows > 0)


def png_holds(data: memoryview, raw: int) -> bool:
    """Whether a PNG's data inflates to so many bytes; Pillow leaves black what is missing."""
    at, inflater = len(PNG), zlib.decompressobj()
    while at + 8 <= len(data) and raw > 0:
        length, name = struct.unpack_from(">L4s", data, at)
        piece: bytes | memoryview = data[at + 8 : at + 8 + length]
        while name == b"IDAT" and len(piece) and raw > 0:
            raw -= len(inflater.decompress(piece, PIECE))
            piece = inflater.unconsumed_tail
        if name == b"IEND":
            break
        at += 12 + length
    # What is left inside of it comes out in pieces too: flush() would give all of it at once.
    while raw > 0 and (rest := inflater.decompress(b"", PIECE)):
        raw -= len(rest)
    return raw <= 0


def _counted(pieces: int) -> int:
    if pieces == MAX_PIECES:
        raise broken(f"it is made of more than {MAX_PIECES:,} pieces")
    return pieces + 1


def _chunk(stream: BinaryIO) -> tuple[int, bytes]:
    length, name = struct.unpack(">L4s", stream.read(8))
    return length, name


def _content(stream: BinaryIO, length: int) -> bytes:
    if length > MAX_CHUNK:
        raise broken(f"a piece of its header has {length:,} bytes")
    return stream.read(length)


def _skip(stream: BinaryIO, length: int) -> None:
    while length:
        piece = stream.read(min(length, PIECE))
        if not piece:
            raise IndexError(length)
        length -= len(piece)


def _jpeg(stream: BinaryIO) -> Header:
    orientation = 1
    for kind, content in segments(stream):
        if kind == 0xE1 and content.startswith(b"Exif\0\0"):
            orientation = _orientation(content[6:])
        elif kind in FRAMES:
            frame = frame_of(kind, content)
            break
    else:
        raise broken("its JPEG data has no frame header")
    height, width, samples, bits = frame.size
    if frame.kind not in COMMON or bits != 8 or samples not in (1, 3, 4):
        problem = f"a JPEG of process {frame.kind:X}, {samples} channels and {bits} bits is not read here"
        raise broken(problem, "save it as PNG or TIFF")
    notes = ("its CMYK colours are turned into RGB",) if samples == 4 else ()
    channels = 1 if samples == 1 else 3
    return Header("JPEG", height, width, channels, orientation=orientation, least=frame.least, notes=notes)


def _orientation(exif: bytes) -> int:
    """The tag of that name, or 1."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(exif[:4])
    try:
        (at,) = struct.unpack_from(f"{order}L", exif, 4) if order else (len(exif),)
        (count,) = struct.unpack_from(f"{order}H", exif, at)
        for index in range(count):
            code, kind, _, value = struct.unpack_from(f"{order}HHLH", exif, at + 2 + 12 * index)
            if code == 274:
                return int(value) if kind == 3 and 1 <= value <= 8 else 1
    except struct.error:  # a camera's own business; the picture is whole without it
        return 1
    return 1


class _Gif(NamedTuple):
    frames: int
    grey: bool
    transparent: bool


def _gif(stream: BinaryIO) -> Header:
    _, width, height, flags, _, _ = struct.unpack("<6s2H3B", stream.read(13))
    table = stream.read(3 << (flags & 7) + 1) if flags & 128 else b""
    found = _gif_blocks(stream, (width, height), _is_grey(table))
    if not found.frames:
        raise broken("it holds no picture")
    return Header(
        "GIF",
        height,
        width,
        1 if found.grey else 3,
        grey=True,
        frames=found.frames,
        notes=(NO_ALPHA,) if found.transparent else (),
    )


def _gif_blocks(stream: BinaryIO, canvas: tuple[int, int], grey: bool) -> _Gif:
    """Through all blocks up to the end mark, without which it is cut off."""
    frames, transparent, own, pieces = 0, False, grey, 0
    while (block := stream.read(1)) != b";":
        pieces = _counted(pieces)
        if block == b"!":
            label = stream.read(1)
            first, pieces = _sub_blocks(stream, pieces)
            transparent |= frames == 0 and label == b"\xf9" and bool(first[:1]) and bool(first[0] & 1)
        elif block == b",":
            left, top, width, height, flags = struct.unpack("<4HB", stream.read(9))
            if left + width > canvas[0] or top + height > canvas[1]:
                raise broken("one of its frames lies outside of the picture")
            if flags & 128:
                own &= _is_grey(stream.read(3 << (flags & 7) + 1))
            stream.read(1)
            _, pieces = _sub_blocks(stream, pieces)
            frames += 1
            if frames > MAX_PICTURES:
                raise broken(f"it has more than {MAX_PICTURES:,} frames", "save fewer")
        elif block == b"":
            raise broken("it is cut off: its end mark is missing")
        elif block != b"\0":
            raise broken("its GIF structure is damaged")
    return _Gif(frames, own, transparent)


def _sub_blocks(stream: BinaryIO, pieces: int) -> tuple[bytes, int]:
    """Skip them; what the first one holds, and the pieces up to here."""
    first = None
    while length := stream.read(1)[0]:
        pieces = _counted(pieces)
        content = stream.read(length)
        if len(content) < length:
            raise IndexError(length)
        first = content if first is None else first
    return first or b"", pieces


def _is_grey(palette: bytes) -> bool:
    """Also where there is none: then each number is a grey."""
    return palette[::3] == palette[1::3] == palette[2::3]


def _webp(stream: BinaryIO) -> Header:
    (length,) = struct.unpack("<L", stream.read(12)[4:8])
    size, alpha, frames, animated, orientation, seen, pieces = (0, 0), False, 0, False, 1, 12, 0
    while seen <= length:
        pieces = _counted(pieces)
        name, nbytes = struct.unpack("<4sL", stream.read(8))
        padded = nbytes + (nbytes & 1)
        start = stream.read(min(padded, 10))
        if name == b"VP8X":
            animated, alpha = bool(start[0] & 2), bool(start[0] & 16)
            size = (_little(start[4:7]) + 1, _little(start[7:10]) + 1)
        elif name in (b"VP8 ", b"VP8L") and size == (0, 0):
            size, alpha = _webp_frame(name, start)
        elif name == b"EXIF":
            exif = start + _content(stream, padded - len(start))
            orientation, start = _orientation(exif.removeprefix(b"Exif\0\0")), exif
        frames += name == b"ANMF"
        _skip(stream, padded - len(start))
        seen += 8 + padded
    if animated and not frames:
        raise broken("it holds no picture")
    width, height = size
    notes = (ALPHA,) if alpha else ()
    frames = frames if animated else 1
    return Header("WEBP", height, width, 4 if alpha else 3, frames=frames, orientation=orientation, notes=notes)


def _webp_frame(name: bytes, start: bytes) -> tuple[tuple[int, int], bool]:
    """Width and height, and whether there is alpha, of a picture that has no header in front of it."""
    if name == b"VP8 ":
        if start[3:6] != b"\x9d\x01\x2a":
            raise broken("its WebP header is damaged")
        width, height = struct.unpack_from("<2H", start, 6)
        return (width & 0x3FFF, height & 0x3FFF), False
    bits = _little(start[1:5])
    if start[0] != 0x2F:
        raise broken("its WebP header is damaged")
    return ((bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1), bool(bits >> 28 & 1)


def _bmp(stream: BinaryIO) -> Header:
    (offset,) = struct.unpack("<L", stream.read(14)[10:])
    (length,) = struct.unpack("<L", stream.read(4))
    rest = stream.read(length - 4)
    if length == 12:
        width, height, _, bits = struct.unpack("<4H", rest)
        compression, colours = 0, 0
    else:
        width, height, _, bits, compression, _, _, _, colours = struct.unpack_from("<2l2H2L2lL", rest)
    if bits not in (1, 4, 8, 16, 24, 32) or compression not in (0, 3):
        problem = f"a BMP of {bits} bits with compression {compression} is not read here"
        raise broken(problem, "save it as PNG")
    if offset < 14 + length:
        raise broken(f"its pixels lie at byte {offset}, inside of its own header")
    grey = False
    if bits <= 8:
        entry = 3 if length == 12 else 4
        palette = _content(stream, entry * min(colours or 1 << bits, 1 << bits))
        grey = palette[::entry] == palette[1::entry] == palette[2::entry]
    notes = (NO_ALPHA,) if bits == 32 and compression == 3 else ()
    least = offset + abs(height) * ((width * bits + 31) // 32 * 4)
    return Header("BMP", abs(height), width, 1 if grey else 3, grey=grey, least=max(least, 0), notes=notes)


def _little(content: bytes) -> int:
    return int.from_bytes(content, "little")


READERS: dict[str, Callable[[BinaryIO], Header]] = {
    "PNG": _png,
    "JPEG": _jpeg,
    "GIF": _gif,
    "WEBP": _webp,
    "BMP": _bmp,
}
