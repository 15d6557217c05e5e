"""NumPy's .npy, alone or many of them in an .npz, by their headers: nothing is ever unpickled."""

from __future__ import annotations

import tokenize
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.lib import format as npy

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import ONE_PLANE, Entry, plain
from conv3d_core.volumes.form import Format
from conv3d_core.volumes.limits import broken, check_dtype, check_sizes, clean
from conv3d_core.volumes.members import Member

MAGIC = b"\x93NUMPY"
# The header is a Python literal, so a hostile one raises whatever literal_eval and dtype() raise.
BAD_HEADER = (
    ValueError, TypeError, KeyError, IndexError, SyntaxError, EOFError, OverflowError, RecursionError, MemoryError,
    tokenize.TokenError,
)  # fmt: skip


class Layout(NamedTuple):
    """An array without names for its axes, as a volume."""

    shape: tuple[int, ...]
    order: tuple[int, ...]
    notes: tuple[str, ...]
    refusal: VolumeError | None


def unnamed_layout(shape: Sequence[int]) -> Layout:
    """How an array without names for its axes is read: (H, W), (D, H, W), (D, H, W, C) or (1, D, H, W, C).

    >>> unnamed_layout((5, 4)).shape
    (1, 5, 4)
    """
    shape = tuple(int(size) for size in shape)
    if len(shape) == 2:
        return Layout((1, *shape), (0, 1, 2), (ONE_PLANE,), None)
    if len(shape) in (3, 4):
        return Layout(shape, tuple(range(len(shape))), (), None)
    if len(shape) == 5 and shape[0] == 1:
        return Layout(shape[1:], (0, 1, 2, 3), ("the batch axis of 1 was dropped",), None)
    remedy = "save (D, H, W), (D, H, W, C) or (1, D, H, W, C)"
    return Layout(shape, (), (), VolumeError("file", f"an array {shape} is not a volume", remedy, value=shape))


def unnamed_axes(shape: Sequence[int], layout: Layout) -> tuple[str, ...]:
    """Names for the axes of that layout: their numbers in the file; "-" for one that is not there."""
    missing = len(layout.shape) - len(shape)
    return tuple(str(axis) if axis >= 0 else "-" for axis in range(-missing, len(shape)))


def _entries(members: Sequence[Member], _others: Sequence[Member]) -> list[Entry]:
    return [_entry(member) for member in members]


def _entry(member: Member) -> Entry:
    shape, fortran, dtype, offset = read_header(member)
    name = clean(member.name.removesuffix(".npy"))
    kind = "NumPy .npy"
    try:
        check_dtype(dtype)
        check_sizes(shape)
    except VolumeError as error:
        return Entry(kind=kind, shape=shape, dtype=dtype, axes=(), order=(), name=name, refusal=error)
    layout = unnamed_layout(shape)
    axes, sizes, order = unnamed_axes(shape, layout), layout.shape, layout.order
    if fortran:
        # The last axis of the file varies slowest.
        last = len(sizes) - 1
        axes, sizes, order = axes[::-1], sizes[::-1], tuple(last - axis for axis in order)
    return Entry(
        kind=kind,
        shape=sizes,
        dtype=dtype,
        axes=axes,
        order=order,
        decode=plain(member, offset, dtype, sizes),
        name=name,
        fastest_first=fortran,
        notes=layout.notes,
        refusal=layout.refusal,
    )


def read_header(member: Member) -> tuple[tuple[int, ...], bool, np.dtype[Any], int]:
    """Shape, whether the first axis varies fastest, type, and where the numbers start.

    Raises:
        VolumeError: it is damaged.
    """
    with member.open() as stream:
        start = stream.read(npy.MAGIC_LEN)
        try:
            version = tuple(start[6:8])
            # Version 3 exists for structured arrays with names beyond Latin-1, which are refused anyway.
            if version not in ((1, 0), (2, 0)) and len(start) == npy.MAGIC_LEN:
                problem = f"version {version[0]}.{version[1]} of .npy is not read here"
                raise broken(problem, "save it with numpy.save")
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            # No header is longer than 10,000 bytes, NumPy's own limit; it reads what the file declares.
            counted = _Counting(stream)
            shape, fortran, dtype = read(counted)
        except VolumeError:
            raise
        except BAD_HEADER as error:
            raise broken(f"its .npy header is damaged ({clean(str(error))})") from error
    return tuple(shape), fortran, dtype, npy.MAGIC_LEN + counted.at


class _Counting:
    """Counts what is read, since not every stream can tell where it is; NumPy's headers end before 64 KiB."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream
        self.at = 0

    def read(self, size: int = 0, /) -> bytes:
        piece: bytes = self._stream.read(min(size, 2**16))
        self.at += len(piece)
        return piece


FORMAT = Format("NumPy", (".npy", ".npz"), lambda member: member.head.startswith(MAGIC), _entries)
