"""A layer's call is what a person would write; a chain as text is the chain; printed programs run and agree."""

from __future__ import annotations

import ast

import pytest

from conv3d_core.chain.layer import KINDS, Chain, Layer
from conv3d_core.chain.writing import layer_call, to_sequential

CONV = {"in_channels": 1, "out_channels": 8, "kernel_size": 3}


@pytest.mark.parametrize(
    ("layer", "mlx", "torch"),
    [
        (Layer("Conv3d", CONV), "nn.Conv3d(1, 8, kernel_size=3)", "nn.Conv3d(1, 8, kernel_size=3)"),
        (
            Layer("Conv3d", {**CONV, "bias": False, "stride": (2, 2, 2), "padding": (0, 1, 1)}),
            "nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=(0, 1, 1), bias=False)",
            "nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=(0, 1, 1), bias=False)",
        ),
        # What only PyTorch has: left out where it changes nothing.
        (
            Layer("Conv3d", {**CONV, "groups": 1, "padding_mode": "zeros"}),
            "nn.Conv3d(1, 8, kernel_size=3)",
            "nn.Conv3d(1, 8, kernel_size=3)",
        ),
        (
            Layer("Conv3d", {**CONV, "groups": 2}),
            "nn.Conv3d(1, 8, kernel_size=3, groups=2)",
            "nn.Conv3d(1, 8, kernel_size=3, groups=2)",
        ),
        # Impossible, and another call than with the default that it equals.
        (
            Layer("Conv3d", {**CONV, "stride": True, "padding": "same", "dilation": -1.5}),
            "nn.Conv3d(1, 8, kernel_size=3, stride=True, padding='same', dilation=-1.5)",
            "nn.Conv3d(1, 8, kernel_size=3, stride=True, padding='same', dilation=-1.5)",
        ),
        (Layer("Conv3d", {"out_channels": 8}), "nn.Conv3d(out_channels=8)", "nn.Conv3d(out_channels=8)"),
        (
            Layer("ConvTranspose3d", {**CONV, "dilation": 2, "output_padding": 1}),
            "nn.ConvTranspose3d(1, 8, kernel_size=3, dilation=2, output_padding=1)",
            "nn.ConvTranspose3d(1, 8, kernel_size=3, output_padding=1, dilation=2)",
        ),
        (Layer("BatchNorm", {"num_features": 8}), "nn.BatchNorm(8)", "nn.BatchNorm3d(8)"),
        (Layer("BatchNorm", {"num_features": 8}, call="nn.BatchNorm1d"), "nn.BatchNorm(8)", "nn.BatchNorm1d(8)"),
        (Layer("LayerNorm", {"dims": 8, "affine": False}),
         "nn.LayerNorm(8, affine=False)", "nn.LayerNorm(8, elementwise_affine=False)"),
        (Layer("GroupNorm", {"num_groups": 2, "dims": 8}), "nn.GroupNorm(2, 8)", "nn.GroupNorm(2, 8)"),
        (Layer("MaxPool3d", {"kernel_size": 2, "stride": None}), "nn.MaxPool3d(2)", "nn.MaxPool3d(2)"),
        (Layer("Upsample", {"scale_factor": 2}), "nn.Upsample(scale_factor=2)", "nn.Upsample(scale_factor=2)"),
        (Layer("GELU", {"approx": "tanh"}), "nn.GELU(approx='tanh')", "nn.GELU(approximate='tanh')"),
        (Layer("ReLU", {"inplace": True}), "nn.ReLU(inplace=True)", "nn.ReLU(inplace=True)"),
        (Layer("Linear", {"input_dims": 8, "output_dims": 2}), "nn.Linear(8, 2)", "nn.Linear(8, 2)"),
        (Layer("Flatten", {}), "mx.flatten(x, start_axis=1)", "nn.Flatten()"),
        (Layer("Flatten", {"start_dim": 0, "end_dim": 2}),
         "mx.flatten(x, start_axis=0, end_axis=2)", "nn.Flatten(start_dim=0, end_dim=2)"),
        (Layer("Transpose", {"axes": (0, 4, 1, 2, 3)}), "mx.transpose(x, (0, 4, 1, 2, 3))", "x.permute(0, 4, 1, 2, 3)"),
        (Layer("ExpandDims", {"axis": 0}), "mx.expand_dims(x, 0)", "x.unsqueeze(0)"),
        (Layer("Mean", {"axis": (1, 2, 3)}), "mx.mean(x, axis=(1, 2, 3))", "x.mean(dim=(1, 2, 3))"),
        (Layer("Max", {"axis": -1, "keepdims": True}),
         "mx.max(x, axis=-1, keepdims=True)", "x.amax(dim=-1, keepdim=True)"),
        (Layer("AdaptiveAvgPool3d", {"output_size": (1, 1, 1)}),
         "nn.AdaptiveAvgPool3d(1)(x)", "nn.AdaptiveAvgPool3d(1)"),
        (Layer("AdaptiveMaxPool3d", {"output_size": (None, 7, 7)}),
         "nn.AdaptiveMaxPool3d((None, 7, 7))(x)", "nn.AdaptiveMaxPool3d((None, 7, 7))"),
    ],
)  # fmt: skip
def test_a_call_is_written_as_each_framework_spells_it(layer: Layer, mlx: str, torch: str) -> None:
    assert layer_call(layer, "mlx") == mlx
    assert layer_call(layer, "torch") == torch


def test_a_call_in_an_edited_text_keeps_its_name() -> None:
    assert layer_call(Layer("Conv3d", CONV), "torch", "torch.nn.Conv3d") == "torch.nn.Conv3d(1, 8, kernel_size=3)"


@pytest.mark.parametrize("framework", ["mlx", "torch"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_has_a_call_with_anything_in_it(kind: str, framework) -> None:
    for arguments in ({}, {"kernel_size": None, "anything": "x"}, {"p": float(2), "axis": [1]}):
        ast.parse(layer_call(Layer(kind, arguments), framework), mode="eval")


def test_a_chain_is_a_sequential_or_a_class() -> None:
    layers = (
        Layer("Conv3d", CONV),
        Layer("ReLU", {}),
        Layer("Flatten", {}),
        Layer("Linear", {"input_dims": 8, "output_dims": 2}),
    )
    assert to_sequential(Chain(layers, "torch")) == (
        "nn.Sequential(\n    nn.Conv3d(1, 8, kernel_size=3),\n    nn.ReLU(),\n"
        "    nn.Flatten(),\n    nn.Linear(8, 2),\n)"
    )
    assert to_sequential(Chain(layers, "mlx")) == (
        "class Model(nn.Module):\n    def __init__(self):\n        super().__init__()\n"
        "        self.conv1 = nn.Conv3d(1, 8, kernel_size=3)\n        self.act1 = nn.ReLU()\n"
        "        self.linear1 = nn.Linear(8, 2)\n\n"
        "    def __call__(self, x):\n        x = self.conv1(x)\n        x = self.act1(x)\n"
        "        x = mx.flatten(x, start_axis=1)\n        x = self.linear1(x)\n        return x"
    )
    assert to_sequential(Chain((), "mlx")) == "nn.Sequential()"
