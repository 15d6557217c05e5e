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


# Lines and marks that stand on a light and on a dark page alike; text is left to the page's own theme, which
# changes in the browser without asking us.
LINE = "#8590a0"
ACCENT = "#f76707"


@lru_cache
def depth_colours(count: int) -> tuple[str, ...]:
    """One CSS colour per kernel depth plane, front to back."""
    low, high = _DEPTH_ENDS
    positions = [high] if count == 1 else np.linspace(low, high, count).tolist()
    return tuple(str(colour) for colour in sample_colorscale(_DEPTH, positions))


def paint(values: NDArray[np.float32], low: float, high: float, scale: str) -> NDArray[np.uint8]:
    """Values as RGB, shape (..., 3); what is not finite is magenta, so that it cannot be mistaken for a value."""
    finite = np.isfinite(values)
    span = high - low or 1.0
    level = np.clip((np.where(finite, values, low) - low) / span, 0, 1)
    rgb: NDArray[np.uint8] = _table(scale)[(level * 255).round().astype(np.uint8)]
    rgb[~finite] = (255, 0, 255)
    return rgb


@lru_cache
def _table(scale: str) -> NDArray[np.uint8]:
    """256 colours from low to high, (256, 3)."""
    colours = sample_colorscale(scale, np.linspace(0, 1, 256).tolist())
    return np.array([unlabel_rgb(colour) for colour in colours]).round().astype(np.uint8)


@lru_cache
def gradient(scale: str) -> str:
    """A colour scale as a CSS gradient, from low to high."""
    return f"linear-gradient(to right, {', '.join(sample_colorscale(scale, np.linspace(0, 1, 11).tolist()))})"


def value_range(values: NDArray[np.float32]) -> tuple[float, float]:
    """Smallest and largest finite value; (0, 1) where there is none."""
    finite = values[np.isfinite(values)]
    return (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)


def number(value: float) -> str:
    """A value at reading precision.

    >>> number(-1234.5678), number(0.000012345), number(3.0)
    ('-1235', '1.234e-05', '3')
    """
    return f"{value:.4g}"
