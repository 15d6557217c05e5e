"""A volume as a value: numbers in (D, H, W, C), where they lie in the world, and what was done to get them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import InitVar, dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from conv3d_core.axis import AXES, AXIS_NAMES
from conv3d_core.errors import VolumeError

Float32 = NDArray[np.float32]
Float64 = NDArray[np.float64]
Spacing = tuple[float, float, float]
COUNTED = ("NaN value", "NaN values", "infinite value", "infinite values")
# Where a file says nothing, index 0 is at the origin and the axes rise as those of a file read here: S, P, L.
DEFAULT_AFFINE = np.array([[0.0, 0, -1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
# Towards which side of the body a world axis of RAS+ rises, and towards which it falls.
WORLD = (("R", "L"), ("A", "P"), ("S", "I"))


@dataclass(frozen=True, eq=False)
class Volume:
    """An input for a layer, read-only.

    A writable array is copied, so that nobody can change what `digest` has named; hand in a read-only one to
    share it. NaN and infinities are kept, because the layer keeps them too, and counted in `notes`.

    Attributes:
        array: (D, H, W, C) float32, C-contiguous, read-only; other dtypes are cast.
        name: what to call it.
        spacing_mm: distance of neighbouring voxels along D, H, W in mm, or None if the file does not say.
        affine: 4x4 float64, (d, h, w, 1) -> mm in RAS+ world (right, anterior, superior), or None.
        dtype: of the values in the file, "uint8".
        source: one line on what was read, and which axis of the file became which.
        notes: what a user must know about the numbers.

    Args:
        known_finite: that the array holds neither NaN nor infinity; it is not looked through then.

    Raises:
        VolumeError: not four sizes >= 1, numbers that are not real, or a spacing or affine that is none.

    >>> Volume(np.zeros((2, 3, 4, 1)), name="zeros").shape
    (2, 3, 4, 1)
    """

    array: Float32
    name: str = ""
    spacing_mm: Spacing | None = None
    affine: Float64 | None = None
    dtype: str = "float32"
    source: str = ""
    notes: tuple[str, ...] = field(default=())
    known_finite: InitVar[bool] = False

    def __post_init__(self, known_finite: bool) -> None:
        put = object.__setattr__
        array = _array(self.array)
        put(self, "array", array)
        put(self, "spacing_mm", _spacing(self.spacing_mm))
        put(self, "affine", _affine(self.affine))
        kept = tuple(note for note in self.notes if not note.endswith(COUNTED))
        put(self, "notes", kept if known_finite else kept + non_finite(array))

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(D, H, W, C)."""
        d, h, w, c = self.array.shape
        return d, h, w, c

    @property
    def channels(self) -> int:
        """Size of the last axis."""
        return self.shape[3]

    @property
    def nbytes(self) -> int:
        """Bytes of the array."""
        return int(self.array.nbytes)

    @property
    def is_finite(self) -> bool:
        """Whether no value is NaN or infinite; those that are have been counted in the notes."""
        return not any(note.endswith(COUNTED) for note in self.notes)

    @cached_property
    def digest(self) -> str:
        """Name of the numbers, for caches: blake2b of shape and bytes, 32 hexadecimal digits."""
        state = hashlib.blake2b(repr(self.shape).encode(), digest_size=16)
        state.update(self.array.data)
        return state.hexdigest()

    @cached_property
    def identity(self) -> str:
        """Name of everything in it, for caches: as `digest`, over every field."""
        affine = None if self.affine is None else self.affine.tolist()
        fields = (self.digest, self.name, self.spacing_mm, affine, self.dtype, self.source, self.notes)
        return hashlib.blake2b(repr(fields).encode(), digest_size=16).hexdigest()

    @property
    def world_affine(self) -> Float64 | None:
        """The affine; where only the spacing is known, one with that spacing and the usual directions; else None."""
        if self.affine is not None or self.spacing_mm is None:
            return self.affine
        return DEFAULT_AFFINE @ np.diag([*self.spacing_mm, 1.0])

    @property
    def directions(self) -> str | None:
        """Towards which side of the body D, H and W rise, or None without an affine.

        "SPL" (superior, posterior, left) is how medical files are read here: a D plane then has anterior in row 0
        and the person's right in column 0; H and W planes have inferior in row 0.
        """
        if self.affine is None:
            return None
        cosines = self.affine[:3, :3] / np.linalg.norm(self.affine[:3, :3], axis=0)
        nearest = np.abs(cosines).argmax(axis=0)
        return "".join(WORLD[world][int(cosines[world, axis] < 0)] for axis, world in enumerate(nearest))


def moved(affine: Float64 | None, step: Sequence[float], origin: Sequence[float]) -> Float64 | None:
    """The affine of a grid whose index i lies at ``i * step + origin`` of the old one."""
    if affine is None:
        return None
    grid = np.diag([*step, 1.0])
    grid[:3, 3] = origin
    return np.asarray(affine @ grid)


def _array(given: ArrayLike) -> Float32:
    array = np.asarray(given)
    if array.dtype.kind not in "biuf":
        problem = f"{array.dtype} values are not real numbers"
        raise VolumeError("array", problem, "use integers or floats", value=array.dtype)
    if array.ndim != 4 or 0 in array.shape:
        raise VolumeError(
            "array", f"{array.shape} is not a volume", "use four sizes (D, H, W, C), each >= 1", value=array.shape
        )
    result = np.ascontiguousarray(array, dtype=np.float32)
    if result.flags.writeable and np.may_share_memory(result, array):
        result = result.copy()
    result.flags.writeable = False
    return result


def _spacing(given: Spacing | None) -> Spacing | None:
    if given is None:
        return None
    numbers = [float(number) for number in given]
    if len(numbers) != 3:
        problem = f"{given!r} has {len(numbers)} numbers"
        raise VolumeError("spacing_mm", problem, "use three (D, H, W), or None", value=given)
    for letter, number in zip(AXES, numbers, strict=True):
        if not 0 < number < np.inf:
            raise VolumeError(
                "spacing_mm",
                f"{number:g} mm along {AXIS_NAMES[letter]} is not a distance",
                "use three numbers above 0, or None",
                axis=letter,
                value=given,
            )
    d, h, w = numbers
    return d, h, w


def _affine(given: Float64 | None) -> Float64 | None:
    if given is None:
        return None
    affine = np.array(given, dtype=np.float64)
    if affine.shape != (4, 4) or not np.isfinite(affine).all() or np.linalg.det(affine[:3, :3]) == 0:
        problem = f"an array {affine.shape} that cannot be inverted is no affine"
        raise VolumeError("affine", problem, "use a 4x4 one, or None", value=given)
    affine.flags.writeable = False
    return affine


def non_finite(array: Float32) -> tuple[str, ...]:
    """How many values are NaN and how many infinite, in words; empty where none is."""
    # The minimum of anything with a NaN is NaN: two passes without a temporary settle the usual case.
    if np.isfinite(array.min()) and np.isfinite(array.max()):
        return ()
    counts = ((int(np.isnan(array).sum()), "NaN"), (int(np.isinf(array).sum()), "infinite"))
    return tuple(f"{count:,} {what} value{'s' if count > 1 else ''}" for count, what in counts if count)
