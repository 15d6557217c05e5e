"""An array in a file: known by its header, decoded block by block when it is read."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, TypeAlias

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.limits import MIB, broken, check_dtype, check_sizes, clean
from conv3d_core.volumes.members import Member, skip
from conv3d_core.volumes.volume import Float64, Spacing

Slices: TypeAlias = tuple[slice, ...]
Block: TypeAlias = tuple[Slices, NDArray[Any]]
Decode: TypeAlias = Callable[[Slices], Iterable[Block]]

# Large enough that a loop in Python does not count, small enough that a bar moves.
BLOCK_BYTES = 4 * 2**20
# Of numbers written as text, which are read as a whole, some ten million a second at best.
MAX_TEXT = 64 * MIB
LONGEST_NUMBER = 64
# The note of what has no depth.
ONE_PLANE = "a single plane, read as D = 1"


def nothing(wanted: Slices) -> tuple[()]:
    """Of an array that cannot be read."""
    return ()


@dataclass(frozen=True, eq=False, kw_only=True)
class Entry:
    """One array of a file, before a value of it is decoded.

    Attributes:
        kind: of file, in words: "NIfTI-1".
        shape: its sizes as stored, those that vary slowest first.
        dtype: of its values as stored.
        axes: what the file calls each axis of ``shape``.
        order: indices into ``shape``: which axis becomes D, H, W; then those that become C, the last varying fastest.
        decode: gives blocks that cover the slices of ``shape`` it is asked for; they may reach further. A block's array
            is only good until the next one. Raises VolumeError for what turns out to be damaged.
        name: to choose it by, where a file holds several.
        flipped: axes of ``shape`` that are turned round.
        slope: factor of scaled values.
        intercept: summand of scaled values.
        spacing_mm: along D, H, W.
        affine: 4x4, (d, h, w, 1) -> mm in RAS+ world, of the array as it comes out.
        direction: what the axes follow, such as "LPS"; empty where they are as stored.
        fastest_first: whether the format itself names what varies fastest first, as (x, y, z).
        notes: what a user must know about it.
        companions: names of the other members that its values are in, where it leans on some.
        refusal: why it cannot be read, if so: it is listed all the same.
        reduced: whether it is a smaller copy of another entry, and so never meant where nothing was chosen.
    """

    kind: str
    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    axes: tuple[str, ...]
    order: tuple[int, ...]
    decode: Decode = nothing
    name: str = ""
    flipped: frozenset[int] = frozenset()
    slope: float = 1.0
    intercept: float = 0.0
    spacing_mm: Spacing | None = None
    affine: Float64 | None = None
    direction: str = ""
    fastest_first: bool = False
    notes: tuple[str, ...] = field(default=())
    companions: tuple[str, ...] = ()
    refusal: VolumeError | None = None
    reduced: bool = False

    @property
    def sizes(self) -> tuple[int, int, int, int]:
        """(D, H, W, C) as it comes out; four times 1 where it was refused for axes that are no volume's."""
        d, h, w, *rest = [self.shape[axis] for axis in self.order] or (1, 1, 1)
        return d, h, w, math.prod(rest)

    @property
    def stored(self) -> str:
        """Type and shape in the file, as "int16 (128, 96, 24, 2)"."""
        shape = self.shape[::-1] if self.fastest_first else self.shape
        return f"{self.dtype.newbyteorder('=').name} {tuple(shape)}"

    @property
    def source(self) -> str:
        """One line: what was read, and which axis of the file became which; a minus marks those turned round."""
        kind = f"{self.kind} '{self.name}'" if self.name else self.kind
        if not self.order:
            return f"{kind}, {self.stored}"
        names = [("-" if axis in self.flipped else "") + self.axes[axis] for axis in self.order]
        axes = self.axes[::-1] if self.fastest_first else self.axes
        channels = " x ".join(names[3:])
        target = f"D H W C = {' '.join(names[:3])} {channels}" if len(names) == 4 else f"D H W = {' '.join(names[:3])}"
        if len(names) > 4:
            target += f", C = {channels}"
        direction = f", {self.direction}" if self.direction else ""
        return f"{kind}, {self.stored} {' '.join(axes)} -> {target}{direction}"


@dataclass(frozen=True, slots=True)
class Part:
    """What of an array is read.

    Attributes:
        box: first and last index along D, H and W, both inclusive; None for all.
        reduce: each voxel is the mean of so many along D, H and W; what is left over at the ends is dropped.
        channel: only this one; None for all.
    """

    box: tuple[tuple[int, int], tuple[int, int], tuple[int, int]] | None = None
    reduce: int = 1
    channel: int | None = None


WHOLE = Part()


def split(wanted: Slices, most: int) -> Iterator[Slices]:
    """Cut slices into runs of at most so many elements, in the order in which they are stored.

    >>> list(split((slice(0, 2), slice(0, 3)), 3))
    [(slice(0, 1, None), slice(0, 3, None)), (slice(1, 2, None), slice(0, 3, None))]
    """
    sizes = [part.stop - part.start for part in wanted]
    axis = next((index for index, size in enumerate(sizes) if size > 1), None)
    if axis is None or math.prod(sizes) <= most:
        yield wanted
        return
    step = max(1, most // math.prod(sizes[axis + 1 :]))
    for first in range(wanted[axis].start, wanted[axis].stop, step):
        run = slice(first, min(first + step, wanted[axis].stop))
        yield from split((*wanted[:axis], run, *wanted[axis + 1 :]), most)


def everything(shape: Sequence[int]) -> Slices:
    """All of an array of that shape."""
    return tuple(slice(0, size) for size in shape)


def plain(member: Member, offset: int, dtype: np.dtype[Any], shape: Sequence[int]) -> Decode:
    """Numbers that lie one behind the other, the last axis of ``shape`` varying fastest.

    They are looked at in place where the member is not compressed, and inflated run by run, never more than is
    wanted, where it is.

    Raises:
        VolumeError: values that are not real numbers, sizes that hold none, or fewer bytes than they need.
    """
    check_dtype(dtype)
    count = check_sizes(shape)
    member.check_holds(offset + count * dtype.itemsize)
    if member.direct:
        array = np.frombuffer(member.view(), dtype, count, offset).reshape(shape)
        return in_place(array)
    return lambda wanted: _inflated(member, offset, dtype, tuple(shape), wanted)


def in_place(array: NDArray[Any]) -> Decode:
    """An array whose values are there already."""

    def decode(wanted: Slices) -> Iterator[Block]:
        for where in split(wanted, max(1, BLOCK_BYTES // array.itemsize)):
            yield where, array[where]

    return decode


def spelled(member: Member, offset: int, dtype: np.dtype[Any], shape: Sequence[int], base: int = 10) -> Decode:
    """Numbers that are written as text: decimals between blanks, or (``base`` 16) two digits for each byte.

    Raises:
        VolumeError: as `plain`, or more text than is read here.
    """
    check_dtype(dtype)
    count = check_sizes(shape)
    # A digit and a blank for each number, but for the last blank.
    needed = 2 * count * dtype.itemsize if base == 16 else 2 * count - 1
    if needed > MAX_TEXT:
        problem = f"its {count:,} values are written as text"
        raise broken(problem, "save them in binary (encoding raw or gzip)", value=count)
    member.check_holds(offset + needed)

    def decode(wanted: Slices) -> Iterator[Block]:
        read = _from_hex if base == 16 else _from_decimals
        with member.open() as stream:
            skip(stream, offset)
            values = read(stream, dtype, count)
        yield from in_place(values.reshape(tuple(shape)))(wanted)

    return decode


def _from_decimals(stream: BinaryIO, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    number = float if dtype.kind == "f" else int
    values = np.empty(count, dtype)
    at, rest = 0, b""
    for piece in _text(stream):
        words = (rest + piece).split()
        # What reaches the end of a piece may go on in the next one.
        rest = words.pop() if words and piece and not piece[-1:].isspace() else b""
        if len(rest) > LONGEST_NUMBER or any(len(word) > LONGEST_NUMBER for word in words):
            raise broken("its text is not made of numbers")
        words = words[: count - at]
        try:
            with np.errstate(over="ignore"):
                values[at : at + len(words)] = [number(word) for word in words]
        except (ValueError, OverflowError) as error:
            raise broken(f"its text holds what is no {dtype} ({clean(str(error))})") from error
        at += len(words)
        if at == count:
            return values
    raise broken(f"it is cut off: its header declares {count:,} numbers and {at:,} are there", value=at)


def _from_hex(stream: BinaryIO, dtype: np.dtype[Any], count: int) -> NDArray[Any]:
    digits = bytearray()
    needed = 2 * count * dtype.itemsize
    for piece in _text(stream):
        digits += b"".join(piece.split())
        if len(digits) >= needed:
            break
    if len(digits) < needed:
        raise broken(f"it is cut off: its header declares {needed:,} digits and {len(digits):,} are there")
    try:
        return np.frombuffer(bytes.fromhex(digits[:needed].decode("ascii")), dtype)
    except ValueError as error:  # of which a UnicodeDecodeError is one
        raise broken("its text is not made of hexadecimal digits") from error


def _text(stream: BinaryIO) -> Iterator[bytes]:
    """Pieces of text up to the limit; an empty one ends them, so that the last number is known to be whole."""
    for _ in range(2 * MAX_TEXT // MIB):
        piece = stream.read(MIB)
        yield piece
        if not piece:
            return


def _inflated(
    member: Member, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...], wanted: Slices
) -> Iterator[Block]:
    last = tuple(part.stop - 1 for part in wanted)
    most = max(1, BLOCK_BYTES // dtype.itemsize)
    buffer = np.empty(min(most, math.prod(shape)), dtype)
    with member.open() as stream:
        skip(stream, offset)
        for where in split(everything(shape), most):
            if tuple(part.start for part in where) > last:
                return
            sizes = [part.stop - part.start for part in where]
            run = buffer[: math.prod(sizes)]
            _fill(stream, run.data.cast("B"))
            if all(a.start < b.stop and b.start < a.stop for a, b in zip(where, wanted, strict=True)):
                yield where, run.reshape(sizes)
        # At its end the checksum is compared.
        stream.read(1)


def _fill(stream: Any, buffer: memoryview) -> None:
    at = 0
    while at < len(buffer):
        got = stream.readinto(buffer[at:])
        if not got:
            raise EOFError
        at += got
