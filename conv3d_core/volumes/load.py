"""From a file's numbers to a layer's: float32, (D, H, W, C), block by block; of a large file only what is wanted."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import BLOCK_BYTES, WHOLE, Entry, Part, Slices, split
from conv3d_core.volumes.limits import MAX_VOLUME_BYTES, MIB
from conv3d_core.volumes.volume import Float32, Volume, moved

EXACT = 2**24
Spans = tuple[tuple[int, int], ...]


def load(
    entry: Entry,
    part: Part = WHOLE,
    name: str = "",
    make: Callable[[tuple[int, ...]], Float32] | None = None,
    progress: Callable[[float], None] = lambda done: None,
) -> Volume:
    """The array as a volume, or a part of it.

    What is kept in memory at a time is the result and one block. Scaled values are computed in float64 and rounded
    once; a reduced voxel is a mean in float64.

    Args:
        entry: the array.
        part: what of it.
        name: of the volume.
        make: gives the memory for the result, of a shape.
        progress: is told how much is done, from 0 to 1.

    Raises:
        VolumeError: it cannot be read, a part that is not inside, or a result beyond the limit (field "size").
    """
    if entry.refusal:
        raise entry.refusal
    spans, joined = _spans(entry, part)
    sizes = tuple((last - first) // part.reduce for first, last in spans[:3]) + tuple(b - a for a, b in spans[3:])
    check_budget(entry, sizes)
    result = (make or _fresh)(sizes)
    cast = _Cast(entry, result, spans, part.reduce)
    wanted = cast.wanted
    for where, values in entry.decode(wanted):
        cast.take(where, values)
        progress(cast.done)
    cast.finish()
    array = result.reshape(*sizes[:3], -1)
    array.flags.writeable = False
    first = [a for a, _ in spans[:3]]
    centre = (part.reduce - 1) / 2
    spacing = None
    if entry.spacing_mm is not None:
        d, h, w = (step * part.reduce for step in entry.spacing_mm)
        spacing = (d, h, w)
    return Volume(
        array,
        name,
        spacing,
        moved(entry.affine, [part.reduce] * 3, [a + centre for a in first]),
        entry.dtype.newbyteorder("=").name,
        entry.source + _part_in_words(part),
        entry.notes + joined + cast.notes(),
        known_finite=cast.unscaled_integers,
    )


def check_budget(entry: Entry, sizes: Sequence[int]) -> None:
    """Refuse what would be too large.

    Raises:
        VolumeError: of field "size", with what would fit.
    """
    nbytes = 4 * math.prod(sizes)
    if nbytes > MAX_VOLUME_BYTES:
        raise VolumeError(
            "size",
            f"{' x '.join(map(str, sizes))} voxels ({entry.stored}) need {nbytes / MIB:,.0f} MiB as float32",
            f"read a box, one channel, or a reduction to at most {MAX_VOLUME_BYTES // MIB} MiB",
            value=entry.sizes,
        )


def fitting_reduction(sizes: Sequence[int]) -> int:
    """The smallest reduction with which (D, H, W, C) fits the limit.

    >>> fitting_reduction((1024, 1024, 1024, 1))
    2
    """
    *space, channels = sizes
    factor = 1
    while 4 * channels * math.prod(max(1, n // factor) for n in space) > MAX_VOLUME_BYTES and factor < min(space):
        factor += 1
    return factor


class _Cast:
    """Takes blocks of an array into the result, which it sees through the file's own axes."""

    def __init__(self, entry: Entry, result: Float32, spans: Spans, reduce: int) -> None:
        back = np.argsort(entry.order)
        turn = tuple(slice(None, None, -1 if axis in entry.flipped else 1) for axis in range(len(entry.shape)))
        self._entry = entry
        self._target = result.transpose(back)[turn]
        self._factors = [reduce if entry.order.index(axis) < 3 else 1 for axis in range(len(entry.shape))]
        self._sums: NDArray[np.float64] | None = np.zeros(self._target.shape) if reduce > 1 else None
        wanted = []
        for axis, size in enumerate(entry.shape):
            first, last = spans[entry.order.index(axis)]
            wanted.append(slice(size - last, size - first) if axis in entry.flipped else slice(first, last))
        self.wanted: Slices = tuple(wanted)
        self._total = math.prod(part.stop - part.start for part in wanted)
        self._taken = 0
        self._overflows = 0
        self._large = False
        self.unscaled_integers = True

    @property
    def done(self) -> float:
        return self._taken / self._total

    def take(self, where: Slices, values: NDArray[Any]) -> None:
        if self._entry.dtype.kind == "b" or values.dtype.kind == "b":
            values = values.astype(np.uint8)
        both = [
            (max(a.start, b.start), min(a.stop, b.stop), a.start, b.start)
            for a, b in zip(where, self.wanted, strict=True)
        ]
        if any(start >= stop for start, stop, _, _ in both):
            return
        values = values[tuple(slice(start - at, stop - at) for start, stop, at, _ in both)]
        # Run by run, so that what is scaled or summed needs no memory of a block's size.
        most = BLOCK_BYTES // 8
        for run in split(tuple(slice(0, size) for size in values.shape), most):
            starts = [start + part.start - origin for part, (start, _, _, origin) in zip(run, both, strict=True)]
            self._place(values[run], starts)

    def _place(self, values: NDArray[Any], starts: Sequence[int]) -> None:
        entry = self._entry
        scaled = (entry.slope, entry.intercept) != (1.0, 0.0)
        if values.dtype.kind in "iu" and values.dtype.itemsize > 2 and not scaled and self._sums is None:
            self._large = self._large or int(values.max()) > EXACT or int(values.min()) < -EXACT
        self.unscaled_integers &= values.dtype.kind in "iu" and not scaled
        if scaled:
            with np.errstate(over="ignore", invalid="ignore"):
                values = values.astype(np.float64) * entry.slope + entry.intercept
        self._taken += values.size
        if self._sums is not None:
            self._add(values.astype(np.float64), starts)
            return
        target = self._target[tuple(slice(at, at + size) for at, size in zip(starts, values.shape, strict=True))]
        with np.errstate(over="ignore", invalid="ignore"):
            target[...] = values
        if values.dtype.kind == "f" and values.dtype.itemsize > 4:
            self._overflows += int(np.isinf(target).sum()) - int(np.isinf(values).sum())

    def _add(self, values: NDArray[np.float64], starts: Sequence[int]) -> None:
        """Partial sums over blocks of voxels, whose rest may come with another run."""
        assert self._sums is not None
        places = []
        for axis, (at, factor) in enumerate(zip(starts, self._factors, strict=True)):
            size = values.shape[axis]
            first, last = at // factor, (at + size - 1) // factor
            places.append(slice(first, last + 1))
            if factor > 1:
                edges = [max(0, index * factor - at) for index in range(first, last + 1)]
                with np.errstate(over="ignore", invalid="ignore"):
                    values = np.add.reduceat(values, edges, axis=axis)
        with np.errstate(over="ignore", invalid="ignore"):
            self._sums[tuple(places)] += values

    def finish(self) -> None:
        """Once every block is in.

        Raises:
            VolumeError: the file gave fewer values than it declares.
        """
        if self._taken < self._total:
            missing = self._total - self._taken
            raise VolumeError("file", f"{missing:,} of its values are missing", "save or copy it again", value=missing)
        if self._sums is not None:
            self._sums /= math.prod(self._factors)
            with np.errstate(over="ignore", invalid="ignore"):
                self._target[...] = self._sums
            self._overflows += int(np.isinf(self._target).sum()) - int(np.isinf(self._sums).sum())

    def notes(self) -> tuple[str, ...]:
        found = []
        if self._overflows:
            found.append(f"{self._overflows:,} numbers beyond the range of float32 became infinite")
        if self._large:
            found.append("integers above 2**24 lose precision in float32")
        return tuple(found)


def _spans(entry: Entry, part: Part) -> tuple[Spans, tuple[str, ...]]:
    """[first, last) along D, H, W and each axis that becomes C; and a note where several do."""
    sizes = entry.sizes
    rest = [entry.shape[axis] for axis in entry.order[3:]]
    reduce = part.reduce
    if not isinstance(reduce, int) or isinstance(reduce, bool) or not 1 <= reduce <= min(sizes[:3]):
        problem = f"blocks of {reduce!r} voxels do not fit {sizes[:3]}"
        raise VolumeError("reduce", problem, f"use an integer from 1 to {min(sizes[:3])}", value=reduce)
    spans = []
    box = part.box or tuple((0, size - 1) for size in sizes[:3])
    for letter, (first, last), size in zip(AXES, box, sizes, strict=False):
        if not 0 <= first <= last < size or last - first + 1 < reduce:
            inside = f"use 0 <= first, last <= {size - 1} and at least {reduce} between them"
            problem = f"{first} to {last} is not inside 0 to {size - 1}"
            raise VolumeError(AXIS_NAMES[letter], problem, inside, field="box", axis=letter, value=(first, last))
        spans.append((first, first + (last - first + 1) // reduce * reduce))
    if part.channel is None:
        joined = [entry.axes[axis] for axis in entry.order[3:] if entry.shape[axis] > 1]
        notes = (f"C runs over {' x '.join(joined)}: {sizes[3]} channels",) if len(joined) > 1 else ()
        return (*spans, *((0, size) for size in rest)), notes
    if not 0 <= part.channel < sizes[3]:
        problem = f"there is no channel {part.channel}"
        raise VolumeError("channel", problem, f"use 0 to {sizes[3] - 1}", value=part.channel)
    index = np.unravel_index(part.channel, rest) if rest else ()
    return (*spans, *((int(at), int(at) + 1) for at in index)), ()


def _part_in_words(part: Part) -> str:
    words = ""
    if part.channel is not None:
        words += f", channel {part.channel}"
    if part.box is not None:
        words += ", box " + " ".join(f"{letter} {a}-{b}" for letter, (a, b) in zip(AXES, part.box, strict=True))
    return words + (f", mean over {part.reduce}^3 voxels" if part.reduce > 1 else "")


def _fresh(shape: tuple[int, ...]) -> Float32:
    return np.empty(shape, np.float32)
