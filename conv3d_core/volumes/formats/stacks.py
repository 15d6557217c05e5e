"""Planes in files of their own, as one volume: those of a folder, in natural order of their names, along D."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from conv3d_core.errors import VolumeError
from conv3d_core.volumes.entry import ONE_PLANE, Block, Entry, Slices
from conv3d_core.volumes.limits import broken, clean, shown

NUMBERS = re.compile(r"[0-9]{1,18}")
# Of how many notes of single files a stack repeats.
MOST_NOTES = 8


def stacked(found: Sequence[tuple[str, Entry]]) -> list[Entry]:
    """The entries of files by their names; of a folder with several single planes these make one entry.

    Planes that do not agree are one entry with a refusal, which names the odd one.
    """
    folders: dict[str, list[tuple[str, Entry]]] = {}
    entries = []
    for name, entry in found:
        # One that cannot be read may be a plane of the stack, which must not lack it silently.
        if entry.refusal or _is_plane(entry):
            folders.setdefault(name.rpartition("/")[0], []).append((name, entry))
        else:
            entries.append(entry)
    return [_stack(planes) if len(planes) > 1 else planes[0][1] for planes in folders.values()] + entries


def unreadable(kind: str, name: str, error: VolumeError) -> Entry:
    """One of several files that cannot be read: listed, because it may be a plane of a stack."""
    return Entry(
        kind=kind,
        shape=(),
        dtype=np.dtype(np.uint8),
        axes=(),
        order=(),
        name=clean(name),
        refusal=error,
    )


def _named(name: str, error: VolumeError) -> VolumeError:
    where, problem, remedy = error.args
    return VolumeError(where, f"'{shown(name)}': {problem}", remedy, value=error.value)


def _is_plane(entry: Entry) -> bool:
    return len(entry.order) > 2 and entry.order[0] == 0 and entry.shape[0] == 1


def _stack(planes: Sequence[tuple[str, Entry]]) -> Entry:
    forms = Counter(_form(entry) for _, entry in planes)
    usual = forms.most_common(1)[0][0]
    first = next(entry for _, entry in planes if _form(entry) == usual)
    others = [(name, entry) for name, entry in planes if _form(entry) != usual]
    refusal = next((_named(name, entry.refusal) for name, entry in planes if entry.refusal), None)
    if others and refusal is None:
        name, odd = others[0]
        problem = f"'{shown(name)}' is {_size(odd)}, and {forms[usual]} of its {len(planes)} planes are {_size(first)}"
        refusal = broken(problem, "hand in planes of one size and kind, or each kind in a folder of its own")
    spacings = {entry.spacing_mm for _, entry in planes}
    return replace(
        first,
        name=f"{clean(planes[0][0])} to {shown(planes[-1][0])}",
        shape=(len(planes), *first.shape[1:]),
        axes=("file", *first.axes[1:]),
        decode=lambda wanted: _planes(planes, wanted),
        spacing_mm=first.spacing_mm if len(spacings) == 1 else None,
        notes=_notes(planes),
        refusal=refusal,
    )


def _form(entry: Entry) -> tuple[Any, ...]:
    """What has to agree."""
    return (
        entry.kind, entry.shape, entry.dtype.newbyteorder("="), entry.axes, entry.order, entry.flipped, entry.slope,
        entry.intercept,
    )  # fmt: skip


def _size(entry: Entry) -> str:
    turned = f", turned {'-'.join(entry.axes[axis] for axis in entry.order[1:3])}" if entry.flipped else ""
    return f"{entry.kind} {entry.dtype.name} {entry.shape[1:]} {' '.join(entry.axes[1:])}{turned}"


def _notes(planes: Sequence[tuple[str, Entry]]) -> tuple[str, ...]:
    said = dict.fromkeys(note for _, entry in planes for note in entry.notes if note != ONE_PLANE)
    notes = tuple(said)[:MOST_NOTES]
    gap = missing([name for name, _ in planes])
    return (*notes, gap) if gap else notes


def missing(names: Sequence[str]) -> str:
    """A word on planes that seem to be missing, by the numbers in names that differ in one number only; else "".

    >>> missing(["s1.png", "s2.png", "s4.png"])
    'planes may be missing: the numbers in the names jump between s2.png and s4.png'
    """
    texts = {NUMBERS.sub("#", name) for name in names}
    numbers = [[int(number) for number in NUMBERS.findall(name)] for name in names]
    if len(texts) != 1:
        return ""
    changing = [column for column in zip(*numbers, strict=True) if len(set(column)) > 1]
    if len(changing) != 1:
        return ""
    steps = [b - a for a, b in zip(changing[0], changing[0][1:], strict=False)]
    usual = min(steps)
    at = next((index for index, step in enumerate(steps) if step != usual), None)
    if at is None:
        return ""
    return f"planes may be missing: the numbers in the names jump between {shown(names[at])} and {shown(names[at + 1])}"


def _planes(planes: Sequence[tuple[str, Entry]], wanted: Slices) -> Iterator[Block]:
    for index in range(wanted[0].start, wanted[0].stop):
        name, entry = planes[index]
        try:
            for where, values in entry.decode((slice(0, 1), *wanted[1:])):
                yield (slice(index, index + 1), *where[1:]), values
        except VolumeError as error:
            raise _named(name, error) from error
