"""Named kernels, as sums of products of three one-dimensional factors, for any kernel size.

A factor along an axis is one of four: a delta (only the centre tap), a binomial smoothing ([1 2 1] for size 3), a
derivative ([-1 0 1]), a second difference ([1 -2 1]). The textbook 3x3x3 kernels are what these give at size 3.
MLX computes a cross-correlation: the kernel is laid on the volume as written here, not flipped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conv3d_core.axis import AXES
from conv3d_core.errors import SpecError
from conv3d_core.spec import ConvSpec, Triple

LARGEST_WEIGHT = float(np.finfo(np.float32).max)
Factors = tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]


@dataclass(frozen=True, slots=True)
class NamedKernel:
    """A kernel that has a name in the field.

    Attributes:
        title: the name on screen.
        purpose: what it does to a volume, in one clause.
    """

    title: str
    purpose: str


KERNELS: dict[str, NamedKernel] = {
    "identity": NamedKernel("Identity", "copies the voxel under the centre tap"),
    "box": NamedKernel("Box", "averages the window, all voxels alike"),
    "gaussian": NamedKernel("Gaussian", "averages the window, the centre most"),
    "sobel_d": NamedKernel("Sobel D", "finds change along depth, smoothed along height and width"),
    "sobel_h": NamedKernel("Sobel H", "finds change along height, smoothed along depth and width"),
    "sobel_w": NamedKernel("Sobel W", "finds change along width, smoothed along depth and height"),
    "laplacian": NamedKernel("Laplacian", "compares a voxel with its neighbours: blobs, thin sheets and noise"),
    "depth_difference": NamedKernel("Depth difference", "subtracts a plane from the next: what changes between slices"),
}
# The axis along which a kernel takes a difference, for which it needs two taps.
_COMPARES = {"sobel_d": 0, "sobel_h": 1, "sobel_w": 2, "depth_difference": 0}


def factors(name: str, kernel_size: Triple) -> list[Factors]:
    """The terms of a named kernel: each is three factors (D, H, W) whose outer product is one term of the sum.

    Raises:
        SpecError: no such kernel, or a kernel size too small for it.

    >>> factors("sobel_d", (3, 3, 3))
    [((-1.0, 0.0, 1.0), (1.0, 2.0, 1.0), (1.0, 2.0, 1.0))]
    """
    if name not in KERNELS:
        raise SpecError("kernel", f"{name!r} is not a named kernel", f"use {', '.join(KERNELS)}", value=name)
    delta = [_delta(size) for size in kernel_size]
    smooth = [_binomial(size) for size in kernel_size]
    if name == "identity":
        return [_factors(delta)]
    if name == "box":
        return [_factors([np.full(size, 1 / size) for size in kernel_size])]
    if name == "gaussian":
        return [_factors([_binomial(size, 0.5) for size in kernel_size])]
    if not exists(name, kernel_size):
        raise _too_small(name)
    if name == "laplacian":
        return _laplacian(kernel_size, delta)
    along = _COMPARES[name]
    if name == "depth_difference":
        return [_factors([_step(kernel_size[0]), delta[1], delta[2]])]
    return [_factors([_derivative(size) if i == along else smooth[i] for i, size in enumerate(kernel_size)])]


def taps(name: str, kernel_size: Triple) -> NDArray[np.float32]:
    """A named kernel as float32 (KD, KH, KW).

    Raises:
        SpecError: no such kernel, or a kernel size too small or (Sobel, some 40 taps a side) too large for it.

    >>> taps("sobel_w", (1, 3, 3))[0].tolist()
    [[-1.0, 0.0, 1.0], [-2.0, 0.0, 2.0], [-1.0, 0.0, 1.0]]
    """
    total: NDArray[np.float64] = np.zeros(kernel_size)
    for d, h, w in factors(name, kernel_size):
        total = total + np.einsum("i,j,k->ijk", d, h, w)
    largest = float(np.abs(total).max())
    if not largest <= LARGEST_WEIGHT:
        raise SpecError(
            "kernel_size",
            f"{KERNELS[name].title} of {'x'.join(map(str, kernel_size))} taps has weights beyond float32",
            "use a smaller kernel_size, or another kernel",
            value=name,
        )
    return total.astype(np.float32)


def kernel_names(source: str, spec: ConvSpec) -> list[str]:
    """Which named kernel each output channel gets: one name for all, or for "each" all that exist at this size in turn.

    >>> kernel_names("each", ConvSpec(1, 5, (3, 1, 1)))
    ['identity', 'box', 'gaussian', 'sobel_d', 'laplacian']
    """
    names = [name for name in KERNELS if exists(name, spec.kernel_size)] if source == "each" else [source]
    return [names[channel % len(names)] for channel in range(spec.out_channels)]


def exists(name: str, kernel_size: Triple) -> bool:
    """Whether a named kernel can be had at this size; identity, box and Gaussian always can.

    >>> exists("sobel_w", (3, 3, 1))
    False
    """
    if name == "laplacian":
        return max(kernel_size) >= 3
    return name not in _COMPARES or kernel_size[_COMPARES[name]] >= 2


def kernel_weights(source: str, spec: ConvSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of a layer made of named kernels; the mean over the input channels, no bias.

    Args:
        source: a name in `KERNELS`, or "each": see `kernel_names`.
        spec: the layer.

    Returns:
        weight: float32 (O, KD, KH, KW, I), every input channel with the kernel divided by I.
        bias: float32 (O,), zeros.

    Raises:
        SpecError: no such kernel, or a kernel size too small for it.
    """
    weight = np.empty(spec.weight_shape, np.float32)
    for channel, name in enumerate(kernel_names(source, spec)):
        weight[channel] = (taps(name, spec.kernel_size) / spec.in_channels)[..., None]
    return weight, np.zeros(spec.out_channels, np.float32)


def _laplacian(kernel_size: Triple, delta: Sequence[NDArray[np.float64]]) -> list[Factors]:
    terms = []
    for along in (i for i, size in enumerate(kernel_size) if size >= 3):
        rows = list(delta)
        # Centred in larger kernels, so that the sum stays the 7-point Laplacian of the textbook.
        rows[along] = _centred(np.array([1.0, -2.0, 1.0]), kernel_size[along])
        terms.append(_factors(rows))
    return terms


def _too_small(name: str) -> SpecError:
    axis = AXES[_COMPARES[name]] if name in _COMPARES else None
    needed, along = (2, f"along {axis}") if axis else (3, "along one axis at least")
    return SpecError(
        "kernel_size",
        f"{KERNELS[name].title} compares voxels and needs {needed} taps {along}",
        f"use kernel_size >= {needed} {along}, or another kernel",
        axis=axis,
        value=name,
    )


def _factors(rows: Sequence[NDArray[np.float64]]) -> Factors:
    d, h, w = (tuple(float(number) for number in row) for row in rows)
    return d, h, w


def _delta(size: int) -> NDArray[np.float64]:
    return _centred(np.array([1.0]), size)


def _step(size: int) -> NDArray[np.float64]:
    return _centred(np.array([-1.0, 1.0]), size)


def _binomial(size: int, tap: float = 1.0) -> NDArray[np.float64]:
    """Row of Pascal's triangle; with taps of 0.5 it sums to 1, and large sizes do not overflow."""
    row = np.array([1.0])
    for _ in range(size - 1):
        row = np.convolve(row, [tap, tap])
    return row


def _derivative(size: int) -> NDArray[np.float64]:
    return np.convolve([-1.0, 1.0], _binomial(size - 1))


def _centred(row: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The row in the middle of `size` zeros; where it cannot be exact, one towards the front."""
    before = (size - len(row)) // 2
    return np.pad(row, (before, size - len(row) - before))
