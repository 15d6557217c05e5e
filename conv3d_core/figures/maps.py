"""All output channels of one plane: small multiples for the page, and one sheet to take away."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from conv3d_core.figures.channels import ChannelStatistics
from conv3d_core.figures.palette import SIGNED, number, paint
from conv3d_core.figures.plane import row_is_up

TILE = 240


@dataclass(frozen=True, slots=True)
class MapInfo:
    """One channel of an output plane.

    Attributes:
        channel: its index.
        axis: the letter that is fixed.
        values: float32 (rows, columns).
        low, high: the ends of the zero-centred colour scale.
        constant: the value, where all that the statistics are over has just one; else None.
        note: what to look out for there, see `ChannelStatistics.flag`; empty where all is well.
        finite: whether there is a finite value; else the scale is only there to draw with.
    """

    channel: int
    axis: str
    values: NDArray[np.float32]
    low: float
    high: float
    constant: float | None
    note: str = ""
    finite: bool = True

    @property
    def value_range(self) -> tuple[float, float] | None:
        """The ends of the colour scale; None where nothing is finite."""
        return (self.low, self.high) if self.finite else None

    @property
    def label(self) -> str:
        """Channel, and its range or its one value; what of it is not finite."""
        if self.constant is not None:
            return f"{self.channel}: constant {number(self.constant)}"
        facts = [f"±{number(self.high)}"] if self.finite else []
        return f"{self.channel}: {', '.join([*facts, self.note] if self.note else facts)}"


def maps_info(
    plane: NDArray[np.float32], axis: str, shared: bool, statistics: Sequence[ChannelStatistics]
) -> list[MapInfo]:
    """Every channel of a plane of the output.

    Args:
        plane: float32 (rows, columns, C).
        axis: "D", "H" or "W": what it is cut across.
        shared: one range for all maps, else one a map.
        statistics: of every channel, from which the ranges are taken: over the whole volume, so that colours keep
            their meaning from plane to plane; over the planes on screen while that is not known.
    """
    peaks = [channel.peak for channel in statistics]
    infos = []
    for channel, peak in zip(statistics, peaks, strict=True):
        # All zeros still need a scale with two ends.
        reach = (max(peaks) if shared else peak) or 1.0
        values = plane[..., channel.channel]
        infos.append(
            MapInfo(channel.channel, axis, values, -reach, reach, channel.constant, channel.flag, channel.finite)
        )
    return infos


def tile_image(info: MapInfo, aspect: float, size: int = TILE) -> Image.Image:
    """One map as a picture, its longer side about `size` pixels, voxels enlarged without smoothing, D upwards."""
    rows, columns = info.values.shape
    scale = size / max(rows * aspect, columns)
    width, height = max(1, round(columns * scale)), max(1, round(rows * aspect * scale))
    values = info.values[::-1] if row_is_up(info.axis) else info.values
    picture = Image.fromarray(paint(values, info.low, info.high, SIGNED))
    return picture.resize((width, height), Image.Resampling.NEAREST)


def tile_png(info: MapInfo, aspect: float, size: int = TILE) -> bytes:
    """`tile_image` as PNG."""
    return _png(tile_image(info, aspect, size))


def sheet_png(infos: Sequence[MapInfo], title: str, subtitle: str, aspect: float, names: Sequence[str]) -> bytes:
    """Every map on one white sheet with its label, under the call that made them, as PNG.

    Args:
        infos: the maps.
        title: first line, such as the constructor call.
        subtitle: second line, such as shapes, plane and volume.
        aspect: height of a voxel over its width.
        names: per map a word on its kernel, or "".
    """
    tiles = [tile_image(info, aspect) for info in infos]
    columns = min(4, len(tiles)) if len(tiles) <= 16 else 8
    width, height = max(t.width for t in tiles), max(t.height for t in tiles)
    gap, label, head = 16, 24, 72
    rows = math.ceil(len(tiles) / columns)
    title_font, font = ImageFont.load_default(20), ImageFont.load_default(14)
    sheet_width = max(
        columns * (width + gap) + gap, math.ceil(max(title_font.getlength(title), font.getlength(subtitle))) + 2 * gap
    )
    sheet = Image.new("RGB", (sheet_width, head + rows * (height + label + gap) + gap), "white")
    draw = ImageDraw.Draw(sheet)
    draw.text((gap, 14), title, "#1f2328", font=title_font)
    draw.text((gap, 44), subtitle, "#57606a", font=font)
    for i, (info, tile, name) in enumerate(zip(infos, tiles, names, strict=True)):
        x = gap + (i % columns) * (width + gap)
        y = head + (i // columns) * (height + label + gap)
        draw.text((x, y), f"{info.label}  {name}".rstrip(), "#1f2328", font=font)
        sheet.paste(tile, (x, y + label))
    return _png(sheet)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    return buffer.getvalue()
