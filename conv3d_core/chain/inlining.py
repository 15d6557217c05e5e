"""What calls give: of layers, of the text's own classes and functions, of libraries."""

from __future__ import annotations

import ast
from collections.abc import Sequence
from dataclasses import replace

from conv3d_core.chain import calls, objects
from conv3d_core.chain.expressions import Expressions
from conv3d_core.chain.naming import SAME_MODULE
from conv3d_core.chain.near import did_you_mean
from conv3d_core.chain.objects import NOTHING, ROW, items_of
from conv3d_core.chain.values import (
    Class,
    Data,
    Frame,
    Function,
    Instance,
    Made,
    Method,
    Partial,
    Row,
    Super,
    Symbol,
    Unknown,
)
from conv3d_core.chain.way import Way, datas
from conv3d_core.errors import SpecError

_MOST_CALLS = 20  # one inside of the other
_FORWARD = ("__call__", "forward")
_MAKERS = frozenset(
    [
        "zeros",
        "ones",
        "rand",
        "randn",
        "normal",
        "uniform",
        "full",
        "empty",
        "randint",
        "random",
        "ones_like",
        "zeros_like",
        "standard_normal",
    ]
)
# For the others, numbers are bounds or a mean and a deviation.
_SIZES_IN_A_ROW = ("zeros", "ones", "rand", "randn", "empty")
_ARRAYS = ("array", "tensor", "asarray", "from_numpy", "as_tensor")
# Their results are sizes or nothing: nothing has to be said of them.
_QUIET = ("len", "isinstance", "type", "int", "float", "tuple", "list")
_NOT_KNOWN = "what it does to the shape is not known here"
_SAME = "it changes no shape and is left out"


class Calls(Expressions):
    """Follows calls, those of the text's own functions line by line."""

    def __init__(self, way: Way) -> None:
        super().__init__(way)
        self._calls = 0

    def call(
        self, called: object, values: list[object], keywords: dict[str, object], node: ast.Call, frame: Frame
    ) -> object:
        """What calling something gives."""
        if isinstance(called, Made | Row | Instance):
            given = [*values, *keywords.values()]
            if not given:
                return Unknown(self.said(node))
            if isinstance(called, Instance):
                return self._through_instance(called, values, keywords, node, frame)
            return self.apply(called, as_data(given[0]), node, frame)
        if isinstance(called, Class):
            return self.instance(called, values, keywords, node)
        if isinstance(called, Function):
            return self.invoke(called, values, keywords, node)
        if isinstance(called, Partial):
            return self.call(called.called, [*called.arguments, *values], {**called.keywords, **keywords}, node, frame)
        if isinstance(called, Method):
            return self._method(called, values, keywords, node, frame)
        if isinstance(called, Symbol):
            return self._library(called, values, keywords, node, frame)
        found = datas([values, keywords])
        if not found:
            return Unknown(self.said(node), quiet=isinstance(called, Unknown) and called.quiet)
        if isinstance(called, Unknown) and called.why == _SAME:
            return self.way.values(found[0], node)
        if isinstance(called, list):
            why = f"{self.said(node.func)} is a list, which cannot be called; use nn.Sequential(*...) or a loop"
        elif isinstance(called, Unknown):
            why = f"{called.text}: {called.why or _NOT_KNOWN}"
        else:
            why = "it is not followed"
        return self.way.note(max(found, key=lambda data: data.depth), node, why)

    def apply(self, module: object, data: Data, node: ast.expr, frame: Frame) -> Data:
        """The data's way through a layer, several of them or a function."""
        self.step()
        if isinstance(module, Made):
            return self.way.through(data, module, _full(module.name, frame))
        if isinstance(module, Row):
            for key, item in module.items.items():
                self.name_it(item, f"{module.name}.{key}".lstrip("."))
                data = self.apply(item, data, _own_line(item, node), frame)
            return data
        if isinstance(module, list | tuple):
            self.way.beside(node, "nn.Sequential takes layers, not a list of them; put a * before it")
            for item in module:
                if not isinstance(item, list | tuple):
                    data = self.apply(item, data, _own_line(item, node), frame)
            return data
        if isinstance(module, Class) or (isinstance(module, Symbol) and module.last[:1].isupper()):
            name = module.name if isinstance(module, Class) else _as_meant(module)
            return self.way.note(data, node, f"{name} is the class and no layer; write {name}(...)")
        if isinstance(module, Symbol):
            place = ast.copy_location(ast.Name(module.path), node)
            place.lineno = module.line or node.lineno
            found = datas(self.way.function(module.last, data, [], {}, place, module.written, is_here=False))
            if found:
                return found[0]
            asked = did_you_mean(module.last, calls.FUNCTIONS)
            return self.way.note(data, place, f"what {module.written} does to the shape is not known here{asked}")
        call = node if isinstance(node, ast.Call) else ast.copy_location(ast.Call(node, [], []), node)
        after = self.call(module, [data], {}, call, frame)
        found = datas(after)
        return found[0] if found else self.way.note(data, node, "what it gives is not known")

    def _through_instance(
        self, called: Instance, values: list[object], keywords: dict[str, object], node: ast.Call, frame: Frame
    ) -> object:
        for name in _FORWARD:
            forward = called.kind.find(name)
            if isinstance(forward, Function):
                first, *others = values or [None]
                if isinstance(first, Unknown | Symbol):
                    first = as_data(first)
                bound = replace(forward, me=called)
                return self.invoke(bound, [first, *others] if values else [], keywords, node, _full(called.name, frame))
        row = called.attributes.get(ROW)
        data = as_data([*values, *keywords.values()][0])
        if isinstance(row, Row):
            return self.apply(row, data, node, replace(frame, prefix=_full(called.name, frame)))
        return self.way.note(data, node, f"{called.kind.name} has no __call__ or forward in the text")

    def instance(self, kind: Class, values: list[object], keywords: dict[str, object], node: ast.expr) -> Instance:
        """An object of a class of the text."""
        made = Instance(kind)
        for value in [*values, *keywords.values()]:
            self.own(value)
        start = kind.find("__init__")
        if isinstance(start, Function):
            self.invoke(replace(start, me=made), values, keywords, node)
        elif kind.is_row:
            made.attributes[ROW] = self._row(values)
        else:  # a dataclass
            names = [name for name, member in kind.members.items() if not isinstance(member, Function)]
            made.attributes.update(zip(names, values, strict=False))
            made.attributes.update(keywords)
        return made

    def invoke(
        self,
        function: Function,
        values: list[object],
        keywords: dict[str, object],
        node: ast.expr,
        prefix: str | None = None,
    ) -> object:
        """Follows a function of the text with these arguments."""
        if self._calls >= _MOST_CALLS:
            raise SpecError("text", f"calls on line {node.lineno} go deeper than is followed", "paste a part of it")
        self._calls += 1
        me = function.me
        if prefix is None:
            prefix = me.name or "self" if isinstance(me, Instance) else "self"
        inner = Frame(function.scope.new_child(), me, function.owner, prefix)
        self._bind(function, values, keywords, inner)
        body = function.node.body
        if isinstance(body, list):
            leave = self.run(body, inner)
            result = leave.value if leave else None
        else:
            result = self.value(body, inner)
        self._calls -= 1
        return result

    def _bind(self, function: Function, values: list[object], keywords: dict[str, object], inner: Frame) -> None:
        parameters = function.node.args
        positional = [*parameters.posonlyargs, *parameters.args]
        given = list(values) if function.me is None else [function.me, *values]
        others = dict(keywords)
        defaults: dict[ast.arg, ast.expr | None] = {}
        defaults.update(zip(reversed(positional), reversed(parameters.defaults), strict=False))
        defaults.update(zip(parameters.kwonlyargs, parameters.kw_defaults, strict=True))
        for place, parameter in enumerate([*positional, *parameters.kwonlyargs]):
            default = defaults.get(parameter)
            if place < len(positional) and place < len(given):
                value = given[place]
            elif parameter.arg in others:
                value = others.pop(parameter.arg)
            elif default is not None:
                value = self.value(default, inner)
            else:
                value = Unknown(parameter.arg, "no line gives it a value")
            inner.names[parameter.arg] = value
        if parameters.vararg:
            inner.names[parameters.vararg.arg] = tuple(given[len(positional) :])
        if parameters.kwarg:
            inner.names[parameters.kwarg.arg] = others

    def _method(
        self, called: Method, values: list[object], keywords: dict[str, object], node: ast.Call, frame: Frame
    ) -> object:
        of, name = called.of, called.name
        if isinstance(of, Data):
            receiver = node.func.value if isinstance(node.func, ast.Attribute) else None
            text = f"{receiver.id if isinstance(receiver, ast.Name) else 'x'}.{name}"
            found = self.way.function(name, of, values, keywords, node, text)
            return found if found is not None else self._unfollowed(node, [of, *values])
        if isinstance(of, Super):
            if name == "__init__" and of.me.kind.is_row:
                of.me.attributes[ROW] = self._row(values)
            elif name in _FORWARD and datas(values):
                row = of.me.attributes.get(ROW)
                return self.apply(row, datas(values)[0], node, frame) if row else self._unfollowed(node, values)
            return NOTHING
        if isinstance(of, Instance) and name in ("add_module", "register_module", "append"):
            self._add(of, name, values)
            return NOTHING
        if isinstance(of, Row) and name == "append":
            of.items[str(len(of.items))] = values[0] if values else NOTHING
            return NOTHING
        if objects.is_module(of):
            return of if name in SAME_MODULE else Unknown(self.said(node), quiet=name in ("parameters", "update"))
        found = objects.method(of, name, values, keywords)
        if found is not None:
            for value in values:
                self.own(value)
            return found
        return self._unfollowed(node, values)

    def _add(self, of: Instance, name: str, values: list[object]) -> None:
        key, module = (str(len(of.attributes)), values[0]) if len(values) == 1 else [*values, None, None][:2]
        if isinstance(key, str):
            self.own(module, of)
            self.name_it(module, f"self.{key}")
            row = of.attributes.setdefault(ROW, Row()) if of.kind.is_row else None
            if isinstance(row, Row):
                row.items[key] = module
            else:
                of.attributes[key] = module

    def _row(self, values: list[object]) -> Row:
        for value in values:
            self.own(value)
        if len(values) == 1 and isinstance(values[0], dict):
            return Row({str(key): value for key, value in values[0].items()})
        return Row({str(place): value for place, value in enumerate(values)})

    def _library(
        self, called: Symbol, values: list[object], keywords: dict[str, object], node: ast.Call, frame: Frame
    ) -> object:
        name = called.last
        found = datas([values, keywords])
        if name == "Sequential":
            return self._row(values)
        if name in ("ModuleList", "ModuleDict", "OrderedDict"):
            for value in values:
                self.own(value)
            if name == "ModuleList":
                return list(items_of(values[0]) or []) if values else []
            return objects.builtin("dict", values, keywords) or {}
        kind = calls.made_by(name)
        if kind:
            if found:
                why = f"{called.path} is a class: make the layer first, then apply it: {called.path}(...)(x)"
                return self.way.note(found[0], node, why)
            return self.way.make(kind, node, self.said(node.func), values, keywords)
        if name == "partial" and values:
            return Partial(values[0], values[1:], dict(keywords))
        if name in SAME_MODULE and values and objects.is_module(values[0]):
            return values[0]
        if called.path in ("getattr", "setattr", "hasattr") and len(values) >= 2 and isinstance(values[1], str):
            return self._by_name(called.path, values, node)
        if found and isinstance(values[0] if values else None, Data):
            after = self.way.function(name, found[0], values[1:], keywords, node, self.said(node.func))
            if after is not None:
                return after
        if "." not in called.path:
            result = objects.builtin(name, values, keywords)
            if result is not None:
                return result
            if name in _QUIET:
                return Unknown(self.said(node), quiet=True)
        if name in _MAKERS:
            return Data(shape=_shape(name, values, keywords))
        if name in _ARRAYS and values:
            return as_data(values[0])
        if found:
            return self._unfollowed(node, found)
        return Unknown(self.said(node), self._strange(called), line=node.lineno)

    def _strange(self, called: Symbol) -> str:
        if called.last in calls.NOT_THREE_D:
            return calls.NOT_THREE_D[called.last]
        if called.last in calls.SAME_SHAPE_CLASSES:
            return _SAME
        if not called.last[:1].isupper():
            return ""
        found = calls.class_meant(called.last)
        return f"it is not a layer that is read here{f' (did you mean {found}?)' if found else ''}"

    def _by_name(self, function: str, values: list[object], node: ast.Call) -> object:
        of, name = values[0], str(values[1])
        if function == "setattr" and isinstance(of, Instance) and len(values) == 3:
            self.name_it(values[2], f"self.{name}")
            self.own(values[2], of)
            of.attributes[name] = values[2]
            return NOTHING
        if function == "getattr":
            return self.attribute(of, name, node)
        return Unknown(self.said(node), quiet=True)

    def _unfollowed(self, node: ast.Call, values: Sequence[object]) -> object:
        found = datas(values)
        if len(found) > 1:
            return self.way.join(found, node)
        if found:
            name = node.func.attr if isinstance(node.func, ast.Attribute) else self.said(node.func)
            asked = did_you_mean(name, calls.FUNCTIONS)
            why = f"what {self.said(node.func)} does to the shape is not known here{asked}"
            return self.way.note(found[0], node, why)
        return Unknown(self.said(node))


def as_data(value: object) -> Data:
    """What a layer is applied to: the data, or something that is not known, with which a way begins."""
    found = datas(value)
    return found[0] if found else Data()


def _as_meant(symbol: Symbol) -> str:
    """What a class is called in the text, or would be without a slip of the pen."""
    if calls.made_by(symbol.last):
        return symbol.written
    return symbol.written.removesuffix(symbol.last) + (calls.class_meant(symbol.last) or symbol.last)


def _full(name: str, frame: Frame) -> str:
    if name.startswith("self.") and frame.prefix:
        return frame.prefix + name[4:]
    return name


def _own_line(item: object, node: ast.expr) -> ast.expr:
    """Where one of several layers stands that are applied at once, if it is not known what it does."""
    if not isinstance(item, Unknown) or not item.line:
        return node
    place = ast.copy_location(ast.Name("x", ast.Load()), node)
    place.lineno = item.line
    return place


def _shape(name: str, values: list[object], keywords: dict[str, object]) -> tuple[int, ...] | None:
    """The shape that a function is asked for: in a list or tuple, by name, or as one integer after the other."""
    if name.endswith("_like"):
        return values[0].shape if values and isinstance(values[0], Data) else None
    lists = [value for value in values if isinstance(value, list | tuple)]
    sizes = keywords.get("shape", keywords.get("size", lists[0] if lists else None))
    if len(values) > 1 and not lists and name in _SIZES_IN_A_ROW:
        sizes = values
    if isinstance(sizes, list | tuple) and sizes and all(type(size) is int for size in sizes):
        return tuple(size for size in sizes if isinstance(size, int))
    return None
