"""Sizes that a layer does not take: no voxels, too many, or too few along an axis."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from conv3d_core.axis import AXES
from conv3d_core.diagnosis.edits import Change, removed, resized, settings
from conv3d_core.diagnosis.failure import Failure
from conv3d_core.diagnosis.finding import Draft
from conv3d_core.diagnosis.fitting import fitting, larger_input, passes
from conv3d_core.diagnosis.memory import smaller_input
from conv3d_core.diagnosis.windows import Along, axes_of, input_space, three_of, unfit, with_axes
from conv3d_core.diagnosis.wording import axis_names, counted

CODES = {"padding": "padding-too-large", "scale_factor": "zero-size", "kernel_size": "kernel-too-large"}
# How far below what is written a value is looked for.
NEAR = 20


def sizes_draft(failure: Failure) -> Draft | None:
    """What is wrong with the sizes; None where it is not they."""
    for explain in (_no_voxels, _too_many, _windows, _along):
        found = explain(failure)
        if found:
            return found
    return None


def _no_voxels(failure: Failure) -> Draft | None:
    case, shape = failure.case, failure.case.input_shape
    if failure.error.field != "input" or not all(type(size) is int for size in shape) or min(shape, default=1) > 0:
        return None
    empty = [place for place, size in enumerate(shape) if size < 1]
    letters = [letter for letter, place in zip(AXES, input_space(case), strict=False) if place in empty]
    where = f"along {axis_names(letters)}" if letters else f"in axis {empty[0]}"
    words = f"The input {shape} has nothing {where}, so there is nothing to compute from."

    def changes() -> Iterator[Change]:
        sizes = tuple(max(1, size) for size in shape)
        yield resized(sizes, f"use an input of {sizes} or more", "input")
        yield from larger_input(replace(case, input_shape=sizes), failure.index, letters)

    return failure.draft("zero-size", words, changes, axis=letters[0] if letters else None)


def _too_many(failure: Failure) -> Draft | None:
    """More elements than can be indexed."""
    layer, name = failure.layer, failure.error.field
    if not any(words in str(failure.error) for words in ("can index", "more elements than")):
        return None

    def changes() -> Iterator[Change]:
        yield from smaller_input(failure.case, lambda case: passes(case, failure.index))
        axes = axes_of(layer, failure.framework) if name == "padding" else None
        if axes:
            yield settings(failure.index, padding=with_axes([(a.effective_kernel_size - 1) // 2 for a in axes], {}))
            yield settings(failure.index, padding=0)
        value = layer.arguments.get(name)
        while type(value) in (int, float) and value > 1:  # type: ignore[operator]
            value = value // 2  # type: ignore[operator]
            yield settings(failure.index, **{name: value})

    return failure.draft("memory", failure.problem, changes)


def _windows(failure: Failure) -> Draft | None:
    """Windows that do not fit even once."""
    wrong = unfit(failure.layer, failure.case, failure.shape)
    index, layer, mlx = failure.index, failure.layer, failure.framework == "mlx"
    if not wrong or failure.error.axis is None:
        return None
    first = wrong[0]
    axis, pooling = first.axis, layer.family == "pooling"
    what = "window" if pooling else "kernel"
    if axis.dilation > 1:
        what += f" of {axis.kernel_size} with dilation {axis.dilation}"
    alike = [each.letter for each in wrong if each[1:] == first[1:]]
    words = f"{failure.who}: along {axis_names(alike)} the {what} spans"
    words += f" {counted(axis.effective_kernel_size, 'voxel')}, and there {'is' if first.size == 1 else 'are'}"
    words += f" {first.size}"
    if axis.padding:
        words += f", or {axis.padded_size(first.size)} with padding {axis.padding} on both sides"
    begin = _at_the_beginning(failure, first)
    if begin > first.size:
        words += f" (the input has {begin})"
    words += ": it does not fit even once."
    if len(alike) < len(wrong):
        words += f" Nor does it along {axis_names([each.letter for each in wrong if each.letter not in alike])}."
    formula = first.formula
    # MLX divides in C++, towards zero: what lacks less than a stride passes.
    holes = all(
        each.axis.padded_size(each.size) - each.axis.effective_kernel_size > -each.axis.stride for each in wrong
    )
    if mlx and layer.kind == "Conv3d" and holes:
        code = "stride-hole"
        words += f" It lacks fewer voxels than the stride {axis.stride}, and there MLX raises nothing: it announces an"
        words += " output of 1 and computes it from memory that is not its own."
        formula += "; MLX cuts the quotient to 0 and says 1"
    elif pooling:
        code = "pool-too-large"
        words += " MLX raises nothing, and gives an array without voxels." if mlx else ""
    else:
        code = "kernel-too-large"
        if axis.dilation > 1 and mlx:
            words += f" MLX's own message names the kernel of {axis.kernel_size} and not its dilation."
    return failure.draft(code, words, lambda: fitting(failure.case, index, failure.shape), formula, first.letter)


def _at_the_beginning(failure: Failure, along: Along) -> int:
    places = input_space(failure.case)
    return failure.case.input_shape[places[AXES.index(along.letter)]] if places else 0


def _along(failure: Failure) -> Draft | None:
    """What else is wrong along an axis."""
    error, index, layer = failure.error, failure.index, failure.layer
    if error.axis is None:
        return None
    letter = error.axis

    def changes() -> Iterator[Change]:
        # What would do stands in the words of the trace; here it is tried out.
        for name in ("padding", "kernel_size"):
            for number in _smaller(layer.arguments.get(name, "none"), AXES.index(letter)):
                yield settings(index, **{name: number})
        if "scale_factor" in layer.arguments:
            for scale in (1, 2):
                yield settings(index, scale_factor=scale)
        if "padding_mode" in layer.arguments:
            yield settings(index, padding_mode="zeros")
        yield from larger_input(failure.case, index, [letter])
        yield from larger_input(failure.case, index, AXES)
        if layer.family == "pooling":
            yield removed(index, "remove this pooling layer")

    code = CODES.get(error.field, "does-not-fit")
    if error.field == "padding" and "padding_mode" in str(error):
        code = "padding-mode"
    if error.field == "kernel_size" and layer.family == "pooling":
        code = "pool-too-large"
    return failure.draft(code, failure.problem, changes)


def _smaller(value: object, place: int) -> Iterator[object]:
    """Smaller values along one axis, and then along all."""
    three = three_of(value)
    if three:
        for number in range(three[place] - 1, max(-1, three[place] - NEAR), -1):
            yield with_axes(three, {place: number})
        for number in range(max(three) - 1, max(-1, max(three) - NEAR), -1):
            yield tuple(min(number, other) for other in three)
