"""Follows a text from line to line, as Python would, over values that only stand for objects: nothing is run."""

from __future__ import annotations

import ast
from collections import ChainMap
from collections.abc import Callable

from conv3d_core.chain import objects
from conv3d_core.chain.inlining import Calls
from conv3d_core.chain.objects import NOTHING, items_of, truth
from conv3d_core.chain.values import Class, Data, Frame, Function, Instance, Leave, Symbol, Unknown
from conv3d_core.chain.way import Way

_MOST_LOOPS = 64
_Follow = Callable[[ast.stmt, Frame], Leave | None]


class Follower(Calls):
    """One reading of one text; every kind of line has a method under its name."""

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self.top = Frame(ChainMap(), prefix="", is_top=True)
        self.loose: list[object] = []  # layers that stand alone on a line

    def run(self, body: list[ast.stmt], frame: Frame) -> Leave | None:
        """Follows lines one after the other."""
        for line in body:
            follow: _Follow | None = getattr(self, f"_{type(line).__name__.lower()}", None)
            leave = (follow or self._pass_over)(line, frame)
            if leave:
                return leave
        return None

    def _expr(self, line: ast.Expr, frame: Frame) -> None:
        if isinstance(line.value, ast.Constant):
            return
        value = self.value(line.value, frame)
        self._say_unknown(line, value)
        if frame.is_top:
            self.loose += [value] if objects.is_module(value) else items_of(value) or []

    def _assign(self, line: ast.Assign, frame: Frame) -> None:
        value = self.value(line.value, frame)
        self._say_unknown(line, value)
        for target in line.targets:
            self.assign(target, value, frame)

    def _annassign(self, line: ast.AnnAssign, frame: Frame) -> None:
        if line.value is not None:
            value = self.value(line.value, frame)
            self._say_unknown(line, value)
            self.assign(line.target, value, frame)
        elif isinstance(line.target, ast.Name):
            frame.names.setdefault(line.target.id, Unknown(line.target.id, "no line gives it a value"))

    def _augassign(self, line: ast.AugAssign, frame: Frame) -> None:
        before, more = self.value(line.target, frame), self.value(line.value, frame)
        if isinstance(before, list) and isinstance(line.op, ast.Add):
            objects.method(before, "extend", [more], {})
            self.name_it(before, self.said(line.target))
            return
        both = ast.copy_location(ast.BinOp(line.target, line.op, line.value), line)
        self.assign(line.target, self.combined(both, before, more), frame)

    def _return(self, line: ast.Return, frame: Frame) -> Leave:
        return Leave("return", self.value(line.value, frame) if line.value else None)

    def _raise(self, line: ast.Raise, frame: Frame) -> Leave:
        return Leave("return", NOTHING)

    def _break(self, line: ast.Break, frame: Frame) -> Leave:
        return Leave("break")

    def _continue(self, line: ast.Continue, frame: Frame) -> Leave:
        return Leave("continue")

    def _pass(self, line: ast.stmt, frame: Frame) -> None:
        return None

    _global = _nonlocal = _assert = _delete = _pass

    def _if(self, line: ast.If, frame: Frame) -> Leave | None:
        holds = truth(self.value(line.test, frame))
        if holds is None:
            return self._pass_over(line, frame, "whether it holds is not known")
        return self.run(line.body if holds else line.orelse, frame)

    def _for(self, line: ast.For, frame: Frame) -> Leave | None:
        items = items_of(self.value(line.iter, frame))
        if items is None or len(items) > _MOST_LOOPS:
            if not frame.is_top:
                return self._pass_over(line, frame, "what it goes through is not known")
            # A training loop: once is enough.
            items = [Unknown(self.said(line.target), quiet=True)]
        for item in items:
            self.assign(line.target, item, frame)
            leave = self.run(line.body, frame)
            if leave and leave.how == "break":
                break
            if leave and leave.how == "return":
                return leave
        return None

    def _with(self, line: ast.With, frame: Frame) -> Leave | None:
        for item in line.items:
            if isinstance(item.optional_vars, ast.expr):
                self.assign(item.optional_vars, self.value(item.context_expr, frame), frame)
        return self.run(line.body, frame)

    def _try(self, line: ast.Try, frame: Frame) -> Leave | None:
        return self.run([*line.body, *line.orelse, *line.finalbody], frame)

    def _functiondef(self, line: ast.FunctionDef | ast.AsyncFunctionDef, frame: Frame) -> None:
        function = Function(line, frame.names)
        first = line.args.args[0].arg if line.args.args else ""
        if frame.is_top and first == "self":
            # Methods that were pasted without their class.
            function.owner = self.implicit.kind
            self.implicit.kind.members[line.name] = function
        else:
            frame.names[line.name] = function

    _asyncfunctiondef = _functiondef

    def _classdef(self, line: ast.ClassDef, frame: Frame) -> None:
        bases = tuple(self.value(base, frame) for base in line.bases)
        body = Frame(frame.names.new_child())
        self.run(line.body, body)
        members = dict(body.names.maps[0])
        kind = Class(line.name, bases, members)
        for member in members.values():
            if isinstance(member, Function):
                member.owner, member.scope = kind, frame.names
        frame.names[line.name] = kind

    def _import(self, line: ast.Import, frame: Frame) -> None:
        for name in line.names:
            frame.names[name.asname or name.name.partition(".")[0]] = Symbol(
                name.name if name.asname else name.name.partition(".")[0]
            )

    def _importfrom(self, line: ast.ImportFrom, frame: Frame) -> None:
        for name in line.names:
            if name.name != "*":
                frame.names[name.asname or name.name] = Symbol(f"{line.module or ''}.{name.name}")

    def _pass_over(self, line: ast.stmt, frame: Frame, why: str = "it is not followed") -> Leave | None:
        """What is set in these lines is not known any more; if it is the data, its way is uncertain from there."""
        touched = False
        for node in ast.walk(line):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                value = frame.names.get(node.id)
                if isinstance(value, Data):
                    frame.names[node.id] = self.way.note(value, line, why)
                    touched = True
                else:
                    frame.names[node.id] = Unknown(node.id, f"it is set on line {line.lineno}, and {why}")
            elif (
                isinstance(node, ast.Attribute)
                and isinstance(node.ctx, ast.Store)
                and isinstance(node.value, ast.Name)
                and isinstance(owner := frame.names.get(node.value.id), Instance)
            ):
                owner.attributes[node.attr] = Unknown(self.said(node), f"it is set on line {line.lineno}, and {why}")
        if not touched:
            self.way.beside(line, why)
        return None

    def _say_unknown(self, line: ast.stmt, value: object) -> None:
        if isinstance(value, Unknown) and not value.quiet:
            self.way.beside(line, value.why or "it takes no part in the data's way")
