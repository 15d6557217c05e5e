"""Each row of the table of differences is asked of the real MLX and the real PyTorch, by the test of its name."""

from __future__ import annotations

import math

import mlx.core as mx
import mlx.nn as mlx
import numpy as np
import pytest

from conv3d_core.differences import DIFFERENCES

torch = pytest.importorskip("torch")
nn = torch.nn


def numbers(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=shape).astype(np.float32)


def both(mlx_layer, torch_layer, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The outputs for (N, D, H, W, C), both as that."""
    there = torch_layer(torch.from_numpy(x).permute(0, 4, 1, 2, 3)).detach()
    return np.array(mlx_layer(mx.array(x))), there.permute(0, 2, 3, 4, 1).numpy()


class TestRows:
    def test_input_layout(self) -> None:
        assert mlx.Conv3d(2, 3, 1)(mx.zeros((1, 4, 5, 6, 2))).shape == (1, 4, 5, 6, 3)
        assert nn.Conv3d(2, 3, 1)(torch.zeros(1, 2, 4, 5, 6)).shape == (1, 3, 4, 5, 6)
        x = torch.zeros(1, 2, 4, 5, 6)
        assert x.permute(0, 2, 3, 4, 1).shape == (1, 4, 5, 6, 2)
        assert mx.zeros((1, 4, 5, 6, 2)).transpose(0, 4, 1, 2, 3).shape == x.shape

    def test_weight_layout(self) -> None:
        here, there = mlx.Conv3d(2, 3, (4, 5, 6)), nn.Conv3d(2, 3, (4, 5, 6))
        assert here.weight.shape == (3, 4, 5, 6, 2)
        assert there.weight.shape == (3, 2, 4, 5, 6)
        here.weight = mx.array(there.weight.detach().permute(0, 2, 3, 4, 1).numpy())
        here.bias = mx.array(there.bias.detach().numpy())
        np.testing.assert_allclose(*both(here, there, numbers(1, 6, 6, 6, 2)), rtol=1e-5, atol=1e-5)
        assert here.weight.transpose(0, 4, 1, 2, 3).shape == there.weight.shape

    def test_transposed_weight_layout(self) -> None:
        here, there = mlx.ConvTranspose3d(2, 3, (4, 5, 6)), nn.ConvTranspose3d(2, 3, (4, 5, 6))
        assert here.weight.shape == (3, 4, 5, 6, 2)
        assert there.weight.shape == (2, 3, 4, 5, 6)
        here.weight = mx.array(there.weight.detach().permute(1, 2, 3, 4, 0).numpy())
        here.bias = mx.array(there.bias.detach().numpy())
        np.testing.assert_allclose(*both(here, there, numbers(1, 2, 2, 2, 2)), rtol=1e-5, atol=1e-5)
        assert here.weight.transpose(4, 0, 1, 2, 3).shape == there.weight.shape

    def test_bias_start(self) -> None:
        bound = 1 / math.sqrt(2 * 27)
        here, there = mlx.Conv3d(2, 500, 3), nn.Conv3d(2, 500, 3)
        assert not np.array(here.bias).any()
        for drawn in (there.bias, there.weight, torch.from_numpy(np.array(here.weight))):
            assert 0.95 * bound < drawn.abs().max() <= bound * (1 + 1e-6)

    def test_random_seed(self) -> None:
        mx.random.seed(0)
        torch.manual_seed(0)
        here, there = mlx.Conv3d(1, 1, 3), nn.Conv3d(1, 1, 3)
        assert not np.allclose(np.array(here.weight).ravel(), there.weight.detach().numpy().ravel())

    def test_padding_words(self) -> None:
        layer = mlx.Conv3d(1, 1, 3, padding="same")
        with pytest.raises(TypeError):
            layer(mx.zeros((1, 5, 5, 5, 1)))
        assert nn.Conv3d(1, 1, 3, padding="same", dilation=2)(torch.zeros(1, 1, 5, 5, 5)).shape == (1, 1, 5, 5, 5)
        assert mlx.Conv3d(1, 1, 3, padding=2 * (3 - 1) // 2, dilation=2)(mx.zeros((1, 5, 5, 5, 1))).shape[1] == 5
        with pytest.raises(ValueError, match="same"):
            nn.Conv3d(1, 1, 3, padding="same", stride=2)

    @pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
    def test_padding_even(self) -> None:
        here, there = mlx.Conv3d(1, 1, 2), nn.Conv3d(1, 1, 2, padding="same")
        assert {mlx.Conv3d(1, 1, 2, padding=p)(mx.zeros((1, 5, 5, 5, 1))).shape[1] for p in (0, 1)} == {4, 6}
        here.weight = mx.array(there.weight.detach().permute(0, 2, 3, 4, 1).numpy())
        here.bias = mx.array(there.bias.detach().numpy())
        widths = [(0, 0), (0, 1), (0, 1), (0, 1), (0, 0)]
        ours, theirs = both(lambda x: here(mx.pad(x, widths)), there, numbers(1, 5, 5, 5, 1))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

    def test_padding_modes(self) -> None:
        with pytest.raises(TypeError):
            mlx.Conv3d(1, 1, 3, padding_mode="reflect")
        x = numbers(1, 1, 4, 4, 4)
        widths = [(0, 0), (0, 0), (1, 1), (1, 1), (1, 1)]
        for theirs, ours in (("reflect", "reflect"), ("replicate", "edge")):
            padded = torch.nn.functional.pad(torch.from_numpy(x), (1,) * 6, mode=theirs)
            np.testing.assert_array_equal(np.array(mx.pad(mx.array(x), widths, mode=ours)), padded.numpy())
            nn.Conv3d(1, 1, 3, padding=1, padding_mode=theirs)
        nn.Conv3d(1, 1, 3, padding=1, padding_mode="circular")
        with pytest.raises(ValueError, match="wrap"):
            mx.pad(mx.array(x), widths, mode="wrap")

    def test_padding_negative(self) -> None:
        here, there = mlx.Conv3d(1, 1, 1, padding=-1), nn.Conv3d(1, 1, 1, padding=-1)
        assert here(mx.zeros((1, 5, 5, 5, 1))).shape == (1, 3, 3, 3, 1)
        with pytest.raises(RuntimeError, match="negative padding"):
            there(torch.zeros(1, 1, 5, 5, 5))

    def test_groups(self) -> None:
        with pytest.raises(TypeError, match="groups"):
            mlx.Conv3d(4, 4, 3, groups=2)
        assert nn.Conv3d(4, 4, 3, groups=2).weight.shape == (4, 2, 3, 3, 3)

    def test_unbatched_input(self) -> None:
        layer = mlx.Conv3d(1, 2, 3)
        with pytest.raises(ValueError):
            layer(mx.zeros((5, 5, 5, 1)))
        assert layer(mx.zeros((5, 5, 5, 1))[None])[0].shape == (3, 3, 3, 2)
        assert nn.Conv3d(1, 2, 3)(torch.zeros(1, 5, 5, 5)).shape == (2, 3, 3, 3)

    def test_too_small_input(self) -> None:
        # Not evaluated: that would read the memory.
        assert mlx.Conv3d(1, 1, 3, stride=2)(mx.zeros((1, 2, 2, 2, 1))).shape == (1, 1, 1, 1, 1)
        with pytest.raises(RuntimeError, match="Kernel size can't be greater than actual input size"):
            nn.Conv3d(1, 1, 3, stride=2)(torch.zeros(1, 1, 2, 2, 2))

    def test_lazy_evaluation(self) -> None:
        # 4 TiB that are never made.
        assert mlx.Conv3d(1, 1, 3)(mx.zeros((1, 1024, 1024, 1024, 1))[:, :, :, :, :]).shape[1] == 1022
        x = torch.ones(1, 1, 3, 3, 3)
        layer = nn.Conv3d(1, 1, 3)
        y = layer(x)
        before = y.clone()
        with torch.no_grad():
            x.zero_()
        assert torch.equal(y, before)
        assert not torch.equal(layer(x), before)

    def test_half_precision_input(self) -> None:
        layer = mlx.Conv3d(1, 1, 3)
        x = mx.zeros((1, 3, 3, 3, 1), mx.float16)
        assert layer(x).dtype == mx.float32
        layer.set_dtype(mx.float16)
        assert layer(x).dtype == mx.float16
        with pytest.raises(RuntimeError):
            nn.Conv3d(1, 1, 3)(torch.zeros(1, 1, 3, 3, 3, dtype=torch.float16))

    def test_integer_input(self) -> None:
        with pytest.raises(ValueError, match="floating point types"):
            mlx.Conv3d(1, 1, 3)(mx.zeros((1, 3, 3, 3, 1), mx.int32))
        with pytest.raises(RuntimeError):
            nn.Conv3d(1, 1, 3)(torch.zeros(1, 1, 3, 3, 3, dtype=torch.int32))

    def test_double_input(self) -> None:
        x = np.zeros((1, 1, 3, 3, 3))
        assert mx.array(x).dtype == mx.float32
        assert torch.from_numpy(x).dtype == torch.float64
        with pytest.raises(RuntimeError):
            nn.Conv3d(1, 1, 3)(torch.from_numpy(x))
        nn.Conv3d(1, 1, 3)(torch.from_numpy(x).float())

    def test_index_out_of_bounds(self) -> None:
        assert mx.zeros((4,))[5].shape == ()
        with pytest.raises(IndexError):
            torch.zeros(4)[5]

    def test_boolean_mask(self) -> None:
        x = numbers(8)
        with pytest.raises(ValueError, match="boolean"):
            mx.array(x)[mx.array(x) > 0]
        there = torch.from_numpy(x)
        np.testing.assert_array_equal(there[there > 0].numpy(), x[x > 0])

    def test_flatten_order(self) -> None:
        x = np.arange(16).reshape(1, 2, 2, 2, 2)
        here = np.array(mx.flatten(mx.array(x), 1))[0]
        there = nn.Flatten()(torch.from_numpy(x).permute(0, 4, 1, 2, 3)).numpy()[0]
        assert list(here[:2]) == list(x[0, 0, 0, 0])
        assert list(there[:8]) == list(x[0, ..., 0].ravel())
        np.testing.assert_array_equal(mx.flatten(mx.array(x).transpose(0, 4, 1, 2, 3), 1)[0], there)

    def test_batch_norm(self) -> None:
        x = numbers(2, 3, 3, 3, 4)
        with pytest.raises(ValueError, match="2, 3 or 4 dimensions"):
            mlx.BatchNorm(4)(mx.array(x))
        ours, theirs = both(lambda x: mlx.BatchNorm(4)(x.reshape(2, 27, 4)).reshape(x.shape), nn.BatchNorm3d(4), x)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)

    def test_group_norm(self) -> None:
        x = numbers(1, 3, 3, 3, 4)
        ours, theirs = both(mlx.GroupNorm(2, 4), nn.GroupNorm(2, 4), x)
        assert not np.allclose(ours, theirs, atol=1e-3)
        mixed, _ = both(mlx.GroupNorm(2, 4), nn.GroupNorm(2, 4), x[..., [0, 2, 1, 3]])
        np.testing.assert_allclose(mixed[..., [0, 2, 1, 3]], theirs, rtol=1e-5, atol=1e-5)
        same, _ = both(mlx.GroupNorm(2, 4, pytorch_compatible=True), nn.GroupNorm(2, 4), x)
        np.testing.assert_allclose(same, theirs, rtol=1e-5, atol=1e-5)

    def test_pooling_padding(self) -> None:
        assert mlx.MaxPool3d(2, padding=2)(mx.zeros((1, 4, 4, 4, 1))).shape == (1, 4, 4, 4, 1)
        with pytest.raises(RuntimeError, match="half of effective kernel size"):
            nn.MaxPool3d(2, padding=2)(torch.zeros(1, 1, 4, 4, 4))

    def test_pooling_options(self) -> None:
        for name in ("ceil_mode", "dilation"):
            with pytest.raises(TypeError, match=name):
                mlx.MaxPool3d(2, **{name: 2})
        with pytest.raises(TypeError, match="count_include_pad"):
            mlx.AvgPool3d(2, count_include_pad=False)
        nn.MaxPool3d(2, ceil_mode=True, dilation=2)
        ours, theirs = both(mlx.AvgPool3d(2, padding=1), nn.AvgPool3d(2, padding=1), numbers(1, 4, 4, 4, 1))
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        ones = mx.ones((1, 4, 4, 4, 1))
        inside, theirs = both(
            lambda x: mlx.AvgPool3d(2, padding=1)(x) / mlx.AvgPool3d(2, padding=1)(ones),
            nn.AvgPool3d(2, padding=1, count_include_pad=False),
            numbers(1, 4, 4, 4, 1),
        )
        np.testing.assert_allclose(inside, theirs, rtol=1e-5, atol=1e-5)

    def test_pooling_a_slice(self) -> None:
        x = mx.array(numbers(1, 4, 4, 4, 2))
        y = mlx.MaxPool3d(2, stride=1)(x[..., :1])
        with pytest.raises(RuntimeError, match="row contiguous"):
            mx.eval(y)
        mx.eval(mlx.MaxPool3d(2, stride=1)(mx.contiguous(x[..., :1])))
        nn.MaxPool3d(2, stride=1)(torch.zeros(1, 2, 4, 4, 4)[:, :1])

    def test_transposed_arguments(self) -> None:
        here = mlx.ConvTranspose3d(1, 1, 3, 2, 0, 1, 1, False)
        assert (here.dilation, here.output_padding, "bias" in here) == (1, (1, 1, 1), False)
        there = nn.ConvTranspose3d(1, 1, 3, 2, 0, 1, 1, False, 1)
        assert (there.output_padding, there.groups, there.bias, there.dilation) == ((1, 1, 1), 1, None, (1, 1, 1))

    def test_transposed_padding(self) -> None:
        def size(padding: int) -> tuple[int, int]:
            arguments = {"stride": 3, "padding": padding}
            here = mlx.ConvTranspose3d(1, 1, 2, **arguments)(mx.zeros((1, 8, 8, 8, 1)))
            return here.shape[1], nn.ConvTranspose3d(1, 1, 2, **arguments)(torch.zeros(1, 1, 8, 8, 8)).shape[2]

        assert [size(padding) for padding in (0, 1, 2, 3)] == [(23, 23), (21, 21), (15, 19), (9, 17)]

    def test_upsample_names(self) -> None:
        x = numbers(1, 3, 3, 3, 1)
        for corners in (False, True):
            ours, theirs = both(
                mlx.Upsample(2, mode="linear", align_corners=corners),
                nn.Upsample(scale_factor=2, mode="trilinear", align_corners=corners),
                x,
            )
            np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-5)
        assert mlx.Upsample(2, mode="cubic")(mx.array(x)).shape == (1, 6, 6, 6, 1)
        with pytest.raises(NotImplementedError):
            nn.Upsample(scale_factor=2, mode="bicubic")(torch.zeros(1, 1, 3, 3, 3))

    def test_upsample_broken_factor(self) -> None:
        x = np.arange(3, dtype=np.float32).reshape(1, 3, 1, 1, 1)
        ours, theirs = both(mlx.Upsample((1.5, 1, 1)), nn.Upsample(scale_factor=(1.5, 1, 1)), x)
        assert list(ours.ravel()) == [0, 1, 1, 2]
        assert list(theirs.ravel()) == [0, 0, 1, 2]

    def test_loose_loading(self) -> None:
        here, there = mlx.Conv3d(1, 1, 3), nn.Conv3d(1, 1, 3)
        here.load_weights([("weight", mx.zeros((1, 5, 5, 5, 1)))], strict=False)
        assert here.weight.shape == (1, 5, 5, 5, 1)
        with pytest.raises(RuntimeError, match="size mismatch"):
            there.load_state_dict({"weight": torch.zeros(1, 1, 5, 5, 5)}, strict=False)
        with pytest.raises(ValueError):
            here.load_weights([("weight", mx.zeros((1, 3, 3, 3, 1)))])


def test_every_row_has_its_test_and_every_test_its_row() -> None:
    tests = [name.removeprefix("test_") for name in vars(TestRows) if name.startswith("test_")]
    assert tests == [row.key for row in DIFFERENCES]
    for row in DIFFERENCES:
        assert all(row)
