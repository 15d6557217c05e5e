"""A chain's blocks to scale, as SVG: every array as a box of its voxels, its channels as a row of squares below.

Depth runs into the picture and channels never do, so that the one is not taken for the other.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from conv3d_core.chain.layer import Layer, Sizes
from conv3d_core.chain.reach import Taps
from conv3d_core.chain.sizes import write_argument
from conv3d_core.chain.trace import Report, Row
from conv3d_core.figures.palette import ACCENT, LINE
from conv3d_core.spec import Triple

# Pixels. The longest edge of the largest box; smaller ones are true to it until nothing would be left of them.
_LONGEST = 120.0
_SHORTEST = 2.0
# Depth is drawn at 45 degrees and half its length (a cabinet projection).
_INTO = 0.5 * math.cos(math.pi / 4)
_SHORTEST_ARROW = 40.0
_CROSS = 36.0
_MARGIN, _GAP = 4.0, 14.0
_TEXT, _LINE_HEIGHT = 12, 16.0
_MOST_SQUARES = 12
_SQUARE, _SQUARE_STEP = 7.0, 9.0
# One colour for space, another for channels, as everywhere.
SPACE, CHANNELS, WRONG = "#4c8dd6", "#9b6bd3", "#d64545"


@dataclass(frozen=True, slots=True)
class Block:
    """One array on its way through the chain.

    Attributes:
        sizes: (D, H, W) in voxels; None where it has no such axes (any more).
        channels: or features.
        label: its shape as the framework has it, and what its axes are.
        through: the layers behind which it comes, one a line; empty for the input.
        window: (h, w) of the kernel that reads it, in voxels; None where none does.
        uncertain: whether something before it was not understood.
        after: layers behind it that keep its shape, where no further array follows.
    """

    sizes: Triple | None
    channels: int
    label: str
    through: tuple[str, ...] = ()
    window: tuple[int, int] | None = None
    uncertain: bool = False
    after: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GeometryInfo:
    """The arrays in a row; and the layer that does not take the last one, if any.

    Attributes:
        blocks: the input, and an array wherever the shape changes.
        failed: the layer's call and its axis.
    """

    blocks: tuple[Block, ...]
    failed: str = ""

    @property
    def words(self) -> str:
        """The picture in words."""
        steps = [self.blocks[0].label]
        steps += [f"{', '.join(block.through)} gives {block.label}" for block in self.blocks[1:]]
        end = f"; {self.failed} does not take it" if self.failed else ""
        return "; ".join(steps) + end + "."


def geometry_info(report: Report) -> GeometryInfo:
    """The arrays of a traced chain."""
    chain = report.case.chain
    shape = report.case.input_shape
    letters = report.input_letters or "?" * len(shape)
    blocks = [_block(shape, letters)]
    through: list[str] = []
    for row in report.rows:
        through.append(brief(row.layer))
        window = _window(row)
        if window:
            blocks[-1] = replace(blocks[-1], window=window)
        if (row.output_shape, row.letters) != (shape, letters):
            shape, letters = row.output_shape, row.letters
            doubtful = chain.is_uncertain(row.index)
            blocks.append(replace(_block(shape, letters), through=tuple(through), uncertain=doubtful))
            through = []
    failed = ""
    if report.failed is not None:
        failed = brief(chain.layers[report.failed]) + "?" * chain.is_uncertain(report.failed)
    if report.failed is None and through:
        last = blocks[-1]
        blocks[-1] = replace(last, after=tuple(through))
    return GeometryInfo(tuple(blocks), failed)


def brief(layer: Layer) -> str:
    """A layer in a few letters: its class and what changes sizes.

    >>> brief(Layer("Conv3d", {"in_channels": 1, "out_channels": 8, "kernel_size": (1, 3, 3), "stride": 2}))
    'Conv3d k(1,3,3) s2'
    """
    letters = {
        "kernel_size": "k",
        "stride": "s",
        "padding": "p",
        "dilation": "d",
        "scale_factor": "\N{MULTIPLICATION SIGN}",
    }
    plain = {"stride": 1, "padding": 0, "dilation": 1, "kernel_size": None, "scale_factor": None}
    parts = [
        f"{letter}{_brief(layer.arguments[name])}"
        for name, letter in letters.items()
        if layer.arguments.get(name) not in (None, plain[name])
    ]
    return " ".join([layer.kind, *parts])


def _brief(value: object) -> str:
    text = write_argument(value).replace(" ", "")
    return f"({text})" if "," in text else text


def geometry_svg(info: GeometryInfo) -> str:
    """The picture, which takes its text colour from the page; to be scrolled where it is wider than that."""
    scale = _LONGEST / max((size for block in info.blocks for size in block.sizes or ()), default=1)
    boxes = [_Box(block, scale) for block in info.blocks]
    base = _MARGIN + max(
        *(box.height for box in boxes), *(_LINE_HEIGHT * (len(block.through) + 2) for block in info.blocks)
    )
    x, parts = _MARGIN, []
    for box in boxes:
        if box.block.through:
            arrow, width = _arrow(x, base, box.block.through)
            parts.append(arrow)
            x += width
        parts.append(box.svg(x, base))
        x += box.width + _GAP
    if info.failed:
        arrow, width = _arrow(x, base, (info.failed,), WRONG)
        parts += [arrow, _cross(x + width, base)]
        x += width + _CROSS
    elif info.blocks[-1].after:
        arrow, width = _arrow(x, base, info.blocks[-1].after)
        parts.append(arrow)
        x += width
    width, height = math.ceil(x + _MARGIN), math.ceil(base + 3 * _LINE_HEIGHT)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{html.escape(info.words)}" fill="currentColor" font-size="{_TEXT}">'
        f"{''.join(parts)}</svg>"
    )


class _Box:
    """A block in pixels: its height stands at its left edge, its width inside, its depth at the edge that goes back."""

    def __init__(self, block: Block, scale: float) -> None:
        self.block = block
        self.scale = scale
        d, h, w = (max(size * scale, _SHORTEST) for size in block.sizes or (0, 0, 0))
        self.front = (w, h)
        self.into = d * _INTO
        self.left = _text_width(str(block.sizes[1])) + 6 if block.sizes else 0.0
        channels = _SQUARE_STEP * min(block.channels, _MOST_SQUARES) + 4 + _text_width(self.channels)
        self.width = self.left + max(w + self.into, _text_width(block.label), channels)
        # The depth's number stands above.
        self.height = h + self.into + _LINE_HEIGHT

    @property
    def channels(self) -> str:
        """In words."""
        more = "... " if self.block.channels > _MOST_SQUARES else ""
        what = "channel" if self.block.sizes else "feature"
        return f"{more}{self.block.channels:,} {what}{'s' * (self.block.channels != 1)}"

    def svg(self, x: float, base: float) -> str:
        """Standing on the line ``base``."""
        x += self.left
        parts = self._faces(x, base) if self.block.sizes else []
        squares = min(self.block.channels, _MOST_SQUARES)
        parts += [
            f'<rect x="{x + number * _SQUARE_STEP:.1f}" y="{base + 8:.1f}" width="{_SQUARE}" height="{_SQUARE}" '
            f'fill="{CHANNELS}"/>'
            for number in range(squares)
        ]
        parts.append(_text(x + squares * _SQUARE_STEP + 4, base + 15, self.channels))
        parts.append(_text(x, base + 15 + _LINE_HEIGHT, f"{'? ' * self.block.uncertain}{self.block.label}"))
        return "".join(parts)

    def _faces(self, x: float, base: float) -> list[str]:
        assert self.block.sizes is not None
        (w, h), z = self.front, self.into
        y = base - h
        dash = ' stroke-dasharray="4 3"' if self.block.uncertain else ""
        faces = [
            (f"M{x:.1f} {y:.1f}h{w:.1f}v{h:.1f}h{-w:.1f}z", 0.5),
            (f"M{x:.1f} {y:.1f}l{z:.1f} {-z:.1f}h{w:.1f}l{-z:.1f} {z:.1f}z", 0.25),
            (f"M{x + w:.1f} {y:.1f}l{z:.1f} {-z:.1f}v{h:.1f}l{-z:.1f} {z:.1f}z", 0.37),
        ]
        parts = [
            f'<path d="{path}" fill="{SPACE}" fill-opacity="{opacity}" stroke="{SPACE}"{dash}/>'
            for path, opacity in faces
        ]
        if self.block.window:
            # A kernel larger than its input sticks out, and that is the point.
            kh, kw = (max(size * self.scale, 3) for size in self.block.window)
            parts.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{kw:.1f}" height="{kh:.1f}" fill="none" stroke="{ACCENT}" '
                'stroke-width="1.5"/>'
            )
        depth, height, width = self.block.sizes
        return [
            *parts,
            _text(x + w / 2, base - 4, f"{width}", "middle"),
            _text(x - 4, y + h / 2 + 4, f"{height}", "end"),
            _text(x + z / 2 - 4, y - z / 2 - 3, f"{depth}", "end"),
        ]


def _text(x: float, y: float, text: str, anchor: str = "start") -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{html.escape(text)}</text>'


def _text_width(text: str) -> float:
    """About: the page chooses the font."""
    return 0.56 * _TEXT * len(text)


def _arrow(x: float, base: float, lines: Sequence[str], colour: str = LINE) -> tuple[str, float]:
    """The layers over an arrow, and how wide that is."""
    length = max(_SHORTEST_ARROW, *map(_text_width, lines))
    y = base - _LINE_HEIGHT
    parts = [
        f'<path d="M{x:.1f} {y:.1f}h{length:.1f}m-6 -4l6 4l-6 4" fill="none" stroke="{colour}" stroke-width="1.5"/>',
        *(_text(x, y - 6 - _LINE_HEIGHT * number, line) for number, line in enumerate(reversed(lines))),
    ]
    return "".join(parts), length + _GAP


def _cross(x: float, base: float) -> str:
    y = base - _LINE_HEIGHT
    return f'<path d="M{x:.1f} {y - 12:.1f}l24 24m0 -24l-24 24" stroke="{WRONG}" stroke-width="3" fill="none"/>'


def _block(shape: Sizes, letters: str) -> Block:
    sizes = None
    if all(letter in letters for letter in "DHW"):
        d, h, w = (shape[letters.index(letter)] for letter in "DHW")
        sizes = (d, h, w)
    channels = next((shape[letters.index(letter)] for letter in "CF" if letter in letters), 0)
    return Block(sizes, channels, f"{letters} {tuple(shape)}" if "?" not in letters else f"{tuple(shape)}")


def _window(row: Row) -> tuple[int, int] | None:
    """The effective kernel along H and W, where the layer lays windows on its input."""
    _, h, w = row.readings
    if not isinstance(h, Taps) or not isinstance(w, Taps):
        return None
    return h.axis.effective_kernel_size, w.axis.effective_kernel_size
