"""The linked view as data: three planes of the input, the kernel, three planes of the output, and what links them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conv3d_core.axis import AXES
from conv3d_core.figures.palette import GREY, SIGNED, depth_colours, hex_colours
from conv3d_core.receptive_field import check_output, output_spacing
from conv3d_core.spec import ConvSpec, Triple

Box = tuple[tuple[int, int], tuple[int, int], tuple[int, int]]
# What a browser is sent of a volume at most, in voxels: 16 MiB.
MOST_VOXELS = 2**22
# And of the whole beside a box, where it is drawn small: voxels along its longest axis.
OVERVIEW = 64
# A box moves by so many voxels at a time, so that a step of the pin does not send it again.
_STEP = 32


@dataclass(frozen=True, slots=True)
class Side:
    """The input or the output of a linked view.

    Attributes:
        key: name of its content; a volume that the browser has under this name is not sent again.
        title: what it is.
        value_range: the ends of its colours; None where nothing is finite. scope: what they are taken over.
        spacing_mm: size of a voxel (D, H, W), or None.
    """

    key: str
    title: str
    value_range: tuple[float, float] | None
    scope: str
    spacing_mm: Sequence[float] | None

    def to_dict(self, signed: bool) -> dict[str, Any]:
        """In JSON's terms."""
        low, high = self.value_range or (-1.0, 1.0)
        return {
            "key": self.key,
            "title": self.title,
            "low": low,
            "high": high,
            "range": f"{low} {high}",
            "scope": self.scope,
            "finite": self.value_range is not None,
            "spacing": list(self.spacing_mm) if self.spacing_mm else None,
            "colours": hex_colours(SIGNED if signed else GREY),
        }


def linked_info(
    spec: ConvSpec,
    input_size: Triple,
    pin: Triple,
    channel: int,
    source: Side,
    result: Side,
    kernel_title: str,
    box: Box,
    bias: float = 0.0,
) -> dict[str, Any]:
    """What the linked view needs to know besides the voxels themselves, in JSON's terms.

    Args:
        spec: the layer.
        input_size: (D, H, W).
        pin: the output voxel (d, h, w).
        channel: which output channel is shown.
        source: the input.
        result: the output; its spacing is worked out here where the input has one.
        kernel_title: what stands above the kernel.
        box: what is sent of the input.
        bias: of that channel.

    Raises:
        ShapeError: no such output voxel.
    """
    check_output(spec, pin, input_size)
    axes = [
        {
            "size": size,
            "outputs": axis.output_size(size),
            "kernel": axis.kernel_size,
            "stride": axis.stride,
            "padding": axis.padding,
            "dilation": axis.dilation,
        }
        for axis, size in zip(spec.axes, input_size, strict=True)
    ]
    spacing = output_spacing(spec, source.spacing_mm)
    return {
        "axes": axes,
        "pin": list(pin),
        "channel": channel,
        "inChannels": spec.in_channels,
        "bias": bias,
        "input": source.to_dict(signed=False),
        "output": {**result.to_dict(signed=True), "spacing": list(spacing) if spacing else None},
        "kernelTitle": kernel_title,
        "depthColours": [_hex(colour) for colour in depth_colours(spec.kernel_size[0])],
        "overview": None if is_whole(input_size, box) else {"key": f"{source.key} small", "box": box},
        "notice": _notice(input_size, box),
    }


def sent_box(size: Triple, centre: Triple, most: int = MOST_VOXELS) -> Box:
    """What is sent of a volume (D, H, W): all of it, or the largest box around a voxel that is not too much.

    >>> sent_box((9, 9, 9), (4, 4, 4)), sent_box((9, 900, 9), (4, 450, 4), most=8100)
    (((0, 8), (0, 8), (0, 8)), ((0, 8), (384, 483), (0, 8)))
    """
    low, high = 1, max(size)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if math.prod(min(n, middle) for n in size) <= most else (low, middle - 1)
    spans = []
    for n, at in zip(size, centre, strict=True):
        length = min(n, low)
        first = min(max((at - length // 2) // _STEP * _STEP, 0), n - length)
        spans.append((first, first + length - 1))
    d, h, w = spans
    return d, h, w


def cut_box(array: NDArray[np.float32], box: Box) -> NDArray[np.float32]:
    """A box (d, h, w) of a volume (D, H, W)."""
    d, h, w = (slice(first, last + 1) for first, last in box)
    return array[d, h, w]


def is_whole(size: Triple, box: Box) -> bool:
    """Whether a box is the whole volume (D, H, W)."""
    return all(last - first + 1 == n for n, (first, last) in zip(size, box, strict=True))


def overview_step(size: Triple) -> int:
    """Every how many voxels one is drawn in the overview.

    >>> overview_step((300, 20, 300))
    5
    """
    return -(-max(size) // OVERVIEW)


def _notice(size: Triple, box: Box) -> str:
    """That only a box is here, in words; empty where all of it is."""
    if is_whole(size, box):
        return ""
    spans = ", ".join(f"{letter} {first}-{last}" for letter, (first, last) in zip(AXES, box, strict=True))
    whole = " \N{MULTIPLICATION SIGN} ".join(map(str, size))
    return (
        f"Of the input of {whole} voxels the box {spans} around the pin is here, at full resolution; "
        f"the small picture has one voxel in {overview_step(size)} of each axis of the whole."
    )


def _hex(colour: str) -> str:
    red, green, blue = (int(part) for part in colour.removeprefix("rgb(").removesuffix(")").split(","))
    return f"#{red:02x}{green:02x}{blue:02x}"
