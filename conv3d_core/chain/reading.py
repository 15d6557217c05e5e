"""Pasted text -> layers in a row. The text is read by `ast` and followed over stand-ins; it is never run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import replace

from conv3d_core.chain import objects
from conv3d_core.chain.following import Follower
from conv3d_core.chain.framework import find_framework
from conv3d_core.chain.layer import Chain, Framework, Layer, Passed
from conv3d_core.chain.pasted import REMEDY, Pasted, clean
from conv3d_core.chain.printed import Block, Leaf, is_printed, read_printed
from conv3d_core.chain.values import Class, Data, Frame, Function, Instance
from conv3d_core.chain.way import Way, datas
from conv3d_core.errors import SpecError

_WRITTEN_ORDER = "no line applies these layers: they are taken in the order in which they are written"
_PRINTED_ORDER = "a printed module lists its layers as they were made, not as the data passes them, and no functions"


def read_chain(text: str, framework: Framework | None = None) -> Chain:
    """The layers that a text applies in a row, in MLX's or PyTorch's words; argument values are not validated.

    Takes one layer, nn.Sequential, classes with their __init__ and __call__ or forward (one may use another),
    functions, a script, or a printed model. What is not understood is in `Chain.passed`.

    Args:
        text: never run.
        framework: whose words they are; found from the text if None.

    Raises:
        SpecError: there is no layer in it, it is not Python, or a size in it is not given.

    >>> chain = read_chain("c = 8\\nnet = nn.Sequential(nn.Conv3d(1, c, 3), nn.relu, nn.Conv3d(c, 2 * c, 3, stride=2))")
    >>> chain.framework, [layer.kind for layer in chain.layers], chain.layers[2].arguments["out_channels"]
    ('mlx', ['Conv3d', 'ReLU', 'Conv3d'], 16)
    """
    pasted = clean(text)
    try:
        way, end = _printed(pasted, framework) if is_printed(pasted.lines) else _followed(pasted, framework)
    except RecursionError:
        raise SpecError("text", "it is nested too deeply", "paste a part of it") from None
    return _chain(text, way, end)


# --- Python -----------------------------------------------------------------------------------------------------------


def _followed(pasted: Pasted, framework: Framework | None) -> tuple[Way, Data]:
    tree = pasted.parse()
    way = Way(pasted, framework or find_framework(tree))
    follower = Follower(way)
    follower.run(tree.body, follower.top)
    if way.deepest.depth:  # a script that applies its layers
        return way, way.deepest
    end = _alone(follower, tree) or _defined(follower, tree)
    if end is None or not max(end.depth, way.deepest.depth):
        raise _no_layer(way)
    return way, end if end.depth else way.deepest


def _alone(follower: Follower, tree: ast.Module) -> Data | None:
    """The way through what stands in the text and is a part of nothing else."""
    named = [value for value in follower.top.names.values() if not isinstance(value, Class | Function)]
    modules = list(follower.loose)
    for value in named:
        if id(value) not in follower.owned and value not in modules:
            if objects.is_module(value):
                modules.append(value)
            elif isinstance(value, list | tuple) and any(map(objects.is_module, value)):
                modules += [item for item in value if item not in modules]
    if follower.implicit.kind.members:  # methods without their class
        if "__init__" in follower.implicit.kind.members:
            _call(follower, follower.implicit.kind.members["__init__"], follower.implicit, tree)
        if {"forward", "__call__"} & set(follower.implicit.kind.members):
            return _apply(follower, [follower.implicit], tree)
    modules += [value for value in _made_by(follower.implicit) if value not in modules]
    if not any(map(objects.is_module, modules)):
        return None
    loose = all(module in follower.loose for module in modules)
    return _apply(follower, modules, tree, guessed=not loose)


def _defined(follower: Follower, tree: ast.Module) -> Data | None:
    """The way through the class or function that nothing else in the text uses."""
    used = {
        id(kind): _names_in(tree, kind) for kind in follower.top.names.values() if isinstance(kind, Class | Function)
    }
    everything = set().union(*used.values()) if used else set()
    kinds = [kind for kind in follower.top.names.values() if isinstance(kind, Class)]
    free = [kind for kind in kinds if kind.name not in everything] or kinds
    forward = [kind for kind in free if kind.find("__call__") or kind.find("forward")]
    place = _anywhere(tree)
    if kinds and (forward or free):
        main = follower.instance((forward or free)[-1], [], {}, place)
        if forward:
            return _apply(follower, [main], tree)
        return _apply(follower, _made_by(main), tree, guessed=True)
    functions = [value for value in follower.top.names.values() if isinstance(value, Function)]
    for function in reversed(functions):
        if getattr(function.node, "name", "") in everything:
            continue
        result = follower.invoke(function, [], {}, place)
        if objects.is_module(result) or isinstance(result, list):
            return _apply(follower, result if isinstance(result, list) else [result], tree)
        found = datas(result)
        if found and _longest(found).depth:
            return _longest(found)
    return follower.way.deepest


def _apply(follower: Follower, modules: list[object], tree: ast.Module, *, guessed: bool = False) -> Data:
    """The data's way through these, one after the other."""
    data = Data()
    frame = Frame(follower.top.names, prefix="self")
    for number, module in enumerate(modules):
        if not objects.is_module(module):
            continue
        place = _anywhere(tree, module)
        if number and guessed and data.depth and len(modules) > 1:
            guessed = False
            data = follower.way.note(data, place, _WRITTEN_ORDER)
        if isinstance(module, Instance):
            found = datas(follower.call(module, [data], {}, ast.copy_location(ast.Call(place, [], []), place), frame))
            data = _longest([data, *found])
            if not data.depth:
                data = follower.way.deepest
        else:
            data = follower.apply(module, data, place, frame)
    return data


def _longest(found: list[Data]) -> Data:
    return max(found, key=lambda data: data.depth)


def _call(follower: Follower, function: object, me: Instance, tree: ast.Module) -> None:
    if isinstance(function, Function):
        follower.invoke(replace(function, me=me), [], {}, _anywhere(tree))


def _made_by(instance: Instance) -> list[object]:
    """The layers that an object has, in the order in which they were made."""
    found: list[object] = []
    for value in instance.attributes.values():
        for item in value if isinstance(value, list | tuple) else [value]:
            if objects.is_module(item) and item not in found:
                found.append(item)
    return found


def _anywhere(tree: ast.Module, module: object = None) -> ast.expr:
    """A place in the text for what no line of it says."""
    line = getattr(getattr(module, "layer", None), "line", 0) or 1
    return ast.Name("x", ast.Load(), lineno=line, col_offset=0, end_lineno=line, end_col_offset=0)


def _names_in(tree: ast.Module, kind: Class | Function) -> set[str]:
    """The names that a class or function of the text uses."""
    name = kind.name if isinstance(kind, Class) else getattr(kind.node, "name", "")
    for node in tree.body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == name:
            return {inner.id for inner in ast.walk(node) if isinstance(inner, ast.Name) and inner.id != name}
    return set()


# --- printed ----------------------------------------------------------------------------------------------------------


def _printed(pasted: Pasted, framework: Framework | None) -> tuple[Way, Data]:
    whole, passed = read_printed(pasted)
    leaves = ast.Module([ast.Expr(leaf.call) for leaf in _leaves(whole)], [])
    marks = " ".join(pasted.lines)
    found = find_framework(leaves)
    if "(layers.0): " in marks:
        found = "mlx"
    elif "(0): " in marks or "ModuleList(" in marks:
        found = "torch"
    way = Way(pasted, framework or found)
    follower = Follower(way)
    for line, why in passed:
        way.noted.setdefault((line, why))
    data = _through_block(follower, whole, Data(), "")
    if not data.depth:
        raise _no_layer(way)
    return way, data


def _leaves(block: Block) -> Iterator[Leaf]:
    for item in block.items:
        if isinstance(item, Leaf):
            yield item
        else:
            yield from _leaves(item)


def _through_block(follower: Follower, block: Block, data: Data, path: str) -> Data:
    told = block.kind in ("", "Sequential", "ModuleList")
    expected = 0
    for item in block.items:
        name = f"{path}.{item.name}" if path and item.name else path or item.name
        place = item.call if isinstance(item, Leaf) else _line(item.line)
        if not told and data.depth:
            told = True
            data = follower.way.note(data, place, _PRINTED_ORDER)
        number = item.name.rpartition("layers.")[2]
        if number.isdecimal() and item.name.startswith("layers."):
            if int(number[:6]) > expected:
                why = f"layers.{expected} is not printed: a function such as nn.relu"
                data = follower.way.note(data, place, why)
            expected = int(number[:6]) + 1
        for _ in range(item.times):
            if isinstance(item, Block):
                data = _through_block(follower, item, data, name)
                continue
            made = follower.value(item.call, follower.top)
            follower.name_it(made, name)
            if objects.is_module(made) and not isinstance(made, Instance):
                data = follower.apply(made, data, item.call, follower.top)
            else:
                found = datas(follower.call(made, [data], {}, item.call, follower.top))
                data = found[0] if found else data
    return data


def _line(number: int) -> ast.expr:
    return ast.Name("x", ast.Load(), lineno=number, col_offset=0, end_lineno=number, end_col_offset=0)


# --- the chain --------------------------------------------------------------------------------------------------------


def _chain(text: str, way: Way, end: Data) -> Chain:
    steps: list[Data] = []
    step: Data | None = end
    while step is not None:
        steps.append(step)
        step = step.before
    layers: list[Layer] = []
    passed = list(way.pasted.passed)
    on_the_way = set()
    for step in reversed(steps):
        if step.note:
            line, why, keeps_shape = step.note
            on_the_way.add((line, why))
            passed.append(Passed(line, way.pasted.line(line), why, len(layers), keeps_shape))
        if step.layer:
            layers.append(step.layer)
    passed += [Passed(line, way.pasted.line(line), why) for line, why in way.noted if (line, why) not in on_the_way]
    passed += _unused(way, layers)
    shape = steps[-1].shape
    layers = _once(_with_axes(layers, shape))
    in_order = tuple(sorted(set(passed), key=lambda item: (item.line, item.why)))
    chain = Chain(tuple(layers), way.framework, text, in_order, shape)
    return replace(chain, input_shape=None) if chain.uncertain_from == 0 else chain


def _unused(way: Way, layers: list[Layer]) -> Iterator[Passed]:
    """What was made and is not on the way."""
    used = {layer.span for layer in layers}
    for made in way.made:
        if made.layer.span not in used:
            why = f"{made.layer.call} is made and not applied on the way that is followed"
            yield Passed(made.layer.line, way.pasted.line(made.layer.line), why)


def _once(layers: list[Layer]) -> list[Layer]:
    """A call that makes more than one of the layers cannot be edited for one of them."""
    spans = [layer.span for layer in layers]
    twice = {span for span in spans if span and spans.count(span) > 1}
    return [replace(layer, span=None) if layer.span in twice else layer for layer in layers]


def _with_axes(layers: list[Layer], shape: tuple[int, ...] | None) -> list[Layer]:
    """Transpositions as all axes in their new order, from the number of axes that there are."""
    rank = len(shape) if shape else 5
    if not shape:  # a volume without its batch axis, where that is put in front before the first layer
        for layer in layers:
            if layer.kind not in ("ExpandDims", "Transpose"):
                break
            rank -= layer.kind == "ExpandDims"
    found = []
    for layer in layers:
        if layer.kind == "Transpose":
            axes = _axes(layer, rank)
            rank = len(axes)
            layer = replace(layer, arguments={"axes": axes})
        elif layer.kind == "ExpandDims":
            rank += 1
        elif layer.kind == "Flatten":
            first, last = layer.arguments.get("start_dim", 1), layer.arguments.get("end_dim", -1)
            if isinstance(first, int) and isinstance(last, int):
                rank -= max(0, (last % rank if rank else 0) - (first % rank if rank else 0))
        elif layer.kind in ("Mean", "Max") and not layer.arguments.get("keepdims"):
            axis = layer.arguments.get("axis")
            rank -= len(axis) if isinstance(axis, tuple) else 1
        found.append(layer)
    return found


def _axes(layer: Layer, rank: int) -> tuple[object, ...]:
    (word, given), *_ = layer.arguments.items()
    axes = list(given) if isinstance(given, tuple) else []
    if word == "axes":
        return tuple(axes) if axes else tuple(range(rank))[::-1]
    order = list(range(rank))
    first, second = (axis for axis in axes if isinstance(axis, int))
    if not (-rank <= first < rank and -rank <= second < rank):
        return tuple(axes)
    if word == "swap":
        order[first], order[second] = order[second], order[first]
    else:
        order.insert(second % rank, order.pop(first))
    return tuple(order)


def _no_layer(way: Way) -> SpecError:
    for made in way.made:
        if made.error:
            return made.error
    reasons = [why for _, why in way.noted if "-D; use" in why]
    asked = [(line, re.search(r"did you mean \w+\?", why)) for line, why in way.noted]
    reasons += [f"line {line}: {question[0]}" for line, question in asked if question]
    found = f"there is no layer in it that is read here{f' ({reasons[0]})' if reasons else ''}"
    return SpecError("text", found, REMEDY)
