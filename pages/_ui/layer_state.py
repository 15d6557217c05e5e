"""What the widgets of the sidebar show for a layer: key -> value."""

from __future__ import annotations

from typing import Any

from conv3d_core.axis import AXES
from conv3d_core.scenarios import Scenario
from conv3d_core.spec import QUERY_KEYS, Triple


def per_axis(name: str, value: int | Triple) -> dict[str, Any]:
    """One field where the axes are alike, else three."""
    key = QUERY_KEYS[name]
    sizes = (value,) * len(AXES) if isinstance(value, int) else value
    if len(set(sizes)) == 1:
        return {f"{key}3": False, key: sizes[0]}
    return {f"{key}3": True, **{f"{key}{letter.lower()}": size for letter, size in zip(AXES, sizes, strict=True)}}


def of_scenario(scenario: Scenario) -> dict[str, Any]:
    """All parameters along the axes; channels, bias and weights stay."""
    state: dict[str, Any] = {}
    for name in QUERY_KEYS:
        state |= per_axis(name, getattr(scenario, name))
    return state
