"""A chain traced by hand: numbers that anyone can check, errors in their words, and what happens to axes."""

from __future__ import annotations

from typing import Any

from conv3d_core import Conv3dError, ConvSpec
from conv3d_core import shapes as conv_shapes
from conv3d_core.chain import Case, Chain, Framework, Layer, Passed
from conv3d_core.chain.trace import Report, trace


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
        block = [
            conv(1, 64, 3, padding=1), layer("ReLU"), conv(64, 64, 3, padding=1), layer("ReLU"), layer("MaxPool3d", kernel_size=2),
            conv(64, 128, 3, padding=1), layer("ReLU"), conv(128, 128, 3, padding=1), layer("ReLU"), layer("MaxPool3d", kernel_size=2),
            layer("Flatten"), layer("Linear", input_dims=128 * 8**3, output_dims=10),
        ]  # fmt: skip
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
