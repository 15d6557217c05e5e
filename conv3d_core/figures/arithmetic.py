"""The numbers of a sum as text that stands in columns, and how strongly each cell is coloured."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

# Beyond these a number is written with an exponent: longer ones fill a cell and say no more.
_LARGE, _SMALL = 1e7, 1e-4


def aligned(values: ArrayLike, digits: int = 4) -> list[str]:
    """Numbers of one kind with as many decimals each, so that they stand in columns.

    The largest gets that many significant digits; decimals that are 0 in all of them are left out.

    Args:
        values: any shape, read in C order.
        digits: significant digits of the largest.

    >>> aligned([1.5, -20, 0.25]), aligned([1 / 3, 2]), aligned([1234567.0, 0.1])
    (['1.50', '-20.00', '0.25'], ['0.333', '2.000'], ['1234567', '0'])
    >>> aligned([3e12, float("nan")]), aligned([float("-inf"), 1])
    (['3.000e+12', 'NaN'], ['-inf', '1'])
    """
    numbers = np.asarray(values, np.float64).ravel()
    finite = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)])
    largest = float(finite.max()) if finite.size else 0.0
    if largest and not _SMALL <= largest < _LARGE:
        texts = [f"{n:.{digits - 1}e}" if n else "0" for n in numbers.tolist()]
    else:
        decimals = max(0, digits - 1 - math.floor(math.log10(largest))) if largest else 0
        # + 0.0: a small negative number must not become "-0".
        texts = _without_common_zeros([f"{round(n, decimals) + 0.0:.{decimals}f}" for n in numbers.tolist()])
    return ["NaN" if text == "nan" else text for text in texts]


def strengths(values: ArrayLike) -> NDArray[np.float64]:
    """How large each number is beside the largest, 0 to 1, in C order; what is not finite counts as 0."""
    magnitudes = np.abs(np.asarray(values, np.float64).ravel())
    magnitudes = np.where(np.isfinite(magnitudes), magnitudes, 0)
    largest = magnitudes.max(initial=0)
    return magnitudes / largest if largest else magnitudes


def _without_common_zeros(texts: Sequence[str]) -> list[str]:
    decimals = [len(text.partition(".")[2].rstrip("0")) for text in texts]
    keep = max(decimals, default=0)
    return [
        f"{whole}.{rest[:keep]}" if keep and rest else whole for whole, _, rest in (t.partition(".") for t in texts)
    ]
