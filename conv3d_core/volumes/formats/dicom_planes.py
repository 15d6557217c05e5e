"""The frames of a DICOM file: where each lies, what its values are scaled by, and what tells it from others."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np

from conv3d_core.volumes.formats import dicom_header as dicom
from conv3d_core.volumes.formats.dicom_header import Elements
from conv3d_core.volumes.formats.dicom_pixels import Pixels
from conv3d_core.volumes.limits import broken, clean
from conv3d_core.volumes.volume import Float64

Key: TypeAlias = float | str | tuple[float, ...] | None


@dataclass(frozen=True, eq=False, slots=True)
class Plane:
    """A frame of a file, and where it belongs.

    Attributes:
        pixels: of its file.
        frame: which of them.
        place: number of its file in natural order of names.
        position: of the first pixel's centre in mm, LPS; None where the file does not say.
        orientation: of a row, then of a column, as unit vectors in LPS; None likewise.
        spacing: of rows, then of columns, in mm; None likewise.
        thickness: in mm, or the distance of planes where it is given; None likewise.
        slope: factor of its values.
        intercept: summand of its values.
        number: of the instance, as a series counts them.
        keys: what tells planes at one position apart, along `KEYS`.
    """

    pixels: Pixels
    frame: int
    place: int
    position: tuple[float, ...] | None
    orientation: tuple[float, ...] | None
    spacing: tuple[float, ...] | None
    thickness: float | None
    slope: float
    intercept: float
    number: float | None
    keys: tuple[Key, ...]


class Found:
    """Elements of one frame: its own before those of all frames before the file's."""

    def __init__(self, *parts: Elements | None) -> None:
        self._where: dict[int, Elements] = {}
        for part in parts:
            if part is not None:
                self._where |= part.flat()

    def numbers(self, tag: int, count: int) -> tuple[float, ...] | None:
        """So many, written as text."""
        where = self._where.get(tag)
        return where.numbers(tag, count) if where else None

    def number(self, tag: int) -> float | None:
        """One, written as text."""
        where = self._where.get(tag)
        return where.number(tag) if where else None

    def doubles(self, tag: int, count: int) -> tuple[float, ...] | None:
        """So many, of 8 bytes."""
        where = self._where.get(tag)
        return where.doubles(tag, count) if where else None

    def double(self, tag: int) -> float | None:
        """One, of 8 bytes."""
        found = self.doubles(tag, 1)
        return found[0] if found else None

    def short(self, tag: int) -> float | None:
        """One, of 2 or 4 bytes."""
        where = self._where.get(tag)
        return where.short(tag) if where else None

    def text(self, tag: int) -> str | None:
        """As text."""
        where = self._where.get(tag)
        return where.text(tag) if where else None

    def scale(self, tag: int, otherwise: float) -> float:
        """A number that must not be wrong.

        Raises:
            VolumeError: it is there, and none.
        """
        found, text = self.number(tag), self.text(tag)
        if text and found is None:
            raise broken(f"its rescale {'slope' if tag == dicom.SLOPE else 'intercept'} '{clean(text)}' is no number")
        return otherwise if found is None else found


# What can tell planes at one position apart, what says most of it first.
KEYS: tuple[tuple[str, Callable[[Found], Key]], ...] = (
    ("segment", lambda found: found.short(dicom.SEGMENT_NUMBER)),
    ("time", lambda found: _first(found.number(dicom.TEMPORAL_POSITION), found.short(dicom.TEMPORAL_INDEX))),
    ("echo time", lambda found: _first(found.double(dicom.EFFECTIVE_ECHO_TIME), found.number(dicom.ECHO_TIME))),
    ("echo", lambda found: found.number(dicom.ECHO_NUMBER)),
    ("b-value", lambda found: found.double(dicom.B_VALUE)),
    ("gradient", lambda found: found.doubles(dicom.GRADIENT, 3)),
    ("trigger time", lambda found: _first(found.double(dicom.CARDIAC_DELAY), found.number(dicom.TRIGGER_TIME))),
    ("acquisition", lambda found: found.number(dicom.ACQUISITION_NUMBER)),
    ("image type", lambda found: found.text(dicom.IMAGE_TYPE)),
    ("acquisition time", lambda found: _first(found.text(dicom.ACQUISITION_DATE_TIME), _time(found))),
)
IMAGE_TYPE = [name for name, _ in KEYS].index("image type")


def planes_of(place: int, pixels: Pixels) -> Iterator[Plane]:
    """The frames of a file.

    Raises:
        VolumeError: numbers that must not be wrong are.
    """
    top = pixels.header.elements
    shared, own = top.item(dicom.SHARED), top.items.get(dicom.PER_FRAME, [])
    if own and len(own) != pixels.frames:
        raise broken(f"its header describes {len(own)} frames and declares {pixels.frames}")
    common = Found(top, shared)
    shifts = None if own else _shifts(pixels, common)
    if shifts is not None and dicom.DOSE_OFFSETS not in top.values:
        said = f"its frames have no positions of their own: taken as {abs(shifts[1]):g} mm apart along the normal"
        pixels = replace(pixels, notes=(*pixels.notes, said))
    same = _plane(place, pixels, 0, common) if not own else None
    for frame in range(pixels.frames):
        if same is None:
            yield _plane(place, pixels, frame, Found(top, shared, own[frame]))
        elif shifts is None or same.position is None or same.orientation is None:
            yield replace(same, frame=frame, position=same.position if pixels.frames == 1 else None)
        else:
            normal = normal_of(same.orientation)
            at = tuple(float(p + shifts[frame] * n) for p, n in zip(same.position, normal, strict=True))
            yield replace(same, frame=frame, position=at, thickness=None)


def _shifts(pixels: Pixels, found: Found) -> list[float] | None:
    """Along the normal: where frames without positions of their own lie; None where that cannot be told."""
    orientation = found.numbers(dicom.ORIENTATION, 6)
    if pixels.frames == 1 or orientation is None or found.numbers(dicom.POSITION, 3) is None:
        return None
    offsets = found.numbers(dicom.DOSE_OFFSETS, pixels.frames)
    if offsets is not None:
        # From the first plane; or, as the standard allows it in axial planes, coordinates along the body.
        sign = -1.0 if offsets[0] and normal_of(orientation)[2] < 0 else 1.0
        return [sign * (offset - offsets[0]) for offset in offsets]
    between = found.number(dicom.SPACING_BETWEEN)
    return [between * frame for frame in range(pixels.frames)] if between else None


def _plane(place: int, pixels: Pixels, frame: int, found: Found) -> Plane:
    orientation = found.numbers(dicom.ORIENTATION, 6)
    if orientation is not None and not _is_orientation(orientation):
        orientation = None
    spacing = found.numbers(dicom.PIXEL_SPACING, 2)
    if spacing is not None and not all(map(_distance, spacing)):
        spacing = None
    slope, intercept = 1.0, 0.0
    if pixels.channels == 1 and not pixels.lookup:
        slope, intercept = found.scale(dicom.SLOPE, 1.0) or 1.0, found.scale(dicom.INTERCEPT, 0.0)
        slope *= found.number(dicom.DOSE_SCALING) or 1.0
    if pixels.mirror is not None:
        # slope * (mirror - stored) + intercept
        slope, intercept = -slope, slope * pixels.mirror + intercept
    return Plane(
        pixels=pixels,
        frame=frame,
        place=place,
        position=found.numbers(dicom.POSITION, 3) if orientation else None,
        orientation=orientation,
        spacing=spacing,
        thickness=_distance(found.number(dicom.SLICE_THICKNESS)) or _distance(found.number(dicom.SPACING_BETWEEN)),
        slope=slope,
        intercept=intercept,
        number=found.number(dicom.INSTANCE_NUMBER),
        keys=tuple(key(found) for _, key in KEYS),
    )


def _is_orientation(cosines: tuple[float, ...]) -> bool:
    row, column = np.array(cosines[:3]), np.array(cosines[3:])
    lengths = abs(np.linalg.norm(row) - 1) < 0.01 and abs(np.linalg.norm(column) - 1) < 0.01
    return bool(lengths and abs(row @ column) < 0.01)


def normal_of(orientation: Sequence[float]) -> Float64:
    """Of the planes: the direction in which the next one lies if row, column and it are right-handed."""
    normal = np.cross(orientation[:3], orientation[3:])
    return np.asarray(normal / (np.linalg.norm(normal) or 1.0))


def _first(*values: Key) -> Key:
    return next((value for value in values if value is not None and value != ""), None)


def _time(found: Found) -> Key:
    return found.text(dicom.ACQUISITION_TIME)


def _distance(number: float | None) -> float | None:
    """A length in mm if it is one."""
    return number if number is not None and number > 0 else None
