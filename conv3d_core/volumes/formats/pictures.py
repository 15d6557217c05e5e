"""PNG, JPEG, GIF, WebP and BMP: single pictures, stacks of them in files of their own, and animations."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import ONE_PLANE, Block, Entry, Slices
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.formats.jpeg_headers import check_scans
from conv3d_core.volumes.formats.picture_headers import Header, header_of, kind_of, png_holds
from conv3d_core.volumes.formats.stacks import stacked, unreadable
from conv3d_core.volumes.limits import MIB, broken, clean
from conv3d_core.volumes.members import Member, Window

if TYPE_CHECKING:
    from PIL.Image import Image
    from PIL.ImageFile import ImageFile

# By EXIF's orientation: whether rows and columns change places; then whether H and whether W run the other way.
TURNS = {
    1: (False, False, False), 2: (False, False, True), 3: (False, True, True), 4: (False, True, False),
    5: (True, False, False), 6: (True, False, True), 7: (True, True, True), 8: (True, True, False),
}  # fmt: skip
COLOURS = {1: "", 2: "LA", 3: "RGB", 4: "RGBA"}
# Bytes beside the pixels: profiles, previews, texts.
MOST_BESIDE = 64 * MIB
# What Pillow raises on damaged data; SyntaxError is what it calls a broken PNG file.
DAMAGED = (
    OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, AttributeError, AssertionError, ArithmeticError,
    RuntimeError, MemoryError, EOFError, struct.error, zlib.error, Warning,
)  # fmt: skip


def _entries(members: Sequence[Member], _others: Sequence[Member]) -> list[Entry]:
    found = []
    for member in members:
        try:
            entry = _entry(member, header_of(member))
        except VolumeError as error:
            if len(members) == 1:
                raise
            entry = unreadable(kind_of(member.head), member.name, error)
        found.append((member.name, entry))
    return stacked(found)


def _entry(member: Member, header: Header) -> Entry:
    turn, flip_height, flip_width = TURNS[header.orientation]
    height, width = (2, 1) if turn else (1, 2)
    notes = header.notes
    if header.orientation > 1:
        notes += (f"turned upright, as its orientation tag ({header.orientation}) says",)
    notes += (f"an animation: D is time, {header.frames} frames",) if header.frames > 1 else (ONE_PLANE,)
    colours = header.channels > 1
    return Entry(
        kind=header.kind,
        shape=(header.frames, header.height, header.width, *([header.channels] if colours else [])),
        dtype=np.dtype({1: np.bool_, 8: np.uint8, 16: np.uint16}[header.bits]),
        axes=("T" if header.frames > 1 else "-", "Y", "X", *([COLOURS[header.channels]] if colours else [])),
        order=(0, height, width, *([3] if colours else [])),
        decode=lambda wanted: _frames(member, header, wanted),
        name=clean(member.name),
        flipped=frozenset([height] * flip_height + [width] * flip_width),
        notes=notes,
        refusal=_refusal(header),
    )


def _refusal(header: Header) -> VolumeError | None:
    if _deep(header) and header.frames > 1:
        return broken("an animated PNG with 16 bits a colour is not read here", "save its frames as files")
    return None


def _deep(header: Header) -> bool:
    """Colours of 16 bits, of which Pillow keeps 8 only."""
    return header.kind == "PNG" and header.bits == 16 and header.channels > 1


def _frames(member: Member, header: Header, wanted: Slices) -> Iterator[Block]:
    data = member.view()
    whole = (slice(0, header.height), slice(0, header.width), *([slice(0, header.channels)] * (len(wanted) > 3)))
    if len(data) > 2 * _size(header) * header.bits // 8 + MOST_BESIDE:
        # Pillow would go through it piece by piece.
        raise broken(f"its {len(data):,} bytes are far more than its pixels need")
    if header.kind == "JPEG":
        check_scans(data)
    for index, values in _deep_png(data, header) if _deep(header) else _decoded(data, header, wanted[0]):
        if values.shape[:2] != (header.height, header.width) or values.size * header.frames != _size(header):
            raise broken(f"its {header.kind} data is not of the size that its header declares")
        yield (slice(index, index + 1), *whole), values.reshape(1, *(part.stop for part in whole))


def _size(header: Header) -> int:
    return header.frames * header.height * header.width * header.channels


def _deep_png(data: memoryview, header: Header) -> Iterator[tuple[int, NDArray[Any]]]:
    """Pillow unpacks the upper bytes or the lower ones; grey and alpha, two bytes each, look to it like four of 8."""
    if header.channels == 2:
        both = _unpacked(data, header, "RGBA").astype(np.uint16)
        values = both[..., ::2] << 8 | both[..., 1::2]
    else:
        mode = COLOURS[header.channels]
        values = _unpacked(data, header, f"{mode};16B").astype(np.uint16) << 8
        values |= _unpacked(data, header, f"{mode};16L")
    _check_whole(data, header, values)
    yield 0, values


def _unpacked(data: memoryview, header: Header, rawmode: str) -> NDArray[Any]:
    with _image(data, header) as image, _damage(header.kind):
        image.tile = [tile._replace(args=rawmode) for tile in image.tile]
        image.load()
        return np.asarray(image)


def _decoded(data: memoryview, header: Header, wanted: slice) -> Iterator[tuple[int, NDArray[Any]]]:
    """The wanted frames; those in front of them too are decoded, since each is put on top of the one before."""
    with _image(data, header) as image:
        for index in range(0 if header.frames > 1 else wanted.start, wanted.stop):
            with _damage(header.kind):
                if header.frames > 1:
                    image.seek(index + header.first)
                image.load()
                values = _values(image, header) if index >= wanted.start else None
                if values is not None and header.raw and header.frames == 1:
                    _check_whole(data, header, values)
            if values is not None:
                yield index, values


@contextmanager
def _image(data: memoryview, header: Header) -> Iterator[ImageFile]:
    from PIL import Image

    with _damage(header.kind):
        image = Image.open(io.BufferedReader(Window(data)), formats=[header.kind])
    with image:
        if image.size != (header.width, header.height):
            raise broken(f"its {header.kind} data is not of the size that its header declares")
        yield image


def _check_whole(data: memoryview, header: Header, values: NDArray[Any]) -> None:
    """Where rows are missing at the end, the last one is of one colour: only then it is worth a look."""
    if (header.interlaced or (values[-1] == values[-1, :1]).all()) and not png_holds(data, header.raw):
        raise broken("it is cut off: its PNG data has fewer rows than its header declares")


def _values(image: Image, header: Header) -> NDArray[Any]:
    mode = "RGB" if header.grey else {1: "1", 16: "I;16"}.get(header.bits, COLOURS[header.channels] or "L")
    if image.mode != mode:
        if "transparency" in image.info:
            # Else Pillow would look for a place for it among the new colours.
            image = image.copy()
            del image.info["transparency"]
        image = image.convert(mode)
    values: NDArray[Any] = np.asarray(image)
    if header.grey and header.channels == 1:
        values = values[..., 0]
    return values // header.scale if header.scale > 1 else values


@contextmanager
def _damage(kind: str) -> Iterator[None]:
    from PIL import Image

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            # Some cameras' second pictures cannot be found; the first one is whole.
            warnings.filterwarnings("ignore", "Image appears to be a malformed MPO file")
            # Of EXIF only the orientation is wanted, and that is found without Pillow.
            warnings.filterwarnings("ignore", "Corrupt EXIF data")
            yield
    except VolumeError:  # is a ValueError too
        raise
    except (*DAMAGED, Image.DecompressionBombError) as error:
        raise broken(f"its {kind} data is damaged or cut off ({clean(str(error)) or type(error).__name__})") from error


FORMAT = Format(
    "pictures",
    (".png", ".jpg", ".gif", ".webp", ".bmp"),
    lambda member: bool(kind_of(member.head)),
    _entries,
    together=True,
)
