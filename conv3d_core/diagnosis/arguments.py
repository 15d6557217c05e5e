"""An argument that a layer does not have, or cannot have with this value."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from conv3d_core.chain.layer import KINDS, NAMES
from conv3d_core.diagnosis.edits import LEFT_OUT, Change, removed, settings
from conv3d_core.diagnosis.failure import Failure
from conv3d_core.diagnosis.finding import Draft
from conv3d_core.diagnosis.inputs import OTHER
from conv3d_core.diagnosis.values import TRIPLES, nearby
from conv3d_core.diagnosis.windows import three_of
from conv3d_core.diagnosis.wording import counted, named, own_name

# Arguments that one framework has and the other has not, with a code of their own.
CODES: Mapping[str, str] = {
    "groups": "groups",
    "padding_mode": "padding-mode",
    "ceil_mode": "ceil-mode",
    "output_padding": "output-padding",
}
# What MLX does without PyTorch's argument.
INSTEAD: Mapping[str, str] = {
    "groups": " MLX's reads every input channel for each output channel.",
    "padding_mode": " MLX's pads with zeros.",
    "ceil_mode": " MLX's rounds down: voxels that are left over at the end are dropped.",
    "dilation": " MLX's windows have no gaps.",
}
# Values of an argument that are offered beside each other.
MOST_VALUES = 3


def argument_draft(failure: Failure) -> Draft:
    """What is wrong with an argument."""
    name, layer, chain = failure.error.field, failure.layer, failure.case.chain
    code, words, formula = CODES.get(name, "bad-argument"), f"{failure.who}, {failure.error}", ""
    own, other = KINDS[layer.kind].signatures(failure.framework)
    reader = NAMES[failure.framework]
    if own and name not in own.defaults:
        words = f"{reader}'s {own.call} has no argument {name}"
        if other and name in other.defaults:
            words += f"; {NAMES[OTHER[failure.framework]]}'s{'' if own.call == other.call else f' {other.call}'} has."
            words += INSTEAD.get(name, "") if failure.framework == "mlx" else ""
        else:
            words += "."
    elif name == "padding" and isinstance(layer.arguments.get(name), str) and failure.framework == "mlx":
        words = f"padding={layer.arguments[name]!r} is PyTorch's: MLX takes numbers, and says so only when the layer is"
        words += " called, with a page of signatures."
    elif (layer.kind, name) == ("GroupNorm", "num_groups"):
        groups, channels = layer.arguments.get(name), layer.arguments.get("dims")
        if type(groups) is int and type(channels) is int and groups > 0:
            code, formula = "group-norm-divides", f"{channels} = {channels // groups}*{groups} + {channels % groups}"
            words = f"{failure.who} cannot share {counted(channels, 'channel')} among {counted(groups, 'group')}:"
            words += f" {own_name(chain, layer, 'num_groups')} must divide {own_name(chain, layer, 'dims')}."
    elif name == "kernel_size" and "elements" in str(failure.error):
        code = "memory"
    return failure.draft(code, words, lambda: other_values(failure, name), formula)


def other_values(failure: Failure, name: str) -> Iterator[Change]:
    """Other values for an argument, the nearest first, or none; then for what it has to go with."""
    layer, index = failure.layer, failure.index
    own, _ = KINDS[layer.kind].signatures(failure.framework)
    if own and name not in own.defaults:
        yield settings(index, **{name: LEFT_OUT})
        yield removed(index, f"remove {named(layer)}")
        return
    yield from _at_most(failure, name)
    for number, value in enumerate(nearby(layer, failure.framework, name, failure.shape)):
        yield settings(index, **{name: value})._replace(idea=f"{name} {min(number, MOST_VALUES - 1)}")
    if name == "groups":
        for other in ("in_channels", "out_channels"):
            for value in _multiples(layer.arguments.get(other), layer.arguments.get("groups")):
                yield settings(index, **{other: value})
    if name == "padding" and isinstance(layer.arguments.get("padding"), str):
        yield settings(index, stride=1)
    if name in TRIPLES and isinstance(failure.error.value, tuple):
        for other in ("in_channels", "out_channels"):
            yield settings(index, **{other: 8})


def _at_most(failure: Failure, name: str) -> Iterator[Change]:
    """The most that a padding can be beside the other arguments, and not more than it is."""
    layer = failure.layer
    kernel, stride, dilation = (three_of(layer.arguments.get(key, 1)) for key in ("kernel_size", "stride", "dilation"))
    written = three_of(layer.arguments.get(name))
    if written is None or kernel is None or dilation is None:
        return
    if name == "output_padding" and stride:
        most = [max(stride[place], dilation[place]) - 1 for place in range(3)]
    elif name == "padding" and layer.family == "pooling":
        most = [size // 2 for size in kernel]
    elif name == "padding" and layer.kind == "ConvTranspose3d":
        most = [dilation[place] * (kernel[place] - 1) for place in range(3)]
    else:
        return
    yield settings(failure.index, **{name: tuple(map(min, written, most))})


def _multiples(value: object, groups: object) -> Iterator[int]:
    if type(value) is int and type(groups) is int and groups > 0 and value % groups:
        yield from {max(1, value // groups) * groups, (value // groups + 1) * groups}
