"""A stack of layers as a text that fits into a link: ``k3s2p1,k1x3x3`` are two layers.

A layer is ``k`` and its kernel_size, then, where they are not the default, ``s`` stride, ``p`` padding and ``d``
dilation; each one number, or three (D, H, W) joined by ``x``. Channels are not written: they follow.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from conv3d_core.errors import Conv3dError, ShapeError, SpecError, shown
from conv3d_core.spec import QUERY_KEYS, ConvSpec, Shape

MAX_LAYERS = 8
MAX_DIGITS = 10
NUMBERS = 'use one number, or three such as "1,3,3"'
# What stands for a parameter that is not written.
DEFAULTS = {"kernel_size": "", "stride": "1", "padding": "0", "dilation": "1"}
_NAMES = {key: name for name, key in QUERY_KEYS.items()}
_PARAMETER = re.compile(rf"([{''.join(_NAMES)}])([^{''.join(_NAMES)}]*)")

Cells = dict[str, str]


@dataclass(frozen=True, slots=True)
class Preset:
    """A stack that is known in the field.

    Attributes:
        text: all of its layers.
        purpose: what it shows, in one clause.
    """

    text: str
    purpose: str


PRESETS: dict[str, Preset] = {
    "3×3×3 twice": Preset("k3p1,k3p1", "spans what one layer of 5 spans, with fewer weights"),
    "VGG-like": Preset("k3p1,k3p1,k2s2,k3p1,k3p1,k2s2", "pairs of 3, halved by a 2 with stride 2 after each"),
    "Halve three times": Preset(
        "k3s2p1,k3s2p1,k3s2p1", "each layer doubles the jump, so that the next reaches twice as far"
    ),
    "Dilated 1-2-4": Preset("k3p1,k3p2d2,k3p4d4", "no stride, every size kept, and the window doubles with each layer"),
    "(2+1)D": Preset("k1x3x3p0x1x1,k3x1x1p1x0x0", "a 3 in two steps: across the plane, then along depth"),
    "Gaps": Preset("k2s3,k1s2", "strides longer than the kernels: most voxels are never read"),
}


def parse_stack(text: str, first: ConvSpec) -> list[ConvSpec]:
    """The first layer and those of a text, each of which takes and gives the channels that the first one gives.

    Raises:
        SpecError: the text is no such stack; the field is "stack", or "layer_2" for what the second layer lacks.

    >>> [spec.to_mlx() for spec in parse_stack("k1x3x3s2", ConvSpec(1, 4, 3))][1]
    'nn.Conv3d(4, 4, kernel_size=(1, 3, 3), stride=2)'
    """
    rows = split_stack(text)
    return [first, *(_layer(row, number, first.out_channels) for number, row in enumerate(rows, start=2))]


def split_stack(text: str) -> list[Cells]:
    """The layers of a text, each parameter's numbers as written, possible or not.

    Raises:
        SpecError: the text is no list of layers, or of too many.

    >>> split_stack("k1x3x3p1")
    [{'kernel_size': '1,3,3', 'stride': '1', 'padding': '1', 'dilation': '1'}]
    """
    if not text.strip():
        return []
    rows = [_split(part.strip(), number) for number, part in enumerate(text.split(","), start=2)]
    if len(rows) >= MAX_LAYERS:
        raise SpecError(
            "stack",
            f"{len(rows)} further layers are too many",
            f"use at most {MAX_LAYERS - 1}, which are {MAX_LAYERS} with the first",
            value=text,
        )
    return rows


def join_stack(rows: Sequence[Cells]) -> str:
    """The inverse of `split_stack`, of whatever was typed: commas and spaces between numbers become ``x``.

    What is left empty is the default. A letter that would begin a parameter becomes a question mark, so that what is
    wrong stays in its place.

    >>> join_stack([{"kernel_size": "1, 3, 3", "stride": "2", "padding": "0", "dilation": "1"}])
    'k1x3x3s2'
    """
    layers = []
    for row in rows:
        written = {name: _written(row[name]) for name in DEFAULTS}
        layers.append(
            "".join(
                f"{QUERY_KEYS[name]}{numbers}"
                for name, numbers in written.items()
                if name == "kernel_size" or numbers not in ("", DEFAULTS[name])
            )
        )
    return ",".join(layers)


def stack_text(specs: Sequence[ConvSpec]) -> str:
    """Layers as such a text, without their channels.

    >>> stack_text([ConvSpec(1, 1, 3, stride=(1, 2, 2)), ConvSpec(1, 1, 5, padding=2)])
    'k3s1x2x2,k5p2'
    """
    rows = []
    for spec in specs:
        row = {}
        for name in DEFAULTS:
            triple = getattr(spec, name)
            row[name] = ",".join(map(str, triple[:1] if len(set(triple)) == 1 else triple))
        rows.append(row)
    return join_stack(rows)


def stack_shapes(specs: Sequence[ConvSpec], input_shape: Sequence[int]) -> list[Shape]:
    """The output shape of each layer.

    Raises:
        ShapeError: an output does not fit the layer behind it; the field is "layer_2" for the second layer.
    """
    shapes: list[Shape] = []
    before = tuple(input_shape)
    for number, spec in enumerate(specs, start=1):
        try:
            shapes.append(spec.output_shape(before))
        except ShapeError as error:
            raise _of_layer(number, error) from None
        before = shapes[-1]
    return shapes


def _split(part: str, number: int) -> Cells:
    found = _PARAMETER.findall(part)
    if not found or "".join(key + numbers for key, numbers in found) != part or found[0][0] != "k":
        raise SpecError(
            "stack",
            f"{shown(part)} is no layer",
            'write layers such as "k3s2p1,k1x3x3": k kernel_size, s stride, p padding, d dilation',
            value=part,
        )
    row = dict(DEFAULTS)
    for key, numbers in found:
        if sum(key == other for other, _ in found) > 1:
            problem = f"{_NAMES[key]} is given twice in {shown(part)}"
            raise SpecError("stack", problem, f"give layer {number} each parameter once", value=part)
        row[_NAMES[key]] = numbers.replace("x", ",")
    return row


def _written(numbers: str) -> str:
    return re.sub(rf"[{''.join(_NAMES)}]", "?", "x".join(re.split(r"[\s,x]+", numbers.strip())))


def _layer(row: Cells, number: int, channels: int) -> ConvSpec:
    arguments = {name: _numbers(name, row[name], number) for name in DEFAULTS}
    try:
        return ConvSpec(channels, channels, **arguments)  # type: ignore[arg-type]
    except SpecError as error:
        raise _of_layer(number, error) from None


def _numbers(name: str, text: str, number: int) -> int | list[int]:
    parts = text.split(",")
    if not all(re.fullmatch(rf"-?[0-9]{{1,{MAX_DIGITS}}}", part) for part in parts) or len(parts) not in (1, 3):
        raise SpecError(
            f"layer {number}", f"{name} {shown(text)} is not understood", NUMBERS, field=f"layer_{number}", value=text
        )
    numbers = [int(part) for part in parts]
    return numbers[0] if len(numbers) == 1 else numbers


def _of_layer(number: int, error: Conv3dError) -> Conv3dError:
    """The error, of the layer that it is about."""
    where, problem, remedy = error.args
    return type(error)(
        f"layer {number}, {where}",
        problem,
        remedy,
        field=f"layer_{number}",
        axis=error.axis,
        value=error.value,
    )
