"""Settings that people have a name for."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from conv3d_core.spec import Triple

Value = int | Triple


class Scenario(NamedTuple):
    """What it is for, and the arguments of ``nn.Conv3d`` beside its channels; possible ones or not."""

    purpose: str
    kernel_size: Value
    stride: Value = 1
    padding: Value = 0
    dilation: Value = 1


SCENARIOS: Mapping[str, Scenario] = MappingProxyType(
    {
        "Halve": Scenario("Half as many outputs along each axis: stride 2.", 3, stride=2, padding=1),
        "Same": Scenario("As many outputs as inputs: padding 1 for a kernel of 3.", 3, padding=1),
        "Dilated": Scenario("A kernel of 3 that spans 5 voxels and leaves holes.", 3, padding=2, dilation=2),
        "Temporal (3, 1, 1)": Scenario(
            "Neighbours along depth alone, which is time in a video.", (3, 1, 1), padding=(1, 0, 0)
        ),
        "In-plane (1, 3, 3)": Scenario(
            "Neighbours in the plane alone, each plane by itself.", (1, 3, 3), padding=(0, 1, 1)
        ),
        "Pointwise": Scenario("No neighbours: each output is a mixture of one voxel's channels.", 1),
        "Break it": Scenario("A kernel that is dilated beyond the volume: what an error says here.", 3, dilation=100),
    }
)
