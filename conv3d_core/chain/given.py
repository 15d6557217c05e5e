"""What a layer is given - its arguments and an array - and what it makes of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple, NoReturn

from conv3d_core.chain.layer import KINDS, LAYOUTS, Framework, Layer, Sizes
from conv3d_core.chain.reach import Reading
from conv3d_core.errors import ShapeError, SpecError, shown
from conv3d_core.spec import MAX_ELEMENTS, Triple, integer_of, product, triple_of

SPACE = "DHW"
LARGEST_NUMBER = 10**300


class Effect(NamedTuple):
    """What a layer does to an array.

    Attributes:
        shape: of its output.
        letters: of its output's axes.
        parameters: numbers that training changes.
        macs: multiply-accumulates, taps in the padding counted.
        unfolded_bytes: of the unfolded input that MLX's CPU build makes; 0 for PyTorch.
        scratch_bytes: of what MLX's CPU build holds beside input, unfolded input, output and parameters.
        readings: how an output reads the input along the axis at a position; one to one along those that are not here.
    """

    shape: Sizes
    letters: str
    parameters: int = 0
    macs: int = 0
    unfolded_bytes: int = 0
    scratch_bytes: int = 0
    readings: Mapping[int, Reading] = {}


class Volume(NamedTuple):
    """Where a layer that reads volumes finds its axes.

    Attributes:
        channel: position of C.
        first: position of D; H and W come after it.
        letters: of the array, as the layer reads it.
    """

    channel: int
    first: int
    letters: str

    @property
    def space(self) -> range:
        """The positions of D, H and W."""
        return range(self.first, self.first + len(SPACE))


@dataclass(frozen=True, slots=True)
class Given:
    """A layer and the array that comes to it. Errors name an argument as the framework spells it.

    Attributes:
        layer: the layer.
        framework: in whose terms it is.
        shape: of the array, sizes >= 1.
        letters: one for each of its axes.
    """

    layer: Layer
    framework: Framework
    shape: Sizes
    letters: str

    def own(self, name: str) -> str:
        """How the framework spells a parameter."""
        signature = getattr(KINDS[self.layer.kind], self.framework)
        for own in signature.parameters if signature else ():
            if signature.name(own) == name:
                return str(own)
        return name

    def value(self, name: str) -> object:
        """An argument as written, or the default.

        Raises:
            SpecError: it is missing.
        """
        return self.layer.value(name, self.framework)

    def integer(self, name: str, minimum: int) -> int:
        """An argument that must be an integer.

        Raises:
            SpecError: it is none, or below the minimum.
        """
        return integer_of(self.own(name), self.value(name), minimum)

    def triple(self, name: str, minimum: int) -> Triple:
        """An argument that must be an integer or three (D, H, W).

        Raises:
            SpecError: it is neither, or one is below the minimum.
        """
        return triple_of(self.own(name), self.value(name), minimum)

    def flag(self, name: str) -> bool:
        """An argument that must be a truth value.

        Raises:
            SpecError: it is none.
        """
        value = self.value(name)
        if not isinstance(value, bool):
            self.refuse(name, f"{shown(value)} is not Python's True or False", "use True or False")
        return value

    def number(self, name: str) -> int | float:
        """An argument that must be a number.

        Raises:
            SpecError: it is none, or not finite.
        """
        return self.as_number(name, self.value(name))

    def as_number(self, name: str, value: object) -> int | float:
        """One value of an argument, as `number` takes it."""
        if isinstance(value, bool) or not isinstance(value, int | float):
            self.refuse(name, f"{shown(value)} is not a number", "use a number")
        if not -LARGEST_NUMBER < value < LARGEST_NUMBER:
            self.refuse(name, f"{shown(value)} is not a finite number", "use a number")
        return value

    def word(self, name: str, words: Sequence[str]) -> str:
        """An argument that must be one of some words.

        Raises:
            SpecError: it is none of them.
        """
        value = self.value(name)
        if not isinstance(value, str) or value not in words:
            self.refuse(name, f"{shown(value)} is not one of them", f"use {_either([repr(word) for word in words])}")
        return value

    def refuse(self, name: str, problem: str, remedy: str, axis: str | None = None) -> NoReturn:
        """Raises SpecError at an argument."""
        raise SpecError(self.own(name), problem, remedy, axis=axis, value=self.layer.arguments.get(name))

    def volume(self, unbatched: bool = True) -> Volume:
        """Where D, H, W and C are.

        Args:
            unbatched: whether PyTorch's layer also takes (C, D, H, W).

        Raises:
            ShapeError: the array has another number of axes.
        """
        layout: str = LAYOUTS[self.framework]
        axes = len(self.shape)
        if axes == 4 and self.framework == "torch" and unbatched:
            layout = layout[1:]
        elif axes != 5:
            missing = " (is the batch axis missing?)" if axes == 4 else ""
            raise ShapeError(
                "input",
                f"{shown(self.shape)} has {axes} axes{missing}",
                f"use five sizes ({', '.join(layout)})",
                value=self.shape,
            )
        channel, first = layout.index("C"), layout.index("D")
        space = self.letters[first : first + len(SPACE)]
        # After a transposition the same layer may run over the axes in another order.
        turned = layout.translate(str.maketrans(SPACE, space))
        kept = self.letters == turned and sorted(space) == sorted(SPACE)
        return Volume(channel, first, turned if kept else layout)

    def check_channels(self, name: str, wanted: int, position: int) -> None:
        """Raises ShapeError where the array has another number of channels than an argument says."""
        channels = self.shape[position]
        if channels == wanted:
            return
        last = len(self.shape) - 1
        remedy = f"use {self.own(name)}={channels}, or an input whose {_axis(position, last)} is {wanted}"
        other = 1 if self.framework == "mlx" else last
        if last == 4 and other != position and self.shape[other] == wanted:
            order = "(N, C, D, H, W) is PyTorch's" if self.framework == "mlx" else "(N, D, H, W, C) is MLX's"
            sizes = [size for i, size in enumerate(self.shape) if i != other]
            sizes.insert(position, wanted)
            to = "last" if position == last else f"to {position}"
            remedy += f"; {order} order: move axis {other} {to} to get {tuple(sizes)}"
        raise ShapeError(
            self.own(name), f"the layer takes {wanted} and the input {self.shape} has {channels}", remedy, value=wanted
        )

    def check_elements(self, what: str, name: str, sizes: Sequence[int]) -> None:
        """Raises ShapeError where an array is too large to index."""
        elements = math.prod(sizes)
        if elements > MAX_ELEMENTS:
            most = "MLX" if self.framework == "mlx" else "32 bits"
            raise ShapeError(
                self.own(name),
                f"the {what} {product(sizes)} = {elements:,} elements is more than {most} can index",
                f"use a smaller {self.own(name)} or crop the input, to stay at or below {MAX_ELEMENTS:,}",
                value=self.layer.arguments.get(name),
            )

    def kept(self, parameters: int = 0) -> Effect:
        """The effect of a layer that leaves every size as it is."""
        return Effect(self.shape, self.letters, parameters)

    def replaced(self, sizes: Mapping[int, int]) -> Sizes:
        """The shape with other sizes at some positions."""
        return tuple(sizes.get(i, size) for i, size in enumerate(self.shape))


def _axis(position: int, last: int) -> str:
    return "last axis" if position == last else f"axis {position}"


def _either(words: Sequence[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
