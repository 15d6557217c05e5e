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
from conv3d_core.engine.tiles import Span
from conv3d_core.spec import ConvSpec

Cut = tuple[Span | None, Span | None, Span | None]


def plane_cut(axis: str, index: int) -> Cut:
    """The cut of one output plane.

    >>> plane_cut("H", 7)
    (None, (7, 7), None)
    """
    d, h, w = ((index, index) if letter == axis else None for letter in AXES)
    return d, h, w


def cut_slab(spec: ConvSpec, x: NDArray[Any], box: Cut) -> tuple[ConvSpec, NDArray[Any]]:
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
    inside, place, shape = [slice(None)] * 5, [slice(None)] * 5, list(x.shape)
    for dimension, (axis, span) in enumerate(zip(spec.axes, box, strict=True), start=1):
        if span is not None:
            first, last = axis.window(*span)
            begin, end = max(first, 0), min(last + 1, x.shape[dimension])
            end = max(begin, end)  # a window in the padding alone reads nothing
            inside[dimension] = slice(begin, end)
            at = min(begin - first, last + 1 - first)
            place[dimension] = slice(at, at + end - begin)
            shape[dimension] = last + 1 - first
    d, h, w = (zeros if span is None else 0 for zeros, span in zip(spec.padding, box, strict=True))
    slab = x[tuple(inside)]
    if slab.shape != tuple(shape):
        padded = np.zeros(shape, x.dtype)
        padded[tuple(place)] = slab
        slab = padded
    return replace(spec, padding=(d, h, w)), slab
