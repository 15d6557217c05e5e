"""Numbers without any header: their layout is declared by who reads them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.errors import shown as quoted
from conv3d_core.volumes.entry import Entry, plain
from conv3d_core.volumes.limits import check_sizes, clean
from conv3d_core.volumes.members import Member

DTYPE = re.compile(r"[<>=|]?(\?|b1|[iu][1248]|f[248])|u?int(8|16|32|64)|float(16|32|64)|bool")
MAX_SUGGESTED = 6
# Sizes (D, H, W) of scans that everybody has: the brain templates at 1 and 2 mm, and the Visible Human's CT.
USUAL = ((181, 217, 181), (182, 218, 182), (91, 109, 91), (193, 229, 193), (1871, 512, 512))
# Of a plane, the likelier first.
PLANES = (
    (512, 512), (256, 256), (1024, 1024), (128, 128), (2048, 2048), (64, 64), (320, 320), (384, 384), (192, 192),
    (480, 640), (600, 800), (768, 1024), (1024, 1280), (1200, 1600), (1080, 1920),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RawLayout:
    """How numbers lie in a file that does not say it.

    Attributes:
        shape: (D, H, W) or (D, H, W, C), the last varying fastest.
        dtype: of each number, as NumPy writes it: "<u2" is an unsigned integer of two bytes, the lower one first.
        offset: bytes in front of them.

    Raises:
        VolumeError: of field "raw": not three or four sizes >= 1, no type of real numbers, or an offset below 0.

    >>> RawLayout((2, 3, 4), ">i2").nbytes
    48
    """

    shape: tuple[int, ...]
    dtype: str = "<u2"
    offset: int = 0

    def __post_init__(self) -> None:
        sizes = tuple(self.shape) if isinstance(self.shape, list | tuple) else ()
        if len(sizes) not in (3, 4) or not all(_is_whole(size) and 1 <= size < 2**31 for size in sizes):
            problem = f"the shape {quoted(self.shape)} is not a volume's"
            raise _wrong(problem, "use (D, H, W) or (D, H, W, C), each an integer >= 1", self.shape)
        object.__setattr__(self, "shape", tuple(int(size) for size in sizes))
        if not isinstance(self.dtype, str) or not DTYPE.fullmatch(self.dtype):
            problem = f"the dtype {quoted(self.dtype)} is not one of real numbers"
            raise _wrong(problem, "use one such as '<u2', '>i2' or '<f4'", self.dtype)
        if not _is_whole(self.offset) or not 0 <= self.offset < 2**48:
            raise _wrong(f"the offset {quoted(self.offset)} is no place in a file", "use an integer >= 0", self.offset)
        try:
            check_sizes(self.shape)
        except VolumeError as error:
            raise _wrong(error.args[1], "use smaller sizes", self.shape) from error

    @property
    def nbytes(self) -> int:
        """Bytes of the numbers."""
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


def entry_of(member: Member, layout: RawLayout) -> Entry:
    """The array that a layout makes of a file.

    Raises:
        VolumeError: of field "raw": the file has fewer bytes than that.
    """
    dtype = np.dtype(layout.dtype)
    notes: tuple[str, ...] = ()
    needed = layout.offset + layout.nbytes
    if member.nbytes is not None:
        if member.nbytes < needed:
            start = f" behind byte {layout.offset:,}" if layout.offset else ""
            problem = f"{layout.shape} of {dtype.name}{start} needs {needed:,} bytes and {member.nbytes:,} are there"
            raise _wrong(problem, _remedy(member.nbytes - layout.offset, layout.dtype), member.nbytes)
        if member.nbytes > needed:
            notes = (f"{member.nbytes - needed:,} bytes behind the declared values were left out",)
    return Entry(
        kind="raw",
        shape=layout.shape,
        dtype=dtype,
        axes=tuple("DHWC"[: len(layout.shape)]),
        order=tuple(range(len(layout.shape))),
        decode=plain(member, layout.offset, dtype, layout.shape),
        name=clean(member.name),
        notes=notes,
    )


def suggest(nbytes: int, dtype: str = "<u2") -> list[tuple[int, int, int]]:
    """Shapes (D, H, W) that use up a file of so many bytes, the likelier first: a cube, usual scans, usual planes.

    Raises:
        VolumeError: of field "raw": no type of real numbers.

    >>> suggest(2 * 128**3)[:2]
    [(128, 128, 128), (8, 512, 512)]
    """
    size = RawLayout((1, 1, 1), dtype).nbytes
    count, rest = divmod(nbytes, size)
    if rest or count < 1:
        return []
    found = []
    side = round(count ** (1 / 3))
    if side > 1 and side**3 == count:
        found.append((side, side, side))
    found += [shape for shape in USUAL if math.prod(shape) == count]
    for h, w in PLANES:
        depth, left = divmod(count, h * w)
        # A volume of less than eight planes, or much deeper than wide, is rarely one.
        if not left and 8 <= depth <= 4 * w:
            found.append((depth, h, w))
    return list(dict.fromkeys(found))[:MAX_SUGGESTED]


def _is_whole(value: object) -> bool:
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _remedy(nbytes: int, dtype: str) -> str:
    shapes = suggest(nbytes, dtype)
    return f"use a shape such as {shapes[0]}" if shapes else "use a smaller shape, or a dtype of fewer bytes"


def _wrong(problem: str, remedy: str, value: object) -> VolumeError:
    return VolumeError("raw", problem, remedy, value=value)
