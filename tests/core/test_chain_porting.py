"""The printed programs run in MLX and in PyTorch, take each other's weights strictly, and give the same numbers."""

from __future__ import annotations

import ast
import contextlib
import math
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core.chain.layer import KINDS, Case, Chain, Framework, Layer
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.walk import RESERVED, module_names
from conv3d_core.chain.writing import to_mlx, to_torch
from conv3d_core.errors import SpecError
from tests.core.both_frameworks import agree, takes_over, torch
from tests.core.snippets import RIGHT, Snippet

TORCH = [
    ("Conv3d(2, 8, 3)", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, (1, 3, 2), stride=(1, 2, 1), padding=(0, 1, 1), dilation=(1, 1, 2), bias=False)", (2, 2, 5, 6, 7)),
    ("Conv3d(2, 8, [3, 3, 3], padding=[1, 1, 1])", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, 3, padding='same')", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, 3, padding='valid')", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, (2, 3, 4), padding='same', dilation=(1, 2, 1))", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, 4, padding='same', padding_mode='replicate')", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, 3, padding=2, padding_mode='replicate')", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, 3, padding=(0, 1, 2), padding_mode='reflect')", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, 3, padding=(1, 2, 3), padding_mode='circular')", (1, 2, 5, 6, 7)),
    ("Conv3d(2, 8, 2, padding='same', padding_mode='circular')", (1, 2, 5, 6, 7)),
    ("Conv3d(4, 8, 3, groups=2)", (1, 4, 5, 6, 7)),
    ("Conv3d(4, 4, 3, groups=4, bias=False, padding='same')", (1, 4, 5, 6, 7)),
    ("Conv3d(4, 8, 2, groups=4, padding='same', padding_mode='reflect')", (2, 4, 5, 6, 7)),
    ("Conv3d(1, 4, 3)", (1, 6, 6, 6)),
    ("ConvTranspose3d(3, 2, 2, stride=2)", (1, 3, 3, 4, 5)),
    ("ConvTranspose3d(3, 2, (3, 2, 1), (2, 1, 3), (1, 0, 0), (1, 0, 2))", (1, 3, 3, 4, 5)),
    ("ConvTranspose3d(3, 2, 3, stride=2, padding=1, output_padding=1, dilation=2, bias=False)", (1, 3, 3, 4, 5)),
    ("ConvTranspose3d(3, 2, 2, stride=3, padding=(2, 0, 3), output_padding=1)", (1, 3, 5, 4, 5)),
    ("ConvTranspose3d(3, 2, 2, stride=3, padding=2), nn.MaxPool3d(3, stride=1)", (1, 3, 4, 4, 5)),
    ("ConvTranspose3d(4, 6, 3, groups=2)", (1, 4, 3, 4, 5)),
    ("ConvTranspose3d(4, 6, 2, stride=3, padding=2, groups=2)", (1, 4, 3, 4, 5)),
    ("MaxPool3d(2)", (1, 2, 5, 6, 7)),
    ("MaxPool3d(3, stride=(1, 2, 3), padding=1)", (1, 2, 5, 6, 7)),
    ("MaxPool3d(2, ceil_mode=True)", (1, 2, 5, 6, 7)),
    ("MaxPool3d(3, stride=2, padding=(0, 1, 1), ceil_mode=True)", (1, 2, 6, 7, 8)),
    ("MaxPool3d((1, 2, 3), stride=(3, 3, 4), padding=(0, 1, 1), ceil_mode=True)", (1, 2, 6, 7, 8)),
    ("MaxPool3d((2, 1, 3), stride=(1, 2, 1), padding=(1, 0, 1), dilation=(2, 1, 2))", (1, 2, 6, 7, 8)),
    ("AvgPool3d(2)", (1, 2, 5, 6, 7)),
    ("AvgPool3d(3, stride=2, padding=1)", (1, 2, 5, 6, 7)),
    ("AvgPool3d(3, stride=2, padding=1, count_include_pad=False)", (1, 2, 5, 6, 7)),
    ("AvgPool3d(3, stride=2, padding=1, ceil_mode=True)", (1, 2, 5, 6, 8)),
    ("AvgPool3d(3, stride=2, padding=(0, 1, 1), ceil_mode=True, count_include_pad=False)", (1, 2, 6, 7, 8)),
    ("AvgPool3d(2, divisor_override=3)", (1, 2, 5, 6, 7)),
    ("AvgPool3d(3, 2, 1, divisor_override=5, ceil_mode=True)", (1, 2, 6, 7, 8)),
    ("AdaptiveAvgPool3d(1)", (2, 3, 4, 5, 6)),
    ("AdaptiveAvgPool3d((1, 1, 1))", (3, 4, 5, 6)),
    ("AdaptiveAvgPool3d((2, 3, 4))", (2, 3, 4, 5, 6)),
    ("AdaptiveAvgPool3d((None, 7, 1))", (2, 3, 4, 5, 6)),
    ("AdaptiveMaxPool3d(1)", (2, 3, 4, 5, 6)),
    ("AdaptiveMaxPool3d((3, None, 4)), nn.Conv3d(3, 2, 1)", (2, 3, 4, 5, 6)),
    ("AdaptiveMaxPool3d([2, 2, 2])", (3, 4, 5, 6)),
    ("Conv3d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2)", (2, 1, 4, 5, 6)),
    ("Conv3d(1, 4, 3), nn.AdaptiveAvgPool3d((1, 2, 2)), nn.Flatten(), nn.Linear(16, 2)", (2, 1, 4, 5, 6)),
    ("BatchNorm3d(3)", (2, 3, 4, 5, 6)),
    ("BatchNorm3d(3, eps=0.1, momentum=0.3, affine=False)", (2, 3, 4, 5, 6)),
    ("BatchNorm3d(3, track_running_stats=False)", (2, 3, 4, 5, 6)),
    ("BatchNorm3d(3, bias=False)", (2, 3, 4, 5, 6)),
    ("GroupNorm(2, 6)", (2, 6, 3, 4, 5)),
    ("GroupNorm(3, 6, eps=0.1, affine=False)", (2, 6, 3, 4, 5)),
    ("GroupNorm(3, 6, bias=False)", (2, 6, 3, 4, 5)),
    ("InstanceNorm3d(3)", (2, 3, 4, 5, 6)),
    ("InstanceNorm3d(3, affine=True, eps=0.1)", (2, 3, 4, 5, 6)),
    ("InstanceNorm3d(3)", (3, 4, 5, 6)),
    ("LayerNorm(6)", (2, 3, 4, 5, 6)),
    ("LayerNorm((3, 4, 5, 6))", (2, 3, 4, 5, 6)),
    ("LayerNorm([5, 6], elementwise_affine=False)", (2, 3, 4, 5, 6)),
    ("LayerNorm((6,), bias=False, eps=0.1)", (2, 3, 4, 5, 6)),
    ("Dropout(0.3)", (2, 3, 4, 5, 6)),
    ("Dropout3d()", (2, 3, 4, 5, 6)),
    ("Upsample(scale_factor=2)", (1, 2, 3, 4, 5)),
    ("Upsample(scale_factor=(1, 2, 3), mode='nearest')", (1, 2, 3, 4, 5)),
    ("Upsample(scale_factor=2.0, mode='nearest-exact')", (1, 2, 3, 4, 5)),
    ("Upsample(scale_factor=2, mode='trilinear')", (1, 2, 3, 4, 5)),
    ("Upsample(scale_factor=(1.5, 2, 2.5), mode='trilinear', align_corners=True)", (1, 2, 3, 4, 5)),
    ("Upsample(size=(7, 3, 5))", (1, 2, 3, 4, 5)),
    ("Upsample(size=7, mode='nearest-exact')", (1, 2, 3, 4, 5)),
    ("Upsample(size=(1, 5, 7), mode='trilinear')", (1, 2, 3, 4, 5)),
    ("Upsample(size=(1, 5, 7), mode='trilinear', align_corners=True)", (1, 2, 3, 4, 5)),
    ("Upsample(scale_factor=(1.5, 2.7, 0.6))", (1, 2, 3, 4, 5)),
    ("Upsample(scale_factor=(1.5, 2.7, 0.6), mode='nearest-exact')", (1, 2, 3, 4, 5)),
    ("Upsample(scale_factor=(1.5, 2.7, 0.6), mode='trilinear')", (1, 2, 3, 4, 5)),
    ("Linear(5, 3)", (1, 2, 3, 4, 5)),
    ("Linear(5, 3, bias=False)", (4, 5)),
    ("Flatten()", (1, 2, 3, 4, 5)),
    ("Flatten(2)", (1, 2, 3, 4, 5)),
    ("Flatten(start_dim=0, end_dim=-3)", (1, 2, 3, 4, 5)),
    ("PReLU()", (1, 2, 3, 4, 5)),
    ("PReLU(num_parameters=2, init=0.1)", (1, 2, 3, 4, 5)),
    ("LeakyReLU(0.2)", (1, 2, 3, 4, 5)),
    ("LeakyReLU(negative_slope=1.5)", (1, 2, 3, 4, 5)),
    ("Softplus(beta=2.0, threshold=1.0)", (1, 2, 3, 4, 5)),
    ("GELU(approximate='tanh')", (1, 2, 3, 4, 5)),
    ("ELU(alpha=0.5)", (1, 2, 3, 4, 5)),
    ("CELU(alpha=0.5)", (1, 2, 3, 4, 5)),
    ("Softmax(dim=1)", (1, 2, 3, 4, 5)),
    ("Softmax(dim=-1)", (1, 2, 3, 4, 5)),
    ("LogSoftmax(dim=2)", (1, 2, 3, 4, 5)),
    ("LogSoftmax(dim=1)", (3, 4)),
    # In a row.
    ("Conv3d(1, 4, 3), nn.BatchNorm3d(4), nn.ReLU(inplace=True), nn.MaxPool3d(2), nn.Conv3d(4, 6, 3), nn.Flatten(), "
     "nn.Linear(6 * 2 * 3 * 1, 5), nn.BatchNorm1d(5), nn.ReLU6(), nn.Dropout(), nn.Linear(5, 2), nn.Softmax(dim=1)",
     (2, 1, 10, 12, 8)),
    ("Conv3d(1, 4, 3), nn.Flatten(), nn.Linear(2 * 3 * 1, 5)", (1, 4, 5, 3)),
    ("Conv3d(1, 4, 3), nn.Linear(4, 5), nn.Conv3d(4, 2, 1), nn.LayerNorm(5), nn.Tanh()", (1, 1, 5, 6, 6)),
    ("Conv3d(1, 4, 3), nn.Flatten(2), nn.BatchNorm1d(4), nn.InstanceNorm1d(4, affine=True), nn.PReLU(4), nn.Softmax(1)",
     (1, 1, 5, 6, 6)),
]  # fmt: skip
MLX = [
    ("Conv3d(2, 8, 3)", (1, 5, 6, 7, 2)),
    ("Conv3d(2, 8, (1, 3, 2), stride=(1, 2, 1), padding=(0, 1, 1), dilation=(1, 1, 2), bias=False)", (2, 5, 6, 7, 2)),
    ("ConvTranspose3d(3, 2, (3, 2, 1), (2, 1, 3), (1, 0, 0), (1, 1, 1), (1, 0, 2))", (1, 3, 4, 5, 3)),
    ("MaxPool3d(2)", (1, 5, 6, 7, 2)),
    ("MaxPool3d(2, stride=1, padding=2)", (1, 5, 6, 7, 2)),
    ("AvgPool3d((1, 2, 3), padding=(0, 1, 1))", (1, 5, 6, 7, 2)),
    ("AvgPool3d(2, padding=(2, 1, 0))", (1, 5, 6, 7, 2)),
    ("BatchNorm(3, eps=0.1)", (2, 4, 5, 6, 3)),
    ("BatchNorm(3)", (4, 3)),
    ("BatchNorm(3)", (2, 4, 3)),
    ("BatchNorm(3, affine=False)", (2, 4, 5, 3)),
    ("GroupNorm(2, 6)", (2, 3, 4, 5, 6)),
    ("GroupNorm(2, 6, affine=False)", (2, 6)),
    ("GroupNorm(1, 6)", (2, 3, 4, 5, 6)),
    ("GroupNorm(6, 6)", (2, 3, 4, 5, 6)),
    ("GroupNorm(2, 6, pytorch_compatible=True)", (2, 3, 4, 5, 6)),
    ("InstanceNorm(3)", (2, 4, 5, 6, 3)),
    ("InstanceNorm(3, affine=True)", (2, 4, 3)),
    ("LayerNorm(3, bias=False)", (2, 4, 5, 6, 3)),
    ("LayerNorm(3, affine=False)", (2, 3)),
    ("Dropout3d(0.2)", (2, 4, 5, 6, 3)),
    ("Upsample(2)", (1, 3, 4, 5, 2)),
    ("Upsample(scale_factor=(1, 2, 3), mode='linear')", (1, 3, 4, 5, 2)),
    ("Upsample(1.5, mode='linear', align_corners=True)", (1, 3, 4, 5, 2)),
    ("Linear(3, 4)", (2, 4, 5, 6, 3)),
    ("PReLU(3)", (2, 4, 5, 6, 3)),
    ("LeakyReLU(2.0)", (2, 4, 5, 6, 3)),
    ("GELU(approx='precise')", (2, 4, 5, 6, 3)),
    ("GELU(approx='fast')", (2, 4, 5, 6, 3)),
    ("Softmax()", (2, 4, 5, 6, 3)),
    ("LogSoftmax()", (2, 3)),
    ("Conv3d(1, 4, 3), nn.BatchNorm(4), nn.ReLU(), nn.MaxPool3d(2), nn.LayerNorm(4), nn.Conv3d(4, 6, 3), "
     "nn.Linear(6, 3), nn.GELU()", (2, 10, 12, 8, 1)),
]  # fmt: skip
PLAIN = ["Identity", "ReLU", "ReLU6", "LeakyReLU", "ELU", "CELU", "SELU", "SiLU", "Mish", "GELU", "Sigmoid",
         "LogSigmoid", "Tanh", "Softplus", "Softsign", "Hardswish"]  # fmt: skip
CLASSES = {
    "torch, functions and names": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(nn.Conv3d(1, 8, 3, padding="same"), nn.BatchNorm3d(8), nn.ReLU())
        self.conv2 = nn.Conv3d(8, 8, 2, groups=2)
        self.act = nn.PReLU(8)
        self.type = nn.Conv3d(8, 8, 1)
        self.fc = nn.Linear(2 * 2 * 3 * 8, 2)
    def forward(self, x):
        x = self.features(x)
        x = self.act(self.conv2(x))
        x = F.max_pool3d(x, 2)
        x = self.act(self.type(x))
        x = x.permute(0, 2, 3, 4, 1)
        x = torch.flatten(x, 1)
        return F.log_softmax(self.fc(x), dim=-1)
''', (2, 1, 5, 6, 7)),
    "torch, a batch axis put in front": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
    def forward(self, x):
        return torch.relu(self.conv(x.unsqueeze(0)))
''', (1, 5, 6, 7)),
    "mlx, channels moved by hand": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = [nn.Conv3d(1, 4, 3), nn.Conv3d(4, 4, 1)]
        self.norm = nn.BatchNorm(4)
        self.fc = nn.Linear(4 * 3 * 4 * 5, 2)
    def __call__(self, x):
        x = mx.transpose(x, (0, 2, 3, 4, 1))
        for layer in self.layers:
            x = nn.relu(layer(x))
        x = self.norm(x)
        x = x.flatten(1)
        return self.fc(x)
''', (2, 1, 5, 6, 7)),
    "mlx, to channels first at the end": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(2, 4, 3)
    def __call__(self, x):
        return mx.softmax(self.conv(x).transpose(0, 4, 1, 2, 3), axis=1)
''', (2, 5, 6, 7, 2)),
    "torch, a mean over the volume": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.fc = nn.Linear(4, 2)
    def forward(self, x):
        return self.fc(self.conv(x).mean(dim=(2, 3, 4)))
''', (2, 1, 5, 6, 7)),
    "torch, a mean over the volume, without a batch": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.fc = nn.Linear(4, 2)
    def forward(self, x):
        return self.fc(self.conv(x).mean((1, 2, -1)))
''', (1, 5, 6, 7)),
    "torch, axes kept and taken away": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.conv2 = nn.Conv3d(4, 3, (2, 1, 1))
        self.norm = nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 2)
    def forward(self, x):
        x = self.conv2(torch.mean(self.conv(x), dim=(3, 4), keepdim=True))
        x = self.norm(x.amax(2))
        return self.fc(x.mean(-1).mean(-1))
''', (2, 1, 5, 6, 7)),
    "torch, the largest channel": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
    def forward(self, x):
        return torch.amax(self.conv(x), dim=1)
''', (2, 1, 5, 6, 7)),
    "mlx, a mean over the volume": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.fc = nn.Linear(4, 2)
    def __call__(self, x):
        x = nn.relu(self.conv(x))
        return self.fc(mx.mean(x, axis=(1, 2, 3)))
''', (2, 5, 6, 7, 1)),
    "mlx, axes kept and taken away": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
        self.conv2 = nn.Conv3d(4, 3, (2, 1, 1))
        self.norm = nn.BatchNorm(3)
    def __call__(self, x):
        x = self.conv2(self.conv(x).mean([2, 3], keepdims=True))
        return self.norm(x.max(axis=1)).mean(-1)
''', (2, 5, 6, 7, 1)),
    "mlx, a channel axis put behind": ('''
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 4, 3)
    def __call__(self, x):
        return self.conv(x[..., None])
''', (2, 5, 6, 7)),
}  # fmt: skip


def case(text: str, shape: tuple[int, ...], framework: Framework | None = None) -> Case:
    return Case(read_chain(text, framework), shape)


@pytest.mark.parametrize(("text", "shape"), TORCH)
def test_pytorchs_layers_in_mlx(text: str, shape: tuple[int, ...]) -> None:
    agree(case(f"nn.Sequential(nn.{text})", shape, "torch"))


@pytest.mark.parametrize(("text", "shape"), MLX)
def test_mlxs_layers_in_pytorch(text: str, shape: tuple[int, ...]) -> None:
    agree(case(f"nn.Sequential(nn.{text})", shape, "mlx"))


@pytest.mark.parametrize("framework", ["mlx", "torch"])
@pytest.mark.parametrize("name", PLAIN)
def test_plain_activations_either_way(name: str, framework: Framework) -> None:
    agree(case(f"nn.{name}()", (1, 2, 3, 4, 5), framework))


@pytest.mark.parametrize("name", CLASSES)
def test_classes_either_way(name: str) -> None:
    text, shape = CLASSES[name]
    agree(case(text, shape, "mlx" if name.startswith("mlx") else "torch"))


# What it does to the weights is not in a chain: a spectral norm.
MORE_THAN_LAYERS = ("gan_discriminator",)
PASTED = [
    snippet
    for snippet in RIGHT
    if snippet.run
    and snippet.uncertain is None
    and snippet.name not in MORE_THAN_LAYERS
    and not any(passed.keeps_shape for passed in read_chain(snippet.text).passed)
    and math.prod(snippet.input_shape) < 10**5
]


@pytest.mark.parametrize("snippet", PASTED, ids=lambda snippet: snippet.name)
def test_what_people_paste_takes_its_own_weights_over(snippet: Snippet) -> None:
    import mlx.core
    import mlx.nn

    torchs = {"torch": torch, "nn": torch.nn, "F": torch.nn.functional}
    names: dict[str, Any] = torchs if snippet.framework == "torch" else {"mx": mlx.core, "nn": mlx.nn}
    names |= {"__name__": "snippet", "x": None}
    exec(compile(snippet.text, snippet.name, "exec", dont_inherit=True), names)
    try:
        model = eval(snippet.run, names)
    except (AttributeError, TypeError):
        pytest.skip("it is applied to an array as it is made")
    if not isinstance(model, torch.nn.Module | mlx.nn.Module):
        pytest.skip("it is no module")
    takes_over(case(snippet.text, snippet.input_shape, snippet.framework), model)


def test_every_kind_is_ported_either_way() -> None:
    chains = [case(f"nn.Sequential(nn.{text})", shape, "torch").chain for text, shape in TORCH]
    chains += [case(f"nn.Sequential(nn.{text})", shape, "mlx").chain for text, shape in MLX]
    chains += [case(text, shape).chain for text, shape in CLASSES.values()]
    assert {layer.kind for chain in chains for layer in chain.layers} | set(PLAIN) == set(KINDS)


@pytest.mark.parametrize("framework", ["mlx", "torch"])
def test_a_program_runs_as_printed_in_a_python_of_its_own(framework: Framework) -> None:
    text, shape = CLASSES["torch, functions and names"]
    write = to_mlx if framework == "mlx" else to_torch
    run = subprocess.run([sys.executable, "-c", write(case(text, shape))], capture_output=True, text=True, check=True)
    assert run.stdout == "(2, 2)\n"


@st.composite
def cases(draw: st.DrawFn) -> Case:
    """Layers that fit one another, in either framework, and then perhaps a head."""
    framework: Framework = draw(st.sampled_from(["mlx", "torch"]))
    shape = [draw(st.integers(1, 2)), *(draw(st.integers(4, 7)) for _ in range(3))]
    first = channels = draw(st.sampled_from([1, 2, 4]))
    sizes = shape[1:]
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 4))):
        layer, channels, sizes = draw(_layer(framework, channels, sizes))
        layers.append(layer)
    if draw(st.booleans()):
        features = channels * sizes[0] * sizes[1] * sizes[2]
        layers.append(Layer("Flatten", {}))
        layers.append(Layer("Linear", {"input_dims": features, "output_dims": 3}))
        layers.append(
            draw(st.sampled_from([Layer("Tanh", {}), Layer("BatchNorm", {"num_features": 3}), Layer("ReLU", {})]))
        )
    elif draw(st.booleans()):
        last = channels if framework == "mlx" else sizes[2]
        layers.append(Layer("Linear", {"input_dims": last, "output_dims": 2}))
    input_shape = (*shape, first) if framework == "mlx" else (shape[0], first, *shape[1:])
    return Case(Chain(tuple(layers), framework), input_shape)


IN_A_ROW = ["Conv3d", "ConvTranspose3d", "MaxPool3d", "AvgPool3d", "BatchNorm", "GroupNorm", "PReLU", "Upsample",
            "ReLU", "GELU", "Softmax", "LayerNorm"]  # fmt: skip


@st.composite
def _layer(draw: st.DrawFn, framework: Framework, channels: int, sizes: list[int]) -> tuple[Layer, int, list[int]]:
    kind = draw(st.sampled_from(IN_A_ROW))
    kernel = tuple(draw(st.integers(1, min(3, size))) for size in sizes)
    stride = tuple(draw(st.integers(1, 2)) for _ in sizes)
    padding = tuple(draw(st.integers(0, taps // 2)) for taps in kernel)
    window = {"kernel_size": kernel, "stride": stride, "padding": padding}
    strided = [(size + 2 * p - k) // s + 1 for size, k, s, p in zip(sizes, kernel, stride, padding, strict=True)]
    if kind == "Conv3d":
        out = draw(st.sampled_from([2, 4]))
        more: dict[str, Any] = {"bias": draw(st.booleans())}
        if framework == "torch":
            more["groups"] = draw(
                st.sampled_from([group for group in (1, 2, 4) if not channels % group and not out % group])
            )
            more["padding_mode"] = draw(st.sampled_from(["zeros", "replicate", "circular"]))
            if draw(st.booleans()):
                same = {"kernel_size": kernel, "padding": "same", "dilation": draw(st.integers(1, 2))}
                return Layer(kind, {"in_channels": channels, "out_channels": out, **same, **more}), out, sizes
        return Layer(kind, {"in_channels": channels, "out_channels": out, **window, **more}), out, strided
    if kind == "ConvTranspose3d":
        out = draw(st.sampled_from([2, 4]))
        padding = tuple(min(p, k - 1) for p, k in zip(padding, kernel, strict=True))
        more = {"kernel_size": kernel, "stride": stride, "padding": padding}
        grown = [(n - 1) * s - 2 * p + k for n, k, s, p in zip(sizes, kernel, stride, padding, strict=True)]
        if min(grown) < 1 or max(grown) > 12:
            return Layer("ReLU", {}), channels, sizes
        return Layer(kind, {"in_channels": channels, "out_channels": out, **more}), out, grown
    if kind in ("MaxPool3d", "AvgPool3d"):
        if max(kernel) == 1:  # of which MLX makes a view, and the next pool raises
            return Layer("ReLU", {}), channels, sizes
        return Layer(kind, window), channels, strided
    if kind == "Upsample":
        if max(sizes) > 6:
            return Layer("ReLU", {}), channels, sizes
        linear = "linear" if framework == "mlx" else "trilinear"
        mode = draw(st.sampled_from(["nearest", linear]))
        return Layer(kind, {"scale_factor": 2, "mode": mode}), channels, [2 * size for size in sizes]
    last = channels if framework == "mlx" else sizes[2]
    own: dict[str, dict[str, Any]] = {
        "BatchNorm": {"num_features": channels},
        "GroupNorm": {"num_groups": draw(st.sampled_from([n for n in (1, 2, 4) if not channels % n])), "dims": channels,
                      "eps": 0.1},
        "LayerNorm": {"dims": last, "eps": 0.1},
        "PReLU": {"num_parameters": draw(st.sampled_from([1, channels]))},
        "Softmax": {"dim": draw(st.integers(-4, 4))} if framework == "torch" else {},
    }  # fmt: skip
    return Layer(kind, own.get(kind, {})), channels, sizes


@settings(max_examples=60)
@given(cases())
def test_layers_in_a_row_agree(case: Case) -> None:
    agree(case)


REFUSED = [
    ("mlx", "Conv3d(4, 8, 3, groups=3)", 5, "in_channels: layer 1, nn.Conv3d, has 4, which groups=3 does not divide"),
    ("mlx", "Conv3d(4, 8, 3, padding='full')", 5, "padding: layer 1, nn.Conv3d, has 'full'"),
    ("mlx", "Conv3d(4, 8, 3, stride=2, padding='same')", 5, "padding: layer 1, nn.Conv3d, has stride 2, with which"),
    ("mlx", "Conv3d(4, 8, 3, padding=1, padding_mode='wrap')", 5, "padding_mode: layer 1, nn.Conv3d, has 'wrap'"),
    ("mlx", "ReLU(), nn.Dropout(p='x', inplace=True)", 5, "p: layer 2, nn.Dropout, has 'x'; use a number"),
    ("mlx", "MaxPool3d(2, dilation=2, ceil_mode=True)", 5, "ceil_mode: layer 1, nn.MaxPool3d, has True"),
    ("mlx", "MaxPool3d('big', ceil_mode=True)", 5, "kernel_size: layer 1, nn.MaxPool3d, has 'big'"),
    ("mlx", "BatchNorm3d(4, momentum=None)", 5, "momentum: layer 1, nn.BatchNorm3d, has None"),
    ("mlx", "InstanceNorm3d(4, track_running_stats=True)", 5, "track_running_stats: layer 1, nn.InstanceNorm3d, has"),
    ("mlx", "Dropout(1)", 5, "p: layer 1, nn.Dropout, has 1, and MLX drops less than all"),
    ("mlx", "Upsample(size=(4, 0, 4))", 5, "size: layer 1, nn.Upsample, has (4, 0, 4)"),
    ("mlx", "Upsample(scale_factor=-1.5)", 5, "scale_factor: layer 1, nn.Upsample, has -1.5"),
    ("mlx", "Upsample(scale_factor=1.5, recompute_scale_factor=True)", 5, "recompute_scale_factor: layer 1,"),
    ("mlx", "Upsample(scale_factor=2, mode='bicubic')", 5, "mode: layer 1, nn.Upsample, has 'bicubic'"),
    ("mlx", "Conv3d(4, 8, 3), nn.BatchNorm3d(8)", 4, "input: layer 2, nn.BatchNorm3d, counts the channels behind"),
    ("mlx", "Conv3d(4, 8, 3)", 3, "input: layer 1, nn.Conv3d, gets an array of 3 axes"),
    ("mlx", "Softmax(dim=7)", 5, "dim: layer 1, nn.Softmax, has 7, of 5 axes; use -5 to 4."),
    ("mlx", "Flatten(3, 1)", 5, "end_dim: layer 1, nn.Flatten, ends at 1, before 3"),
    ("mlx", "AdaptiveAvgPool3d((2, 2))", 5, "output_size: layer 1, nn.AdaptiveAvgPool3d, has (2, 2)"),
    ("mlx", "AdaptiveMaxPool3d(0)", 5, "output_size: layer 1, nn.AdaptiveMaxPool3d, has 0"),
    ("mlx", "LayerNorm((4, 'x'))", 5, "dims: layer 1, nn.LayerNorm, has (4, 'x')"),
    ("mlx", "Softplus(beta='x')", 5, "beta: layer 1, nn.Softplus, has 'x'"),
    ("torch", "Conv3d(4, 8, 3)", 4, "input: layer 1, nn.Conv3d, gets an array of 4 axes"),
    ("torch", "Conv3d(4, 8, 3, padding=-1)", 5, "padding: layer 1, nn.Conv3d, has -1"),
    ("torch", "ConvTranspose3d(4, 8, 2, padding=2)", 5, "padding: layer 1, nn.ConvTranspose3d, has 2, and MLX cuts"),
    ("torch", "ConvTranspose3d(4, 8, 2, output_padding=1)", 5, "output_padding: layer 1, nn.ConvTranspose3d, has 1"),
    ("torch", "Upsample(2, mode='cubic')", 5, "mode: layer 1, nn.Upsample, has 'cubic', and PyTorch has none"),
    ("torch", "Upsample(0.5, mode='linear')", 5, "scale_factor: layer 1, nn.Upsample, has 0.5"),
    ("torch", "GELU(approx='best')", 5, "approx: layer 1, nn.GELU, has 'best'"),
]  # fmt: skip


@pytest.mark.parametrize(("target", "text", "rank", "words"), REFUSED)
def test_what_the_other_cannot_do_is_said_by_layer_and_argument(
    target: Framework, text: str, rank: int, words: str
) -> None:
    given = case(f"nn.Sequential(nn.{text})", (4,) * rank, "torch" if target == "mlx" else "mlx")
    with pytest.raises(SpecError) as caught:
        (to_mlx if target == "mlx" else to_torch)(given)
    assert str(caught.value).startswith(words)
    assert caught.value.field == words.partition(":")[0]


AXES = {"axis", "keepdims"}
VALUES = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 9), st.floats(), st.sampled_from(["same", "x", "zeros"]),
    st.lists(st.integers(-1, 4), max_size=4).map(tuple), st.lists(st.integers(-1, 4), max_size=3),
)  # fmt: skip


@settings(max_examples=300)
@given(st.data(), st.sampled_from(["mlx", "torch"]), st.integers(1, 6))
def test_any_values_give_a_program_or_an_explained_refusal(
    data: st.DataObject, framework: Framework, rank: int
) -> None:
    layers = []
    for _ in range(data.draw(st.integers(0, 3))):
        kind = data.draw(st.sampled_from(list(KINDS)))
        signatures = [signature for signature in (KINDS[kind].mlx, KINDS[kind].torch) if signature]
        names = {signature.name(own) for signature in signatures for own in signature.parameters} - {"device", "dtype"}
        names |= {"Transpose": {"axes"}, "ExpandDims": {"axis"}, "Mean": AXES, "Max": AXES}.get(kind, set())
        layers.append(Layer(kind, data.draw(st.fixed_dictionaries({}, optional=dict.fromkeys(sorted(names), VALUES)))))
    given = Case(Chain(tuple(layers), framework), (4,) * rank)
    for write in (to_mlx, to_torch):
        with contextlib.suppress(SpecError):
            ast.parse(write(given))


def test_what_was_not_read_is_said() -> None:
    text = to_mlx(case("nn.Sequential(nn.Conv3d(1, 2, 3), nn.Fancy(3), nn.ReLU())", (1, 1, 5, 5, 5), "torch"))
    assert "\n# Not read, and not here: line 1, " in text
    ast.parse(text)


@pytest.mark.parametrize("write", [to_mlx, to_torch])
def test_what_changes_values_alone_is_said_once(write: Callable[[Case], str]) -> None:
    lines = "for layer in layers:\n    x = mx.exp(layer(x))\ny = x * 2"
    given = case(f"layers = [nn.Conv3d(1, 1, 3), nn.Conv3d(1, 2, 1)]\n{lines}\nz = nn.ReLU()(y)", (1, 5, 5, 5, 1))
    text = write(given)
    said = [line for line in text.splitlines() if "Not here" in line]
    assert said == [
        "# Not here, though it changes the values: line 3, x = mx.exp(layer(x))",
        "# Not here, though it changes the values: line 4, y = x * 2",
    ]
    ast.parse(text)


def test_a_modules_own_names_are_not_taken() -> None:
    import mlx.nn

    own = {name for module in (torch.nn.Module, mlx.nn.Module) for name in dir(module) if name.isidentifier()}
    assert {name for name in own if not name.startswith("_")} - {"T_destination"} <= RESERVED
    layers = [
        Layer("ReLU", {}, name=name) for name in ("self.type", "self.act2", "self._x", "self.lambda", "0", "self.a.b")
    ]
    assert module_names(layers) == ["act1", "act2", "act3", "act4", "act5", "act6"]


def test_a_layer_that_is_applied_twice_is_made_once() -> None:
    first, second, other = (Layer("PReLU", {"init": init}, name="self.act") for init in (0.1, 0.1, 0.2))
    assert module_names([first, second, other]) == ["act", "act", "act3"]
