"""An input followed through a chain: shapes, costs and receptive field, up to the layer that it does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType

from conv3d_core.chain import convolutions, elementwise, norms, pooling, rearranging, resampling
from conv3d_core.chain.given import SPACE, Effect, Given
from conv3d_core.chain.layer import KINDS, LAYOUTS, Case, Framework, Layer, Sizes
from conv3d_core.chain.reach import Reach, Reading, reach_along, window_along
from conv3d_core.errors import Conv3dError, ShapeError, SpecError, shown
from conv3d_core.receptive_field import Window
from conv3d_core.shapes import FLOAT32_BYTES, input_bytes
from conv3d_core.spec import MAX_ELEMENTS, index_of

Rule = Callable[[Given], Effect]
Readings = tuple[Reading | None, Reading | None, Reading | None]

_BY_FAMILY: Mapping[str, Rule] = {"activation": elementwise.activation, "dropout": elementwise.dropout}
_BY_KIND: Mapping[str, Rule] = {
    "Conv3d": convolutions.conv3d,
    "ConvTranspose3d": convolutions.conv_transpose3d,
    "MaxPool3d": pooling.pool3d,
    "AvgPool3d": pooling.pool3d,
    "AdaptiveAvgPool3d": pooling.adaptive3d,
    "AdaptiveMaxPool3d": pooling.adaptive3d,
    "Mean": pooling.over_axes,
    "Max": pooling.over_axes,
    "BatchNorm": norms.batch_norm,
    "LayerNorm": norms.layer_norm,
    "GroupNorm": norms.group_norm,
    "InstanceNorm": norms.instance_norm,
    "Upsample": resampling.upsample,
    "Linear": rearranging.linear,
    "Flatten": rearranging.flatten,
    "Transpose": rearranging.transpose,
    "ExpandDims": rearranging.expand_dims,
    "Identity": elementwise.identity,
    "PReLU": elementwise.prelu,
    "Softmax": elementwise.softmax,
    "LogSoftmax": elementwise.softmax,
}
# What each kind of layer does. A kind without a rule fails here, at import.
RULES: Mapping[str, Rule] = MappingProxyType(
    {kind: _BY_KIND.get(kind) or _BY_FAMILY[KINDS[kind].family] for kind in KINDS}
)
# As many as `chain.sizes` reads.
MAX_AXES = 8
# Those that do not ask what the axes are.
_ASK_NOTHING = ("activation", "dropout")
# The arguments of what is no class of both frameworks.
_WORDS = {
    "Flatten": ("start_dim", "end_dim"),
    "Transpose": ("axes",),
    "ExpandDims": ("axis",),
    "Mean": ("axis", "keepdims"),
    "Max": ("axis", "keepdims"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """A layer on its input. Shapes are in the framework's own order; memory is that of float32 arrays.

    Attributes:
        layer: the layer.
        index: its place in the chain.
        input_shape: what comes to it.
        output_shape: what it gives.
        letters: of the output's axes: "NDHWC", "NCDHW", "CDHW", "NF"; F where several became one.
        parameters: numbers that training changes.
        macs: multiply-accumulates of one pass, taps in the padding counted.
        output_bytes: of the output.
        unfolded_bytes: of the unfolded input that MLX's CPU build makes; 0 for PyTorch.
        peak_bytes: upper bound of what the layer holds at once: input, unfolded input, output and parameters, and for
            MLX's convolution what `shapes.peak_bytes` counts.
        readings: how an output reads this layer's input along D, H and W; None where one to one.
        reach: the receptive field in the chain's input; None once D, H or W is no axis of its own any more.
    """

    layer: Layer
    index: int
    input_shape: Sizes
    output_shape: Sizes
    letters: str
    parameters: int
    macs: int
    output_bytes: int
    unfolded_bytes: int
    peak_bytes: int
    readings: Readings = (None, None, None)
    reach: Reach | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """A case, layer by layer.

    Attributes:
        case: what was traced.
        rows: one a layer, up to the one that fails.
        failed: index of that layer; None where all layers take what comes to them, or there is none.
        error: why; its ``field`` is the argument by MLX's name or "input", its ``axis`` D, H or W.
        input_letters: of the input's axes, as the layers read them; "NCDHW" for MLX, too, where the text turns it.
            Empty where it is no input.
    """

    case: Case
    rows: tuple[Row, ...]
    failed: int | None = None
    error: Conv3dError | None = None
    input_letters: str = ""

    @property
    def parameters(self) -> int:
        """Of all rows."""
        return sum(row.parameters for row in self.rows)

    @property
    def macs(self) -> int:
        """Of all rows."""
        return sum(row.macs for row in self.rows)

    @property
    def output_bytes(self) -> int:
        """Of all rows: what training keeps."""
        return sum(row.output_bytes for row in self.rows)

    @property
    def peak_bytes(self) -> int:
        """Of the row that holds most."""
        return max((row.peak_bytes for row in self.rows), default=0)

    @property
    def output_shape(self) -> Sizes:
        """Of the last row; the input's where there is none."""
        return self.rows[-1].output_shape if self.rows else self.case.input_shape

    def given_to(self, index: int) -> Sizes | None:
        """What comes to a layer; None where the input does not come so far."""
        if index < len(self.rows):
            return self.rows[index].input_shape
        return self.output_shape if index == self.failed else None

    @property
    def uncertain(self) -> range:
        """Indices of the rows whose shapes are not known for sure, since something before them was passed over."""
        begin = self.case.chain.uncertain_from
        return range(len(self.rows) if begin is None else min(begin, len(self.rows)), len(self.rows))


def trace(case: Case) -> Report:
    """What each layer makes of a case's input, up to the first layer that does not take what comes to it.

    Input and arguments may be anything. Of what MLX takes without a word and computes wrongly - windows that do not
    fit at a stride above 1, sizes of 0, truth values as numbers, channels that are broadcast - each is an error here.
    The receptive field is that of the taps: what a norm's statistics and a Softmax' sum read does not count.

    >>> from conv3d_core.chain import Chain
    >>> layers = (Layer("Conv3d", {"in_channels": 1, "out_channels": 8, "kernel_size": 3}), Layer("ReLU", {}))
    >>> report = trace(Case(Chain(layers), (1, 8, 8, 8, 1)))
    >>> [row.output_shape for row in report.rows], report.parameters, report.rows[1].reach.size
    ([(1, 6, 6, 6, 8), (1, 6, 6, 6, 8)], 224, (3, 3, 3))
    >>> str(trace(Case(Chain(layers), (1, 8, 8, 2, 1))).error)
    'width: effective kernel 3 does not fit the padded input of 2 (2 + 2*0);
    use width >= 3, padding >= 1 or kernel_size <= 2.'
    """
    chain = case.chain
    try:
        shape = _input_shape(case)
    except ShapeError as error:
        return Report(case, (), 0 if chain.layers else None, error)
    rows: list[Row] = []
    letters = input_letters = rearranging.UNTOLD[: len(shape)]
    told, lost = False, len(chain.layers)
    failed: tuple[int, Conv3dError] | tuple[None, None] = (None, None)
    for index, layer in enumerate(chain.layers):
        if not told and not _asks_nothing(layer):
            names, told = _tell(rows, letters, chain.framework), True
            letters, input_letters = letters.translate(names), input_letters.translate(names)
        try:
            _check_names(layer, chain.framework)
            effect = RULES[layer.kind](Given(layer, chain.framework, shape, letters))
        except Conv3dError as error:
            error.field = _name(layer, chain.framework, error.field)
            failed = (index, error)
            break
        rows.append(_row(layer, index, shape, letters, effect))
        if effect.readings and effect.letters != letters:
            lost = min(lost, index)
        shape, letters = effect.shape, effect.letters
    if not told:
        input_letters = input_letters.translate(_tell(rows, letters, chain.framework))
    return Report(case, _reached(rows, lost), failed[0], failed[1], input_letters)


def window(report: Report, index: int, output: Sequence[int]) -> Window | None:
    """First and last voxel of the chain's input per axis, inclusive, that an output (d, h, w) of a row spans.

    Below 0 and beyond the input lies padding. None where the output reads nothing: between the taps of a transposed
    convolution.

    Raises:
        ShapeError: the row has no receptive field.
    """
    row = report.rows[index]
    if row.reach is None:
        problem = f"layer {index} gives {row.output_shape}, and not D, H and W any more"
        raise ShapeError("layer", problem, "choose a layer before", value=index)
    readings = zip(*(before.readings for before in report.rows[: index + 1]), strict=True)
    d, h, w = (window_along([*filter(None, along)], place) for along, place in zip(readings, output, strict=True))
    return (d, h, w) if d and h and w else None


def _input_shape(case: Case) -> Sizes:
    example = ", ".join("1" if letter in "NC" else "32" for letter in LAYOUTS[case.chain.framework])
    remedy = f"use sizes such as ({example})"
    given: object = case.input_shape
    if not isinstance(given, list | tuple) or not 1 <= len(given) <= MAX_AXES:
        raise ShapeError("input", f"{shown(given)} is not one to {MAX_AXES} sizes", remedy, value=given)
    sizes = []
    for size in given:
        number = index_of(size)
        if number is None or number < 1:
            raise ShapeError(
                "input", f"size {shown(size)} in {shown(given)} is not an integer >= 1", remedy, value=given
            )
        sizes.append(number)
    if math.prod(sizes) > MAX_ELEMENTS:
        problem = f"{shown(tuple(sizes))} has more elements than MLX can index"
        raise ShapeError("input", problem, f"stay at or below {MAX_ELEMENTS:,}", value=given)
    return tuple(sizes)


def _check_names(layer: Layer, framework: Framework) -> None:
    if layer.kind == "Identity":
        return
    own, other = KINDS[layer.kind].signatures(framework)
    signature = own or other
    known = _WORDS.get(layer.kind) or (signature.defaults if signature else ())
    for name in layer.arguments:
        if name not in known:
            raise SpecError(name, f"{layer.kind} has no such argument", "leave it out")


def _name(layer: Layer, framework: Framework, own: str) -> str:
    """MLX's name of what an error named as the framework does."""
    signature = getattr(KINDS[layer.kind], framework)
    return signature.name(own) if signature else own


def _row(layer: Layer, index: int, shape: Sizes, letters: str, effect: Effect) -> Row:
    output_bytes = input_bytes(effect.shape)
    held = input_bytes(shape) + effect.unfolded_bytes + output_bytes + effect.parameters * FLOAT32_BYTES
    by_letter = {letters[position]: reading for position, reading in effect.readings.items()}
    d, h, w = map(by_letter.get, SPACE)
    return Row(
        layer,
        index,
        shape,
        effect.shape,
        effect.letters,
        effect.parameters,
        effect.macs,
        output_bytes,
        effect.unfolded_bytes,
        held + effect.scratch_bytes,
        (d, h, w),
    )


def _asks_nothing(layer: Layer) -> bool:
    return layer.family in _ASK_NOTHING or layer.kind in ("Transpose", "ExpandDims")


def _tell(rows: list[Row], letters: str, framework: Framework) -> dict[int, str]:
    """What each letter stands for, from how the framework reads so many axes; and said so in the rows before."""
    layout = LAYOUTS[framework]
    names = {
        1: "F",
        2: "NF",
        3: layout.replace(SPACE, "L"),
        4: layout[1:],
        5: layout,
    }.get(len(letters), "?" * len(letters))
    told = dict(zip(map(ord, letters), names, strict=True))
    rows[:] = [replace(row, letters=row.letters.translate(told)) for row in rows]
    return told


def _reached(rows: Sequence[Row], lost: int) -> tuple[Row, ...]:
    """The rows with their receptive fields, up to the first that reads the axes as others than they are."""
    along: list[tuple[Reading, ...]] = [(), (), ()]
    found: list[Row] = []
    for row in rows[:lost]:
        if not set(SPACE) <= set(row.letters):
            break
        along = [before + ((reading,) if reading else ()) for before, reading in zip(along, row.readings, strict=True)]
        outputs = (row.output_shape[row.letters.index(letter)] for letter in SPACE)
        d, h, w = map(reach_along, along, outputs)
        found.append(replace(row, reach=Reach((d[0], h[0], w[0]), (d[1], h[1], w[1]))))
    return (*found, *rows[len(found) :])
