"""What a JPEG or JPEG 2000 stream says of its own size, before a decoder makes room for it."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

from conv3d_core.volumes.limits import MIB, broken

# Markers of frames: all kinds of SOF; C4, C8 and CC are others.
FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Baseline, extended and progressive, with Huffman codes; all others are hardly ever written.
COMMON = (0xC0, 0xC1, 0xC2)
START_OF_SCAN = 0xDA
# Without a length: TEM, RST0 to RST7, SOI, EOI.
ALONE = frozenset((0x01, *range(0xD0, 0xDA)))
JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
CODESTREAM = b"\xff\x4f\xff\x51"
MAX_BOXES = 1000
MAX_HEADER = 16 * MIB
# A progressive picture has about ten.
MAX_SCANS = 200


class Size(NamedTuple):
    """Of a picture.

    Attributes:
        height: in rows.
        width: in columns.
        samples: per pixel.
        bits: per sample.
    """

    height: int
    width: int
    samples: int
    bits: int

    @property
    def values(self) -> int:
        """All of them."""
        return self.height * self.width * self.samples


class Frame(NamedTuple):
    """The frame header of a JPEG stream.

    Attributes:
        kind: the marker, one of `FRAMES`.
        size: of the picture.
        least: bytes that its compressed data has at the very least, a bit for each block of 8 x 8.
    """

    kind: int
    size: Size
    least: int


def segments(stream: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """The segments of a JPEG stream up to its first scan: each marker, and what it holds."""
    left = MAX_HEADER
    while len(start := stream.read(1)) == 1 and left > 0:
        if start != b"\xff":
            return
        code = stream.read(1)
        while code == b"\xff" and left > 0:
            code = stream.read(1)
            left -= 1
        if not code or code[0] in (0xFF, START_OF_SCAN):
            return
        if code[0] in ALONE:
            continue
        length = int.from_bytes(stream.read(2), "big")
        content = stream.read(max(length - 2, 0))
        left -= length + 4
        if len(content) < length - 2:
            return
        yield code[0], content


def jpeg_frame(stream: BinaryIO) -> Frame:
    """From the frame header of a JPEG stream.

    Raises:
        VolumeError: it has none, or one that is damaged.
    """
    content, kind = next(((content, kind) for kind, content in segments(stream) if kind in FRAMES), (b"", 0))
    return frame_of(kind, content)


def frame_of(kind: int, content: bytes) -> Frame:
    """What a frame header's segment says.

    Raises:
        VolumeError: it is damaged, or empty.
    """
    if len(content) < 6 or len(content) < 6 + 3 * content[5]:
        raise broken("its JPEG data has no frame header")
    bits, height, width, samples = struct.unpack_from(">BHHB", content)
    # How often each component is sampled, down and across.
    factors = [(content[7 + 3 * index] & 15, content[7 + 3 * index] >> 4) for index in range(samples)]
    if min(height, width, samples) < 1 or any(not 1 <= factor <= 4 for pair in factors for factor in pair):
        raise broken("its JPEG frame header is damaged")
    most_down, most_across = (max(pair[axis] for pair in factors) for axis in (0, 1))
    blocks = sum(
        -(-height * down // (8 * most_down)) * -(-width * across // (8 * most_across)) for down, across in factors
    )
    return Frame(kind, Size(height, width, samples, bits), blocks // 8)


def check_scans(data: bytes | memoryview) -> None:
    """Refuse what lets a decoder go over the same picture again and again.

    Raises:
        VolumeError: more scans than any writer makes.
    """
    scans = bytes(data).count(bytes((0xFF, START_OF_SCAN)))
    if scans > MAX_SCANS:
        raise broken(f"its JPEG data has {scans:,} scans", value=scans)


def jpeg_2000_size(data: bytes | memoryview) -> Size:
    """From the first marker of a JPEG 2000 codestream, bare or in a JP2 file.

    Raises:
        VolumeError: it is damaged.
    """
    start = _codestream(data)
    try:
        right, bottom, left, top = struct.unpack_from(">4L", data, start + 8)
        tile_width, tile_height = struct.unpack_from(">2L", data, start + 24)
        samples, depth = struct.unpack_from(">HB", data, start + 40)
    except struct.error as error:
        raise broken("its JPEG 2000 data is cut off") from error
    size = Size(bottom - top, right - left, samples, (depth & 127) + 1)
    if min(size) < 1 or min(tile_width, tile_height) < 1:
        raise broken("its JPEG 2000 header is damaged")
    # A tile of a voxel each would cost a structure each.
    tiles = -(-right // tile_width) * -(-bottom // tile_height)
    if tiles > max(65535 // 4, 1):
        raise broken(f"its JPEG 2000 header declares {tiles:,} tiles", value=tiles)
    return size


def _codestream(data: bytes | memoryview) -> int:
    if bytes(data[:4]) == CODESTREAM:
        return 0
    at = 0
    if bytes(data[:12]) == JP2_SIGNATURE:
        for _ in range(MAX_BOXES):
            if at + 8 > len(data):
                break
            length, kind = struct.unpack_from(">L4s", data, at)
            header = 8
            if length == 1 and at + 16 <= len(data):
                (length,) = struct.unpack_from(">Q", data, at + 8)
                header = 16
            if kind == b"jp2c" and bytes(data[at + header : at + header + 4]) == CODESTREAM:
                return at + header
            if length < header:
                break
            at += length
    raise broken("its JPEG 2000 data has no codestream")
