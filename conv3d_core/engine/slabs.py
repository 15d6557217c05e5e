"""The part of an input that a box of outputs reads, cut out in NumPy, and the layer that makes just that box of it.

Along an axis that is cut, the padding that the box needs is written into the slab and the layer's own padding is 0.
So borders, strides and dilation are exact: the same numbers meet the same taps as in the whole volume.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conv3d_core.axis import AXES
from conv3d_core.spec import ConvSpec

Span = tuple[int, int]
Box = tuple[Span | None, Span | None, Span | None]


def plane_box(axis: str, index: int) -> Box:
    """The box of one output plane.

    >>> plane_box("H", 7)
    (None, (7, 7), None)
    """
    d, h, w = ((index, index) if letter == axis else None for letter in AXES)
    return d, h, w


def cut_slab(spec: ConvSpec, x: NDArray[Any], box: Box) -> tuple[ConvSpec, NDArray[Any]]:
    """The layer and the input slab that together give ``output[:, box]`` of ``spec`` on ``x``.

    Args:
        spec: the layer.
        x: (N, D, H, W, C), any dtype.
        box: per axis the first and the last output, both inclusive and inside the output,
            or None where the axis stays whole and keeps its padding.

    Returns:
        The layer with padding 0 along the axes that are cut; the slab, a view of ``x`` where nothing sticks out.

    >>> spec, slab = cut_slab(ConvSpec(1, 1, 3, stride=2, padding=1), np.ones((1, 9, 9, 9, 1)), ((0, 1), None, None))
    >>> spec.padding, slab.shape, slab[0, :, 4, 4, 0].tolist()
    ((0, 1, 1), (1, 5, 9, 9, 1), [0.0, 1.0, 1.0, 1.0, 1.0])
    """
    for position, (axis, span) in enumerate(zip(spec.axes, box, strict=True)):
        if span is not None:
            x = _cut(x, position + 1, *axis.window(*span))
    d, h, w = (zeros if span is None else 0 for zeros, span in zip(spec.padding, box, strict=True))
    return replace(spec, padding=(d, h, w)), x


def _cut(x: NDArray[Any], dimension: int, first: int, last: int) -> NDArray[Any]:
    """Indices first to last, both inclusive, along one dimension; zeros where they lie outside the array.

    >>> _cut(np.array([5, 6, 7]), 0, -2, 1).tolist(), _cut(np.array([5, 6, 7]), 0, 4, 5).tolist()
    ([0, 0, 5, 6], [0, 0])
    """
    size = x.shape[dimension]
    before = max(0, min(0, last + 1) - first)
    after = max(0, last + 1 - max(size, first))
    inside: list[slice] = [slice(None)] * x.ndim
    inside[dimension] = slice(max(first, 0), max(last + 1, 0))
    x = x[tuple(inside)]
    if before or after:
        widths = [(0, 0)] * x.ndim
        widths[dimension] = (before, after)
        x = np.pad(x, widths)
    return x
