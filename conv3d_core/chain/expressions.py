"""What expressions stand for."""

from __future__ import annotations

import ast
from collections.abc import Callable
from dataclasses import replace

from conv3d_core.chain import objects
from conv3d_core.chain.naming import Naming
from conv3d_core.chain.objects import NOTHING, ROW, items_of, truth
from conv3d_core.chain.values import Data, Frame, Function, Instance, Row, Super, Symbol, Unknown
from conv3d_core.source_code import arithmetic, bounded

# What people call the data where no line says what it is.
_DATA_NAMES = frozenset(
    [
        "x",
        "X",
        "inp",
        "inputs",
        "input",
        "input_",
        "img",
        "image",
        "images",
        "volume",
        "vol",
        "volumes",
        "batch",
        "data",
        "scan",
        "video",
        "clip",
        "frames",
        "xb",
        "x0",
    ]
)


class Expressions(Naming):
    """Finds what an expression stands for; every kind of node has a method under its name."""

    def value(self, node: ast.expr, frame: Frame) -> object:
        """What an expression stands for."""
        self.step()
        follow: Callable[[ast.expr, Frame], object] | None = getattr(self, f"_{type(node).__name__.lower()}", None)
        return follow(node, frame) if follow else Unknown(self.said(node))

    def _constant(self, node: ast.Constant, frame: Frame) -> object:
        return bounded(node.value)

    def _name(self, node: ast.Name, frame: Frame) -> object:
        if node.id in frame.names:
            found = frame.names[node.id]
            return replace(found, written=node.id, line=node.lineno) if isinstance(found, Symbol) else found
        if node.id == "self":
            return self.implicit
        if node.id == "__name__":
            return "__main__"
        if node.id in _DATA_NAMES:
            frame.names[node.id] = data = Data()
            return data
        return Symbol(node.id, node.id, node.lineno)

    def _attribute(self, node: ast.Attribute, frame: Frame) -> object:
        return self.attribute(self.value(node.value, frame), node.attr, node)

    def _tuple(self, node: ast.Tuple | ast.List | ast.Set, frame: Frame) -> object:
        return tuple(self._items(node.elts, frame))

    def _list(self, node: ast.List | ast.Set, frame: Frame) -> object:
        items = self._items(node.elts, frame)
        for item in items:
            self.own(item)
        return items

    _set = _list

    def _items(self, nodes: list[ast.expr], frame: Frame) -> list[object]:
        items: list[object] = []
        for node in nodes:
            value = self.value(node.value if isinstance(node, ast.Starred) else node, frame)
            if isinstance(node, ast.Starred):
                more = items_of(value)
                self.own(value)
                items += [Unknown(f"*{self.said(node.value)}")] if more is None else more
            else:
                items.append(value)
        return items

    def _dict(self, node: ast.Dict, frame: Frame) -> object:
        found: dict[object, object] = {}
        for key_node, value_node in zip(node.keys, node.values, strict=True):
            value = self.value(value_node, frame)
            self.own(value)
            if key_node is None:
                found.update(value if isinstance(value, dict) else {})
                continue
            key = self.value(key_node, frame)
            if isinstance(key, str | int | float | None):
                found[key] = value
        return found

    def _lambda(self, node: ast.Lambda, frame: Frame) -> object:
        return Function(node, frame.names)

    def _namedexpr(self, node: ast.NamedExpr, frame: Frame) -> object:
        value = self.value(node.value, frame)
        self.assign(node.target, value, frame)
        return value

    def _await(self, node: ast.Await, frame: Frame) -> object:
        return self.value(node.value, frame)

    def _unaryop(self, node: ast.UnaryOp, frame: Frame) -> object:
        value = self.value(node.operand, frame)
        if isinstance(node.op, ast.Not):
            holds = truth(value)
            return Unknown(self.said(node), quiet=True) if holds is None else not holds
        if isinstance(value, Data):
            return value if isinstance(node.op, ast.UAdd) else self.way.values(value, node)
        if isinstance(value, int | float) and isinstance(node.op, ast.USub | ast.UAdd):
            return -value if isinstance(node.op, ast.USub) else +value
        return Unknown(self.said(node), quiet=isinstance(value, Unknown) and value.quiet)

    def _binop(self, node: ast.BinOp, frame: Frame) -> object:
        # A long sum is a deep tree, leaning left.
        return self.combined(node, self.value(node.left, frame), self.value(node.right, frame))

    def combined(self, node: ast.BinOp, left: object, right: object) -> object:
        """Two values and an operator between them."""
        if isinstance(left, Data):
            return self.way.combine(left, [right], node)
        if isinstance(right, Data):
            return self.way.combine(right, [left], node)
        if isinstance(left, int | float) and isinstance(right, int | float):
            return arithmetic(node, left, right)
        if isinstance(node.op, ast.Add):
            if isinstance(left, list) and isinstance(right, list) and len(left) + len(right) <= objects.MOST_ITEMS:
                return left + right
            if isinstance(left, tuple) and isinstance(right, tuple) and len(left) + len(right) <= objects.MOST_ITEMS:
                return left + right
            if isinstance(left, str) and isinstance(right, str):
                return (left + right)[:1000]
        if isinstance(node.op, ast.Mult):
            items, times = (right, left) if isinstance(left, int) else (left, right)
            if isinstance(items, list | tuple) and isinstance(times, int) and len(items) * times <= objects.MOST_ITEMS:
                return items * times
        quiet = (isinstance(left, Unknown) and left.quiet) or (isinstance(right, Unknown) and right.quiet)
        return Unknown(self.said(node), quiet=quiet)

    def _boolop(self, node: ast.BoolOp, frame: Frame) -> object:
        value: object = None
        for operand in node.values:
            value = self.value(operand, frame)
            holds = truth(value)
            if holds is None:
                return Unknown(self.said(node), quiet=True)
            if holds is isinstance(node.op, ast.Or):
                return value
        return value

    def _compare(self, node: ast.Compare, frame: Frame) -> object:
        left = self.value(node.left, frame)
        for operation, right_node in zip(node.ops, node.comparators, strict=True):
            right = self.value(right_node, frame)
            holds = _compared(operation, left, right)
            if holds is None:
                return Unknown(self.said(node), quiet=True)
            if not holds:
                return False
            left = right
        return True

    def _ifexp(self, node: ast.IfExp, frame: Frame) -> object:
        holds = truth(self.value(node.test, frame))
        if holds is None:
            return Unknown(self.said(node), "whether its condition holds is not known")
        return self.value(node.body if holds else node.orelse, frame)

    def _joinedstr(self, node: ast.JoinedStr, frame: Frame) -> object:
        text = ""
        for part in node.values:
            value = self.value(part.value if isinstance(part, ast.FormattedValue) else part, frame)
            if not isinstance(value, bool | int | float | str):
                return Unknown(self.said(node))
            text += str(value)
        return text[:1000]

    def _listcomp(self, node: ast.ListComp | ast.GeneratorExp | ast.SetComp, frame: Frame) -> object:
        found: list[object] = []
        inner = replace(frame, names=frame.names.new_child(), is_top=False)
        if not self._each(node.generators, inner, lambda: found.append(self.value(node.elt, inner))):
            return Unknown(self.said(node), "what it goes through is not known")
        for item in found:
            self.own(item)
        return found

    _generatorexp = _setcomp = _listcomp

    def _dictcomp(self, node: ast.DictComp, frame: Frame) -> object:
        found: dict[object, object] = {}
        inner = replace(frame, names=frame.names.new_child(), is_top=False)

        def put() -> None:
            key = self.value(node.key, inner)
            if isinstance(key, str | int):
                found[key] = self.value(node.value, inner)

        return found if self._each(node.generators, inner, put) else Unknown(self.said(node))

    def _each(self, generators: list[ast.comprehension], frame: Frame, then: Callable[[], None]) -> bool:
        if not generators:
            then()
            return True
        first, *others = generators
        items = items_of(self.value(first.iter, frame))
        if items is None:
            return False
        for item in items:
            self.assign(first.target, item, frame)
            if all(truth(self.value(test, frame)) for test in first.ifs) and not self._each(others, frame, then):
                return False
        return True

    def _slice(self, node: ast.Slice, frame: Frame) -> object:
        parts = [self.value(part, frame) if part else None for part in (node.lower, node.upper, node.step)]
        if all(part is None or isinstance(part, int) for part in parts):
            return slice(*parts)
        return Unknown(self.said(node))

    def _subscript(self, node: ast.Subscript, frame: Frame) -> object:
        of, index = self.value(node.value, frame), self.value(node.slice, frame)
        if isinstance(of, Instance):
            of = of.attributes.get(ROW)
        if isinstance(of, Data):
            return self.way.indexed(of, index, node)
        if isinstance(of, dict):
            return of[index] if isinstance(index, str | int) and index in of else Unknown(self.said(node))
        if isinstance(of, Row):
            keys = list(of.items)
            if isinstance(index, slice) and index.step != 0:
                return Row({key: of.items[key] for key in keys[index]}, of.name)
            return (
                of.items[keys[index]]
                if isinstance(index, int) and -len(keys) <= index < len(keys)
                else Unknown(self.said(node))
            )
        if isinstance(of, list | tuple | str):
            if isinstance(index, slice) and index.step != 0:
                return of[index]
            if isinstance(index, int) and -len(of) <= index < len(of):
                return of[index]
        return Unknown(self.said(node), quiet=isinstance(of, Unknown) and of.quiet)

    def _call(self, node: ast.Call, frame: Frame) -> object:
        called = self.value(node.func, frame)
        if isinstance(called, Symbol) and called.path == "super":
            me = frame.me
            return Super(me, frame.owner) if isinstance(me, Instance) and frame.owner else NOTHING
        values = self._items(node.args, frame)
        keywords: dict[str, object] = {}
        for keyword in node.keywords:
            value = self.value(keyword.value, frame)
            if keyword.arg is not None:
                keywords[keyword.arg] = value
            elif isinstance(value, dict):
                keywords.update({str(key): item for key, item in value.items()})
            else:
                keywords[f"**{self.said(keyword.value)}"] = value
        return self.call(called, values, keywords, node, frame)


def _compared(operation: ast.cmpop, left: object, right: object) -> bool | None:
    if isinstance(operation, ast.Is | ast.IsNot):
        if isinstance(left, Unknown | Data) or isinstance(right, Unknown | Data):
            return None
        if isinstance(left, Symbol) and right is None:
            return None
        same = left == right if isinstance(left, Symbol) else left is right
        return same is isinstance(operation, ast.Is)
    if not objects.is_constant(left) or not objects.is_constant(right):
        return None
    if isinstance(operation, ast.Eq | ast.NotEq):
        return (left == right) is isinstance(operation, ast.Eq)
    if isinstance(operation, ast.In | ast.NotIn) and isinstance(right, list | tuple):
        return (left in right) is isinstance(operation, ast.In)
    if isinstance(left, int | float) and isinstance(right, int | float):
        order = {ast.Lt: left < right, ast.LtE: left <= right, ast.Gt: left > right, ast.GtE: left >= right}
        return order.get(type(operation))
    return None
