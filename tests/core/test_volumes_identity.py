"""What names a volume in caches, and where one without an affine lies."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from conv3d_core.volumes import Volume, read_volume, write_nifti

BASE = Volume(np.ones((2, 3, 4, 1), np.float32), "a", (1.0, 2.0, 3.0), np.eye(4), "uint8", "file", ("note",))


@pytest.mark.parametrize(
    "change",
    [
        {"array": np.zeros((2, 3, 4, 1), np.float32)},
        {"name": "b"},
        {"spacing_mm": (1.0, 2.0, 4.0)},
        {"spacing_mm": None},
        {"affine": np.diag([1.0, 1.0, 2.0, 1.0])},
        {"affine": None},
        {"dtype": "int16"},
        {"source": "other"},
        {"notes": ()},
    ],
    ids=lambda change: next(iter(change)),
)
def test_every_field_is_part_of_the_identity(change: dict[str, Any]) -> None:
    assert replace(BASE, **change).identity != BASE.identity


def test_equal_volumes_have_one_identity() -> None:
    assert replace(BASE).identity == BASE.identity


def test_a_spacing_alone_places_a_volume() -> None:
    volume = replace(BASE, affine=None, spacing_mm=(3.0, 2.0, 0.5))
    assert volume.world_affine is not None
    back = read_volume(write_nifti(volume.array, volume.world_affine))
    assert back.spacing_mm == (3.0, 2.0, 0.5)
    np.testing.assert_array_equal(back.array, volume.array)
    np.testing.assert_array_equal(BASE.world_affine, np.eye(4))
    assert replace(volume, spacing_mm=None).world_affine is None
