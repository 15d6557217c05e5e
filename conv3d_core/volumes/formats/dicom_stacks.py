"""Which planes of a DICOM series lie on which: in what order, how far apart, and what does not belong together."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from conv3d_core.volumes.formats.dicom_planes import KEYS, Key, Plane, normal_of
from conv3d_core.volumes.limits import broken, clean, shown
from conv3d_core.volumes.volume import Float64
from conv3d_core.volumes.world import LPS_TO_RAS

# Cosines that differ by less are the same orientation; a scanner's own differ by 1e-6.
SAME_ORIENTATION = 1e-4
SAME_LENGTH = 1e-3
# In pixels: positions that differ by less are the same, so that a scale of micrometres works too.
SAME_POSITION = 0.02
# Of the distance between planes: what lies further from where even spacing puts it is said.
EVEN = 0.02
# How many of the orientations found last a plane is compared with; a rotating scan has as many as planes.
RECENT = 16
MAX_SPLIT = 64
NOTHING: tuple[str, ...] = ()
ORIENTATIONS = ("sagittal", "coronal", "axial")


@dataclass(frozen=True, eq=False)
class Stack:
    """Planes that are one volume.

    Attributes:
        planes: [channel][depth].
        key: what C runs over, where there are several channels.
        affine: index along x, y, z -> mm in RAS+; None where the files do not say.
        step: distance of planes along their normal, in mm.
        aspects: what tells it from others of its series.
        notes: what a user must know.
    """

    planes: list[list[Plane]]
    key: str = ""
    affine: Float64 | None = None
    step: float | None = None
    aspects: tuple[str, ...] = ()
    notes: tuple[str, ...] = field(default=())


def alike(planes: Sequence[Plane]) -> list[list[Plane]]:
    """Planes that can lie in one stack: of the same kind of pixels, orientation and spacing."""
    kinds: dict[tuple[object, ...], list[Plane]] = {}
    for plane in planes:
        pixels = plane.pixels
        # Frames without positions follow each other in their file, and not those of another one.
        alone = plane.place if plane.position is None and pixels.frames > 1 else -1
        kind = (pixels.rows, pixels.columns, pixels.channels, pixels.dtype, plane.position is None, alone)
        kinds.setdefault(kind, []).append(plane)
    groups: list[list[Plane]] = []
    for own in kinds.values():
        found: list[list[Plane]] = []
        for plane in own:
            group = next((group for group in reversed(found[-RECENT:]) if _parallel(group[0], plane)), None)
            if group is None:
                found.append([plane])
            else:
                group.append(plane)
        groups += found
    return groups


def _parallel(one: Plane, other: Plane) -> bool:
    if one.position is None:
        return True
    return _near(one.orientation, other.orientation, SAME_ORIENTATION) and _near(
        one.spacing, other.spacing, SAME_LENGTH * min(one.spacing or (1.0,))
    )


def _near(one: tuple[float, ...] | None, other: tuple[float, ...] | None, tolerance: float) -> bool:
    if one is None or other is None:
        return one is other
    return all(abs(a - b) <= tolerance for a, b in zip(one, other, strict=True))


def stacks_of(planes: Sequence[Plane]) -> list[Stack]:
    """Planes that can lie in one stack, in as few as they do.

    Raises:
        VolumeError: several at the same positions, and nothing tells which belong together.
    """
    pixels = planes[0].pixels
    aspects = (f"{pixels.columns} x {pixels.rows}", "colour" if pixels.channels > 1 else pixels.dtype.name)
    if planes[0].position is None:
        alone = shown(pixels.header.member.name) if pixels.frames > 1 else ""
        return [replace(_listed(planes), aspects=(*aspects, "", "", alone))]
    orientation = planes[0].orientation
    assert orientation is not None
    facing = ORIENTATIONS[int(np.abs(normal_of(orientation)).argmax())]
    whole = _arranged(planes)
    if whole is not None:
        return [replace(whole, aspects=(*aspects, facing, "", ""))]
    for index, (key, _) in enumerate(KEYS):
        parts: dict[Key, list[Plane]] = {}
        for plane in planes:
            parts.setdefault(plane.keys[index], []).append(plane)
        if 1 < len(parts) <= MAX_SPLIT:
            split = {value: _arranged(part) for value, part in parts.items()}
            done = [
                replace(stack, aspects=(*aspects, facing, f"{key} {_worded(value)}", ""))
                for value, stack in sorted(split.items(), key=lambda pair: _ordered(pair[0]))
                if stack is not None
            ]
            if len(done) == len(parts):
                return done
    counts = Counter(len(group) for group in _by_position(planes)[0])
    raise broken(
        f"its positions have {min(counts)} to {max(counts)} planes each, and nothing in the headers tells which "
        "planes belong together",
        "hand in one volume at a time",
    )


def _listed(planes: Sequence[Plane]) -> Stack:
    """Planes without positions, by their number."""
    ordered = sorted(planes, key=lambda plane: (_ordered(plane.number), plane.place, plane.frame))
    many = len(ordered) > 1
    notes: tuple[str, ...] = ()
    if many and ordered[0].pixels.frames > 1:
        notes = ("its frames have no positions: D is the frame, in the file's order",)
    elif many:
        notes = ("its planes have no positions: ordered by instance number",)
    return Stack([ordered], notes=notes)


def _by_position(planes: Sequence[Plane]) -> tuple[list[list[Plane]], list[float]]:
    """Planes in the order in which they lie along their normal, those at the same position together; and where."""
    assert planes[0].orientation is not None
    normal = normal_of(planes[0].orientation)
    at = np.array([_at(plane) for plane in planes]) @ normal
    tolerance = SAME_POSITION * min(planes[0].spacing or (1.0,))
    groups: list[list[Plane]] = []
    where: list[float] = []
    for index in np.argsort(at, kind="stable"):
        if groups and at[index] - where[-1] <= tolerance:
            groups[-1].append(planes[index])
        else:
            groups.append([planes[index]])
            where.append(float(at[index]))
    return groups, where


def _arranged(planes: Sequence[Plane]) -> Stack | None:
    """The planes as one stack, with as many channels as there are planes at a position; None where that differs."""
    groups, where = _by_position(planes)
    channels = len(groups[0])
    if any(len(group) != channels for group in groups):
        return None
    key, notes = "", NOTHING
    if channels > 1:
        found = _told_apart(groups)
        if found is None:
            return None
        key, groups, notes = found
    columns = [[group[channel] for group in groups] for channel in range(channels)]
    affine, step, placed = _world(columns[0], where)
    return Stack(columns, key, affine, step, notes=notes + placed)


def _told_apart(groups: Sequence[list[Plane]]) -> tuple[str, list[list[Plane]], tuple[str, ...]] | None:
    """Planes at each position in an order that means the same at all of them: by what, and a note."""
    varying = [
        index for index in range(len(KEYS)) if len({plane.keys[index] for group in groups for plane in group}) > 1
    ]
    pairs = [(one, other) for one in varying for other in varying if one < other]
    for chosen in [(index,) for index in varying] + pairs:
        first = _sorted_values(groups[0], chosen)
        if len(set(first)) < len(first) or any(_sorted_values(group, chosen) != first for group in groups):
            continue
        name = " x ".join(KEYS[index][0] for index in chosen)
        listed = ", ".join(" ".join(map(_worded, value)) for value in first[:6])
        note = f"C is {name}: {listed}{', ...' if first[6:] else ''}"
        return name, [sorted(group, key=lambda p: _ordered_all(_value(p, chosen))) for group in groups], (note,)
    return _told_by_rank(groups, varying)


def _told_by_rank(
    groups: Sequence[list[Plane]], varying: Sequence[int]
) -> tuple[str, list[list[Plane]], tuple[str, ...]] | None:
    """As planes differ at each position in something whose values are not the same at all of them."""
    count = len(groups[0])
    ranks: list[tuple[str, Callable[[Plane], Key]]] = [
        (KEYS[index][0], lambda plane, index=index: plane.keys[index])  # type: ignore[misc]  # bound at once
        for index in varying
        if KEYS[index][0] in ("time", "trigger time", "acquisition", "acquisition time")
    ]
    ranks.append(("instance number", lambda plane: plane.number))
    for name, key in ranks:
        if all(len({key(plane) for plane in group} - {None}) == count for group in groups):
            note = f"{count} planes at each position are told apart only by their {name}: C is its order"
            return name, [sorted(group, key=lambda plane: _ordered(key(plane))) for group in groups], (note,)
    return None


def _sorted_values(group: Sequence[Plane], chosen: Sequence[int]) -> list[tuple[Key, ...]]:
    return sorted((_value(plane, chosen) for plane in group), key=_ordered_all)


def _value(plane: Plane, chosen: Sequence[int]) -> tuple[Key, ...]:
    return tuple(plane.keys[index] for index in chosen)


def _ordered(key: Key) -> tuple[int, Any]:
    """A value to sort by, where there may be none."""
    return (0, 0) if key is None else (1, key)


def _ordered_all(keys: tuple[Key, ...]) -> list[tuple[int, Any]]:
    return [_ordered(key) for key in keys]


def _worded(key: Key) -> str:
    if key is None:
        return "none"
    if isinstance(key, tuple):
        return "(" + " ".join(f"{number:.3g}" for number in key) + ")"
    return clean(key.replace("\\", " ")) if isinstance(key, str) else f"{key:g}"


def _world(planes: Sequence[Plane], where: Sequence[float]) -> tuple[Float64 | None, float | None, tuple[str, ...]]:
    """The affine in RAS+, the distance of planes along their normal, and what a user must know about the two."""
    first = planes[0]
    assert first.orientation is not None
    normal = normal_of(first.orientation)
    notes: list[str] = []
    if len(planes) == 1:
        step, direction = first.thickness, normal
        if step is None:
            step = 1.0
            notes.append("its thickness is not given: 1 mm was taken")
    else:
        steps = np.diff(where)
        step, said = _step(steps, [_coordinate(plane, normal) for plane in planes])
        notes += said
        way = _at(planes[-1]) - _at(first)
        # So long that a step along the normal is one; of a tilted scan it is longer.
        direction = way / (way @ normal)
        notes += _shifted(planes, direction, normal)
    if first.spacing is None:
        return None, step, (*notes, "the distance of its pixels is not given: axes are read as stored, without spacing")
    height, width = first.spacing
    affine = np.eye(4)
    affine[:3, 0] = np.multiply(first.orientation[:3], width)
    affine[:3, 1] = np.multiply(first.orientation[3:], height)
    affine[:3, 2] = direction * step
    affine[:3, 3] = first.position
    return LPS_TO_RAS @ affine, step, tuple(notes)


def _at(plane: Plane) -> Float64:
    return np.array(plane.position, dtype=np.float64)


def _coordinate(plane: Plane, normal: Float64) -> float:
    """Where a plane lies, along the side of the body that its normal is nearest to: what a scanner shows."""
    return float(_at(plane)[np.abs(normal).argmax()])


def _step(steps: Float64, where: Sequence[float]) -> tuple[float, list[str]]:
    """The distance of neighbouring planes, and a note where it is not the same everywhere."""
    usual = float(np.median(steps))
    counts = np.rint(steps / usual)
    if counts.max() >= 2 and (np.abs(steps - counts * usual) < 0.1 * usual).all():
        gaps = [
            f"{int(counts[index]) - 1} between {where[index]:.1f} and {where[index + 1]:.1f} mm"
            for index in np.flatnonzero(counts >= 2).tolist()
        ]
        missing = int(counts.sum()) - len(counts)
        listed = ", ".join(gaps[:3]) + (f" and {len(gaps) - 3} more gaps" if gaps[3:] else "")
        planes = "1 plane is" if missing == 1 else f"{missing:,} planes are"
        return usual, [f"{planes} missing ({listed}): what lies behind a gap is closer here than in the world"]
    mean = float(steps.mean())
    strayed = np.abs(np.cumsum(steps) - mean * np.arange(1, len(steps) + 1)).max()
    if strayed <= EVEN * mean:
        return mean, []
    return mean, [
        f"planes are {steps.min():.3g} to {steps.max():.3g} mm apart: read as evenly spaced by {mean:.4g} mm, which "
        f"puts them up to {strayed:.2g} mm off"
    ]


def _shifted(planes: Sequence[Plane], direction: Float64, normal: Float64) -> list[str]:
    """Notes on planes that do not lie straight above each other."""
    notes = []
    angle = float(np.degrees(np.arctan(np.linalg.norm(direction - normal))))
    at = np.array([_at(plane) for plane in planes])
    way = at - at[0]
    off = way - np.outer(way @ normal, direction)
    aside = float(np.linalg.norm(off, axis=1).max())
    if angle > 0.1:
        notes.append(f"planes are shifted against each other (by {angle:.1f} degrees, as of a tilted gantry): kept")
    if aside > 0.5 * min(planes[0].spacing or (math.inf,)):
        notes.append(f"planes lie up to {aside:.2g} mm aside of each other: not resampled")
    return notes


def names_of(title: str, stacks: Sequence[Stack]) -> list[str]:
    """The title of the series, with what tells its stacks apart."""
    telling = [
        index
        for index in range(len(stacks[0].aspects) if stacks else 0)
        if len({stack.aspects[index] for stack in stacks}) > 1
    ]
    return [
        ", ".join([title, *(stack.aspects[index] for index in telling if stack.aspects[index])]) for stack in stacks
    ]
