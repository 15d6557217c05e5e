"""Flatten, Transpose and ExpandDims, and Linear, which like them takes axes by their place and not by their name."""

from __future__ import annotations

import math

from conv3d_core.chain.given import Effect, Given
from conv3d_core.errors import SpecError, shown
from conv3d_core.spec import MAX_ELEMENTS, integer_of

# Of an axis that many became, and of the outputs of a Linear.
FEATURES = "F"


def flatten(given: Given) -> Effect:
    """The effect of a Flatten: the axes from ``start_dim`` to ``end_dim`` as one. MLX clips both to the axes there are.

    Raises:
        SpecError: there are no such axes.
    """
    axes = len(given.shape)
    starts, stops = (
        integer_of(name, given.layer.arguments.get(name, default), -MAX_ELEMENTS)
        for name, default in (("start_dim", 1), ("end_dim", -1))
    )
    if given.framework == "mlx":
        first = max(0, starts + axes * (starts < 0))
        last = min(axes - 1, stops + axes * (stops < 0))
    else:
        first, last = _axis(given, "start_dim", starts, axes), _axis(given, "end_dim", stops, axes)
    if not first <= last:
        problem = f"axis {first} comes after end_dim, axis {last}, in {given.shape}"
        raise SpecError("start_dim", problem, f"use {last} or less" if last >= 0 else "use end_dim=-1", value=starts)
    if first == last:
        return given.kept()
    shape = (*given.shape[:first], math.prod(given.shape[first : last + 1]), *given.shape[last + 1 :])
    return Effect(shape, given.letters[:first] + FEATURES + given.letters[last + 1 :])


def transpose(given: Given) -> Effect:
    """The effect of a Transpose: all axes in another order; their letters follow.

    Raises:
        SpecError: not each axis once.
    """
    value = given.layer.arguments.get("axes")
    axes = len(given.shape)
    if not isinstance(value, list | tuple):
        raise SpecError("axes", f"{shown(value)} is not all axes", f"give each of 0 to {axes - 1} once", value=value)
    order = [_axis(given, "axes", axis, axes) for axis in value]
    if sorted(order) != list(range(axes)):
        raise SpecError(
            "axes",
            f"{shown(tuple(value))} does not have each axis of {given.shape} once",
            f"give each of 0 to {axes - 1} once",
            value=value,
        )
    return Effect(tuple(given.shape[i] for i in order), "".join(given.letters[i] for i in order))


def expand_dims(given: Given) -> Effect:
    """The effect of an ExpandDims: one more axis, of size 1, at a place.

    Raises:
        SpecError: there is no such place.
    """
    at = _axis(given, "axis", given.layer.arguments.get("axis"), len(given.shape) + 1)
    letter = next((letter for letter in new_letters(given.letters) if letter not in given.letters), FEATURES)
    return Effect((*given.shape[:at], 1, *given.shape[at:]), given.letters[:at] + letter + given.letters[at:])


def new_letters(letters: str) -> str:
    """What a new axis may be called: in the letters' own alphabet while nothing has told what the axes are."""
    return UNTOLD if letters.islower() else "NC"


# Names of axes, by place, until a layer reads them as something.
UNTOLD = "abcdefghijklmnopqrstuvwxyz"


def linear(given: Given) -> Effect:
    """The effect of a Linear on the last axis, whatever that is: in PyTorch's (N, C, D, H, W) it is W.

    Raises:
        Conv3dError: it is none, or the last axis has another size.
    """
    inputs, outputs = given.integer("input_dims", 1), given.integer("output_dims", 1)
    given.check_elements("weight", "output_dims", (outputs, inputs))
    bias = given.flag("bias")
    last = len(given.shape) - 1
    given.check_channels("input_dims", inputs, last)
    shape = (*given.shape[:-1], outputs)
    given.check_elements("output", "output_dims", shape)
    letters = given.letters if given.letters[-1] in "CF" else given.letters[:-1] + FEATURES
    return Effect(
        shape, letters, inputs * outputs + (outputs if bias else 0), math.prod(given.shape[:-1]) * inputs * outputs
    )


def _axis(given: Given, name: str, value: object, axes: int) -> int:
    """An axis that may be counted from the end."""
    number = integer_of(name, value, -MAX_ELEMENTS)
    if not -axes <= number < axes:
        raise SpecError(name, f"{shown(value)} is no axis of {given.shape}", f"use {-axes} to {axes - 1}", value=value)
    return number % axes
