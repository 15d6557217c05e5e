"""Pasted text -> layers: what is read, in whose words, what is passed over, and that no text does anything else."""

from __future__ import annotations

import re
from typing import Any

import pytest

from conv3d_core import SpecError
from conv3d_core.chain import Chain, Framework
from conv3d_core.chain.reading import read_chain
from conv3d_core.source_code import MAX_TEXT


def kinds(chain: Chain) -> list[str]:
    return [layer.kind for layer in chain.layers]


def whys(chain: Chain) -> list[tuple[int, int | None, str]]:
    return [(passed.line, passed.before, passed.why) for passed in chain.passed]


# --- one layer --------------------------------------------------------------------------------------------------------

THREE = {"in_channels": 1, "out_channels": 8, "kernel_size": 3}
ONE_LAYER = [
    ("nn.Conv3d(1, 8, 3)", "mlx", THREE),
    ("conv = torch.nn.Conv3d(1, 8, 3)", "torch", THREE),
    ("self.conv1 = nn.Conv3d(1, 8, kernel_size=3),", "mlx", THREE),
    ("from torch.nn import Conv3d\nConv3d(1, 8, 3)", "torch", THREE),
    ("import torch.nn as tnn\nlayer = tnn.Conv3d(1, 8, 3)", "torch", THREE),
    ("import mlx.nn as mnn\nlayer = mnn.Conv3d(1, 8, 3)", "mlx", THREE),
    ("C = 4\nconv = nn.Conv3d(C // 4, C * 2, C - 1)", "mlx", THREE),
    ("```python\nnn.Conv3d(1, 8, 3)\n```", "mlx", THREE),
    ("`nn.Conv3d(1, 8, 3)`", "mlx", THREE),
    (">>> nn.Conv3d(1, 8, 3)\nConv3d(...)", "mlx", THREE),
    ("In [3]: conv = nn.Conv3d(1, 8, 3)", "mlx", THREE),
    ("%pip install mlx\nnn.Conv3d(1, 8, 3)", "mlx", THREE),
    ("y = nn.Conv3d(1, 8, 3)(x)", "mlx", THREE),
    ("(conv1): Conv3d(1, 8, kernel_size=3)", "mlx", THREE),
    ("nn.Conv3d(1, 8, 3, padding='same')", "torch", {**THREE, "padding": "same"}),
    ("nn.Conv3d(0, -8, (3, 3), stride=True, padding=2.5, dilation=None)", "mlx",
     {"in_channels": 0, "out_channels": -8, "kernel_size": (3, 3), "stride": True, "padding": 2.5, "dilation": None}),
    ("nn.Conv3d(1, 16 / 2, 3)", "mlx", {**THREE, "out_channels": 8.0}),
    ("nn.Conv3d(1, 8, 3, groups=2)", "torch", {**THREE, "groups": 2}),
    ("import mlx.nn as nn\nnn.Conv3d(1, 8, 3, groups=2)", "mlx", {**THREE, "groups": 2}),
    ("nn.Conv3d(1, 8, 3, 1, 0, 1, False)", "mlx", {**THREE, "stride": 1, "padding": 0, "dilation": 1, "bias": False}),
    ("nn.Conv3d(1, 8, 3, 1, 0, 1, 4)", "torch", {**THREE, "stride": 1, "padding": 0, "dilation": 1, "groups": 4}),
    ("nn.Conv3d(1, 8, 3, device=device, dtype=torch.half)", "torch", THREE),
]  # fmt: skip


@pytest.mark.parametrize(("text", "framework", "arguments"), ONE_LAYER, ids=[text for text, *_ in ONE_LAYER])
def test_one_layer(text: str, framework: Framework, arguments: dict[str, object]) -> None:
    chain = read_chain(text)
    assert kinds(chain) == ["Conv3d"]
    assert chain.framework == framework
    assert {name: repr(value) for name, value in chain.layers[0].arguments.items()} == {
        name: repr(value) for name, value in arguments.items()
    }
    assert chain.uncertain_from is None


def test_a_layer_knows_where_it_stands_in_the_text() -> None:
    text = "# é\n  >>> self.conv = nn.Sequential('é', nn.Conv3d(1, 8,\n  ...     3))"
    layer = read_chain(text).layers[0]
    assert (layer.name, layer.line, layer.call) == ("self.conv.1", 2, "nn.Conv3d")
    assert layer.span is not None
    assert text[slice(*layer.span)] == "nn.Conv3d(1, 8,\n  ...     3)"


def test_the_given_framework_overrides_the_words() -> None:
    text = "nn.Sequential(nn.ConvTranspose3d(8, 4, 2, 2, 0, 1))"
    assert read_chain(text, "mlx").layers[0].arguments["dilation"] == 1
    assert read_chain(text, "torch").layers[0].arguments["output_padding"] == 1
    assert read_chain("torch.nn.Conv3d(1, 8, 3)", "mlx").framework == "mlx"


# --- what is not read -------------------------------------------------------------------------------------------------

WRONG = [
    ("", "text: there is no layer in it that is read here; paste layers, such as nn.Conv3d(1, 8, kernel_size=3)"),
    ("# nn.Conv3d(1, 8, 3)", "text: there is no layer in it that is read here; paste layers"),
    ("nn.Conv2d(1, 8, 3)", "text: there is no layer in it that is read here (it is 2-D; use Conv3d); paste layers"),
    ("nn.Conv3d(1, 8, 3", "text: line 1 is not Python ('(' was never closed); paste layers"),
    ("nn.Conv3d(1, 8, \ud800)", "text: 'nn.Conv3d(1, 8, \\ud800)' cannot be read (UnicodeEncodeError); paste layers"),
    ("\nnn.Conv3d(width, 8, 3)", "in_channels: 'width' on line 2 is not a number that the text gives; write"),
    ("nn.Conv3d(1, 8, 3, kernel=3)", "kernel: Conv3d on line 1 has no such argument; use in_channels, out_channels"),
    ("nn.Conv3d(1, 8, 3, **options)", "text: '**options' on line 1 is not known; write the arguments out."),
    ("nn.Conv3d(1, 8, 3, in_channels=1)", "in_channels: it is given twice to Conv3d on line 1; give it once."),
    ("nn.Conv3d(*range(12))", "text: 12 positional arguments of Conv3d on line 1 are more than it takes; use at"),
    ("nn.Conv3d(1, 8, 9**64 * 9**64)", "is too large for a parameter; use a smaller number."),
    ("nn.Sequential(*[nn.ReLU() for _ in range(201)])", "text: the data passes more than 200 layers; paste a part"),
    ("import mlx.nn as nn\nnn.Linear(in_features=8, out_features=2)", "in_features: Linear on line 2 has no such"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), WRONG, ids=[ascii(text)[:60] for text, _ in WRONG])
def test_wrong_texts(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)):
        read_chain(text)


@pytest.mark.parametrize("text", [None, 3, b"nn.Conv3d(1, 8, 3)", " " * (MAX_TEXT + 1)])
def test_what_is_no_short_text(text: Any) -> None:
    with pytest.raises(SpecError, match=r"^text: it is not text of at most 20,000 characters; paste layers"):
        read_chain(text)
