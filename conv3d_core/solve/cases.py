"""The same questions about a layer of a chain: each answer with the case that comes of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from fractions import Fraction

from conv3d_core.axis import AXES, Axis
from conv3d_core.chain.editing import with_arguments
from conv3d_core.chain.layer import LAYOUTS, Case, Framework, Layer, Sizes
from conv3d_core.errors import ShapeError, SpecError, shown
from conv3d_core.solve.answer import Solution, with_changes, words
from conv3d_core.solve.even import Down, EvenSizes, Leftover, Step, Up, even_along
from conv3d_core.solve.field import settings_for_field
from conv3d_core.source_code import short
from conv3d_core.spec import ConvSpec, Shape

# What leaves D, H and W alone, and what ends them.
_KEEPING = ("norm", "activation", "dropout")
_ENDING = ("shape", "linear")
_OF_FIXED_SIZE = ("AdaptiveAvgPool3d", "AdaptiveMaxPool3d")
# What reads the channels of the layers before it.
_COUNTING = ("convolution", "norm", "linear", "shape")
LARGEST_SCALE = 10**6
_WINDOW = ("kernel_size", "stride", "padding", "dilation")


def settings_in_case(
    case: Case, index: int, given: Sizes, solve: Callable[[ConvSpec, Shape], tuple[Solution, ...]]
) -> tuple[Solution, ...]:
    """The answers for one layer of a chain, each with its `Solution.case`.

    Args:
        case: the chain and its input.
        index: of a Conv3d.
        given: the array that comes to this layer, in the framework's own order.
        solve: what is asked of it: `same`, `half`, or another question with its wish filled in.

    Raises:
        SpecError: it is no Conv3d, or there is no answer.
        ShapeError: the array does not suit the layer.

    >>> from conv3d_core.chain.reading import read_chain
    >>> from conv3d_core.solve import half
    >>> case = Case(read_chain("nn.Conv3d(1, 8, 3)  # stem"), (1, 32, 32, 32, 1))
    >>> settings_in_case(case, 0, case.input_shape, half)[0].case.chain.text
    'nn.Conv3d(1, 8, 3, stride=2, padding=1)  # stem'
    """
    layer = case.chain.layers[index]
    shape = to_ndhwc(given, case.chain.framework)
    found = []
    for solution in solve(spec_of(layer), shape):
        resized = solution.input_shape != shape
        # Behind other layers the array is what they make of it: only its batch is that of the case.
        if resized and index and solution.input_shape[1:] != shape[1:]:
            continue
        if "out_channels" in solution.changes and (_counted(case, index) or _splits_groups(layer, solution)):
            continue
        answer = _applied(case, index, solution)
        if resized and answer.case:
            whole = to_ndhwc(case.input_shape, case.chain.framework)
            asked = (solution.input_shape[0], *whole[1:]) if index else solution.input_shape
            input_shape = _like(case.input_shape, asked, case.chain.framework)
            answer = replace(answer, words=f"input {input_shape}", case=replace(answer.case, input_shape=input_shape))
        found.append(answer)
    if not found:
        raise SpecError("layer", "nothing that this layer alone can change is enough", "change the layers before it")
    return tuple(found)


def field_in_case(case: Case, index: int, wanted: int | tuple[int, int, int]) -> tuple[Solution, ...]:
    """The settings of one Conv3d with which the chain spans a receptive field; see `settings_for_field`.

    Raises:
        SpecError: it is no Conv3d, the chain makes volumes longer somewhere, or there is no answer.
        ShapeError: the input does not suit the layers.

    >>> from conv3d_core.chain.reading import read_chain
    >>> text = "nn.Sequential(nn.Conv3d(1, 8, 3, padding=1), nn.MaxPool3d(2), nn.Conv3d(8, 8, 3, padding=1))"
    >>> [found.words for found in field_in_case(Case(read_chain(text), (1, 32, 32, 32, 1)), 2, 12)]
    ['padding=2, dilation=2', 'kernel_size=5, padding=2']
    """
    layer = case.chain.layers[index]
    spec = spec_of(layer)
    reading: list[ConvSpec] = []
    place = None
    for number, other in enumerate(case.chain.layers):
        if _ends(other):
            break
        place = len(reading) if number == index else place
        if other.family not in _KEEPING:
            if other.kind in ("Upsample", "ConvTranspose3d") or _rounds_up(other, case.chain.framework):
                raise SpecError(
                    "layer",
                    f"layer {number + 1}, {other.kind}, is not among those whose receptive field is solved for",
                    "ask it of the convolutions and poolings before it alone",
                )
            reading.append(_window(other, case.chain.framework))
    if place is None:
        raise SpecError(
            "layer",
            f"layer {index + 1} reads no volume",
            "choose a Conv3d before it is flattened or pooled to a fixed size",
        )
    batch, d, h, w, _ = to_ndhwc(case.input_shape, case.chain.framework)
    found = []
    for solution in settings_for_field(reading, place, wanted, (batch, d, h, w, 1)):
        input_shape: Shape = (*solution.input_shape[:4], spec.in_channels)
        output_shape: Shape = (*solution.output_shape[:4], spec.out_channels)
        real = with_changes(spec, solution.changes)
        whole = replace(solution, spec=real, input_shape=input_shape, output_shape=output_shape)
        found.append(_applied(case, index, whole))
    return tuple(found)


def even_sizes_in_case(case: Case, count: int = 5) -> tuple[EvenSizes, EvenSizes, EvenSizes]:
    """Per axis D, H, W, the input sizes nearest to the case's own for which the chain divides evenly.

    Those that each stride divides exactly where there are such sizes along all axes; else those of which nothing is
    left over, the padding included; else those of which no voxel is.

    Raises:
        SpecError: there are no such sizes.
        ShapeError: the input is no volume.

    >>> from conv3d_core.chain.reading import read_chain
    >>> text = "nn.Sequential(nn.Conv3d(1, 8, 3, stride=2, padding=1), nn.Upsample(2.0))"
    >>> even_sizes_in_case(Case(read_chain(text), (1, 33, 33, 33, 1)), count=1)[0]
    EvenSizes(sizes=(32, 34), rule='even sizes', smallest=2)
    """
    framework = case.chain.framework
    sizes = to_ndhwc(case.input_shape, framework)[1:4]
    steps: list[tuple[Step, Step, Step]] = []
    for number, layer in enumerate(case.chain.layers, start=1):
        if _ends(layer):
            break
        if layer.family not in _KEEPING:
            steps.append(_steps(layer, number, framework))
    tried: tuple[Leftover, ...] = ("quotient", "nothing")
    for leftover in tried:
        with suppress(SpecError):
            return _even(steps, sizes, count, leftover)
    return _even(steps, sizes, count, "zeros")


def to_ndhwc(shape: Sizes, framework: Framework) -> Shape:
    """An array's shape as the framework reads it, as (N, D, H, W, C); PyTorch's unbatched one has N = 1.

    Raises:
        ShapeError: it is no volume for this framework.

    >>> to_ndhwc((3, 8, 9, 10), "torch")
    (1, 8, 9, 10, 3)
    """
    if framework == "torch" and len(shape) in (4, 5):
        n, c, d, h, w = shape if len(shape) == 5 else (1, *shape)
        return n, d, h, w, c
    if len(shape) != 5:
        axes = ", ".join(LAYOUTS[framework])
        raise ShapeError("input", f"{shown(shape)} has {len(shape)} axes", f"use five sizes ({axes})", value=shape)
    n, d, h, w, c = shape
    return n, d, h, w, c


def _like(before: Sizes, shape: Shape, framework: Framework) -> Sizes:
    """The inverse of `to_ndhwc`, with as many axes as there were."""
    n, d, h, w, c = shape
    if framework == "mlx":
        return shape
    return (n, c, d, h, w)[5 - len(before) :]


def _applied(case: Case, index: int, solution: Solution) -> Solution:
    layer = case.chain.layers[index]
    changes = dict(solution.changes)
    # "same" is a word for numbers that hold no longer.
    if changes and isinstance(layer.arguments.get("padding"), str):
        changes["padding"] = short(solution.spec.padding)
    chain = with_arguments(case.chain, index, **changes) if changes else case.chain
    text = words(changes) if changes else solution.words
    return replace(solution, changes=changes, words=text, case=replace(case, chain=chain))


def _counted(case: Case, index: int) -> bool:
    """Whether a layer behind it says how many channels it gets."""
    return any(layer.family in _COUNTING for layer in case.chain.layers[index + 1 :])


def _splits_groups(layer: Layer, solution: Solution) -> bool:
    """Whether the output channels of an answer are none that PyTorch's groups divide."""
    groups = layer.arguments.get("groups", 1)
    return isinstance(groups, int) and groups > 0 and solution.spec.out_channels % groups > 0


def spec_of(layer: Layer) -> ConvSpec:
    """A Conv3d's arithmetic of sizes, which groups and padding modes do not change.

    Raises:
        SpecError: it is none.
    """
    if layer.kind != "Conv3d":
        return layer.spec()  # which says so
    return ConvSpec.from_arguments(_without(layer.arguments, "groups", "padding_mode"))


def _ends(layer: Layer) -> bool:
    """Whether the sizes behind it are not those of volumes, or the same whatever comes to it."""
    return layer.family in _ENDING or layer.kind in _OF_FIXED_SIZE


def _window(layer: Layer, framework: Framework) -> ConvSpec:
    """A convolution or a pooling as the windows that it lays on its input, of one channel."""
    arguments: dict[str, object] = {"in_channels": 1, "out_channels": 1}
    for name in _WINDOW:
        # MLX's poolings have no dilation.
        if name in layer.arguments or name != "dilation":
            arguments[name] = layer.value(name, framework)
    if arguments["stride"] is None:
        arguments["stride"] = arguments["kernel_size"]
    return ConvSpec.from_arguments(arguments)


def _steps(layer: Layer, number: int, framework: Framework) -> tuple[Step, Step, Step]:
    if layer.kind == "Upsample":
        x, y, z = (Up(scale) for scale in _scales(layer, number))
        return x, y, z
    axes = _window(layer, framework).axes
    if layer.kind == "ConvTranspose3d":
        extra = ConvSpec(1, 1, 1, padding=layer.value("output_padding", framework)).padding  # type: ignore[arg-type]
        x, y, z = (_transposed(axis, more) for axis, more in zip(axes, extra, strict=True))
        return x, y, z
    # Rounded up, an output more reads what would be left over: then nothing may be, padding or not.
    up = _rounds_up(layer, framework)
    d, h, w = (
        Down(axis.effective_kernel_size - 2 * axis.padding, axis.stride)
        if up
        else Down(axis.effective_kernel_size, axis.stride, axis.padding)
        for axis in axes
    )
    return d, h, w


def _transposed(axis: Axis, output_padding: int) -> Up:
    """``(i - 1) s - 2p + k_e`` and the output padding."""
    offset = axis.effective_kernel_size - axis.stride - 2 * axis.padding + output_padding
    return Up(Fraction(axis.stride), offset)


def _even(
    steps: Sequence[tuple[Step, Step, Step]], sizes: tuple[int, int, int], count: int, leftover: Leftover
) -> tuple[EvenSizes, EvenSizes, EvenSizes]:
    d, h, w = (
        even_along([step[place] for step in steps], sizes[place], count, leftover, letter)
        for place, letter in enumerate(AXES)
    )
    return d, h, w


def _scales(layer: Layer, number: int) -> list[Fraction]:
    value = layer.arguments.get("scale_factor")
    given = list(value) if isinstance(value, tuple | list) else [value] * 3
    scales = [scale for scale in given if isinstance(scale, int | float) and 0 < scale < LARGEST_SCALE]
    if len(given) != 3 or len(scales) != 3:
        raise SpecError(
            "scale_factor",
            f"{shown(value)} of layer {number} is no factor for D, H and W",
            "use one number, or three; a fixed size comes back to one input only",
            value=value,
        )
    return [Fraction(scale) for scale in scales]


def _rounds_up(layer: Layer, framework: Framework) -> bool:
    return layer.family == "pooling" and framework == "torch" and bool(layer.value("ceil_mode", framework))


def _without(arguments: Mapping[str, object], *names: str) -> dict[str, object]:
    return {name: value for name, value in arguments.items() if name not in names}
