"""A file made to hurt, and what has to come of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from conv3d_core.volumes import RawLayout

Files = list[tuple[str, bytes]]


@dataclass(frozen=True)
class Reads:
    """A volume comes out: of what is there, or of what of it was asked for.

    Attributes:
        shape: (D, H, W, C).
        note: a part of one of its notes.
    """

    shape: tuple[int, int, int, int]
    note: str = ""


@dataclass(frozen=True)
class Case:
    """Files that are handed in together.

    Attributes:
        build: gives them, or the bytes of a single one; not before it is asked, for collecting tests must cost nothing.
        expect: a regular expression that the error's text matches, or the volume that is read.
        fair_bytes: what reading it may take beside what every reading may, such as the volume that comes out.
        name: of a single file.
        raw: its declared layout.
        only_isolated: why it is bounded by the reading process alone; empty where every reader is safe from it.
    """

    build: Callable[[], bytes | Files]
    expect: str | Reads
    fair_bytes: int = 0
    name: str = "file"
    raw: RawLayout | None = None
    only_isolated: str = ""

    @property
    def files(self) -> Files:
        """Names and bytes."""
        built = self.build()
        return [(self.name, built)] if isinstance(built, bytes) else built
