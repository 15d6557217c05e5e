"""A dilated layer as several layers without dilation: the polyphase split, exact.

MLX's CPU build takes a slow loop for any dilation above 1. But output o reads inputs o*s + t*d, t = 0, 1, ...: outputs
whose o*s leave the same remainder modulo d read one and the same sub-grid of the input, every d-th voxel, and among
themselves they are the outputs of a layer with dilation 1 and stride s / gcd(s, d). The same numbers meet the same taps
in the same order.

Source: Vaidyanathan 1993, "Multirate Systems and Filter Banks", section 4.3 (polyphase representation).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from dataclasses import replace

from conv3d_core.spec import ConvSpec, Triple

Slices = tuple[slice, slice, slice]

# Below so many multiply-accumulates a phase, MLX's slow loop is faster than one more evaluation (measured on 2 cores).
PHASE_MACS = 32_000


def undilated(spec: ConvSpec) -> ConvSpec:
    """The layer that every phase runs: dilation 1, the stride on the sub-grid, no padding.

    >>> undilated(ConvSpec(1, 1, 3, stride=(1, 2, 3), dilation=(2, 4, 1))).stride
    (1, 1, 3)
    """
    d, h, w = (axis.stride // math.gcd(axis.stride, axis.dilation) for axis in spec.axes)
    return replace(spec, stride=(d, h, w), padding=(0, 0, 0), dilation=(1, 1, 1))


def phase_count(spec: ConvSpec, sizes: Triple) -> int:
    """Into how many phases a box of outputs of these sizes falls; 1 without dilation.

    >>> phase_count(ConvSpec(1, 1, 3, dilation=(1, 2, 4)), (9, 9, 3))
    6
    """
    return math.prod(min(step, size) for step, size in zip(_steps(spec), sizes, strict=True))


def worth_splitting(spec: ConvSpec, sizes: Triple) -> bool:
    """Whether a box of outputs of these sizes is computed faster in phases."""
    if max(spec.dilation) == 1:
        return False
    return math.prod(sizes) * math.prod(spec.weight_shape) >= PHASE_MACS * phase_count(spec, sizes)


def phases(spec: ConvSpec, sizes: Triple) -> Iterator[tuple[Slices, Slices]]:
    """Per phase, where it reads in the slab of a box of outputs of these sizes, and which outputs of the box it gives.

    >>> layer = ConvSpec(1, 1, (1, 1, 3), dilation=(1, 1, 2))
    >>> [(reads[2], gives[2]) for reads, gives in phases(layer, (1, 1, 3))]
    [(slice(0, 7, 2), slice(0, None, 2)), (slice(1, 6, 2), slice(1, None, 2))]
    """
    steps, layer = _steps(spec), undilated(spec)
    for d, h, w in itertools.product(*(range(min(step, size)) for step, size in zip(steps, sizes, strict=True))):
        reads, gives = [], []
        for first, step, size, axis, sub in zip((d, h, w), steps, sizes, spec.axes, layer.axes, strict=True):
            outputs = -(-(size - first) // step)
            voxels = sub.window(0, outputs - 1)[1] + 1
            begin = first * axis.stride
            reads.append(slice(begin, begin + (voxels - 1) * axis.dilation + 1, axis.dilation))
            gives.append(slice(first, None, step))
        yield (reads[0], reads[1], reads[2]), (gives[0], gives[1], gives[2])


def _steps(spec: ConvSpec) -> Triple:
    """Every how many outputs one reads the same sub-grid again."""
    d, h, w = (axis.dilation // math.gcd(axis.stride, axis.dilation) for axis in spec.axes)
    return d, h, w
