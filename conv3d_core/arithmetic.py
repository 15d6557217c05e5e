"""One output voxel written out: every product of its sum, so that the total can be followed by hand.

Only the taps of that voxel are gathered: the cost is that of the kernel, however large the volume is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from conv3d_core.errors import ShapeError
from conv3d_core.receptive_field import check_channel, check_output
from conv3d_core.spec import ConvSpec, Triple

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]
LARGEST = 10
# Of float32: half the distance from 1 to the next, the smallest number that it holds in full, and the largest.
_UNIT, _TINY, _MAX = 2.0**-24, float(np.finfo(np.float32).tiny), float(np.finfo(np.float32).max)


class Contribution(NamedTuple):
    """One product of the sum.

    Attributes:
        tap: (kd, kh, kw) of the kernel element.
        voxel: (d, h, w) of the input voxel under it; beyond the input where it is padding.
        channel: the input channel.
        value: of that voxel; 0 in the padding.
        weight: of that tap.
        product: value times weight.
        share: ``|product|`` over the sum of all ``|product|``, 0 to 1; NaN where that sum is not finite.
    """

    tap: Triple
    voxel: Triple
    channel: int
    value: float
    weight: float
    product: float
    share: float


@dataclass(frozen=True, slots=True, eq=False)
class Arithmetic:
    """The sum behind one output voxel.

    Attributes:
        rows: input indices under the taps per axis (D, H, W), also those in the padding.
        patch: what the taps read, float32 (KD, KH, KW, I); 0 in the padding.
        in_padding: which taps lie in the padding, bool (KD, KH, KW).
        kernel: the weights of the output channel, float32 (KD, KH, KW, I).
        products: patch times kernel, exact in float64, (KD, KH, KW, I).
        subtotals: their sums by kernel depth plane and input channel, float64 (KD, I).
        bias: of the output channel; None where the layer has none.
        total: subtotals and bias, summed in float64.
        magnitude: the sum of all ``|product|``.
        largest: the largest products by magnitude, never one that is 0. Those that are NaN come first.
    """

    rows: tuple[range, range, range]
    patch: Floats
    in_padding: NDArray[np.bool_]
    kernel: Floats
    products: Doubles
    subtotals: Doubles
    bias: float | None
    total: float
    magnitude: float
    largest: tuple[Contribution, ...]

    @property
    def rounding(self) -> float:
        """How far float32 can be from `total`, in whatever order it adds: ``(n + 1) u (sum |product| + |bias|)``.

        n is the number of products and u is 2**-24; products too small for float32 may be lost one by one.

        Source: Higham 2002, "Accuracy and stability of numerical algorithms", eq. 3.5.
        """
        terms = self.products.size
        return (terms + 1) * (_UNIT * (self.magnitude + abs(self.bias or 0)) + _TINY)

    @property
    def rest(self) -> float:
        """The sum of all products that are not among the `largest`."""
        with np.errstate(invalid="ignore"):
            return float(self.subtotals.sum() - sum(contribution.product for contribution in self.largest))

    def closes_with(self, value: float) -> bool:
        """Whether float32 may come to this value: within the rounding, alike not finite, or beyond its range.

        >>> row, spec = np.array([1, 2], np.float32).reshape(1, 1, 2, 1), ConvSpec(1, 1, (1, 1, 2), bias=False)
        >>> sum_ = arithmetic(spec, row, np.full(spec.weight_shape, 0.1, np.float32), None, (0, 0, 0), 0)
        >>> sum_.closes_with(0.3), sum_.closes_with(0.301)
        (True, False)
        """
        if np.isfinite(value):
            return bool(np.isfinite(self.total) and abs(value - self.total) <= self.rounding)
        return (
            repr(float(value)) == repr(self.total)
            or _MAX < self.magnitude + abs(self.bias or 0) + self.rounding < np.inf
        )


def arithmetic(
    spec: ConvSpec,
    array: Floats,
    weight: Floats,
    bias: Floats | None,
    output: Sequence[int],
    channel: int,
    largest: int = LARGEST,
) -> Arithmetic:
    """The patch, the kernel, their products and the sum of one output voxel.

    ``y[d, h, w, o] = b[o] + sum over kd, kh, kw, i of x[s d - p + dilation kd, ..., i] * w[o, kd, kh, kw, i]``, with
    zeros in the padding. As MLX does, it multiplies those, too: a weight that is not finite gives NaN there.

    Args:
        spec: the layer.
        array: the input, float32 (D, H, W, C).
        weight: float32 (O, KD, KH, KW, I); bias: float32 (O,), or None.
        output: (d, h, w) of the output voxel; channel: which of the output channels.
        largest: how many of the largest products to name.

    Raises:
        ShapeError: the input, the weight or the bias does not fit the layer, or there is no such voxel or channel.

    Source: Dumoulin & Visin 2016, chapter 2 (the geometry); MLX computes a cross-correlation.

    >>> spec = ConvSpec(1, 1, (1, 1, 3), padding=(0, 0, 1))
    >>> row = np.array([5, 7, 9], np.float32).reshape(1, 1, 3, 1)
    >>> kernel = np.array([1, 2, 3], np.float32).reshape(spec.weight_shape)
    >>> sum_ = arithmetic(spec, row, kernel, np.ones(1, np.float32), (0, 0, 0), 0)
    >>> sum_.products.ravel().tolist(), sum_.bias, sum_.total
    ([0.0, 10.0, 21.0], 1.0, 32.0)
    >>> sum_.largest[0].tap, sum_.largest[0].voxel, sum_.largest[0].product
    ((0, 0, 2), (0, 0, 1), 21.0)
    """
    spec.output_shape((1, *array.shape))
    size = array.shape[:3]
    check_output(spec, output, size)
    check_channel(spec, channel)
    _check_shape("weight", "(O, KD, KH, KW, I)", weight, spec.weight_shape)
    if bias is not None:
        _check_shape("bias", "(O,)", bias, (spec.out_channels,))

    d, h, w = (axis.taps(index) for axis, index in zip(spec.axes, output, strict=True))
    patch, in_padding = _gather(array, (d, h, w))
    kernel = weight[channel]
    # What is not finite is shown, not warned of.
    with np.errstate(invalid="ignore"):
        products = patch.astype(np.float64) * kernel
        subtotals = products.sum(axis=(1, 2))
        offset = None if bias is None else float(bias[channel])
        total = float(subtotals.sum() + (offset or 0))
    magnitudes = np.abs(products)
    magnitude = float(magnitudes.sum())
    found = []
    for kd, kh, kw, i in zip(*np.unravel_index(_order(magnitudes.ravel(), largest), products.shape), strict=True):
        product = float(products[kd, kh, kw, i])
        share = abs(product) / magnitude if np.isfinite(magnitude) else np.nan
        tap, voxel = (int(kd), int(kh), int(kw)), (d[kd], h[kh], w[kw])
        value, factor = float(patch[kd, kh, kw, i]), float(kernel[kd, kh, kw, i])
        found.append(Contribution(tap, voxel, int(i), value, factor, product, share))
    return Arithmetic((d, h, w), patch, in_padding, kernel, products, subtotals, offset, total, magnitude, tuple(found))


def _gather(array: Floats, rows: tuple[range, range, range]) -> tuple[Floats, NDArray[np.bool_]]:
    """What lies under the taps (KD, KH, KW, C), zeros in the padding, and which of them (KD, KH, KW) that is."""
    indices = [np.array(row, np.int64) for row in rows]
    outside = [(index < 0) | (index >= size) for index, size in zip(indices, array.shape, strict=False)]
    d, h, w = outside
    in_padding = d[:, None, None] | h[:, None] | w
    nearest = [index.clip(0, size - 1) for index, size in zip(indices, array.shape, strict=False)]
    patch = array[np.ix_(*nearest)]
    patch[in_padding] = 0
    return patch, in_padding


def _order(magnitudes: Doubles, count: int) -> NDArray[np.intp]:
    """Places of the largest, the largest first, of equal ones the first; none that is 0. NaN is the largest."""
    ranked = np.where(np.isnan(magnitudes), np.inf, magnitudes)
    if count < ranked.size:
        limit = np.partition(ranked, ranked.size - count)[ranked.size - count]
        above, equal = np.flatnonzero(ranked > limit), np.flatnonzero(ranked == limit)
        places = np.sort(np.concatenate([above, equal[: count - len(above)]]))
    else:
        places = np.arange(ranked.size)
    places = places[ranked[places] > 0]
    return np.asarray(places[np.argsort(-ranked[places], kind="stable")], np.intp)


def _check_shape(field: str, layout: str, array: Floats, wanted: tuple[int, ...]) -> None:
    if array.shape != wanted:
        problem = f"shape {array.shape} is not {layout} = {wanted}"
        raise ShapeError(field, problem, f"use shape {wanted}", value=array.shape)
