"""Named kernels, as sums of products of three one-dimensional factors, for any kernel size.

A factor along an axis is one of four: a delta (only the centre tap), a binomial smoothing ([1 2 1] for size 3), a
derivative ([-1 0 1]), a second difference ([1 -2 1]). The textbook 3x3x3 kernels are what these give at size 3.
MLX computes a cross-correlation: the kernel is laid on the volume as written here, not flipped.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from conv3d_core.axis import AXES
from conv3d_core.errors import SpecError
from conv3d_core.spec import ConvSpec, Triple

# Beside the names in `KERNELS`, what a layer's weights can come from: a seed, every named kernel in turn, or a file.
RANDOM = "random"
EACH = "each"
FILE = "file"
LARGEST_WEIGHT = float(np.finfo(np.float32).max)
# Up to here a row of Pascal's triangle is computed as it is. It then has numbers beyond float32, so no kernel that is
# made of it unscaled is longer.
LONGEST_EXACT = 200
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
    "depth_difference": NamedKernel(
        "Depth difference", "subtracts a plane from the next: what changes from plane to plane"
    ),
}
# The axis along which a kernel takes a difference, for which it needs two taps.
_ALONG = {"sobel_d": 0, "sobel_h": 1, "sobel_w": 2, "depth_difference": 0}


def factors(name: str, kernel_size: Triple) -> list[Factors]:
    """The terms of a named kernel: each is three factors (D, H, W) whose outer product is one term of the sum.

    Raises:
        SpecError: no such kernel, or a kernel size too small or (Sobel, some 40 taps a side) too large for it.

    >>> factors("sobel_d", (3, 3, 3))
    [((-1.0, 0.0, 1.0), (1.0, 2.0, 1.0), (1.0, 2.0, 1.0))]
    """
    if name not in KERNELS:
        raise SpecError("kernel", f"{name!r} is not a named kernel", f"use {', '.join(KERNELS)}", value=name)
    if not _is_long_enough(name, kernel_size):
        raise _too_small(name)
    if not _fits_float32(name, kernel_size):
        raise _too_large(name, kernel_size)
    if name == "identity":
        return [_factors(map(_delta, kernel_size))]
    if name == "box":
        return [_factors(np.full(size, 1 / size) for size in kernel_size)]
    if name == "gaussian":
        return [_factors(map(_gaussian, kernel_size))]
    if name == "laplacian":
        return _laplacian(kernel_size)
    if name == "depth_difference":
        depth, height, width = kernel_size
        return [_factors([_step(depth), _delta(height), _delta(width)])]
    return [_factors(_sobel(_ALONG[name], kernel_size))]


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
    return total.astype(np.float32)


def kernel_names(source: str, spec: ConvSpec) -> list[str]:
    """Which named kernel each output channel gets: one name for all, or for "each" all that exist at this size in turn.

    >>> kernel_names("each", ConvSpec(1, 5, (3, 1, 1)))
    ['identity', 'box', 'gaussian', 'sobel_d', 'laplacian']
    """
    names = [name for name in KERNELS if exists(name, spec.kernel_size)] if source == EACH else [source]
    return [names[channel % len(names)] for channel in range(spec.out_channels)]


def exists(name: str, kernel_size: Triple) -> bool:
    """Whether a named kernel can be had at this size; identity, box and Gaussian always can.

    >>> exists("sobel_w", (3, 3, 1))
    False
    """
    return _is_long_enough(name, kernel_size) and _fits_float32(name, kernel_size)


def kernel_weights(source: str, spec: ConvSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Weight and bias of a layer made of named kernels; the mean over the input channels, no bias.

    Args:
        source: a name in `KERNELS`, or "each": see `kernel_names`.
        spec: the layer.

    Returns:
        weight: float32 (O, KD, KH, KW, I), every input channel with the kernel divided by I.
        bias: float32 (O,), zeros.

    Raises:
        SpecError: no such kernel, or a kernel size too small or too large for it.
    """
    weight = np.empty(spec.weight_shape, np.float32)
    used = list(dict.fromkeys(kernel_names(source, spec)))
    for first, name in enumerate(used):
        # They take turns: each is computed once, for every channel that has it.
        weight[first :: len(used)] = (taps(name, spec.kernel_size) / spec.in_channels)[..., None]
    return weight, np.zeros(spec.out_channels, np.float32)


def _is_long_enough(name: str, kernel_size: Triple) -> bool:
    if name == "laplacian":
        return max(kernel_size) >= 3
    return name not in _ALONG or kernel_size[_ALONG[name]] >= 2


def _fits_float32(name: str, kernel_size: Triple) -> bool:
    if not name.startswith("sobel"):
        return True  # the others' weights do not grow with their size
    if max(kernel_size) > LONGEST_EXACT:
        return False
    return math.prod(float(np.abs(row).max()) for row in _sobel(_ALONG[name], kernel_size)) <= LARGEST_WEIGHT


def _sobel(along: int, kernel_size: Triple) -> list[NDArray[np.float64]]:
    return [_derivative(size) if axis == along else _binomial(size) for axis, size in enumerate(kernel_size)]


def _laplacian(kernel_size: Triple) -> list[Factors]:
    terms = []
    for along in (i for i, size in enumerate(kernel_size) if size >= 3):
        rows = [_delta(size) for size in kernel_size]
        # Centred in larger kernels, so that the sum stays the 7-point Laplacian of the textbook.
        rows[along] = _centred(np.array([1.0, -2.0, 1.0]), kernel_size[along])
        terms.append(_factors(rows))
    return terms


def _too_small(name: str) -> SpecError:
    axis = AXES[_ALONG[name]] if name in _ALONG else None
    needed, along = (2, f"along {axis}") if axis else (3, "along one axis at least")
    return SpecError(
        "kernel_size",
        f"{KERNELS[name].title} compares voxels and needs {needed} taps {along}",
        f"use kernel_size >= {needed} {along}, or another kernel",
        axis=axis,
        value=name,
    )


def _too_large(name: str, kernel_size: Triple) -> SpecError:
    return SpecError(
        "kernel_size",
        f"{KERNELS[name].title} of {'x'.join(map(str, kernel_size))} taps has weights beyond float32",
        "use a smaller kernel_size, or another kernel",
        value=name,
    )


def _factors(rows: Iterable[NDArray[np.float64]]) -> Factors:
    d, h, w = (tuple(row.tolist()) for row in rows)
    return d, h, w


def _delta(size: int) -> NDArray[np.float64]:
    return _centred(np.array([1.0]), size)


def _step(size: int) -> NDArray[np.float64]:
    return _centred(np.array([-1.0, 1.0]), size)


def _binomial(size: int) -> NDArray[np.float64]:
    """Row of Pascal's triangle, [1 2 1] for size 3; at most `LONGEST_EXACT` long."""
    return np.array([math.comb(size - 1, k) for k in range(size)], np.float64)


def _gaussian(size: int) -> NDArray[np.float64]:
    """Row of Pascal's triangle that sums to 1."""
    if size <= LONGEST_EXACT:
        return _binomial(size) / 2.0 ** (size - 1)
    # From the middle outwards, each number from the one before, until they vanish: the row itself is beyond float64.
    after = np.arange(size // 2, size - 1)
    half = np.cumprod(np.concatenate([[1.0], (size - 1 - after) / (after + 1)]))
    mirrored = half[::-1]
    row = np.concatenate([mirrored[:-1] if size % 2 else mirrored, half])
    return np.asarray(row / row.sum())


def _derivative(size: int) -> NDArray[np.float64]:
    return np.convolve([-1.0, 1.0], _binomial(size - 1))


def _centred(row: NDArray[np.float64], size: int) -> NDArray[np.float64]:
    """The row in the middle of `size` zeros; where it cannot be exact, one towards the front."""
    before = (size - len(row)) // 2
    return np.pad(row, (before, size - len(row) - before))
