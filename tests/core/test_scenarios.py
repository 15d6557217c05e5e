"""Each named setting does what its name says."""

from __future__ import annotations

import pytest

from conv3d_core import ConvSpec, ShapeError
from conv3d_core.scenarios import SCENARIOS
from conv3d_core.spec import Shape
from conv3d_core.volumes import BUNDLED, load_sample

INPUT: Shape = (1, 24, 32, 40, 1)


def spec(name: str) -> ConvSpec:
    return ConvSpec(1, 1, *SCENARIOS[name][1:])


@pytest.mark.parametrize(
    ("name", "output"),
    [
        ("Halve", (1, 12, 16, 20, 1)),
        ("Same", INPUT),
        ("Dilated", INPUT),
        ("Temporal (3, 1, 1)", INPUT),
        ("In-plane (1, 3, 3)", INPUT),
        ("Pointwise", INPUT),
    ],
)
def test_it_gives_the_size_that_it_promises(name: str, output: Shape) -> None:
    assert spec(name).output_shape(INPUT) == output


def test_the_kernels_are_those_of_their_names() -> None:
    assert spec("Temporal (3, 1, 1)").kernel_size == (3, 1, 1)
    assert spec("In-plane (1, 3, 3)").kernel_size == (1, 3, 3)
    assert spec("Dilated").effective_kernel_size == (5, 5, 5)
    assert spec("Pointwise").kernel_size == (1, 1, 1)


def test_break_it_breaks_on_every_bundled_volume() -> None:
    for key in BUNDLED:
        with pytest.raises(ShapeError, match="effective kernel 201 does not fit"):
            ConvSpec.from_dict({**spec("Break it").to_dict(), "in_channels": load_sample(key).channels}).output_shape(
                (1, *load_sample(key).shape)
            )
