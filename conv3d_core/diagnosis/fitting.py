"""Changes that make windows fit their input, or an input that suits the layers."""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from conv3d_core.axis import AXES
from conv3d_core.chain.layer import Case, Chain, Sizes
from conv3d_core.chain.trace import trace
from conv3d_core.diagnosis.edits import Change, removed, resized, settings
from conv3d_core.diagnosis.windows import axes_of, input_space, unfit, with_axes
from conv3d_core.diagnosis.wording import axis_names
from conv3d_core.errors import Conv3dError
from conv3d_core.solve import EvenSizes, even_sizes_in_case

# How often a size is doubled until it is large enough.
DOUBLINGS = 12


def fitting(case: Case, index: int, shape: Sizes) -> Iterator[Change]:
    """Padding, dilation, kernel size or input with which a layer's windows fit; or the layer gone."""
    layer = case.chain.layers[index]
    axes = axes_of(layer, case.chain.framework)
    wrong = {AXES.index(each.letter): each for each in unfit(layer, case, shape)}
    if axes is None or not wrong:
        return
    lacking = {place: each.axis.effective_kernel_size - each.size for place, each in wrong.items()}
    padding = settings(
        index, padding=with_axes([a.padding for a in axes], {place: -(-n // 2) for place, n in lacking.items()})
    )
    room = {place: each.axis.padded_size(each.size) for place, each in wrong.items()}
    kernel = settings(
        index,
        kernel_size=with_axes(
            [a.kernel_size for a in axes],
            {place: max(1, (room[place] - 1) // each.axis.dilation + 1) for place, each in wrong.items()},
        ),
    )
    if layer.family == "pooling":
        yield kernel
        yield from larger_input(case, index, [AXES[place] for place in wrong])
        yield padding
        yield removed(index, "remove this pooling layer")
        return
    yield padding
    closer = {
        place: (room[place] - 1) // (each.axis.kernel_size - 1)
        for place, each in wrong.items()
        if each.axis.kernel_size > 1
    }
    if min(closer.values(), default=0) > 0:
        yield settings(index, dilation=with_axes([a.dilation for a in axes], closer))
    yield kernel
    yield from larger_input(case, index, [AXES[place] for place in wrong])


def larger_input(case: Case, index: int, letters: Sequence[str]) -> Iterator[Change]:
    """The smallest input, larger along some axes, with which the layers up to one work."""
    shape, places = case.input_shape, dict(zip(AXES, input_space(case), strict=False))
    for letter in letters if places else ():
        fits = _passes_along(case, index, "" if letter == letters[-1] else letter)
        found = shape if fits(shape) else _grown(shape, places[letter], fits)
        if found is None:
            return
        shape = found
    if shape != case.input_shape:
        grown = [letter for letter, place in places.items() if shape[place] != case.input_shape[place]]
        yield resized(shape, f"use an input of {shape} or more along {axis_names(grown)}", "input")


def even_inputs(case: Case, index: int, letters: Sequence[str]) -> Iterator[Change]:
    """The nearest inputs that the whole chain, or else its layers up to one, divide evenly along some axes."""
    places, framework = input_space(case), case.chain.framework
    # What turns the input or gives it a batch leaves its sizes as they are.
    whole, prefix = (
        tuple(layer for layer in layers if layer.kind not in ("Transpose", "ExpandDims"))
        for layers in (case.chain.layers, case.chain.layers[: index + 1])
    )
    volume = tuple(case.input_shape[place] for place in places)
    read = (1, *volume, 1) if framework == "mlx" else (1, 1, *volume)
    sizes: tuple[EvenSizes, ...] = ()
    for layers in (whole, prefix):
        try:
            sizes = even_sizes_in_case(Case(Chain(layers, framework), read), 1)
            break
        except Conv3dError:  # there are no such sizes
            continue
    found = []
    for verb in ("crop", "pad") if sizes and places else ():
        shape, rules = list(case.input_shape), []
        for letter, place, even in zip(AXES, places, sizes, strict=True):
            if letter in letters:
                size = shape[place]
                nearest = [n for n in even.sizes if (n < size if verb == "crop" else n > size)]
                shape[place] = nearest[0] if nearest else size
                rules.append(even.rule)
        moved = sum(abs(new - old) for new, old in zip(shape, case.input_shape, strict=True))
        rule = rules[0].partition(",")[0]
        rule = f" ({rule} divide evenly)" if len(set(rules)) == 1 and not rule.startswith("every") else ""
        found.append((moved, resized(tuple(shape), f"{verb} the input to {tuple(shape)}{rule}", f"input {verb}")))
    for moved, change in sorted(found, key=lambda each: each[0]):
        if moved:
            yield change


def inputs_with(case: Case, size_of: Callable[[Case], int], wanted: int) -> Iterator[Change]:
    """The nearest inputs, larger or smaller by as much along D, H and W, of which something that grows with them is so.

    Args:
        case: the chain and its input.
        size_of: what grows with the input.
        wanted: how large it is to be.
    """
    places = input_space(case)
    if not places:
        return
    least = min(case.input_shape[place] for place in places)

    def by(change: int) -> Case:
        sizes = tuple(size + change * (place in places) for place, size in enumerate(case.input_shape))
        return replace(case, input_shape=sizes)

    def reaches(change: int) -> bool:
        return size_of(by(change)) >= wanted + (now > wanted)

    now, most = size_of(case), 1
    if now == wanted:
        return
    while now < wanted and 0 < size_of(by(most)) < wanted:
        most *= 2
    changes = range(1, most + 1) if now < wanted else range(1 - least, 1)
    place = bisect.bisect_left(changes, True, key=reaches) - (now > wanted)
    if 0 <= place < len(changes):
        shape = by(changes[place]).input_shape
        yield resized(shape, f"{'pad' if now < wanted else 'crop'} the input to {shape}", "input")


def passes(case: Case, index: int) -> bool:
    """Whether the layers up to one take what comes to them."""
    report = trace(case)
    return report.error is None or (report.failed is not None and report.failed > index)


def _passes_along(case: Case, index: int, letter: str) -> Callable[[Sizes], bool]:
    """Whether a layer does not fail along an axis any more; it may along another. At all, where no axis is given."""

    def works(shape: Sizes) -> bool:
        report = trace(replace(case, input_shape=shape))
        if report.error is None or report.failed is None or report.failed > index:
            return True
        return bool(letter) and report.failed == index and report.error.axis not in (None, letter)

    return works


def _grown(shape: Sizes, place: int, works: Callable[[Sizes], bool]) -> Sizes | None:
    def with_size(size: int) -> Sizes:
        return (*shape[:place], size, *shape[place + 1 :])

    high = shape[place] + 1
    for _ in range(DOUBLINGS):
        if works(with_size(high)):
            low = shape[place]
            return with_size(bisect.bisect_left(range(low, high), True, key=lambda size: works(with_size(size))) + low)
        high *= 2
    return None
