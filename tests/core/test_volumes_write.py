"""Results written out: they come back, with nibabel too, and lie where the layer's windows lie."""

import gzip
import re

import nibabel
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.axis import Axis
from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Volume, load_sample, output_affine, read_volume, write_nifti

# (d, h, w) rise to superior, posterior, left, a little tilted, as every medical file is read here.
LPS = np.array([[0, 0, -2.0, 90], [-0.3, -3, 0, 80], [4, -0.2, 0, -70], [0, 0, 0, 1]])


@pytest.mark.parametrize("channels", [1, 3])
def test_it_comes_back(channels):
    array = np.random.default_rng(0).normal(size=(3, 4, 5, channels)).astype(np.float32)
    volume = read_volume(write_nifti(array, LPS))
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.affine, LPS, atol=1e-5)


@pytest.mark.parametrize("channels", [1, 3])
def test_nibabel_reads_the_same(channels):
    array = np.random.default_rng(0).normal(size=(3, 4, 5, channels)).astype(np.float32)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(write_nifti(array, LPS)))
    assert image.shape == ((5, 4, 3) if channels == 1 else (5, 4, 3, 3))
    assert image.get_data_dtype() == np.float32
    assert image.header.get_xyzt_units()[0] == "mm"
    spacing = np.linalg.norm(LPS[:3, :3], axis=0)
    np.testing.assert_allclose(image.header.get_zooms()[:3], spacing[::-1], rtol=1e-6)
    values = image.get_fdata(dtype=np.float32)
    for d, h, w in [(0, 0, 0), (2, 3, 4), (1, 2, 3)]:
        np.testing.assert_array_equal(np.atleast_1d(values[w, h, d]), array[d, h, w])
        np.testing.assert_allclose(image.affine @ [w, h, d, 1], LPS @ [d, h, w, 1], rtol=1e-6)


def test_real_volumes_come_back():
    for key in ("epi_4d", "mni152_t1_2mm"):
        volume = load_sample(key)
        again = read_volume(write_nifti(volume.array, volume.affine))
        assert again.digest == volume.digest
        np.testing.assert_allclose(again.affine, volume.affine, atol=1e-4)


def test_any_affine_keeps_voxels_in_place():
    """Read back along LPS axes, an array of other axes is turned, and each value is still at its place."""
    array = np.random.default_rng(0).random((3, 4, 5, 1)).astype(np.float32)
    affine = np.diag([2.0, 3, 4, 1])
    volume = read_volume(write_nifti(array, affine))
    assert volume.directions == "SPL"
    index = np.rint(np.linalg.inv(volume.affine) @ affine @ [2, 1, 3, 1])[:3].astype(int)
    assert volume.array[tuple(index)] == array[2, 1, 3]


def test_without_an_affine():
    volume = read_volume(write_nifti(np.arange(24, dtype=np.float32).reshape(2, 3, 4, 1)))
    assert volume.array.ravel().tolist() == list(range(24))
    assert volume.spacing_mm == (1, 1, 1)
    assert volume.directions == "SPL"


def test_with_a_spacing_alone():
    volume = Volume(np.zeros((2, 3, 4, 1)), spacing_mm=(5, 2, 0.5))
    assert (volume.world_affine @ [1, 2, 3, 1]).tolist() == [-1.5, -4, 5, 1]


def test_more_voxels_than_nifti_1_counts():
    array = np.arange(40_000, dtype=np.float32).reshape(1, 1, -1, 1)
    volume = read_volume(write_nifti(array, LPS))
    assert volume.source.startswith("NIfTI-2")
    np.testing.assert_array_equal(volume.array, array)


def test_the_same_array_gives_the_same_bytes():
    array = np.ones((2, 2, 2, 1), np.float32)
    assert write_nifti(array, LPS) == write_nifti(array, LPS)


def test_what_is_refused():
    for shape in ((2, 2, 2), (2, 0, 2, 1)):
        message = f"array: {shape} is not a volume; use four sizes (D, H, W, C), each >= 1."
        with pytest.raises(VolumeError, match=re.escape(message)):
            write_nifti(np.zeros(shape, np.float32), LPS)


def test_a_result_may_be_larger_than_what_is_read(monkeypatch):
    monkeypatch.setattr("conv3d_core.volumes.limits.MAX_VOLUME_BYTES", 100)
    data = write_nifti(np.ones((4, 4, 4, 1), np.float32))
    assert nibabel.Nifti1Image.from_bytes(gzip.decompress(data)).shape == (4, 4, 4)


def test_output_affine_by_hand():
    axes = (Axis(3, padding=1), Axis(2, stride=2), Axis(3, stride=3, padding=2, dilation=2))
    grid = output_affine(np.eye(4), axes)
    assert np.diag(grid).tolist() == [1, 2, 3, 1]
    assert grid[:3, 3].tolist() == [0, 0.5, 0]


@given(
    st.tuples(*[st.builds(Axis, st.integers(1, 5), st.integers(1, 4), st.integers(0, 3), st.integers(1, 3))] * 3),
    st.tuples(*[st.integers(0, 20)] * 3),
)
def test_an_output_lies_at_the_mean_of_its_taps(axes, output):
    middle = [float(np.mean(axis.taps(index))) for axis, index in zip(axes, output, strict=True)]
    np.testing.assert_allclose(output_affine(LPS, axes) @ [*output, 1], LPS @ [*middle, 1], atol=1e-9)
