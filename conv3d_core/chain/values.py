"""What a name can stand for while a text is followed: nothing in it runs, these take the place of objects."""

from __future__ import annotations

import ast
from collections import ChainMap
from dataclasses import dataclass, field
from typing import NamedTuple

from conv3d_core.chain.layer import Layer, Sizes
from conv3d_core.errors import SpecError

# Besides these: Python's own integers, floats, texts, truth values, None, tuples, lists and dicts of values.
Scope = dict[str, object]
Names = ChainMap[str, object]  # of a function, then of what is around it


class Note(NamedTuple):
    """What is said of a line; see `Passed`."""

    line: int
    why: str
    keeps_shape: bool = False


@dataclass(eq=False, slots=True)
class Data:
    """The array at one point of its way: the steps that led to it are a list linked backwards.

    Attributes:
        before: the step before; None for what goes in.
        layer: the layer that was applied last.
        note: what was passed over last.
        depth: layers on the way so far.
        shape: of what goes in, where the text says it.
    """

    before: Data | None = None
    layer: Layer | None = None
    note: Note | None = None
    depth: int = 0
    shape: Sizes | None = None


@dataclass(eq=False, slots=True)
class Unknown:
    """What the text does not tell, or is not followed.

    Attributes:
        text: what stands there.
        why: in one clause; empty where nothing is known of it at all.
        quiet: nothing has to be said of it: a size of the data, say.
        line: where it stands; 0 where that does not matter.
    """

    text: str
    why: str = ""
    quiet: bool = False
    line: int = 0


@dataclass(frozen=True, slots=True)
class Symbol:
    """A name that the text does not define: a library's, such as ``torch.nn.Conv3d``.

    Attributes:
        path: in full.
        written: as it stands in the text.
        line: where.
    """

    path: str
    written: str = field(default="", compare=False)
    line: int = field(default=0, compare=False)

    @property
    def last(self) -> str:
        """Its last part: ``Conv3d``."""
        return self.path.rpartition(".")[2]


@dataclass(eq=False, slots=True)
class Made:
    """A layer that was made and waits to be applied. It may be wrong: that is said when it is."""

    layer: Layer
    error: SpecError | None = None
    name: str = ""


@dataclass(eq=False, slots=True)
class Row:
    """nn.Sequential: layers by name, applied in a row."""

    items: dict[str, object] = field(default_factory=dict)
    name: str = ""


@dataclass(eq=False, slots=True)
class Function:
    """One that the text defines.

    Attributes:
        scope: where its other names are looked up.
        me: what it is a method of.
        owner: the class that it stands in, for super().
    """

    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda
    scope: Names
    me: object = None
    owner: Class | None = None


@dataclass(eq=False, slots=True)
class Class:
    """One that the text defines."""

    name: str
    bases: tuple[object, ...]
    members: Scope

    def find(self, name: str) -> object:
        """A member of it or its bases; None if there is none."""
        for place in self.family():
            if isinstance(place, Class) and name in place.members:
                return place.members[name]
        return None

    def family(self) -> list[object]:
        """It, its bases and theirs, each once."""
        found: list[object] = [self]
        for place in found:
            if isinstance(place, Class):
                found += [base for base in place.bases if base not in found]
        return found

    @property
    def is_row(self) -> bool:
        """Whether it is an nn.Sequential."""
        return any(isinstance(base, Symbol) and base.last == "Sequential" for base in self.family())


@dataclass(eq=False, slots=True)
class Instance:
    """An object of such a class."""

    kind: Class
    attributes: Scope = field(default_factory=dict)
    name: str = ""


@dataclass(eq=False, slots=True)
class Partial:
    """A function, class or method with some arguments given."""

    called: object
    arguments: list[object]
    keywords: Scope


@dataclass(eq=False, slots=True)
class Method:
    """A method of a value that is none of the text's own: of the data, a list, a layer."""

    of: object
    name: str


@dataclass(eq=False, slots=True)
class Super:
    """``super()`` in a method of the text."""

    me: Instance
    owner: Class


@dataclass(slots=True)
class Frame:
    """Where a line stands.

    Attributes:
        names: what names mean there.
        me: what the method is of.
        owner: the class that the method stands in.
        prefix: what its layers' names begin with, in the place of "self".
        is_top: it is in no function.
    """

    names: Names
    me: object = None
    owner: Class | None = None
    prefix: str = "self"
    is_top: bool = False


class Leave(NamedTuple):
    """How a block ends before its end."""

    how: str
    value: object = None
