"""Named kernels: the arrays of the textbook at size 3, sums and responses at every size."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import ndimage

from conv3d_core import ConvSpec, SpecError, kernels
from conv3d_core.kernels import EACH, KERNELS, RANDOM, exists, factors, kernel_names, kernel_weights, taps
from conv3d_core.spec import Triple
from tests.core.strategies import specs

THREE = (3, 3, 3)
AVERAGES = ("identity", "box", "gaussian")
DIFFERENCES = tuple(name for name in KERNELS if name not in AVERAGES)
NEEDS = {"sobel_d": (0, 2), "sobel_h": (1, 2), "sobel_w": (2, 2), "depth_difference": (0, 2)}


def possible(name: str, size: Triple) -> bool:
    if name == "laplacian":
        return max(size) >= 3
    along, least = NEEDS.get(name, (0, 1))
    return size[along] >= least


def test_the_names_are_the_ones_of_the_issue() -> None:
    assert list(KERNELS) == [
        "identity", "box", "gaussian", "sobel_d", "sobel_h", "sobel_w", "laplacian", "depth_difference",
    ]  # fmt: skip
    assert all(kernel.title and kernel.purpose for kernel in KERNELS.values())
    assert not any("slice" in kernel.purpose for kernel in KERNELS.values()), "a cut is a plane here"
    assert not {RANDOM, EACH} & set(KERNELS)


# --- the textbook ---------------------------------------------------------------------------------------------------


def test_identity() -> None:
    expected = np.zeros(THREE)
    expected[1, 1, 1] = 1
    np.testing.assert_array_equal(taps("identity", THREE), expected)


def test_box() -> None:
    np.testing.assert_array_equal(taps("box", THREE), np.full(THREE, np.float32(1 / 27)))


def test_gaussian() -> None:
    expected = [
        [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
        [[2, 4, 2], [4, 8, 4], [2, 4, 2]],
        [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
    ]
    np.testing.assert_array_equal(taps("gaussian", THREE) * 64, expected)
    np.testing.assert_array_equal(taps("gaussian", (1, 1, 5))[0, 0] * 16, [1, 4, 6, 4, 1])


def test_sobel() -> None:
    expected = np.array(
        [
            [[-1, -2, -1], [-2, -4, -2], [-1, -2, -1]],
            [[0, 0, 0], [0, 0, 0], [0, 0, 0]],
            [[1, 2, 1], [2, 4, 2], [1, 2, 1]],
        ]
    )
    np.testing.assert_array_equal(taps("sobel_d", THREE), expected)
    np.testing.assert_array_equal(taps("sobel_h", THREE), expected.transpose(1, 0, 2))
    np.testing.assert_array_equal(taps("sobel_w", THREE), expected.transpose(1, 2, 0))
    np.testing.assert_array_equal(taps("sobel_w", (1, 5, 5))[0, 2], [-6, -12, 0, 12, 6])


def test_laplacian() -> None:
    expected = np.zeros(THREE)
    expected[1, 1, :] = expected[1, :, 1] = expected[:, 1, 1] = 1
    expected[1, 1, 1] = -6
    np.testing.assert_array_equal(taps("laplacian", THREE), expected)
    np.testing.assert_array_equal(taps("laplacian", (1, 3, 3))[0], [[0, 1, 0], [1, -4, 1], [0, 1, 0]])
    np.testing.assert_array_equal(taps("laplacian", (5, 5, 5))[1:4, 1:4, 1:4], expected)


def test_depth_difference() -> None:
    expected = np.zeros(THREE)
    expected[0, 1, 1], expected[1, 1, 1] = -1, 1
    np.testing.assert_array_equal(taps("depth_difference", THREE), expected)
    np.testing.assert_array_equal(taps("depth_difference", (2, 1, 1)).ravel(), [-1, 1])


@pytest.mark.parametrize("name", ["sobel_d", "sobel_h", "sobel_w"])
def test_sobel_agrees_with_scipy(name: str) -> None:
    volume = np.random.default_rng(0).normal(size=(6, 7, 8))
    ours = ndimage.correlate(volume, taps(name, THREE), mode="constant")
    np.testing.assert_allclose(ours, ndimage.sobel(volume, axis="dhw".index(name[-1]), mode="constant"), atol=1e-6)


def test_laplacian_agrees_with_scipy() -> None:
    volume = np.random.default_rng(0).normal(size=(6, 7, 8))
    ours = ndimage.correlate(volume, taps("laplacian", THREE), mode="constant")
    np.testing.assert_allclose(ours, ndimage.laplace(volume, mode="constant"), atol=1e-6)


# --- every size -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", KERNELS)
def test_every_size_works_or_says_what_it_needs(name: str) -> None:
    for size in itertools.product(range(1, 8), repeat=3):
        assert exists(name, size) == possible(name, size)
        if possible(name, size):
            kernel = taps(name, size)
            assert kernel.shape == size
            assert kernel.dtype == np.float32
            assert kernel.sum(dtype=np.float64) == pytest.approx(1 if name in AVERAGES else 0, abs=1e-5)
            assert np.count_nonzero(kernel) > 0
        else:
            with pytest.raises(SpecError) as caught:
                taps(name, size)
            assert caught.value.field == "kernel_size"


@given(st.sampled_from(sorted(KERNELS)), st.tuples(*[st.integers(1, 6)] * 3))
def test_the_factors_multiply_to_the_taps(name: str, size: Triple) -> None:
    if not possible(name, size):
        return
    total = np.zeros(size)
    for d, h, w in factors(name, size):
        assert (len(d), len(h), len(w)) == size
        total += np.multiply.outer(np.multiply.outer(d, h), w)
    np.testing.assert_allclose(taps(name, size), total, rtol=1e-6)


@given(st.sampled_from(sorted(NEEDS)), st.tuples(*[st.integers(2, 6)] * 3))
def test_a_difference_answers_to_its_own_axis_only_and_upwards(name: str, size: Triple) -> None:
    along, _ = NEEDS[name]
    kernel = taps(name, size).astype(np.float64)
    slopes = [(kernel * np.indices(size)[axis]).sum() for axis in range(3)]
    assert slopes[along] > 0
    assert [slope for axis, slope in enumerate(slopes) if axis != along] == pytest.approx([0, 0], abs=1e-6)


@given(st.tuples(*[st.integers(1, 7)] * 3))
def test_a_laplacian_ignores_slopes_and_answers_to_curvature(size: Triple) -> None:
    if max(size) < 3:
        return
    kernel = taps("laplacian", size).astype(np.float64)
    for axis, length in enumerate(size):
        position = np.indices(size)[axis]
        assert (kernel * position).sum() == 0
        assert (kernel * position**2).sum() == (2 if length >= 3 else 0)


def test_large_kernels_stay_finite_or_are_refused() -> None:
    assert taps("gaussian", (1, 1, 1200)).sum() == pytest.approx(1, abs=1e-5)
    assert np.isfinite(taps("sobel_d", (40, 40, 40))).all()
    with pytest.raises(SpecError) as caught:
        taps("sobel_d", (60, 60, 60))
    assert str(caught.value) == (
        "kernel_size: Sobel D of 60x60x60 taps has weights beyond float32;"
        " use a smaller kernel_size, or another kernel."
    )
    with pytest.raises(SpecError, match="beyond float32"):
        taps("sobel_d", (3, 1, 1200))


@pytest.mark.parametrize("size", [(40, 40, 40), (43, 43, 43), (50, 50, 50), (1, 2, 1200), (135, 2, 2)])
@pytest.mark.parametrize("name", KERNELS)
def test_a_kernel_exists_exactly_where_it_can_be_had(name: str, size: Triple) -> None:
    if exists(name, size):
        assert np.isfinite(taps(name, size)).all()
    else:
        with pytest.raises(SpecError, match="kernel_size: "):
            taps(name, size)


def test_each_leaves_out_what_overflows() -> None:
    assert kernel_names("each", ConvSpec(1, 8, 50))[:5] == [
        "identity",
        "box",
        "gaussian",
        "laplacian",
        "depth_difference",
    ]
    with pytest.raises(SpecError, match="Sobel D of 50x50x50 taps has weights beyond float32"):
        kernel_weights("sobel_d", ConvSpec(1, 1, 50))


def test_a_million_taps_cost_no_more_than_their_number() -> None:
    size = (1, 1, 1_000_001)
    row = taps("gaussian", size)[0, 0]
    assert row.sum(dtype=np.float64) == pytest.approx(1, abs=1e-5)
    assert row.argmax() == 500_000
    # The spread of so many halves is normal, its variance a quarter of the number.
    assert row[500_000 + 500] / row[500_000] == pytest.approx(np.exp(-2 * 500**2 / 1_000_000), rel=1e-4)
    assert [len(factors(name, size)[0][2]) for name in ("identity", "box", "laplacian")] == [1_000_001] * 3
    with pytest.raises(SpecError, match="beyond float32"):
        factors("sobel_d", (3, 1, 1_000_001))


@pytest.mark.parametrize("size", [199, 200, 201, 202, 300])
def test_long_gaussians_are_the_short_ones_continued(size: int) -> None:
    row = np.array(factors("gaussian", (1, 1, size))[0][2])
    expected = [math.comb(size - 1, k) / 2 ** (size - 1) for k in range(size)]
    np.testing.assert_allclose(row, expected, rtol=1e-12)


@pytest.mark.parametrize(
    ("name", "size", "message", "axis"),
    [
        (
            "sobel_h",
            (3, 1, 3),
            "kernel_size: Sobel H compares voxels and needs 2 taps along H;"
            " use kernel_size >= 2 along H, or another kernel.",
            "H",
        ),
        (
            "depth_difference",
            (1, 3, 3),
            "kernel_size: Depth difference compares voxels and needs 2 taps along D;"
            " use kernel_size >= 2 along D, or another kernel.",
            "D",
        ),
        (
            "laplacian",
            (2, 2, 2),
            "kernel_size: Laplacian compares voxels and needs 3 taps along one axis at least;"
            " use kernel_size >= 3 along one axis at least, or another kernel.",
            None,
        ),
        (
            "prewitt",
            (3, 3, 3),
            "kernel: 'prewitt' is not a named kernel;"
            " use identity, box, gaussian, sobel_d, sobel_h, sobel_w, laplacian, depth_difference.",
            None,
        ),
    ],
)
def test_messages(name: str, size: Triple, message: str, axis: str | None) -> None:
    for ask in (taps, factors):
        with pytest.raises(SpecError) as caught:
            ask(name, size)
        assert str(caught.value) == message
        assert (caught.value.axis, caught.value.value) == (axis, name)


# --- a layer of them ------------------------------------------------------------------------------------------------


@given(st.sampled_from(sorted(KERNELS)), specs())
def test_weights_have_the_shape_of_the_layer_and_average_its_channels(name: str, spec: ConvSpec) -> None:
    if not possible(name, spec.kernel_size):
        return
    weight, bias = kernel_weights(name, spec)
    assert (weight.shape, weight.dtype) == (spec.weight_shape, np.float32)
    assert (bias.shape, bias.dtype) == ((spec.out_channels,), np.float32)
    assert not bias.any()
    for channel in range(spec.out_channels):
        np.testing.assert_allclose(weight[channel].sum(axis=-1), taps(name, spec.kernel_size), rtol=1e-6)
        assert (weight[channel] == weight[channel][..., :1]).all()


def test_each_channel_its_own_kernel() -> None:
    spec = ConvSpec(1, 10, 3)
    weight, _ = kernel_weights("each", spec)
    assert kernel_names("each", spec) == [*KERNELS, "identity", "box"]
    for channel, name in enumerate(kernel_names("each", spec)):
        np.testing.assert_array_equal(weight[channel, ..., 0], taps(name, THREE))


@given(specs())
def test_each_leaves_out_what_this_size_cannot_have(spec: ConvSpec) -> None:
    names = kernel_names("each", spec)
    assert len(names) == spec.out_channels
    assert all(possible(name, spec.kernel_size) for name in names)
    assert np.isfinite(kernel_weights("each", spec)[0]).all()


def test_a_kernel_is_computed_once_for_all_its_channels(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    monkeypatch.setattr(kernels, "taps", lambda name, size: (asked.append(name), taps(name, size))[1])
    weight, _ = kernel_weights("each", ConvSpec(2, 1000, 3))
    assert asked == list(KERNELS)
    np.testing.assert_array_equal(weight[803, ..., 1], taps("sobel_d", THREE) / 2)
    kernel_weights("box", ConvSpec(1, 1000, 3))
    assert asked == [*KERNELS, "box"]


def test_one_name_for_all_channels() -> None:
    assert kernel_names("box", ConvSpec(1, 3, 3)) == ["box", "box", "box"]
    with pytest.raises(SpecError, match=r"^kernel: 'all' is not a named kernel"):
        kernel_weights("all", ConvSpec(1, 1, 3))
    with pytest.raises(SpecError, match="Sobel D compares voxels"):
        kernel_weights("sobel_d", ConvSpec(1, 8, (1, 3, 3)))
