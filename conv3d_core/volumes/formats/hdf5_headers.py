"""What the headers of an HDF5 file's objects say where its library is not to be asked.

Of texts and lists of any length it makes room for the length that is declared, up to 4 GiB, and goes round in a circle
in a damaged heap; of a damaged fill value it reads what is not there. Section numbers are those of the HDF5 file format
specification, version 3.0.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from typing import NamedTuple

OLD_FILL, FILL, LAYOUT, ATTRIBUTE, CONTINUATION = 0x04, 0x05, 0x08, 0x0C, 0x10
VARIABLE_LENGTH = 9
MAX_BLOCKS = 64
MAX_MESSAGES = 4_096
MAX_HEAP_OBJECTS = 65_536
MAX_ELEMENTS = 64
MAX_ELEMENT_BYTES = 64 * 1024
HEAP_HEADER = 16
DESCRIPTOR = struct.Struct("<IQI")


def lists(view: memoryview, address: int, name: bytes) -> list[bytes]:
    """The elements of an attribute whose elements have any length; none where it is something else.

    Args:
        view: the whole file.
        address: of the object's header.
        name: of the attribute.
    """
    try:
        if not _has_8_byte_addresses(view):
            return []
        for kind, message in _messages(view, address):
            found = _attribute(message) if kind == ATTRIBUTE else None
            if found is not None and found.name == name:
                return [_heap_object(view, *DESCRIPTOR.unpack_from(found.data, at)) for at in found.starts]
    except (struct.error, IndexError, ValueError):  # it points out of the file, or a length makes no sense
        pass
    return []


def fill_value(view: memoryview, address: int, nbytes: int) -> bytes:
    """What chunks hold that were never written: so many bytes, all 0 where none is named (IV.A.2.e, f)."""
    found = b""
    try:
        for kind, message in _messages(view, address) if _has_8_byte_addresses(view) else ():
            if kind == OLD_FILL and not found:
                found = _sized(message, 0)
            elif kind == FILL and message[0] == 3 and message[1] & 0x20:
                found = _sized(message, 2)
            elif kind == FILL and message[0] < 3 and (message[0] == 1 or message[3]):
                found = _sized(message, 4)
    except (struct.error, IndexError, ValueError):  # it points out of the file
        pass
    return found if len(found) == nbytes else bytes(nbytes)


def compact(view: memoryview, address: int) -> bytes:
    """The values that lie in the header itself, of HDF5 1.6.3 and later (IV.A.2.i)."""
    try:
        for kind, message in _messages(view, address) if _has_8_byte_addresses(view) else ():
            if kind == LAYOUT and message[0] in (3, 4) and message[1] == 0:
                (size,) = struct.unpack_from("<H", message, 2)
                return bytes(message[4:][:size])
    except (struct.error, IndexError, ValueError):  # it points out of the file
        pass
    return b""


def _sized(message: memoryview, start: int) -> bytes:
    (size,) = struct.unpack_from("<I", message, start)
    return bytes(message[start + 4 :][:size])


def _has_8_byte_addresses(view: memoryview) -> bool:
    """As all files but those of the nineties (II.A)."""
    start = 13 if view[8] < 2 else 9
    return bytes(view[start : start + 2]) == b"\x08\x08"


def _messages(view: memoryview, address: int) -> Iterator[tuple[int, memoryview]]:
    """What an object's header says, with what it continues in (IV.A)."""
    second = bytes(view[address : address + 4]) == b"OHDR"
    flags = view[address + 5] if second else 0
    if second:
        start = address + 6 + (16 if flags & 0x20 else 0) + (4 if flags & 0x10 else 0)
        width = 1 << (flags & 3)
        blocks = [(start + width, int.from_bytes(view[start : start + width], "little"))]
    else:
        blocks = [(address + 16, struct.unpack_from("<I", view, address + 8)[0])]
    count = 0
    for number, (start, size) in enumerate(blocks):
        end = min(start + size, len(view))
        head = 4 + (2 if flags & 4 else 0) if second else 8
        while start + head <= end:
            kind, length = (
                (view[start], *struct.unpack_from("<H", view, start + 1))
                if second
                else struct.unpack_from("<HH", view, start)
            )
            data = view[start + head : min(start + head + length, end)]
            if kind == CONTINUATION and number < MAX_BLOCKS:
                place, nbytes = struct.unpack_from("<QQ", data)
                # In version 2 a signature stands in front, and a checksum behind.
                blocks.append((place + 4, nbytes - 8) if second else (place, nbytes))
            yield kind, data
            start += head + length
            count += 1
            if count > MAX_MESSAGES:
                return


class _Attribute(NamedTuple):
    name: bytes
    data: memoryview
    starts: range


def _attribute(message: memoryview) -> _Attribute | None:
    """An attribute of elements of any length (IV.A.2.m)."""
    version, shared, *sizes = struct.unpack_from("<BBHHH", message)
    start = 9 if version == 3 else 8
    # Version 1 pads each part to 8 bytes; a datatype that is stored elsewhere is not looked for.
    name_size, type_size, space_size = (-(-size // 8) * 8 if version == 1 else size for size in sizes)
    if version not in (1, 2, 3) or (version > 1 and shared):
        return None
    kind = message[start + name_size] & 15
    if kind != VARIABLE_LENGTH:
        return None
    space = message[start + name_size + type_size :][:space_size]
    count = _elements(space)
    data = message[start + name_size + type_size + space_size :]
    if not 0 < count <= MAX_ELEMENTS:
        return None
    name = bytes(message[start : start + sizes[0]]).split(b"\0", 1)[0]
    return _Attribute(name, data, range(0, count * DESCRIPTOR.size, DESCRIPTOR.size))


def _elements(space: memoryview) -> int:
    """Of a dataspace (IV.A.2.b)."""
    version, rank = space[0], space[1]
    return math.prod(struct.unpack_from(f"<{min(rank, 32)}Q", space, 8 if version == 1 else 4))


def _heap_object(view: memoryview, length: int, address: int, index: int) -> bytes:
    """An object of a global heap (III.E), of which as much as the element has."""
    if not length:
        return b""
    magic, version, size = struct.unpack_from("<4sB3xQ", view, address)
    if magic != b"GCOL" or version != 1 or length > MAX_ELEMENT_BYTES:
        raise ValueError("no such heap")
    at, end = address + HEAP_HEADER, min(address + size, len(view))
    for _ in range(MAX_HEAP_OBJECTS):
        if at + HEAP_HEADER > end:
            break
        number, nbytes = struct.unpack_from("<H6xQ", view, at)
        if number == index:
            start = at + HEAP_HEADER
            return bytes(view[start : min(start + min(nbytes, MAX_ELEMENT_BYTES), end)])
        at += HEAP_HEADER + -(-nbytes // 8) * 8
    raise ValueError("no such object")
