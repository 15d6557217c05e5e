"""What every format is to the door."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from conv3d_core.volumes.entry import Entry
from conv3d_core.volumes.members import Member


@dataclass(frozen=True, slots=True)
class Format:
    """A kind of file.

    Attributes:
        name: in words.
        endings: of its files' names, for people; a file is recognised by its content.
        recognises: whether a member is of this kind, by its head.
        entries: the arrays in members of this kind, from their headers; the second argument is what else was handed in,
            where a header is allowed to look for its data. Raises VolumeError.
        together: whether several members make one volume, as the planes of a series do; else each is read alone.
        gathers: for a kind that is a folder of files: those of the members that are its own, whatever each of them
            looks like by itself. It is asked first, and what it takes is neither unwrapped nor shown to another format.
    """

    name: str
    endings: tuple[str, ...]
    recognises: Callable[[Member], bool]
    entries: Callable[[Sequence[Member], Sequence[Member]], list[Entry]]
    together: bool = False
    gathers: Callable[[Sequence[Member]], Sequence[Member]] | None = None
