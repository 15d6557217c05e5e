"""The way of an array along a chain: in which order it has its axes, and what is written for each layer."""

from __future__ import annotations

import keyword
import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from conv3d_core.chain.layer import KINDS, NAMES, REQUIRED, Chain, Framework, Layer
from conv3d_core.chain.spelling import attribute_names, layer_call, over_axes
from conv3d_core.errors import SpecError, shown
from conv3d_core.spec import Triple

Order = tuple[int, ...]

# Layers that look for the channels where their framework has them.
_VOLUME = ("convolution", "pooling", "upsample")
_COUNTED = ("BatchNorm", "GroupNorm", "PReLU")
# Layers before which the axes may have to be moved, by how many there are.
_MOVED = ("Linear", "LayerNorm", "Softmax", "LogSoftmax", "Flatten")
_FIRST_MOVES = ("Transpose", "ExpandDims")
# Names of a Module's own, in one framework or the other; what begins with an underscore MLX does not count as a weight.
_OWN_NAMES = """
    add_module apply apply_to_modules bfloat16 buffers call_super_init children clear compile copy cpu cuda double
    dump_patches eval extra_repr filter_and_map float forward freeze fromkeys get get_buffer get_extra_state
    get_parameter get_submodule half ipu is_module items keys leaf_modules load_state_dict load_weights modules mtia
    named_buffers named_children named_modules named_parameters parameters pop popitem register_backward_hook
    register_buffer register_forward_hook register_forward_pre_hook register_full_backward_hook
    register_full_backward_pre_hook register_load_state_dict_post_hook register_load_state_dict_pre_hook
    register_module register_parameter register_state_dict_post_hook register_state_dict_pre_hook requires_grad_
    save_weights set_dtype set_extra_state set_submodule setdefault share_memory state state_dict to to_empty train
    trainable_filter trainable_parameter_filter trainable_parameters training type unfreeze update update_modules
    valid_child_filter valid_parameter_filter values xpu zero_grad
"""
RESERVED = frozenset(_OWN_NAMES.split())


class Line(NamedTuple):
    """``x = applied``, and the module in it.

    Attributes:
        applied: an expression on ``x``.
        module: the attribute that holds it; empty where there is none.
        made: the expression that makes it; empty where another line does.
        note: a comment on it.
    """

    applied: str
    module: str = ""
    made: str = ""
    note: str = ""

    @property
    def plain(self) -> bool:
        """Whether a Sequential can have it."""
        return bool(self.made) and self.applied == f"self.{self.module}(x)"


class Walk:
    """Along the layers, with what is known of the array on the way.

    Attributes:
        chain: the layers.
        target: for whom they are written.
        index: of the layer that is next.
        rank: axes of the array, the batch axis that was put in front counted.
        order: which axis of the chain's own array each of its axes is.
        literal: whether its axes are what the chain's text made of them (a flatten, a transpose), and so stay.
        batched: whether the chain's array has no batch axis and this one has.
        lines: written so far.
        needed: what is spelled out.
    """

    def __init__(self, chain: Chain, target: Framework, rank: int) -> None:
        self.chain = chain
        self.target = target
        self.index = 0
        first = next((layer for layer in chain.layers if not _elementwise(layer)), None)
        self.literal = first is not None and first.kind in _FIRST_MOVES
        self.batched = (
            chain.framework == "torch"
            and target == "mlx"
            and rank == 4
            and first is not None
            and (first.family in _VOLUME or first.kind in ("InstanceNorm", "Dropout3d"))
        )
        self.rank = rank + self.batched
        self.order: Order = tuple(range(self.rank)) if self.literal else self.channels_order()
        self.lines: list[Line] = []
        self.needed: dict[str, None] = {}
        self._names = module_names(chain.layers)
        self._made: set[str] = set()

    @property
    def layer(self) -> Layer:
        """The next layer."""
        return self.chain.layers[self.index]

    @property
    def ported(self) -> bool:
        """Whether the chain is written for another framework than its own."""
        return self.target != self.chain.framework

    @property
    def sequential(self) -> bool:
        """Whether a Sequential does: every line is a layer of its own, and none has a name in the chain's text.

        Not where it depends on the number of axes, so that the weights' names do not.
        """
        modules = [line.module for line in self.lines]
        named = any(_attribute(layer.name) for layer in self.chain.layers)
        moved = any(self.ported and layer.kind in _MOVED for layer in self.chain.layers)
        along = any(self.target == "mlx" and "dim" in layer.arguments for layer in self.chain.layers)
        once = len(set(modules)) == len(modules)
        return once and all(line.plain for line in self.lines) and not (named or moved or along)

    def paths(self) -> tuple[str, ...]:
        """See `Ported`."""
        if not self.sequential:
            return tuple(self._names)
        stem = "layers." if self.target == "mlx" else ""
        return tuple(f"{stem}{index}" for index in range(len(self.chain.layers)))

    def channels_order(self) -> Order:
        """The order in which the target has channels where it looks for them."""
        axes = tuple(range(self.rank))
        if not self.ported or self.rank < 3:
            return axes
        return (0, *axes[2:], 1) if self.target == "mlx" else (0, axes[-1], *axes[1:-1])

    def channels(self) -> None:
        """Move the channels to where the target's layers look for them.

        Raises:
            SpecError: they are told by a batch axis in front, and there is none.
        """
        if self.batched and self.layer.kind in _COUNTED:
            raise self.error(
                "input", "counts the channels behind a batch axis, and there is none", "give (N, C, D, H, W)"
            )
        self.move(self.channels_order(), "channels last" if self.target == "mlx" else "channels first")
        self.literal = False

    def volume(self) -> None:
        """The same for a layer that takes volumes only.

        Raises:
            SpecError: this is none.
        """
        if self.ported and self.rank != 5:
            whose = NAMES[self.chain.framework]
            raise self.error("input", f"gets an array of {self.rank} axes", f"give {whose}'s layer one of 5")
        self.channels()

    def own(self, note: str) -> None:
        """Move the axes to where the chain's own framework has them."""
        self.move(tuple(range(self.rank)), note)

    def move(self, order: Order, note: str = "") -> None:
        """Bring the axes of the chain's own array into an order."""
        if order != self.order:
            axes = ", ".join(str(self.order.index(axis)) for axis in order)
            word = "transpose" if self.target == "mlx" else "permute"
            self.lines.append(Line(f"x.{word}({axes})", note=note))
            self.order = order

    def finish(self) -> None:
        """Leave the axes as the chain's text says, or as the target has them."""
        self.move(tuple(range(self.rank)) if self.literal else self.channels_order())

    def add(self, applied: str, note: str = "") -> None:
        """A line without a module; the expression is on ``x``."""
        self.lines.append(Line(applied, note=note))

    def module(self, made: str, applied: str = "{}(x)", note: str = "") -> None:
        """The next layer as a module, in an expression that has ``{}`` where it stands."""
        name = self._names[self.index]
        self.lines.append(Line(applied.format(f"self.{name}"), name, "" if name in self._made else made, note))
        self._made.add(name)

    def call(self, **arguments: object) -> None:
        """The next layer as the target's own of that name; arguments by MLX's names, all of them."""
        self.module(self.written(**arguments))

    def written(self, **arguments: object) -> str:
        """The text of that call."""
        return layer_call(Layer(self.layer.kind, arguments), self.target)

    def need(self, name: str) -> str:
        """Have something spelled out in the program; its name."""
        self.needed[name] = None
        return name

    def value(self, name: str) -> object:
        """An argument of the next layer, or the default of whichever framework has it.

        Raises:
            SpecError: it is required and missing.
        """
        if name in self.layer.arguments:
            return _tuples(self.layer.arguments[name])
        for signature in KINDS[self.layer.kind].signatures(self.chain.framework):
            if signature and name in signature.defaults:
                if signature.defaults[name] == REQUIRED:
                    raise self.error(name, "lacks it", "give it")
                return signature.defaults[name]
        raise self.error(name, "has no such argument", "leave it out")

    def given(self, *names: str) -> dict[str, object]:
        """Those arguments that the text has, as they are; required ones have to be there."""
        for name in names:
            self.value(name)
        return {name: _tuples(self.layer.arguments[name]) for name in names if name in self.layer.arguments}

    def integer(self, name: str, least: int = 1) -> int:
        """An argument that has to be a whole number.

        Raises:
            SpecError: it is none.
        """
        value = self.value(name)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise self.error(name, f"has {shown(value)}", f"use an integer >= {least}", value)
        return value

    def number(self, name: str) -> float:
        """An argument that has to be a number.

        Raises:
            SpecError: it is none.
        """
        value = self.value(name)
        if not isinstance(value, int | float) or isinstance(value, bool):
            raise self.error(name, f"has {shown(value)}", "use a number", value)
        return value

    def triple(self, name: str, least: int = 0) -> Triple:
        """An argument as three whole numbers (D, H, W).

        Raises:
            SpecError: it is none.
        """
        value = self.value(name)
        numbers = value if isinstance(value, tuple) else (value,) * 3
        if len(numbers) != 3 or any(type(number) is not int or number < least for number in numbers):
            raise self.error(name, f"has {shown(value)}", f"use one integer >= {least} or three (D, H, W)", value)
        d, h, w = numbers
        return d, h, w

    def factors(self, name: str) -> tuple[float, float, float]:
        """An argument as three numbers above zero (D, H, W).

        Raises:
            SpecError: it is none.
        """
        value = self.value(name)
        numbers = value if isinstance(value, tuple) else (value,) * 3
        found = [float(number) for number in numbers if isinstance(number, int | float) and 0 < number < math.inf]
        if len(numbers) != 3 or len(found) != 3:
            raise self.error(name, f"has {shown(value)}", "use one number above 0 or three (D, H, W)", value)
        d, h, w = found
        return d, h, w

    def sizes(self, name: str) -> tuple[int, ...]:
        """An argument as whole numbers, one or more.

        Raises:
            SpecError: it is none.
        """
        value = self.value(name)
        numbers = value if isinstance(value, tuple) else (value,)
        found = tuple(number for number in numbers if type(number) is int and number >= 1)
        if not numbers or len(found) < len(numbers):
            raise self.error(name, f"has {shown(value)}", "use integers >= 1", value)
        return found

    def axis(self, value: object, name: str, more: int = 0) -> int:
        """An axis of the chain's own array, counted from its end or not.

        Args:
            value: as it is in the text.
            name: of the argument.
            more: axes that come.

        Raises:
            SpecError: there is no such axis.
        """
        rank = self.rank - self.batched + more
        if type(value) is not int or not -rank <= value < rank:
            raise self.error(name, f"has {shown(value)}, of {rank} axes", f"use {-rank} to {rank - 1}", value)
        return value % rank + self.batched

    def error(self, name: str, problem: str, remedy: str, value: object = None) -> SpecError:
        """What cannot be written for the target: an argument of the next layer."""
        where = f"layer {self.index + 1}, {self.layer.call or self.layer.kind}, {problem}"
        return SpecError(name, where, remedy, value=value)

    def cannot(self, name: str, why: str, remedy: str) -> SpecError:
        """The same for a value that only one of the two knows."""
        value = self.value(name)
        return self.error(name, f"has {shown(value)}, and {why}", remedy, value)


def shape(walk: Walk, layer: Layer) -> None:
    """A layer that does nothing but name axes anew, in either framework.

    Raises:
        SpecError: it names axes that there are not.
    """
    arguments = layer.arguments
    if layer.kind == "Transpose":
        axes = arguments.get("axes")
        axes = axes if isinstance(axes, tuple | list) else (axes,)
        own = tuple(walk.axis(axis, "axes") for axis in axes)
        own = (0, *own) if walk.batched else own
        if sorted(own) != list(range(walk.rank)):
            raise walk.error("axes", f"has {shown(axes)}, of {walk.rank} axes", "name each axis once", axes)
        # Nothing moves before a layer asks for it.
        walk.order = tuple(own.index(axis) for axis in walk.order)
        walk.literal = True
        if not walk.ported:
            walk.own("")
    elif layer.kind == "ExpandDims":
        at = walk.axis(arguments.get("axis", 0), "axis", more=1)
        order = tuple(axis + (axis >= at) for axis in walk.order)
        walk.rank += 1
        walk.literal = True
        wanted = walk.channels_order()
        place = wanted.index(at) if order == tuple(axis for axis in wanted if axis != at) else at
        walk.order = (*order[:place], at, *order[place:])
        walk.add(f"mx.expand_dims(x, {place})" if walk.target == "mlx" else f"x.unsqueeze({place})")
    else:
        _flatten(walk, arguments)


def _flatten(walk: Walk, arguments: Mapping[str, object]) -> None:
    start = walk.axis(arguments.get("start_dim", 1), "start_dim")
    end = walk.axis(arguments.get("end_dim", -1), "end_dim")
    if end < start:
        raise walk.error("end_dim", f"ends at {end}, before {start}", "use a later axis", end)
    owner = "PyTorch" if walk.chain.framework == "torch" else "MLX"
    walk.own(f"{owner}'s order of axes, which is that of the features")
    walk.literal = True
    last = -1 if end == walk.rank - 1 else end
    walk.rank -= end - start
    walk.order = tuple(range(walk.rank))
    if walk.target == "mlx":
        ending = "" if last == -1 else f", end_axis={last}"
        walk.add(f"mx.flatten(x, start_axis={start}{ending})")
    else:
        walk.module(f"nn.Flatten({'' if (start, last) == (1, -1) else f'start_dim={start}, end_dim={last}'})")


def reduction(walk: Walk, layer: Layer) -> None:
    """A Mean or a Max over axes, in either framework.

    Raises:
        SpecError: it names axes that there are not, or one twice.
    """
    axis = layer.arguments.get("axis")
    some = range(walk.rank - walk.batched) if axis is None else axis if isinstance(axis, tuple | list) else (axis,)
    own = {walk.axis(number, "axis") for number in some}
    if len(own) < len(some) or not own:
        raise walk.error("axis", f"has {shown(axis)}", "name some axes, each once", axis)
    places = tuple(sorted(walk.order.index(number) for number in own))
    keeps = bool(layer.arguments.get("keepdims", False))
    walk.add(over_axes(layer.kind, walk.target, places if len(places) > 1 else places[0], keeps))
    if not keeps:
        left = [number for number in range(walk.rank) if number not in own]
        walk.order = tuple(left.index(number) for number in walk.order if number in left)
        walk.rank = len(left)
        walk.literal = True


def softmax(walk: Walk, layer: Layer) -> None:
    """Softmax and LogSoftmax along whichever axis, in either framework.

    Raises:
        SpecError: there is no such axis.
    """
    axis = layer.arguments.get("dim", layer.arguments.get("axis"))
    if axis is None:
        own_rank = walk.rank - walk.batched
        # PyTorch's rule of old, with a warning; MLX takes the last.
        axis = -1 if walk.chain.framework == "mlx" else 0 if own_rank in (0, 1, 3) else 1
    at = walk.order.index(walk.axis(axis, "dim"))
    last = at == walk.rank - 1
    if walk.target == "torch":
        walk.module(f"nn.{layer.kind}(dim={-1 if last else at})")
    elif last:
        walk.module(f"nn.{layer.kind}()")
    else:
        walk.add(f"{'mx.softmax' if layer.kind == 'Softmax' else 'nn.log_softmax'}(x, axis={at})")


# Written for both frameworks by the same rule.
ALIKE: Mapping[str, Callable[[Walk, Layer], None]] = {
    "Softmax": softmax,
    "LogSoftmax": softmax,
    "Flatten": shape,
    "Transpose": shape,
    "ExpandDims": shape,
    "Mean": reduction,
    "Max": reduction,
}


def module_names(layers: Sequence[Layer]) -> list[str]:
    """The attribute that holds each layer: that of the text where it can be one, and one for the same layer twice."""
    result: list[str] = []
    by_name: dict[str, tuple[str, Layer]] = {}
    own = [_attribute(layer.name) for layer in layers]
    taken = {name for name in own if name}
    for layer, name, generated in zip(layers, own, attribute_names(layers), strict=True):
        before = by_name.get(layer.name)
        if before and (layer.kind, dict(layer.arguments)) == (before[1].kind, dict(before[1].arguments)):
            result.append(before[0])
            continue
        if not name or before:
            name = _free(generated, taken)
        taken.add(name)
        if layer.name:
            by_name[layer.name] = name, layer
        result.append(name)
    return result


def _free(name: str, taken: set[str]) -> str:
    while name in taken:
        name += "_"
    return name


def _attribute(name: str) -> str:
    """A layer's name in its text, if it can be an attribute."""
    name = name.removeprefix("self.")
    fine = name.isidentifier() and name.isascii() and not keyword.iskeyword(name) and name not in RESERVED
    return name if fine and not name.startswith("_") else ""


def _elementwise(layer: Layer) -> bool:
    return layer.family in ("activation", "dropout") and layer.kind not in (
        "Softmax",
        "LogSoftmax",
        "Dropout3d",
        "PReLU",
    )


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value
