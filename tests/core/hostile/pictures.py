"""PNG, JPEG, GIF, WebP and BMP: headers that declare the world, pieces without an end, frames without number."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from functools import partial

import numpy as np
from PIL import Image

from tests.core.hostile.case import Case, Reads
from tests.core.hostile.packed import zeros_zlib, zipped
from tests.core.hostile.tiff_files import jpeg

ONE = Reads((1, 4, 5, 1))
COLOURS = Reads((1, 4, 5, 3))
# 20 zeros as LZW codes of 3 bits: in front of each the table is cleared, so that codes do not grow; 5 is the end.
ZEROS = sum(code << 3 * at for at, code in enumerate([4, 0] * 20 + [5])).to_bytes(16, "little")


def picture(kind: str, **options: object) -> bytes:
    """A sound one of 4 x 5."""
    file = io.BytesIO()
    Image.fromarray(np.arange(0, 200, 10, np.uint8).reshape(4, 5)).save(file, kind, **options)
    return file.getvalue()


def chunk(name: bytes, content: bytes, length: int | None = None) -> bytes:
    size = len(content) if length is None else length
    return struct.pack(">L", size) + name + content + struct.pack(">L", zlib.crc32(name + content))


def png(
    *extra: bytes,
    width: int = 5,
    height: int = 4,
    bits: int = 8,
    colour: int = 0,
    interlace: int = 0,
    data: bytes | None = None,
    compression: int = 0,
) -> bytes:
    """Pieces in front of the data as given."""
    head = struct.pack(">2L5B", width, height, bits, colour, compression, 0, interlace)
    content = zlib.compress(bytes(24)) if data is None else data
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(extra) + chunk(b"IDAT", content) + chunk(b"IEND", b"")


def gif(*blocks: bytes, width: int = 5, height: int = 4, end: bytes = b";") -> bytes:
    return b"GIF89a" + struct.pack("<2H3B", width, height, 0x80, 0, 0) + bytes(range(6)) + b"".join(blocks) + end


def frame(width: int = 5, height: int = 4, left: int = 0, data: bytes | None = None) -> bytes:
    """One of all zeros."""
    content = ZEROS if data is None else data
    return b"," + struct.pack("<4HB", left, 0, width, height, 0) + b"\2" + bytes([len(content)]) + content + b"\0"


def riff(*chunks: bytes, length: int | None = None) -> bytes:
    body = b"WEBP" + b"".join(chunks)
    return b"RIFF" + struct.pack("<L", len(body) if length is None else length) + body


def bmp(
    width: int = 5, height: int = 4, bits: int = 24, offset: int = 54, compression: int = 0, colours: int = 0
) -> bytes:
    head = struct.pack("<L2l2H2L2l2L", 40, width, height, 1, bits, compression, 0, 0, 0, colours, 0)
    return b"BM" + struct.pack("<LLL", 54 + 64, 0, offset) + head + bytes(64)


def cases() -> Iterator[tuple[str, Case]]:
    yield from _pngs()
    yield from _jpegs()
    yield from _gifs()
    yield from _others()
    yield from _stacks()


def _pngs() -> Iterator[tuple[str, Case]]:
    bomb = zeros_zlib(1024)
    given: dict[str, tuple[bytes, str | Reads]] = {
        "sound": (png(), ONE),
        "width 0": (png(width=0), "declares 0 x 4 pixels"),
        "width 2**31": (png(width=2**31 - 1, height=2**31 - 1), "are more than 64 x 2"),
        "8,000 x 8,000 of 24 bytes": (png(width=8000, height=8000), "cut off"),
        "bits 7": (png(bits=7), "type 0 with 7 bits"),
        "colour 9": (png(colour=9), "of type 9 with 8 bits"),
        "interlace 9": (png(interlace=9), "PNG data is damaged or cut off"),
        "compression 9": (png(compression=9), ONE),
        "palette that is not there": (png(colour=3), COLOURS),
        "palette of 4 GB": (
            png(chunk(b"PLTE", b"", 2**32 - 1), colour=3),
            "a piece of its header has 4,294,967,295 bytes",
        ),
        "bomb in the data": (png(data=bomb), ONE),
        "data cut off": (png(data=zlib.compress(bytes(24))[:-8]), "PNG data is damaged or cut off"),
        "data of a row": (png(data=zlib.compress(bytes(6))), "fewer rows than its header declares"),
        "data that is none": (png(data=b"hello"), "PNG data is damaged"),
        "first piece is another": (b"\x89PNG\r\n\x1a\n" + chunk(b"tEXt", b"a\0b") + png()[8:], "PNG header is damaged"),
        "piece of 4 GB": (png(chunk(b"tEXt", b"a\0b", 2**32 - 1)), "PNG header is cut off"),
        "filter 99": (png(data=zlib.compress(b"\x63" * 24)), "PNG data is damaged"),
        "2**32 frames": (png(chunk(b"acTL", struct.pack(">2L", 2**32 - 1, 0))), "frames of 5 x 4 pixels are too many"),
        "5 frames that are not there": (
            png(chunk(b"acTL", struct.pack(">2L", 5, 0))) + bytes(400),
            "PNG data is damaged",
        ),
        "no end": (png()[:-12], ONE),
        "100,000 empty pieces": (png(*[chunk(b"aaAa", b"")] * 100_000), ONE),
    }
    for name, (content, expect) in given.items():
        yield f"PNG: {name}", Case(partial(bytes, content), expect)
    yield "PNG: text that is a bomb", Case(lambda: png(chunk(b"zTXt", b"a\0\0" + bomb)), "too large")
    yield (
        "PNG: international text that is a bomb",
        Case(lambda: png(chunk(b"iTXt", b"a\0\1\0\0\0" + bomb)), "too large"),
    )
    yield "PNG: profile that is a bomb", Case(lambda: png(chunk(b"iCCP", b"a\0\0" + bomb)), "too large")
    yield (
        "PNG: 1,000 texts that are bombs",
        Case(lambda: png(*[chunk(b"zTXt", b"a\0\0" + zeros_zlib(2))] * 1000), "too large"),
    )
    for share in (20, 60, 90):
        yield f"PNG: cut off at {share} %", Case(partial(_cut, png(), share), "cut off" if share < 90 else ONE)


def _jpegs() -> Iterator[tuple[str, Case]]:
    sound = picture("JPEG")
    for share in (5, 40, 95):
        yield f"JPEG: cut off at {share} %", Case(partial(_cut, sound, share), "cut off|no frame header")
    yield "JPEG: 514 MB in 378 bytes", Case(lambda: jpeg(22_000, 23_000), "are more than 64 x 2")
    yield "JPEG: 8,000 x 8,000 in 300 bytes", Case(lambda: jpeg(8_000, 8_000), "cut off")
    yield "JPEG: 65,500 x 65,500", Case(lambda: jpeg(65_500, 65_500), "are more than 64 x 2")
    yield "JPEG: 0 x 0", Case(lambda: jpeg(0, 0), "frame header is damaged")
    yield (
        "JPEG: 255 colours",
        Case(
            lambda: sound[: sound.index(b"\xff\xc0") + 9] + b"\xff" + sound[sound.index(b"\xff\xc0") + 10 :],
            "no frame header",
        ),
    )
    yield "JPEG: no frame", Case(lambda: b"\xff\xd8\xff\xe0\0\x10JFIF" + bytes(100), "no frame header")
    yield "JPEG: 60,000 comments", Case(lambda: b"\xff\xd8" + b"\xff\xfe\0\2" * 60_000 + sound[2:], ONE)
    yield "JPEG: progressive of 1,000 scans", Case(_scans, "has 1,005 scans")
    yield "JPEG: orientation of a loop", Case(lambda: _exif(sound, b"II*\0\x08\0\0\0\xff\xff" + bytes(30)), ONE)


def _gifs() -> Iterator[tuple[str, Case]]:
    given: dict[str, tuple[bytes, str | Reads]] = {
        "sound": (picture("GIF"), ONE),
        "no frame": (gif(), "holds no picture"),
        "no end": (gif(frame(), end=b""), "end mark is missing"),
        "cut off in a frame": (gif(frame())[:-6], "GIF header is cut off"),
        "frame outside": (gif(frame(left=3)), "outside of the picture"),
        "65,535 x 65,535": (gif(frame(), width=65535, height=65535), "are more than 64 x 2"),
        "20,000 x 3,000, 1,000 frames": (gif(*[frame()] * 1000, width=20_000, height=3_000), "are too many"),
        "data that ends early": (gif(frame(data=b"\x44\x01")), "GIF data is damaged or cut off"),
        "data of nonsense": (gif(frame(data=b"\xff" * 30)), "GIF data is damaged"),
        "an unknown block": (gif(frame(), b"?"), "GIF structure is damaged"),
        "extension without an end": (gif(b"!\xfe" + b"\xff" * 300, end=b""), "GIF header is cut off"),
    }
    for name, (content, expect) in given.items():
        yield f"GIF: {name}", Case(partial(bytes, content), expect)
    yield "GIF: 150,000 frames", Case(lambda: gif(*[frame()] * 150_000), "more than 20,000 frames")
    yield "GIF: 99,000 frames", Case(lambda: gif(*[frame()] * 99_000), "more than 20,000 frames")
    yield "GIF: 1,000,000 pieces", Case(lambda: gif(b"!\xfe" + b"\1a" * 1_000_000 + b"\0", frame()), COLOURS)


def _others() -> Iterator[tuple[str, Case]]:
    sound = picture("WEBP", lossless=True)
    vp8x = struct.pack("<4sLL", b"VP8X", 10, 2) + b"\xff" * 6
    animated = vp8x[:12] + bytes(6)
    given: dict[str, tuple[bytes, str | Reads]] = {
        "WebP: cut off": (sound[:-10], "WEBP header is cut off"),
        "WebP: of nothing": (riff(), "declares 0 x 0"),
        "WebP: length 2**32": (riff(length=2**32 - 1), "cut off"),
        "WebP: 2**24 x 2**24": (riff(vp8x), "holds no picture"),
        "WebP: 16,384 x 16,384": (riff(b"VP8L\6\0\0\0\x2f\xff\xff\xff\x0f\0"), "are more than 32 x 2"),
        "WebP: damaged": (sound[:30] + b"\xff" * 20, "WEBP data is damaged"),
        "WebP: 100,000 frames of nothing": (riff(animated, *[b"ANMF" + bytes(4)] * 100_000), "are too many"),
        "BMP: sound": (bmp(), COLOURS),
        "BMP: height -2**31": (bmp(height=-(2**31)), "are more than 64 x 2"),
        "BMP: 2**31 x 2**31": (bmp(2**31 - 1, 2**31 - 1), "are more than 64 x 2"),
        "BMP: width negative": (bmp(-5), "declares -5 x 4"),
        "BMP: pixels behind the end": (bmp(offset=2**31), "cut off"),
        "BMP: pixels in the header": (bmp(offset=0), "inside of its own header"),
        "BMP: bits 7": (bmp(bits=7), "is not read here"),
        "BMP: run lengths": (bmp(bits=8, compression=1), "is not read here"),
        "BMP: 2**32 colours": (bmp(bits=8, colours=2**32 - 1), "Palette size"),
        "BMP: JPEG inside": (bmp(compression=4), "is not read here"),
    }  # fmt: skip
    for name, (content, expect) in given.items():
        yield name, Case(partial(bytes, content), expect)


def _stacks() -> Iterator[tuple[str, Case]]:
    sound = png()
    yield (
        "pictures: of two sizes",
        Case(lambda: [("1.png", sound), ("2.png", png(height=3)), ("3.png", sound)], "'2.png' is PNG"),
    )
    yield (
        "pictures: one is cut off",
        Case(lambda: zipped(("1.png", sound), ("2.png", sound[:45]), ("3.png", sound)), "'2.png': "),
    )
    yield (
        "pictures: one is a bomb",
        Case(lambda: [("1.png", sound), ("2.png", png(data=zeros_zlib(1024)))], Reads((2, 4, 5, 1))),
    )
    yield (
        "pictures: one is missing",
        Case(lambda: [(f"{n}.png", sound) for n in (1, 2, 4)], Reads((3, 4, 5, 1), "planes may be missing")),
    )
    yield "pictures: 2,000 of them", Case(lambda: [(f"{n}.png", sound) for n in range(2000)], Reads((2000, 4, 5, 1)))
    yield (
        "pictures: names are numbers without end",
        Case(lambda: [(f"{'9' * 4000}{n}.png", sound) for n in range(3)], Reads((3, 4, 5, 1))),
    )


def _cut(content: bytes, share: int) -> bytes:
    return content[: len(content) * share // 100]


def _scans() -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((4000, 4000), np.uint8)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    at = content.rindex(b"\xff\xda")
    return content[:at] + content[at:-2] * 1000 + content[-2:]


def _exif(content: bytes, exif: bytes) -> bytes:
    body = b"Exif\0\0" + exif
    return content[:2] + b"\xff\xe1" + struct.pack(">H", len(body) + 2) + body + content[2:]
