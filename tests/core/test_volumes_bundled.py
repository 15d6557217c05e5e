"""The bundled volumes, each by value, and their licences."""

import hashlib
import re
import subprocess
import sys

import numpy as np
import pytest

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import BUNDLED, DEFAULT_SAMPLE, load_sample, read_volume
from conv3d_core.volumes.bundled import FOLDER

SHAPES = {
    "mni152_t1_2mm": (94, 116, 98, 1),
    "mni152_t1_1mm": (189, 233, 197, 1),
    "epi_4d": (24, 96, 128, 2),
    "mr_series": (20, 256, 256, 1),
    "nuclei_3d": (31, 61, 57, 1),
    "dti_v1": (53, 128, 128, 3),
    "indian_pines": (200, 64, 64, 1),
    "impulse": (17, 17, 17, 1),
    "sphere_bar_step": (32, 32, 32, 1),
    "checkerboard": (16, 16, 16, 1),
    "gyroid": (48, 48, 48, 1),
    "ramp": (24, 24, 24, 1),
}


def test_the_list():
    assert list(BUNDLED) == list(SHAPES)
    assert next(iter(BUNDLED)) == DEFAULT_SAMPLE


@pytest.mark.parametrize("key", SHAPES)
def test_each_loads(key):
    sample, volume = BUNDLED[key], load_sample(key)
    assert volume.shape == SHAPES[key]
    assert volume.name == sample.title
    assert np.isfinite(volume.array).all()
    assert volume.source
    assert sample.description.endswith(".")
    assert "slice" not in sample.description, "a cut is a plane here"
    assert sample.channels.startswith("C is ")
    assert sample.kind == ("real" if sample.file else "synthetic")
    measured = ("mni152_t1_2mm", "mni152_t1_1mm", "epi_4d", "mr_series", "dti_v1")
    assert (volume.spacing_mm is None) == (key not in measured)


def test_an_unknown_key():
    with pytest.raises(
        VolumeError, match="volume: 'brain' is not bundled; use one of mni152_t1_2mm, mni152_t1_1mm, epi_4d"
    ):
        load_sample("brain")


def test_every_file_is_listed_with_its_checksum():
    text = (FOLDER.parent / "SOURCES.md").read_text()
    listed = dict(re.findall(r"^\| `(.+)` \| `([0-9a-f]{64})` \|$", text, re.MULTILINE))
    assert listed == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in FOLDER.iterdir()}
    for name in listed:
        assert name.startswith("LICENSE") or f"## {name}" in text
    assert {sample.file for sample in BUNDLED.values() if sample.file} <= set(listed)


def test_importing_reads_no_format_library():
    code = "import sys, conv3d_core.volumes as v; v.load_sample('ramp'); print(sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    for name in ("nibabel", "pydicom", "tifffile", "mlx", "streamlit"):
        assert f"'{name}'" not in loaded


def test_the_default_is_the_mean_of_the_full_one():
    whole = read_volume(FOLDER / "mri_mni152_t1_1mm.nii.gz")
    half = load_sample(DEFAULT_SAMPLE)
    np.testing.assert_array_equal(half.array[40, 50, 60], whole.array[80:82, 100:102, 120:122].mean(axis=(0, 1, 2)))
    np.testing.assert_allclose(half.affine @ [40, 50, 60, 1], whole.affine @ [80.5, 100.5, 120.5, 1])
    assert half.spacing_mm == (2, 2, 2)
    assert half.source.endswith("mean over 2^3 voxels")


def test_the_series_is_anisotropic():
    d, h, w = load_sample("mr_series").spacing_mm
    assert (round(d, 1), round(h, 2), round(w, 2)) == (7.0, 0.86, 0.86)


def test_the_fibre_directions_are_unit_vectors():
    lengths = np.linalg.norm(load_sample("dti_v1").array, axis=-1)
    np.testing.assert_allclose(lengths[lengths > 0.5], 1, atol=1e-3)


def test_impulse():
    array = load_sample("impulse").array
    assert np.argwhere(array).tolist() == [[8, 8, 8, 0]]
    assert array.sum() == 1


def test_sphere_bar_step():
    array = load_sample("sphere_bar_step").array[..., 0]
    assert set(np.unique(array)) == {0, 0.5, 0.75, 1}
    assert [array[10, 10, w] for w in (3, 4, 16, 17)] == [0, 1, 1, 0]
    assert (array == 1).sum() == 925  # lattice points within 6 of one of them
    assert (array[23, 9] == 0.75).all()
    assert (array == 0.75).sum() == 3 * 3 * 32
    assert [array[0, h, 0] for h in (23, 24, 31)] == [0, 0.5, 0.5]


def test_checkerboard():
    array = load_sample("checkerboard").array[..., 0]
    assert array[0, 0, 0] == 1
    for axis in range(3):
        np.testing.assert_array_equal(np.roll(array, 1, axis), -array)
    assert (array[::2, ::2, ::2] == 1).all()


def test_gyroid():
    array = load_sample("gyroid").array[..., 0]
    assert array[0, 0, 0] == 0
    assert array[6, 0, 0] == pytest.approx(1)  # sin(90) cos(0) + sin(0) cos(0) + sin(0) cos(90)
    assert array[3, 3, 3] == pytest.approx(1.5)  # three times sin(45) cos(45)
    for axis in range(3):
        np.testing.assert_allclose(np.roll(array, 24, axis), array, atol=1e-6)
    np.testing.assert_allclose(array.transpose(1, 2, 0), array, atol=1e-6)


def test_ramp():
    array = load_sample("ramp").array[..., 0]
    assert array[0, 0, 0] == 0
    for axis, step in enumerate((4, 2, 1)):
        assert (np.diff(array, axis=axis) == step).all()
