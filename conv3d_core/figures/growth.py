"""How the window grows from layer to layer, as rows to read and as bars."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import plotly.graph_objects as go

from conv3d_core.axis import AXES
from conv3d_core.figures.palette import ACCENT, LINE, number
from conv3d_core.receptive_field import receptive_field
from conv3d_core.spec import ConvSpec, Triple
from conv3d_core.stack import stack_shapes, stack_text

_TIMES = " \N{MULTIPLICATION SIGN} "
# The window is orange in every picture; where the axes differ the second and the third need another.
_SERIES = (ACCENT, "#4c8dd6", LINE)
# Numbers over bars that are narrower than they would run into each other.
_MOST_LABELLED = 16


@dataclass(frozen=True, slots=True)
class GrowthRow:
    """The stack up to one layer.

    Attributes:
        number: which layer, from 1.
        layer: its parameters as in a link.
        output_size: its outputs (D, H, W).
        size: the window of one of its outputs, in voxels of the input.
        jump: input voxels between the windows of neighbouring outputs.
        padding: how far the first output's window begins before the input, in voxels.
        size_mm, jump_mm: the same in millimetres (D, H, W); None where the spacing is not known.
    """

    number: int
    layer: str
    output_size: Triple
    size: Triple
    jump: Triple
    padding: Triple
    size_mm: tuple[float, float, float] | None
    jump_mm: tuple[float, float, float] | None


@dataclass(frozen=True, slots=True)
class GrowthInfo:
    """A stack as rows, the first layer first."""

    rows: tuple[GrowthRow, ...]

    @property
    def words(self) -> str:
        """The picture in words."""
        sizes = ", ".join(f"{sides(row.size)} after layer {row.number}" for row in self.rows)
        return f"The window in voxels of the input: {sizes}."

    @property
    def series(self) -> list[tuple[str, list[int]]]:
        """Axes whose window grows alike, and their voxels after each layer.

        >>> growth_info([ConvSpec(1, 1, (1, 3, 3))], (1, 5, 5, 5, 1), None).series
        [('D', [1]), ('H, W', [3])]
        """
        alike: dict[tuple[int, ...], list[str]] = {}
        for along, letter in enumerate(AXES):
            alike.setdefault(tuple(row.size[along] for row in self.rows), []).append(letter)
        return [(", ".join(letters), list(sizes)) for sizes, letters in alike.items()]


def growth_info(
    specs: Sequence[ConvSpec], input_shape: Sequence[int], spacing_mm: Sequence[float] | None
) -> GrowthInfo:
    """What each layer of a stack adds, on an input of (N, D, H, W, C) with voxels of (D, H, W) mm, if known.

    Raises:
        ShapeError: an output does not fit the layer behind it.
    """
    rows = []
    for layer, (spec, shape) in enumerate(zip(specs, stack_shapes(specs, input_shape), strict=True), start=1):
        field = receptive_field(specs[:layer])
        _, d, h, w, _ = shape
        rows.append(
            GrowthRow(
                layer,
                stack_text([spec]),
                (d, h, w),
                field.size,
                field.jump,
                field.effective_padding,
                _lengths(field.size, spacing_mm),
                _lengths(field.jump, spacing_mm),
            )
        )
    return GrowthInfo(tuple(rows))


def sides(numbers: Sequence[float]) -> str:
    """Three numbers to read, one where all are alike.

    >>> sides((3, 3, 3)), sides((1, 2.5, 2.5))
    ('3', '1 × 2.5 × 2.5')
    """
    texts = [f"{n:,}" if isinstance(n, int) else number(n) for n in numbers]
    return texts[0] if len(set(texts)) == 1 else _TIMES.join(texts)


def growth_figure(info: GrowthInfo, height: int) -> go.Figure:
    """A bar a layer, side by side where the axes differ; each says its voxels."""
    names = [f"{row.number}" for row in info.rows]
    series = info.series
    labelled = len(series) * len(names) <= _MOST_LABELLED
    bars = [
        go.Bar(
            x=names,
            y=sizes,
            name=letters,
            marker={"color": colour},
            text=[f"{size:,}" for size in sizes] if labelled else None,
            textposition="outside",
            textangle=0,
            cliponaxis=False,
            customdata=[row.layer for row in info.rows],
            hovertemplate=f"layer %{{x}}, %{{customdata}}<br>{letters}: <b>%{{y:,}} voxels</b><extra></extra>",
        )
        for (letters, sizes), colour in zip(series, _SERIES, strict=False)
    ]
    layout = {
        "height": height,
        "margin": {"l": 60, "r": 4, "t": 24, "b": 44},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "barmode": "group",
        # One layer is a bar and not a wall.
        "bargap": 0.35 if len(names) > 2 else 0.75,
        "xaxis": {"type": "category", "title": {"text": "layer", "standoff": 4}, "tickangle": 0, "showgrid": False},
        "yaxis": {
            "title": {"text": "window, voxels", "standoff": 6},
            "rangemode": "tozero",
            "gridcolor": "rgba(133,144,160,0.25)",
            "zerolinecolor": LINE,
            # Voxels are whole.
            **({"dtick": 1} if max(max(sizes) for _, sizes in series) < 5 else {"nticks": 5}),
        },
        "showlegend": len(series) > 1,
        "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom", "xanchor": "left"},
    }
    return go.Figure(bars, layout)


def _lengths(sizes: Triple, spacing_mm: Sequence[float] | None) -> tuple[float, float, float] | None:
    if spacing_mm is None:
        return None
    d, h, w = (size * step for size, step in zip(sizes, spacing_mm, strict=True))
    return d, h, w
