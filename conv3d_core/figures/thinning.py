"""Planes of more voxels than a browser draws: every n-th voxel of them, as it is, and never a mean."""

from __future__ import annotations

import itertools


def step_for(shape: tuple[int, int], most: int) -> int:
    """The smallest step along rows and columns with which at most ``most`` voxels are left.

    >>> step_for((2000, 3000), 10**6), step_for((2, 3), 10**6)
    (3, 1)
    """
    rows, columns = shape
    return next(step for step in itertools.count(1) if len(kept(rows, step)) * len(kept(columns, step)) <= most)


def kept(size: int, step: int) -> range:
    """The indices that are drawn: of each run of ``step`` the middle one.

    >>> list(kept(10, 3)), list(kept(1, 3))
    ([1, 4, 7], [0])
    """
    return range((min(step, size) - 1) // 2, size, step)


def thinning_note(step: int, voxels: int) -> str:
    """What is left out, in words; empty where nothing is.

    >>> thinning_note(3, 6_000_000)
    'every 3rd voxel of the plane is drawn: 6,000,000 are too many'
    """
    if step == 1:
        return ""
    ending = "th" if step // 10 % 10 == 1 else {1: "st", 2: "nd", 3: "rd"}.get(step % 10, "th")
    return f"every {step}{ending} voxel of the plane is drawn: {voxels:,} are too many"


def sentence(note: str) -> str:
    """A note as a sentence after other sentences; nothing for none.

    >>> sentence("nothing is drawn"), sentence("")
    (' Nothing is drawn.', '')
    """
    return f" {note[0].upper()}{note[1:]}." if note else ""
