"""The colours of every picture, in one place. All scales are safe for the common kinds of colour blindness."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from plotly.colors import sample_colorscale, unlabel_rgb

# Signed maps: blue below zero, white at zero, red above. Inputs: black to white.
SIGNED = "RdBu_r"
GREY = "gray"
# Kernel depth planes, front to back. Ends before viridis turns too dark for a grey background.
_DEPTH, _DEPTH_ENDS = "Viridis", (0.25, 1.0)
# More cannot be told apart, and each is a trace of its own in a picture.
MAX_DEPTH_COLOURS = 32


# Lines and marks that stand on a light and on a dark page alike; text is left to the page's own theme, which
# changes in the browser without asking us.
LINE = "#8590a0"
ACCENT = "#f76707"

# What stands in place of a range.
NOTHING_FINITE = "nothing finite"


@lru_cache
def depth_colours(count: int) -> tuple[str, ...]:
    """One CSS colour per kernel depth plane, front to back; neighbours share one where the planes are many."""
    low, high = _DEPTH_ENDS
    levels = min(count, MAX_DEPTH_COLOURS)
    positions = [high] if levels == 1 else np.linspace(low, high, levels).tolist()
    colours = [str(colour) for colour in sample_colorscale(_DEPTH, positions)]
    return tuple(colours[depth_level(depth, count)] for depth in range(count))


def depth_level(depth: int, count: int) -> int:
    """Which of the colours a kernel depth plane has: its own, or one of `MAX_DEPTH_COLOURS` where there are more.

    >>> depth_level(2, 3), depth_level(999, 1000)
    (2, 31)
    """
    return depth if count <= MAX_DEPTH_COLOURS else depth * MAX_DEPTH_COLOURS // count


def paint(values: NDArray[np.float32], low: float, high: float, scale: str) -> NDArray[np.uint8]:
    """Values as RGB, shape (..., 3); what is not finite is magenta, so that it cannot be mistaken for a value."""
    finite = np.isfinite(values)
    span = high - low or 1.0
    # In float64: the span of float32's largest numbers is beyond float32.
    level = np.clip((np.where(finite, values, low).astype(np.float64) - low) / span, 0, 1)
    rgb: NDArray[np.uint8] = _table(scale)[(level * 255).round().astype(np.uint8)]
    rgb[~finite] = (255, 0, 255)
    return rgb


@lru_cache
def _table(scale: str) -> NDArray[np.uint8]:
    """256 colours from low to high, (256, 3)."""
    colours = sample_colorscale(scale, np.linspace(0, 1, 256).tolist())
    return np.array([unlabel_rgb(colour) for colour in colours]).round().astype(np.uint8)


@lru_cache
def hex_colours(scale: str) -> str:
    """The 256 colours of a scale from low to high, six hexadecimal digits each, one after the other.

    >>> hex_colours(GREY)[:12], len(hex_colours(GREY))
    ('000000010101', 1536)
    """
    return _table(scale).tobytes().hex()


@lru_cache
def gradient(scale: str) -> str:
    """A colour scale as a CSS gradient, from low to high."""
    return f"linear-gradient(to right, {', '.join(sample_colorscale(scale, np.linspace(0, 1, 11).tolist()))})"


def value_range(values: NDArray[np.float32]) -> tuple[float, float] | None:
    """Smallest and largest finite value; None where there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else None


def number(value: float) -> str:
    """A value at reading precision.

    >>> number(-1234.5678), number(0.000012345), number(3.0)
    ('-1235', '1.234e-05', '3')
    """
    return f"{value:.4g}"
