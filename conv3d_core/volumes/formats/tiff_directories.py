"""The directories of a TIFF file, followed before its parser is: what is behind the end, in a circle, or mixed."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from typing import NamedTuple

from conv3d_core.volumes.limits import MAX_FRAMES, MIB, broken, check_present

FIRST_PRIVATE = 32768
MAX_TAGS = 512
MAX_SUB_DIRECTORIES = 10_000
MAX_DESCRIPTION = 64 * MIB
DESCRIPTION = 270
SUB_DIRECTORIES = 330
COLOURS = 320
# Bytes of a value, and its letter for struct, by the number of its TIFF type.
TYPES = {
    1: (1, "B"), 2: (1, "B"), 3: (2, "H"), 4: (4, "L"), 5: (8, "Q"), 6: (1, "b"), 7: (1, "B"), 8: (2, "h"), 9: (4, "l"),
    10: (8, "q"), 11: (4, "f"), 12: (8, "d"), 13: (4, "L"), 16: (8, "Q"), 17: (8, "q"), 18: (8, "Q"),
}  # fmt: skip
# Tags that decide how a page's bytes become numbers, with what they are where a page does not have them.
# Width, length, bits, compression, photometric, fill order, samples, rows per strip, planar, predictor, tile width,
# tile length, sample format, depth, tile depth; of the colour table a checksum.
LAYOUT = {
    256: (0,), 257: (0,), 258: (1,), 259: (1,), 262: (-1,), 266: (1,), 277: (1,), 278: (-1,), 284: (1,), 317: (1,),
    322: (0,), 323: (0,), 339: (1,), 32997: (1,), 32998: (1,), 320: (0,),
}  # fmt: skip
LOOKED_AT = {*LAYOUT, COLOURS, SUB_DIRECTORIES, DESCRIPTION}
Layout = tuple[tuple[int, ...], ...]


class Directories(NamedTuple):
    """What was found on the way.

    Attributes:
        layouts: of each directory by its place in the file: what decides how its bytes become numbers.
        pages: places of those that follow one another, without those that hang below.
    """

    layouts: dict[int, Layout]
    pages: list[int]

    @property
    def mixed(self) -> bool:
        """Whether the pages differ in how they are stored."""
        return len({self.layouts[at] for at in self.pages}) > 1


class _Tag(NamedTuple):
    code: int
    kind: int
    values: int
    at: int


class _Walk:
    """Through all directories, each once."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._order = "<" if data[0] == ord("I") else ">"
        self._big = 43 in bytes(data[2:4])
        self._count, self._entry, self._pointer = ("Q", "HHQ8s", "Q") if self._big else ("H", "HHL4s", "L")
        self._wide = struct.calcsize(self._order + self._pointer)
        self._entries = struct.Struct(self._order + self._entry)
        self._left = 4 * len(data)
        self._sub = 0
        self.layouts: dict[int, Layout] = {}
        self.pages: list[int] = []

    def run(self) -> None:
        at = self._number(self._pointer, 8 if self._big else 4)
        while at:
            self.pages.append(at)
            at, below = self._directory(at)
            for place in below:
                self._sub += 1
                if self._sub > MAX_SUB_DIRECTORIES:
                    raise broken(f"it has more than {MAX_SUB_DIRECTORIES:,} directories below its pages")
                # What hangs below those is never looked at.
                self._directory(place)

    def _directory(self, at: int) -> tuple[int, tuple[int, ...]]:
        if at in self.layouts or len(self.layouts) == MAX_FRAMES:
            raise broken(f"its pages run in a circle, or are more than {MAX_FRAMES:,}")
        found: dict[int, tuple[int, ...]] = {}
        below: tuple[int, ...] = ()
        tags = self._number(self._count, at)
        if tags > MAX_TAGS:
            raise broken(f"one of its pages has {tags:,} tags", value=tags)
        start = at + struct.calcsize(self._order + self._count)
        end = start + tags * self._entries.size
        check_present(end + self._wide, len(self._data))
        for tag in self._tags(start, end):
            if tag.code == COLOURS:
                length = tag.values * TYPES.get(tag.kind, (0, ""))[0]
                found[COLOURS] = (zlib.crc32(self._data[tag.at : tag.at + length]),)
            elif tag.code in LAYOUT:
                found[tag.code] = self._values(tag, 16)
            elif tag.code == SUB_DIRECTORIES:
                below = self._values(tag, MAX_SUB_DIRECTORIES)
            elif tag.code == DESCRIPTION:
                self._check_description(tag)
        if not (found.get(256) and found.get(257)):
            raise broken("one of its pages has no size")
        height, rows = found[257], found.get(278, (0,))
        if rows[0] <= 0 or rows > height:
            # Of one strip, however that is said.
            found[278] = height
        self.layouts[at] = tuple(found.get(code, default) for code, default in LAYOUT.items())
        return self._number(self._pointer, end), tuple(place for place in below if place >= 8)

    def _tags(self, start: int, end: int) -> Iterator[_Tag]:
        size = self._entries.size
        for number, (code, kind, count, inline) in enumerate(self._entries.iter_unpack(self._data[start:end])):
            length = count * TYPES.get(kind, (0, ""))[0]
            at = start + (number + 1) * size - self._wide
            if length > self._wide:
                at = struct.unpack(self._order + self._pointer, inline)[0]
                # Private tags are known to point anywhere.
                if code < FIRST_PRIVATE or code in LAYOUT:
                    check_present(at + length, len(self._data))
                # Of a file whose tags share their values, each would be read again and again.
                self._left -= length
                if self._left < 0:
                    raise broken("its tags declare more than the file holds")
            if code in LOOKED_AT:
                yield _Tag(code, kind, count, at)

    def _values(self, tag: _Tag, most: int) -> tuple[int, ...]:
        size, letter = TYPES.get(tag.kind, (0, ""))
        if letter in ("", "f", "d"):
            return ()
        count = min(tag.values, most)
        check_present(tag.at + count * size, len(self._data))
        return struct.unpack_from(f"{self._order}{count}{letter}", self._data, tag.at)

    def _check_description(self, tag: _Tag) -> None:
        """Of the XML that is in it: no declarations, with which a few bytes can stand for many."""
        if tag.values > MAX_DESCRIPTION:
            raise broken(f"its description has {tag.values:,} bytes")
        text = bytes(self._data[tag.at : tag.at + tag.values])
        if b"<!ENTITY" in text or b"<!DOCTYPE" in text:
            raise broken("the XML in it declares entities", "save it without them")

    def _number(self, letter: str, at: int) -> int:
        number: int = struct.unpack_from(self._order + letter, self._data, at)[0]
        return number


def directories(data: memoryview) -> Directories:
    """Follow the directories from page to page: tifffile would silently leave out what lies behind the end.

    Raises:
        VolumeError: it is cut off, its pages run in a circle, or there are more of them than anything has.
    """
    walk = _Walk(data)
    try:
        walk.run()
    except (struct.error, OverflowError, IndexError) as error:  # the last two: a place beyond 2**63
        raise broken("it is cut off: its next page lies behind its end", value=len(data)) from error
    return Directories(walk.layouts, walk.pages)
