"""Changes of a chain, made in its text: the text is the one truth, and what it then says is read again."""

from __future__ import annotations

import ast
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from conv3d_core.chain import calls
from conv3d_core.chain.layer import KINDS, Chain, Framework, Layer
from conv3d_core.chain.pasted import Pasted
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.writing import to_sequential
from conv3d_core.errors import SpecError
from conv3d_core.source_code import short

_IMPORTS: Mapping[Framework, str] = {"mlx": "import mlx.nn as nn\n\n", "torch": "import torch.nn as nn\n\n"}


class _Change(NamedTuple):
    start: int
    end: int
    text: str


def with_arguments(chain: Chain, index: int, **arguments: object) -> Chain:
    """The chain with one layer's arguments set, the rest of its text as it was; values need not be possible.

    A value that is the default is left out. Where the call cannot be edited - it makes several of the layers, or its
    arguments are not written out - the whole chain is written anew as an ``nn.Sequential``.

    Args:
        chain: as it was read.
        index: of the layer.
        arguments: by MLX's name, as in `Layer.arguments`.

    Raises:
        SpecError: the layer takes no argument of such a name.

    >>> chain = read_chain("C = 8  # channels\\nconv = nn.Conv3d(1, C, 3)")
    >>> print(with_arguments(chain, 0, kernel_size=(1, 3, 3), padding=1).text)
    C = 8  # channels
    conv = nn.Conv3d(1, C, (1, 3, 3), padding=1)
    """
    layer = chain.layers[index]
    defaults = _defaults(layer, chain.framework)
    wanted = dict(layer.arguments) | arguments
    wanted = {name: value for name, value in wanted.items() if repr(value) != repr(defaults.get(name, _ABSENT))}
    changed = replace(layer, arguments=wanted)
    layers = (*chain.layers[:index], changed, *chain.layers[index + 1 :])
    edited = _edited(chain, layer, arguments, defaults, layers)
    return edited or with_layers(chain, layers)


def with_layers(chain: Chain, layers: Sequence[Layer]) -> Chain:
    """Other layers, in another order or number, written as an ``nn.Sequential`` in the chain's own framework.

    Raises:
        SpecError: there is none left, or one takes no argument of such a name.

    >>> chain = read_chain("nn.Sequential(nn.Conv3d(1, 8, 3), nn.relu)")
    >>> print(with_layers(chain, chain.layers[:1]).text)
    nn.Sequential(
        nn.Conv3d(1, 8, kernel_size=3),
    )
    """
    if not layers:
        raise SpecError("layers", "none is left", "keep at least one layer")
    return _read(to_sequential(Chain(tuple(layers), chain.framework)), chain.framework)


_ABSENT = object()


def _read(text: str, framework: Framework) -> Chain:
    """Read in the words of the framework, which the text itself is made to tell."""
    chain = read_chain(text)
    if chain.framework == framework:
        return chain
    return read_chain(_IMPORTS[framework] + text, framework)


def _edited(
    chain: Chain,
    layer: Layer,
    arguments: Mapping[str, object],
    defaults: Mapping[str, object],
    layers: Sequence[Layer],
) -> Chain | None:
    """The chain after an edit of the layer's call in its place; None where that gives something else."""
    if layer.span is None:
        return None
    start, end = layer.span
    written = chain.text[start:end]
    try:
        call = ast.parse(written, mode="eval").body
    except SyntaxError:  # prompts between its lines
        return None
    name = layer.call.rpartition(".")[2]
    # A function takes the data before its arguments, a method after it.
    for data in (0,) if name not in calls.FUNCTIONS else (1, 0):
        if not isinstance(call, ast.Call):
            continue
        names = calls.parameters(name, layer.kind, chain.framework)
        text = chain.text[:start] + _changed(written, call, names, data, arguments, defaults) + chain.text[end:]
        try:
            found = read_chain(text)
            if found.framework != chain.framework:
                known = read_chain(chain.text).framework == chain.framework
                found = read_chain(_IMPORTS[chain.framework] + text if known else text, chain.framework)
        except SpecError:
            continue
        if _same(found.layers, layers, chain.framework):
            return found
    return None


def _changed(
    written: str,
    call: ast.Call,
    names: Mapping[str, str],
    data: int,
    arguments: Mapping[str, object],
    defaults: Mapping[str, object],
) -> str:
    lines = written.split("\n")
    starts = [sum(len(line) + 1 for line in lines[:number]) for number in range(len(lines))]
    place = Pasted(lines, starts)
    own = {canonical: name for name, canonical in names.items()}
    positional = list(names)
    changes: list[_Change] = []
    added = []
    for key, value in arguments.items():
        name = own.get(key, key)
        text = repr(short(value))
        is_default = key in defaults and text == repr(defaults[key])
        keyword = next((keyword for keyword in call.keywords if keyword.arg in (name, key)), None)
        number = data + positional.index(name) if name in positional else len(call.args)
        if keyword is not None:
            changes.append(_without(place, call, keyword) if is_default else _Change(*place.span(keyword.value), text))
        elif number < len(call.args):
            changes.append(_Change(*place.span(call.args[number]), text))
        elif not is_default:
            added.append(f"{name}={text}")
    if added:
        ends = [place.span(node)[1] for node in [*call.args, *(keyword.value for keyword in call.keywords)]]
        where = max(ends, default=written.rindex(")"))
        changes.append(_Change(where, where, (", " if ends else "") + ", ".join(added)))
    for change in sorted(changes, reverse=True):
        written = written[: change.start] + change.text + written[change.end :]
    return written


def _without(place: Pasted, call: ast.Call, keyword: ast.keyword) -> _Change:
    """The keyword is taken out, with what separates it from the argument before it, or else after it."""
    start = place.offset(keyword.lineno, keyword.col_offset)
    _, end = place.span(keyword.value)
    nodes = [*call.args, *(other.value for other in call.keywords)]
    before = [place.span(node)[1] for node in nodes if place.span(node)[1] <= start]
    if before:
        return _Change(max(before), end, "")
    after = [place.offset(other.lineno, other.col_offset) for other in call.keywords if other.lineno]
    return _Change(start, min((other for other in after if other > end), default=end), "")


def _defaults(layer: Layer, framework: Framework) -> dict[str, object]:
    own, other = KINDS[layer.kind].signatures(framework)
    return (other.defaults if other else {}) | (own.defaults if own else {})


def _same(found: Sequence[Layer], wanted: Sequence[Layer], framework: Framework) -> bool:
    return len(found) == len(wanted) and all(
        left.kind == right.kind and _said(left, framework) == _said(right, framework)
        for left, right in zip(found, wanted, strict=True)
    )


def _said(layer: Layer, framework: Framework) -> dict[str, str]:
    """The arguments that are not the default, as text: True == 1, and would be another call."""
    defaults = _defaults(layer, framework)
    return {
        name: repr(short(value))
        for name, value in layer.arguments.items()
        if repr(value) != repr(defaults.get(name, _ABSENT))
    }
