"""Changes of a case: applied to its layers to be tried, and to its text to be offered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import NamedTuple

from conv3d_core.chain.editing import with_arguments, with_layers
from conv3d_core.chain.layer import KINDS, REQUIRED, Case, Chain, Layer, Layout, Sizes
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.writing import layer_call
from conv3d_core.diagnosis.wording import own_name, several
from conv3d_core.errors import SpecError, shown
from conv3d_core.source_code import short


class _LeftOut:
    """Stands for the value of an argument that is to go."""

    def __repr__(self) -> str:
        return "LEFT_OUT"


LEFT_OUT = _LeftOut()


class Change(NamedTuple):
    """One or more edits of a case.

    Attributes:
        settings: layer's index -> argument by MLX's name -> its new value, or `LEFT_OUT`.
        input_shape: the new one; None where it stays.
        layout: what the axes of the new input are; None where that stays.
        layers: edits of the row of layers, in order: where, how many go, which come.
        said: what is done besides the settings, in the imperative.
        idea: of the changes with the same idea only the best is offered.
        moved: by how many places the layer that it is about moves; None where that goes.
    """

    settings: Mapping[int, Mapping[str, object]] = {}
    input_shape: Sizes | None = None
    layout: Layout | None = None
    layers: tuple[tuple[int, int, tuple[Layer, ...]], ...] = ()
    said: str = ""
    idea: str = ""
    moved: int | None = 0


def settings(index: int, **values: object) -> Change:
    """Arguments of one layer set.

    >>> from conv3d_core.chain.reading import read_chain
    >>> words(settings(0, padding=(1, 1, 1)), 0, read_chain("nn.Conv3d(1, 8, 3)"))
    'Set padding=1'
    """
    # Three equal numbers as one: else a default, set again, would not be known as one.
    values = {name: short(value) for name, value in values.items()}
    return Change({index: values}, idea=f"{index} {' '.join(values)}")


def resized(shape: Sizes, said: str, idea: str, layout: Layout | None = None) -> Change:
    """Another input."""
    return Change(input_shape=shape, layout=layout, said=said, idea=idea)


def replaced(index: int, layer: Layer, said: str) -> Change:
    """Another layer in the place of one."""
    return Change(layers=((index, 1, (layer,)),), said=said, idea=f"{index} is {layer.kind}")


def inserted(index: int, layer: Layer, said: str) -> Change:
    """One more layer before another."""
    return Change(layers=((index, 0, (layer,)),), said=said, idea=f"{layer.kind} at {index}", moved=1)


def removed(index: int, said: str) -> Change:
    """A layer less."""
    return Change(layers=((index, 1, ()),), said=said, idea=f"without {index}", moved=None)


def together(first: Change, second: Change) -> Change:
    """Both, where they touch different things; the second is of the case after the first."""
    merged = {index: dict(values) for index, values in first.settings.items()}
    for index, values in second.settings.items():
        merged.setdefault(index, {}).update(values)
    moved = None if first.moved is None or second.moved is None else first.moved + second.moved
    return Change(
        merged,
        second.input_shape or first.input_shape,
        second.layout or first.layout,
        first.layers + second.layers,
        "; ".join(filter(None, (first.said, second.said))),
        f"{first.idea} + {second.idea}",
        moved,
    )


def tried(case: Case, change: Change) -> Case:
    """The case after the change, without a text: enough to be traced."""
    layers = list(case.chain.layers)
    for index, values in change.settings.items():
        arguments = {**layers[index].arguments, **values}
        arguments = {name: value for name, value in arguments.items() if value is not LEFT_OUT}
        layers[index] = replace(layers[index], arguments=arguments)
    for at, count, new in change.layers:
        layers[at : at + count] = new
    return _with_input(replace(case, chain=replace(case.chain, layers=tuple(layers))), change)


def applied(case: Case, change: Change) -> Case | None:
    """The case after the change, its text edited; None where the text cannot be."""
    chain = case.chain
    try:
        for index, values in change.settings.items():
            chain = _set(chain, index, values)
        for at, count, new in change.layers:
            layers = [*chain.layers[:at], *new, *chain.layers[at + count :]]
            chain = (_in_place(chain, at, new[0]) if count == len(new) == 1 else None) or with_layers(chain, layers)
    except SpecError:
        return None
    return _with_input(replace(case, chain=chain), change)


def words(change: Change, about: int | None, chain: Chain) -> str:
    """What is to be done, in the imperative.

    Args:
        change: of the case.
        about: the layer that the reader has in mind.
        chain: before the change.
    """
    alike: dict[str, list[int]] = {}
    for index, values in change.settings.items():
        layer = chain.layers[index]
        given = [
            f"{own_name(chain, layer, name)}={shown(short(value))}"
            for name, value in values.items()
            if value is not LEFT_OUT
        ]
        gone = [name for name, value in values.items() if value is LEFT_OUT]
        if given:
            alike.setdefault(f"set {', '.join(given)}", []).append(index)
        if gone:
            alike.setdefault(f"leave out {' and '.join(gone)}", []).append(index)
    parts = [
        what if indices == [about] or len(chain.layers) == 1 else f"{what} in {several(chain, indices)}"
        for what, indices in alike.items()
    ]
    text = "; ".join(filter(None, [*parts, change.said]))
    return text[:1].upper() + text[1:]


def _with_input(case: Case, change: Change) -> Case:
    if change.input_shape is None:
        return case
    return replace(case, input_shape=change.input_shape, layout=change.layout or case.layout)


def _set(chain: Chain, index: int, values: Mapping[str, object]) -> Chain:
    layer = chain.layers[index]
    given = {name: value for name, value in values.items() if value is not LEFT_OUT}
    foreign = [name for name in layer.arguments if name in values and values[name] is LEFT_OUT]
    for name in foreign:
        default = _any_default(layer, name)
        if default is REQUIRED:
            kept = {key: value for key, value in layer.arguments.items() if key not in foreign} | given
            return with_layers(chain, _with(chain, index, replace(layer, arguments=kept)))
        given[name] = default
    return with_arguments(chain, index, **given)


def _any_default(layer: Layer, name: str) -> object:
    """The default that leaves an argument out of the text: an edit takes that of either framework."""
    for signature in (KINDS[layer.kind].mlx, KINDS[layer.kind].torch):
        for own, default in signature.parameters.items() if signature else ():
            if signature and signature.name(own) == name:
                return default
    return REQUIRED


def _in_place(chain: Chain, index: int, layer: Layer) -> Chain | None:
    """The chain with another layer's call where one stood; None where that is not what is then read."""
    old = chain.layers[index]
    if old.span is None or not old.call.rpartition(".")[2][:1].isupper():
        return None
    if KINDS[layer.kind].signatures(chain.framework)[0] is None:
        return None
    prefix = "".join(old.call.rpartition(".")[:2])
    call = prefix + layer_call(layer, chain.framework).removeprefix("nn.")
    text = chain.text[: old.span[0]] + call + chain.text[old.span[1] :]
    try:
        found = read_chain(text, chain.framework)
    except SpecError:
        return None
    wanted = [other.kind for other in _with(chain, index, layer)]
    return found if [other.kind for other in found.layers] == wanted else None


def _with(chain: Chain, index: int, layer: Layer) -> tuple[Layer, ...]:
    return (*chain.layers[:index], layer, *chain.layers[index + 1 :])
