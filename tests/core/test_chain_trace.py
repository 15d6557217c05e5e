"""A chain traced by hand: numbers that anyone can check, errors in their words, and what happens to axes."""

from __future__ import annotations

import itertools
import re
from dataclasses import replace
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import Conv3dError, ConvSpec, ShapeError
from conv3d_core import shapes as conv_shapes
from conv3d_core.axis import Axis
from conv3d_core.chain import KINDS, Case, Chain, Framework, Layer, Passed
from conv3d_core.chain.reach import Resampled, Spread
from conv3d_core.chain.trace import Report, trace, window
from conv3d_core.receptive_field import receptive_field
from tests.core.chain_strategies import layers_and_shapes
from tests.core.strategies import specs


def layer(kind: str, **arguments: Any) -> Layer:
    return Layer(kind, arguments)


def conv(inputs: int, outputs: int, kernel_size: Any, **arguments: Any) -> Layer:
    return layer("Conv3d", in_channels=inputs, out_channels=outputs, kernel_size=kernel_size, **arguments)


def traced(shape: Any, *layers: Layer, framework: Framework = "mlx") -> Report:
    return trace(Case(Chain(layers, framework), shape))


def error_of(report: Report) -> Conv3dError:
    assert report.error is not None
    return report.error


def shapes_of(report: Report) -> list[tuple[int, ...]]:
    assert report.error is None, report.error
    return [row.output_shape for row in report.rows]


def c3d() -> list[Layer]:
    """Tran et al. 2015, "Learning spatiotemporal features with 3D convolutional networks", up to its last pooling."""
    blocks: list[tuple[tuple[int, ...], dict[str, Any]]] = [
        ((64,), {"kernel_size": (1, 2, 2), "stride": (1, 2, 2)}),
        ((128,), {"kernel_size": 2}),
        ((256, 256), {"kernel_size": 2}),
        ((512, 512), {"kernel_size": 2}),
        ((512, 512), {"kernel_size": 2, "padding": (0, 1, 1)}),
    ]
    layers, channels = [], 3
    for convolutions, pooling in blocks:
        for outputs in convolutions:
            layers += [conv(channels, outputs, 3, padding=1), layer("ReLU")]
            channels = outputs
        layers.append(layer("MaxPool3d", **pooling))
    return layers


class TestByHand:
    def test_one_layer(self) -> None:
        report = traced((1, 32, 32, 32, 1), conv(1, 8, 3, stride=2, padding=1))
        (row,) = report.rows
        assert (row.input_shape, row.output_shape, row.letters) == ((1, 32, 32, 32, 1), (1, 16, 16, 16, 8), "NDHWC")
        assert (row.parameters, row.macs) == (27 * 8 + 8, 16**3 * 8 * 27)
        assert (row.output_bytes, row.unfolded_bytes) == (16**3 * 8 * 4, 16**3 * 27 * 4)
        assert row.reach is not None
        assert (row.reach.size, row.reach.jump) == ((3, 3, 3), (2, 2, 2))
        assert report.failed is None
        assert report.output_shape == row.output_shape

    def test_the_layers_of_vgg_in_three_dimensions(self) -> None:
        block = []
        for inputs, outputs in ((1, 64), (64, 128)):
            for channels in (inputs, outputs):
                block += [conv(channels, outputs, 3, padding=1), layer("ReLU")]
            block.append(layer("MaxPool3d", kernel_size=2))
        block += [layer("Flatten"), layer("Linear", input_dims=128 * 8**3, output_dims=10)]
        report = traced((2, 32, 32, 32, 1), *block)
        assert shapes_of(report)[4] == (2, 16, 16, 16, 64)
        assert shapes_of(report)[-3:] == [(2, 8, 8, 8, 128), (2, 65536), (2, 10)]
        assert [row.letters for row in report.rows[-3:]] == ["NDHWC", "NF", "NF"]
        # 3, 3, 5, 5, 6; then steps of 2: 10, 10, 14, 14, 16.
        assert [row.reach.size[0] for row in report.rows[:-2] if row.reach] == [3, 3, 5, 5, 6, 10, 10, 14, 14, 16]
        assert report.rows[-3].reach == ((16, 16, 16), (4, 4, 4))
        assert report.rows[-2].reach is None
        weights = 27 * (1 * 64 + 64 * 64 + 64 * 128 + 128 * 128) + 65536 * 10
        assert report.parameters == weights + 64 + 64 + 128 + 128 + 10
        assert report.rows[-1].macs == 2 * 655360

    def test_c3d(self) -> None:
        report = traced((1, 3, 16, 112, 112), *c3d(), framework="torch")
        assert shapes_of(report)
        pooled = [row.output_shape for row in report.rows if row.layer.kind == "MaxPool3d"]
        assert pooled == [
            (1, 64, 16, 56, 56),
            (1, 128, 8, 28, 28),
            (1, 256, 4, 14, 14),
            (1, 512, 2, 7, 7),
            (1, 512, 1, 4, 4),
        ]
        convolutions = [row for row in report.rows if row.layer.kind == "Conv3d"]
        assert (
            sum(row.parameters for row in convolutions)
            == 27 * (3 * 64 + 64 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 3 * 512 * 512)
            + 64
            + 128
            + 2 * 256
            + 4 * 512
        )

    def test_a_level_of_the_u_net(self) -> None:
        # Cicek et al. 2016: two convolutions, down by 2, two convolutions, up by 2.
        report = traced(
            (1, 132, 132, 116, 3),
            conv(3, 32, 3), layer("ReLU"), conv(32, 64, 3), layer("ReLU"), layer("MaxPool3d", kernel_size=2),
            conv(64, 64, 3), layer("ReLU"), conv(64, 128, 3), layer("ReLU"),
            layer("ConvTranspose3d", in_channels=128, out_channels=128, kernel_size=2, stride=2),
        )  # fmt: skip
        assert shapes_of(report)[4] == (1, 64, 64, 56, 64)
        assert shapes_of(report)[-1] == (1, 120, 120, 104, 128)
        last = report.rows[-1]
        assert last.parameters == 8 * 128 * 128 + 128
        assert last.macs == 60 * 60 * 52 * 8 * 128 * 128
        # Before: 1 + 2 + 2, + 1 by the pool, + 2*(2 + 2) = 14; upwards each output reads one of these.
        assert last.reach == ((14, 14, 14), (1, 1, 1))

    def test_peak_memory_is_that_of_the_layer_that_holds_most(self) -> None:
        spec, shape = ConvSpec(2, 8, 3, padding=1), (1, 8, 8, 8, 2)
        report = traced(shape, Layer("Conv3d", spec.to_dict()), layer("ReLU"))
        assert report.peak_bytes == report.rows[0].peak_bytes == conv_shapes.peak_bytes(spec, shape)
        assert report.rows[1].peak_bytes == 2 * 8**3 * 8 * 4
        assert report.output_bytes == 2 * 8**3 * 8 * 4

    def test_nothing_is_the_input(self) -> None:
        report = traced((4, 4))
        assert (report.rows, report.output_shape, report.peak_bytes, report.parameters) == ((), (4, 4), 0, 0)

    def test_what_was_passed_over_makes_the_rest_uncertain(self) -> None:
        layers = (layer("ReLU"), layer("Tanh"))
        for before, uncertain in ((0, [0, 1]), (1, [1]), (2, []), (None, [])):
            chain = Chain(layers, passed=(Passed(1, "attend(x)", "it is not known", before),))
            assert list(trace(Case(chain, (1, 2))).uncertain) == uncertain
        scaled = Chain(layers, passed=(Passed(1, "x * 2", "it changes values", 1, keeps_shape=True),))
        assert list(trace(Case(scaled, (1, 2))).uncertain) == []


class TestAxes:
    """Shapes are literal; letters follow them, and the receptive field follows the letters."""

    def test_after_a_transposition_a_layer_reads_the_axes_where_they_are(self) -> None:
        report = traced((1, 3, 8, 9, 10), layer("Transpose", axes=(0, 2, 3, 4, 1)), conv(3, 4, (3, 1, 1)))
        assert shapes_of(report) == [(1, 8, 9, 10, 3), (1, 6, 9, 10, 4)]
        assert [row.letters for row in report.rows] == ["NDHWC", "NDHWC"]
        assert report.rows[1].reach == ((3, 1, 1), (1, 1, 1))
        assert report.input_letters == "NCDHW"

    def test_axes_that_were_missing_are_there_once_a_layer_has_read_them(self) -> None:
        layers = (layer("ExpandDims", axis=0), layer("ReLU"), layer("ExpandDims", axis=-1), conv(1, 2, 3))
        report = traced((5, 6, 7), *layers)
        assert [row.letters for row in report.rows] == ["NDHW", "NDHW", "NDHWC", "NDHWC"]
        assert (report.output_shape, report.input_letters) == ((1, 3, 4, 5, 2), "DHW")
        torch = traced((5, 6, 7), layer("ExpandDims", axis=0), conv(1, 2, 3), framework="torch")
        assert [row.letters for row in torch.rows] == ["CDHW", "CDHW"]

    def test_the_same_axes_in_another_order_keep_their_receptive_field(self) -> None:
        report = traced(
            (1, 1, 8, 8, 8),
            conv(1, 1, (3, 1, 1)), layer("Transpose", axes=(0, 1, 4, 3, 2)), conv(1, 1, (5, 1, 1)),
            framework="torch",
        )  # fmt: skip
        assert [row.letters for row in report.rows] == ["NCDHW", "NCWHD", "NCWHD"]
        assert report.output_shape == (1, 1, 4, 8, 6)
        assert report.rows[2].reach == ((3, 1, 5), (1, 1, 1))

    def test_a_layer_that_reads_channels_as_depth_has_no_receptive_field(self) -> None:
        report = traced((1, 8, 8, 8, 8), conv(8, 8, 3), layer("Transpose", axes=(0, 4, 1, 2, 3)), conv(6, 1, 3))
        assert report.output_shape == (1, 6, 4, 4, 1)
        assert [row.letters for row in report.rows] == ["NDHWC", "NCDHW", "NDHWC"]
        assert [row.reach is None for row in report.rows] == [False, False, True]
        with pytest.raises(ShapeError, match=r"^layer: layer 2 gives"):
            window(report, 2, (0, 0, 0))

    def test_a_linear_takes_the_last_axis_whatever_it_is(self) -> None:
        for framework, letters in (("mlx", "NDHWC"), ("torch", "NCDHF")):
            report = traced(
                (2, 5, 6, 7, 4), layer("Linear", input_dims=4, output_dims=3, bias=False), framework=framework
            )
            assert (report.output_shape, report.rows[0].letters) == ((2, 5, 6, 7, 3), letters)
            assert (report.parameters, report.macs) == (12, 2 * 5 * 6 * 7 * 12)
            assert (report.rows[0].reach is None) == (framework == "torch")

    def test_an_array_without_a_batch_is_pytorchs_alone(self) -> None:
        assert traced((1, 8, 8, 8), conv(1, 2, 3), framework="torch").output_shape == (2, 6, 6, 6)
        error = error_of(traced((8, 8, 8, 1), conv(1, 2, 3)))
        assert str(error) == (
            "input: (8, 8, 8, 1) has 4 axes (is the batch axis missing?); use five sizes (N, D, H, W, C)."
        )

    def test_flattening_ends_the_receptive_field(self) -> None:
        report = traced((2, 3, 4, 4, 4), layer("Flatten", start_dim=2), framework="torch")
        assert (report.output_shape, report.rows[0].letters, report.rows[0].reach) == ((2, 3, 64), "NCF", None)
        assert traced((2, 3), layer("Flatten")).rows[0].letters == "NF"


class TestWholeAxes:
    def test_pooling_to_one_reads_all_voxels(self) -> None:
        layers = (conv(1, 16, 3), layer("AdaptiveAvgPool3d", output_size=1), conv(16, 4, 1))
        report = traced((2, 1, 10, 11, 12), *layers, framework="torch")
        assert shapes_of(report)[1:] == [(2, 16, 1, 1, 1), (2, 4, 1, 1, 1)]
        pooled = report.rows[1]
        assert (pooled.letters, pooled.parameters, pooled.macs) == ("NCDHW", 0, 0)
        assert pooled.reach == ((10, 11, 12), (8, 9, 10))
        assert pooled.peak_bytes == 4 * (2 * 16 * 8 * 9 * 10 + 2 * 16)
        assert report.rows[2].reach == ((10, 11, 12), (8, 9, 10))

    def test_parts_of_an_axis_that_does_not_divide_overlap(self) -> None:
        report = traced((1, 2, 7, 8, 3), layer("AdaptiveMaxPool3d", output_size=(3, None, 6)), framework="torch")
        assert report.output_shape == (1, 2, 3, 8, 6)
        # 0-2, 2-4, 4-6; each voxel; each voxel twice.
        assert [window(report, 0, (d, 0, 0)) for d in range(3)] == [
            ((first, first + 2), (0, 0), (0, 0)) for first in (0, 2, 4)
        ]
        assert report.rows[0].reach == ((3, 1, 1), (Fraction(7, 3), 1, Fraction(1, 2)))

    def test_a_mean_that_keeps_its_axes_reads_all_voxels(self) -> None:
        report = traced((1, 8, 9, 10, 1), conv(1, 4, 3), layer("Mean", axis=(1, 2, -2), keepdims=True))
        assert (report.output_shape, report.rows[1].letters) == ((1, 1, 1, 1, 4), "NDHWC")
        assert report.rows[1].reach == ((8, 9, 10), (6, 7, 8))

    def test_a_mean_takes_axes_away(self) -> None:
        layers = (conv(1, 4, 3), layer("Mean", axis=(1, 2, 3)), layer("Linear", input_dims=4, output_dims=2))
        report = traced((2, 8, 9, 10, 1), *layers)
        assert shapes_of(report)[1:] == [(2, 4), (2, 2)]
        assert [row.letters for row in report.rows] == ["NDHWC", "NC", "NC"]
        assert [row.reach is None for row in report.rows] == [False, True, True]
        depth = traced((2, 1, 8, 9, 10), layer("Max", axis=2), framework="torch")
        assert (depth.output_shape, depth.rows[0].letters) == ((2, 1, 9, 10), "NCHW")


class TestReach:
    @given(st.lists(specs(channels=1), min_size=1, max_size=4))
    def test_of_convolutions_it_is_that_of_the_stack(self, stack: list[ConvSpec]) -> None:
        size = 200
        report = traced((1, size, size, size, 1), *(Layer("Conv3d", spec.to_dict()) for spec in stack))
        assert report.error is None
        expected = receptive_field(stack)
        assert report.rows[-1].reach == (expected.size, expected.jump)
        assert window(report, len(stack) - 1, (1, 2, 3)) == expected.window((1, 2, 3))

    def test_between_the_taps_of_a_transposed_convolution_nothing_is_read(self) -> None:
        report = traced(
            (1, 4, 4, 4, 1), layer("ConvTranspose3d", in_channels=1, out_channels=1, kernel_size=1, stride=2)
        )
        assert window(report, 0, (0, 2, 4)) == ((0, 0), (1, 1), (2, 2))
        assert window(report, 0, (0, 1, 4)) is None
        assert report.rows[0].reach == ((1, 1, 1), (Fraction(1, 2),) * 3)

    def test_neighbours_of_a_place_on_a_voxel_may_reach_further(self) -> None:
        cubic = Resampled(Fraction(2, 5), Fraction(0), "cubic", Fraction(2))
        assert [cubic.window(output, output) for output in (0, 1, 5)] == [(0, 0), (-1, 2), (2, 2)]
        assert (cubic.window(0, 1), cubic.window(4, 5)) == ((-1, 2), (0, 3))
        smooth = Resampled(Fraction(2), Fraction(1, 2), "smooth", Fraction(2))
        assert smooth.window(0, 0) == (-1, 2)
        assert Resampled(Fraction(2), Fraction(0), "smooth", Fraction(2)).window(0, 0) == (-1, 1)

    def test_a_transposed_convolution_is_followed_tap_by_tap(self) -> None:
        for kernel, stride, padding, dilation in itertools.product(range(1, 5), range(1, 5), range(3), range(1, 5)):
            spread = Spread(Axis(kernel, stride, padding, dilation))
            reads: dict[int, list[int]] = {}
            for index, tap in itertools.product(range(-20, 30), range(kernel)):
                reads.setdefault(index * stride - padding + tap * dilation, []).append(index)
            for first, last in itertools.combinations_with_replacement(range(6), 2):
                found = [index for output in range(first, last + 1) for index in reads.get(output, [])]
                assert spread.window(first, last) == ((min(found), max(found)) if found else None)

    def test_numbers_without_bounds_take_no_time(self) -> None:
        huge = (2**20, 1, 1)
        layers = [
            layer("Upsample", scale_factor=(1.1, 1, 1), mode="linear"),
            layer(
                "ConvTranspose3d",
                in_channels=1, out_channels=1, kernel_size=(900, 1, 1), stride=(997, 1, 1), dilation=(1000, 1, 1),
            ),
            layer("MaxPool3d", kernel_size=(997, 1, 1)),
        ]  # fmt: skip
        report = traced((1, 1000, 1, 1, 1), *(layers * 2)[:5], conv(1, 1, huge, padding=huge))
        assert report.rows[4].reach is not None


class TestErrors:
    @pytest.mark.parametrize(
        ("framework", "shape", "made", "message", "field", "axis"),
        [
            pytest.param(
                "mlx",
                (1, 2, 9, 9, 1),
                conv(1, 1, 3, padding=1, dilation=2),
                "depth: effective kernel 5 does not fit the padded input of 4 (2 + 2*1); "
                "use depth >= 3, padding >= 2 or dilation 1.",
                "kernel_size",
                "D",
            ),
            pytest.param(
                "torch",
                (1, 1, 9, 2, 9),
                conv(1, 1, 3, padding=1, dilation=2),
                "height: effective kernel 5 does not fit the padded input of 4 (2 + 2*1); "
                "use height >= 3, padding >= 2 or dilation 1.",
                "kernel_size",
                "H",
            ),
            pytest.param(
                "torch",
                (1, 9, 9, 9, 1),
                conv(1, 1, 3),
                "in_channels: the layer takes 1 and the input (1, 9, 9, 9, 1) has 9; "
                "use in_channels=9, or an input whose axis 1 is 1; (N, D, H, W, C) is MLX's order: move axis 4 to 1 "
                "to get (1, 1, 9, 9, 9).",
                "in_channels",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 1, 9, 9, 9),
                layer("InstanceNorm", dims=1, affine=True),
                "dims: the layer takes 1 and the input (1, 1, 9, 9, 9) has 9; "
                "use dims=9, or an input whose last axis is 1; (N, C, D, H, W) is PyTorch's order: move axis 1 last "
                "to get (1, 9, 9, 9, 1).",
                "dims",
                None,
            ),
            pytest.param(
                "torch",
                (1, 1, 9, 9, 9),
                conv(1, 1, 3, padding="same", stride=2),
                "padding: 'same' does not go with stride (2, 2, 2); use stride 1, or numbers.",
                "padding",
                None,
            ),
            pytest.param(
                "torch",
                (1, 1, 9, 9, 3),
                conv(1, 1, 3, padding=3, padding_mode="reflect"),
                "width: padding 3 with padding_mode='reflect' does not fit an input of 3; "
                "use padding <= 2, width >= 4 or padding_mode='zeros'.",
                "padding",
                "W",
            ),
            pytest.param(
                "torch",
                (1, 4, 9, 9, 9),
                conv(4, 6, 3, groups=4),
                "groups: out_channels=6 is not a multiple of 4; use a divisor of both channels.",
                "groups",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 9, 9, 9, 1),
                conv(1, 1, 3, groups=2),
                "groups: Conv3d has no such argument; leave it out.",
                "groups",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 9, 9, 9, 1),
                layer("ReLU", inplace=True),
                "inplace: ReLU has no such argument; leave it out.",
                "inplace",
                None,
            ),
            pytest.param(
                "torch",
                (1, 1, 9, 9, 9),
                layer("MaxPool3d", kernel_size=3, padding=2),
                "padding: 2 along D is more than half of kernel_size 3; use at most 1.",
                "padding",
                "D",
            ),
            pytest.param(
                "torch",
                (1, 1, 2, 9, 9),
                layer("AvgPool3d", kernel_size=3, padding=1),
                "depth: kernel_size 3 is larger than the input of 2, and PyTorch does not count the padding; "
                "use kernel_size <= 2 or depth >= 3.",
                "kernel_size",
                "D",
            ),
            pytest.param(
                "mlx",
                (1, 9, 9, 2, 1),
                layer("MaxPool3d", kernel_size=3),
                "width: effective kernel 3 does not fit the padded input of 2 (2 + 2*0); "
                "use width >= 3, padding >= 1 or kernel_size <= 2.",
                "kernel_size",
                "W",
            ),
            pytest.param(
                "torch",
                (1, 1, 9, 9, 9),
                layer("ConvTranspose3d", in_channels=1, out_channels=1, kernel_size=3, stride=2, output_padding=2),
                "output_padding: 2 along D is not below the stride 2 or the dilation 1; use at most 1.",
                "output_padding",
                "D",
            ),
            pytest.param(
                "mlx",
                (1, 1, 9, 9, 1),
                layer("ConvTranspose3d", in_channels=1, out_channels=1, kernel_size=3, padding=2),
                "depth: padding 2 takes 2*2 from the 3 outputs (0*1 + 3) and leaves none; "
                "use padding <= 1 or depth >= 3.",
                "padding",
                "D",
            ),
            pytest.param(
                "mlx",
                (1, 9, 9, 9, 8),
                layer("BatchNorm", num_features=8),
                "input: (1, 9, 9, 9, 8) has 5 axes and BatchNorm takes 2, 3 or 4; "
                "use GroupNorm or InstanceNorm, or a BatchNorm on the array reshaped to (N, D*H*W, C).",
                "input",
                None,
            ),
            pytest.param(
                "torch",
                (1, 8, 1, 1, 1),
                layer("BatchNorm", num_features=8),
                "input: (1, 8, 1, 1, 1) has one value of each channel, and has no variance to train on; "
                "use a larger input.",
                "input",
                None,
            ),
            pytest.param(
                "torch",
                (1, 8, 2, 2, 3),
                layer("LayerNorm", dims=(2, 2)),
                "normalized_shape: the layer takes (2, 2) and the input (1, 8, 2, 2, 3) ends with (2, 3); "
                "use normalized_shape=(2, 3), or an input that ends with (2, 2).",
                "dims",
                None,
            ),
            pytest.param(
                "torch",
                (1, 8, 2, 2, 2),
                layer("GroupNorm", num_groups=3, dims=8),
                "num_groups: 8 channels are not a multiple of 3; use a divisor such as 8.",
                "num_groups",
                None,
            ),
            pytest.param(
                "torch",
                (1, 8, 2, 2, 2),
                layer("Linear", input_dims=64, output_dims=2),
                "in_features: the layer takes 64 and the input (1, 8, 2, 2, 2) has 2; "
                "use in_features=2, or an input whose last axis is 64.",
                "input_dims",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 4, 4, 4, 1),
                layer("Upsample", scale_factor=0.2),
                "depth: scale_factor 0.2 makes floor(4 * 0.2) = 0 of 4; use scale_factor >= 1/4.",
                "scale_factor",
                "D",
            ),
            pytest.param(
                "torch",
                (1, 1, 4, 4, 4),
                layer("Upsample", scale_factor=2, mode="bilinear"),
                "mode: 'bilinear' is not one of them; use 'nearest', 'nearest-exact', 'area' or 'trilinear'.",
                "mode",
                None,
            ),
            pytest.param(
                "torch",
                (1, 1, 4, 4, 4),
                layer("Upsample", scale_factor=[2, 2, 2]),
                "scale_factor: [2, 2, 2] is a list, which PyTorch does not take; use a tuple.",
                "scale_factor",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 4),
                layer("Dropout", p=1.0),
                "p: 1.0 is not in [0, 1); use a probability such as 0.5.",
                "p",
                None,
            ),
            pytest.param(
                "torch",
                (1, 4),
                layer("Softmax", dim=2),
                "dim: axis 2 of (1, 4) is not there; use -2 to 1.",
                "dim",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 4),
                layer("Transpose", axes=(0, 0)),
                "axes: (0, 0) does not have each axis of (1, 4) once; give each of 0 to 1 once.",
                "axes",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 4, 4, 4, 1),
                layer("AdaptiveAvgPool3d", output_size=1),
                "layer: MLX has no AdaptiveAvgPool3d; use mx.mean(x, axis=(1, 2, 3), keepdims=True), "
                "or an AvgPool3d of the right kernel_size.",
                "layer",
                None,
            ),
            pytest.param(
                "torch",
                (1, 1, 4, 4, 4),
                layer("AdaptiveMaxPool3d", output_size=(2, 2)),
                "output_size: (2, 2) has 2 numbers; use one integer >= 1 or three (D, H, W).",
                "output_size",
                None,
            ),
            pytest.param(
                "torch",
                (1, 1, 4, 4, 4),
                layer("AdaptiveAvgPool3d", output_size=(1, 0, 1)),
                "output_size: 0 along H is below 1; use an integer >= 1.",
                "output_size",
                "H",
            ),
            pytest.param(
                "mlx",
                (1, 4, 4, 4, 1),
                layer("Mean", axis=(1, 2, 5)),
                "axis: axis 5 of (1, 4, 4, 4, 1) is not there; use -5 to 4.",
                "axis",
                None,
            ),
            pytest.param(
                "torch",
                (1, 1, 4, 4, 4),
                layer("Max", axis=(2, -3)),
                "axis: (2, -3) names an axis of (1, 1, 4, 4, 4) twice; name each once.",
                "axis",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 4),
                layer("Mean", axis=(0, 1)),
                "axis: (0, 1) leaves no axis of (1, 4) for a layer behind; name fewer, or keepdims=True.",
                "axis",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 4),
                layer("Mean"),
                "axis: None is not some axes; name those over which it goes, such as (1, 2, 3).",
                "axis",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 4, 0, 4, 1),
                layer("ReLU"),
                "input: size 0 in (1, 4, 0, 4, 1) is not an integer >= 1; use sizes such as (1, 32, 32, 32, 1).",
                "input",
                None,
            ),
            pytest.param(
                "mlx",
                (),
                layer("ReLU"),
                "input: () is not one to 8 sizes; use sizes such as (1, 32, 32, 32, 1).",
                "input",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 600, 600, 600, 8),
                conv(8, 16, 3, padding=1),
                "out_channels: the output 1*600*600*600*16 = 3,456,000,000 elements is more than MLX can index; "
                "use a smaller out_channels or crop the input, to stay at or below 2,147,483,647.",
                "out_channels",
                None,
            ),
            pytest.param(
                "torch",
                (1, 8, 600, 600, 600),
                conv(8, 16, 3, padding=1),
                "out_channels: the output 1*16*600*600*600 = 3,456,000,000 elements is more than 32 bits can index; "
                "use a smaller out_channels or crop the input, to stay at or below 2,147,483,647.",
                "out_channels",
                None,
            ),
            pytest.param(
                "mlx",
                (1, 4),
                layer("Linear", input_dims=4),
                "output_dims: it is missing in Linear; give it.",
                "output_dims",
                None,
            ),
        ],
    )
    def test_say_what_is_wrong_and_what_would_work(
        self, framework: Framework, shape: Any, made: Layer, message: str, field: str, axis: str | None
    ) -> None:
        report = traced(shape, made, framework=framework)
        error = error_of(report)
        assert (str(error), error.field, error.axis) == (message, field, axis)
        assert (report.failed, report.rows) == (0, ())

    def test_end_the_trace_at_the_layer(self) -> None:
        report = traced((1, 8, 8, 8, 1), conv(1, 8, 3), layer("ReLU"), conv(16, 8, 3), layer("ReLU"))
        assert (len(report.rows), report.failed, report.output_shape) == (2, 2, (1, 6, 6, 6, 8))
        assert error_of(report).field == "in_channels"

    def test_an_input_that_is_none_has_no_layer_to_blame(self) -> None:
        assert traced((0, 1)).failed is None
        assert error_of(traced((0, 1))).field == "input"
        assert traced((0, 1)).input_letters == ""
        assert traced((1, 8, 8, 8, 2), conv(1, 8, 3)).input_letters == "NDHWC"
        assert traced((4, 8), layer("ReLU")).input_letters == "NF"


garbage = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-3, 5)
    | st.sampled_from([10**400, -(10**400), 2**31, 2**63, "same", "nearest", "trilinear", "none", "reflect"])
    | st.sampled_from([b"3", 1e308])
    | st.floats()
    | st.text(max_size=3),
    lambda values: (
        st.lists(values, max_size=4)
        | st.lists(values, max_size=4).map(tuple)
        | st.dictionaries(st.text(max_size=2), values, max_size=2)
    ),
    max_leaves=5,
)  # fmt: skip


WORDS = ["axes", "axis", "keepdims", "start_dim", "end_dim", "output_size"]


@given(data=st.data(), framework=st.sampled_from(["mlx", "torch"]), kind=st.sampled_from(sorted(KINDS)))
def test_any_argument_gives_a_report(data: st.DataObject, framework: Framework, kind: str) -> None:
    made, shape = data.draw(layers_and_shapes(framework, (kind,)))
    signature = getattr(KINDS[kind], framework)
    names = [signature.name(own) for own in signature.parameters] if signature else WORDS
    wrong = data.draw(st.dictionaries(st.sampled_from([*names, "groups", "nothing"]), garbage, max_size=3))
    report = traced(shape, replace(made, arguments={**made.arguments, **wrong}), framework=framework)
    if report.error:
        assert re.fullmatch(r"[^:]+: .+; .+\.", str(report.error), re.DOTALL)
        assert report.error.field in {*wrong, *made.arguments, *names, "input", "layer", *WORDS}
        assert report.error.axis in (None, "D", "H", "W")


@given(shape=garbage)
def test_any_input_gives_a_report(shape: Any) -> None:
    report = traced(shape, layer("ReLU"))
    assert report.error is None or report.error.field == "input"


def test_a_pooling_that_also_gives_indices_is_followed_by_what_it_pools() -> None:
    """As the text is: ``x, indices = self.pool(x)``."""
    pool = layer("MaxPool3d", kernel_size=2, return_indices=True)
    assert shapes_of(traced((1, 2, 8, 8, 8), pool, framework="torch")) == [(1, 2, 4, 4, 4)]
