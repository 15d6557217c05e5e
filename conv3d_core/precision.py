"""How far an output in half precision is from the same output in float32."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Rounding(NamedTuple):
    """The largest difference, and the largest value that it is to be compared with."""

    difference: float
    peak: float

    @property
    def share(self) -> float:
        """The difference as a share of the largest value; 0 where all values are 0."""
        return self.difference / self.peak if self.peak else 0.0


def rounding(values: Sequence[NDArray[np.float32]], exact: Sequence[NDArray[np.float32]]) -> Rounding:
    """How far arrays are from their exact counterparts; what is not finite in either is left out.

    >>> rounding([np.float32([1, 2, np.inf])], [np.float32([1, 4, 8])])
    Rounding(difference=2.0, peak=4.0)
    """
    difference = peak = 0.0
    for one, other in zip(values, exact, strict=True):
        finite = np.isfinite(one) & np.isfinite(other)
        if finite.any():
            difference = max(difference, float(np.abs(one[finite] - other[finite]).max()))
            peak = max(peak, float(np.abs(other[finite]).max()))
    return Rounding(difference, peak)
