"""What names and members mean, and how they get their values."""

from __future__ import annotations

import ast
from abc import ABC, abstractmethod
from dataclasses import replace

from conv3d_core.chain.objects import NOTHING, ROW, items_of
from conv3d_core.chain.values import (
    Class,
    Data,
    Frame,
    Function,
    Instance,
    Leave,
    Made,
    Method,
    Row,
    Super,
    Symbol,
    Unknown,
)
from conv3d_core.chain.way import Way
from conv3d_core.errors import SpecError

_MOST_STEPS = 40_000
# Give back the layers that they are given.
SAME_MODULE = frozenset(
    [
        "to",
        "cuda",
        "cpu",
        "eval",
        "train",
        "float",
        "half",
        "double",
        "apply",
        "requires_grad_",
        "freeze",
        "unfreeze",
        "compile",
        "weight_norm",
        "spectral_norm",
        "DataParallel",
        "DistributedDataParallel",
        "set_dtype",
        "checkpoint_wrapper",
        "jit",
        "script",
        "type",
        "bfloat16",
    ]
)

_DATA_PROPERTIES = frozenset(
    ["shape", "ndim", "dtype", "device", "T", "itemsize", "nbytes", "grad", "requires_grad", "is_cuda"]
)


class Naming(ABC):
    """Gives values to names and members, and finds them there."""

    def __init__(self, way: Way) -> None:
        self.way = way
        self.implicit = Instance(Class("self", (Symbol("nn.Module"),), {}))
        self.owned: set[int] = set()  # what is a part of something else
        self._steps = 0

    @abstractmethod
    def value(self, node: ast.expr, frame: Frame) -> object:
        """What an expression stands for."""

    @abstractmethod
    def call(
        self, called: object, values: list[object], keywords: dict[str, object], node: ast.Call, frame: Frame
    ) -> object:
        """What calling something gives."""

    @abstractmethod
    def invoke(
        self,
        function: Function,
        values: list[object],
        keywords: dict[str, object],
        node: ast.expr,
        prefix: str | None = None,
    ) -> object:
        """Follows a function of the text with these arguments."""

    @abstractmethod
    def run(self, body: list[ast.stmt], frame: Frame) -> Leave | None:
        """Follows lines one after the other."""

    def step(self, cost: int = 1) -> None:
        """Counts: a few lines can ask for more than anyone waits for."""
        self._steps += cost
        if self._steps > _MOST_STEPS:
            raise SpecError("text", "it takes too many steps to follow", "paste the layers and what applies them only")

    def said(self, node: ast.stmt | ast.expr) -> str:
        """What stands in the text, short."""
        return self.way.pasted.said(node)

    def assign(self, target: ast.expr, value: object, frame: Frame) -> None:
        """Gives a value to a name, an attribute, a place or several of them."""
        if isinstance(target, ast.Name):
            self.name_it(value, target.id)
            frame.names[target.id] = value
        elif isinstance(target, ast.Attribute):
            owner = self.value(target.value, frame)
            if isinstance(owner, Instance):
                self.name_it(value, self.said(target))
                owner.attributes[target.attr] = value
                self.own(value, owner)
            elif isinstance(owner, Class):
                owner.members[target.attr] = value
        elif isinstance(target, ast.Subscript):
            owner, key = self.value(target.value, frame), self.value(target.slice, frame)
            if isinstance(owner, dict) and isinstance(key, str | int):
                owner[key] = value
            if isinstance(owner, list) and isinstance(key, int) and -len(owner) <= key < len(owner):
                owner[key] = value
        elif isinstance(target, ast.Tuple | ast.List):
            self._unpack(target.elts, value, frame)

    def _unpack(self, targets: list[ast.expr], value: object, frame: Frame) -> None:
        items = items_of(value)
        if items is not None and len(items) == len(targets):
            parts = items
        elif isinstance(value, Data):
            # ``x, indices = pool(x)``: the first is the data; what was not followed may be any of them.
            any_of_them = value.note and not value.note.keeps_shape
            parts = [value if place == 0 or any_of_them else NOTHING for place in range(len(targets))]
        else:
            parts = [Unknown(self.said(target), quiet=True) for target in targets]
        for target, part in zip(targets, parts, strict=True):
            self.assign(target, part, frame)

    def name_it(self, value: object, name: str) -> None:
        """Names a layer, or the layers of a row or list, unless they have one."""
        if isinstance(value, Made | Instance) and not value.name:
            value.name = name
        elif isinstance(value, Row) and not value.name:
            value.name = name
            for key, item in value.items.items():
                self.name_it(item, f"{name}.{key}")
        elif isinstance(value, list | tuple):
            self.step(len(value) // 8)
            for place, item in enumerate(value):
                if not isinstance(item, list | tuple):
                    self.name_it(item, f"{name}.{place}")

    def own(self, value: object, owner: object = None) -> None:
        """Notes that a value is a part of something, and stands for nothing alone."""
        if owner is not self.implicit:
            self.owned.add(id(value))

    def attribute(self, of: object, name: str, node: ast.expr) -> object:
        """A member of a value."""
        if isinstance(of, Symbol):
            return Symbol(f"{of.path[-200:]}.{name}", self.said(node), node.lineno)
        if isinstance(of, Instance):
            return self._member(of, name, node)
        if isinstance(of, Super):
            for base in of.owner.bases:
                found = base.find(name) if isinstance(base, Class) else None
                if isinstance(found, Function):
                    return replace(found, me=of.me)
            return Method(of, name)
        if isinstance(of, Class):
            found = of.find(name)
            return Unknown(f"{of.name}.{name}") if found is None else found
        if isinstance(of, Row):
            if name == "layers":
                return list(of.items.values())
            return of.items[name] if name in of.items else Method(of, name)
        if isinstance(of, Made):
            argument = of.layer.arguments.get(_canonical(of, name))
            return Method(of, name) if argument is None else argument
        if isinstance(of, Data):
            return Unknown(f"x.{name}", quiet=True) if name in _DATA_PROPERTIES else Method(of, name)
        if isinstance(of, Unknown):
            return Unknown(f"{of.text[-200:]}.{name}", of.why, of.quiet)
        if isinstance(of, dict) and isinstance(name, str) and name in of:
            return of[name]
        return Method(of, name)

    def _member(self, of: Instance, name: str, node: ast.expr) -> object:
        if name in of.attributes:
            return of.attributes[name]
        found = of.kind.find(name)
        if isinstance(found, Function):
            marks = {self.said(mark) for mark in getattr(found.node, "decorator_list", ())}
            if "staticmethod" in marks:
                return found
            bound = replace(found, me=of.kind if "classmethod" in marks else of)
            return self.invoke(bound, [], {}, node) if "property" in marks else bound
        if found is not None:
            return found
        row = of.attributes.get(ROW)
        if isinstance(row, Row) and name in row.items:
            return row.items[name]
        if name in SAME_MODULE or name in ("add_module", "register_module", "append", "parameters", "update"):
            return Method(of, name)
        if name == "training":
            return Unknown("self.training", quiet=True)
        return Unknown(f"{of.name or 'self'}.{name}", "no line of the text makes it")


def _canonical(made: Made, name: str) -> str:
    return {"in_features": "input_dims", "out_features": "output_dims"}.get(name, name)
