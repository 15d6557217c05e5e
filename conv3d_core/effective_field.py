"""The effective receptive field: how much of the window an output really answers to, measured by its gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conv3d_core.receptive_field import Window, voxels_inside
from conv3d_core.spec import ConvSpec, Triple
from conv3d_core.stack import stack_shapes

# Of the largest gradient: beyond two standard deviations a Gaussian holds 4.55 % of its mass.
THRESHOLD = 1 - 0.9545


@dataclass(frozen=True, slots=True, eq=False)
class EffectiveField:
    """The gradient of one output over the voxels of its window.

    Attributes:
        strength: (d, h, w) float32, absolute gradients as shares of the largest, 0 to 1.
        window: the theoretical window, first and last input index per axis, inclusive.
        inside: the part of it that lies in the input; (0, -1) where none does.
        voxels: how many voxels that part has.
    """

    strength: NDArray[np.float32]
    window: Window
    inside: Window
    voxels: int

    @property
    def above(self) -> NDArray[np.bool_]:
        """The voxels of the effective receptive field: those whose gradient exceeds `THRESHOLD` of the largest."""
        return self.strength > THRESHOLD

    @property
    def count(self) -> int:
        """How many those are."""
        return int(np.count_nonzero(self.above))

    @property
    def edge(self) -> float:
        """The edge of a cube of so many voxels."""
        return float(np.cbrt(self.count))

    @property
    def share(self) -> float:
        """Their share of the voxels of the window, 0 to 1."""
        return self.count / self.voxels if self.voxels else 0.0

    @property
    def extent(self) -> Triple:
        """Voxels from the first to the last of them, per axis."""
        places = np.nonzero(self.above)
        d, h, w = (int(place.max() - place.min()) + 1 if place.size else 0 for place in places)
        return d, h, w

    def describe(self) -> str:
        """The measure in one sentence."""
        if not self.voxels:
            return "The whole window lies in the padding: no voxel has a gradient."
        if not self.count:
            return f"The gradient is 0 on all {self.voxels:,} voxels of the window: with these weights none matters."
        spans = " x ".join(map(str, self.extent))
        return (
            f"{self.count:,} of the window's {self.voxels:,} voxels ({100 * self.share:.3g} %) have a gradient above "
            f"{100 * THRESHOLD:.3g} % of the largest, as many as a cube of {self.edge:.3g} voxels; they span {spans}."
        )


def strength_of(gradient: NDArray[np.float32]) -> NDArray[np.float32]:
    """Absolute gradient per voxel, (d, h, w) of (d, h, w, C): the sum over the input's channels."""
    strength: NDArray[np.float32] = np.abs(gradient).sum(axis=3, dtype=np.float32)
    return strength


def effective_field(
    strengths: Sequence[NDArray[np.float32]], window: Window, input_size: Sequence[int]
) -> EffectiveField:
    """The effective receptive field of one output, from its gradients under one or several sets of weights.

    A voxel belongs to it where the mean of its absolute gradients exceeds 4.55 % (1 - 95.45 %) of the largest such
    mean. Luo et al. hold it against the gradient of the central pixel; that is the largest of a smooth one, and with
    few random weights another may be larger.

    Args:
        strengths: each float32 (d, h, w), see `strength_of`, over the part of the window that lies in the input.
        window: the theoretical window, first and last input index per axis, inclusive.
        input_size: (D, H, W) of the input.

    Source: Luo et al. 2016, "Understanding the effective receptive field in deep convolutional neural networks".

    >>> row = np.array([[[0.04, 0.5, 1.0, 0.5, 0.04]]], np.float32)
    >>> effective_field([row], ((0, 0), (0, 0), (0, 4)), (1, 1, 9)).count
    3
    """
    mean: NDArray[np.float64] = np.asarray(np.mean(np.stack(strengths), axis=0, dtype=np.float64))
    largest = float(mean.max()) if mean.size else 0.0
    shares = (mean / (largest or 1.0)).astype(np.float32)
    d, h, w = (
        (max(first, 0), min(last, size - 1)) if first < size and last >= 0 else (0, -1)
        for (first, last), size in zip(window, input_size, strict=True)
    )
    voxels = voxels_inside(window, input_size)
    return EffectiveField(shares, window, (d, h, w), voxels)


def gradient_macs(specs: Sequence[ConvSpec], input_shape: Sequence[int]) -> int:
    """Multiply-accumulates of the gradient of one output voxel of a stack, at most.

    Per layer MLX lays every weight on each voxel that the outputs reach, padding included; of the last layer one
    channel's.

    Raises:
        ShapeError: an output does not fit the layer behind it.

    >>> gradient_macs([ConvSpec(1, 1, 3), ConvSpec(1, 1, 3)], (1, 9, 9, 9, 1))
    4104
    """
    total = 0
    outputs = [1, 1, 1]
    for spec, shape in zip(
        reversed(specs), [*reversed(stack_shapes(specs, input_shape)[:-1]), input_shape], strict=True
    ):
        channels = 1 if spec is specs[-1] and not total else spec.out_channels
        reached = [axis.window(0, count - 1) for axis, count in zip(spec.axes, outputs, strict=True)]
        positions = math.prod(last - first + 1 for first, last in reached)
        total += positions * math.prod(spec.kernel_size) * spec.in_channels * channels
        outputs = [min(last - first + 1, size) for (first, last), size in zip(reached, shape[1:4], strict=True)]
    return total
