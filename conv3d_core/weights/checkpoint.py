"""The weights of a network by their names, as a value."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from conv3d_core.chain.layer import Framework

Array: TypeAlias = NDArray[Any]
# What the frameworks' own writers say of their safetensors files.
FRAMEWORKS: Mapping[str, Framework] = MappingProxyType({"pt": "torch", "mlx": "mlx"})


@dataclass(frozen=True, slots=True, eq=False)
class Checkpoint:
    """Arrays by name, of one framework's model.

    Attributes:
        arrays: "conv1.weight" and so on; floats are float32, all are read-only.
        framework: whose layout the file says that it is: "torch" has a convolution's weight as (O, I, KD, KH, KW),
            "mlx" as (O, KD, KH, KW, I). None where it says nothing, which is common: see `conv3d_layers`.
        left_out: names of arrays that are not here because their type is not read, or no layer has them.
        name: of the file, to be shown.
    """

    arrays: Mapping[str, Array]
    framework: Framework | None = None
    left_out: tuple[str, ...] = ()
    name: str = field(default="", kw_only=True)

    def __post_init__(self) -> None:
        frozen = {}
        for name, array in self.arrays.items():
            view = np.asarray(array).view()
            view.flags.writeable = False
            frozen[name] = view
        object.__setattr__(self, "arrays", MappingProxyType(frozen))
