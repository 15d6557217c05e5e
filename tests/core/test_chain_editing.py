"""An edit changes one argument and leaves the rest of the text alone; what cannot be edited is written anew."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import SpecError
from conv3d_core.chain import Chain
from conv3d_core.chain.editing import with_arguments, with_layers
from conv3d_core.chain.reading import read_chain

IN_PLACE = [
    ("nn.Conv3d(1, 8, 3)", 0, {"padding": 1}, "nn.Conv3d(1, 8, 3, padding=1)"),
    ("nn.Conv3d(1, 8, 3)", 0, {"in_channels": 3, "kernel_size": (1, 3, 3)}, "nn.Conv3d(3, 8, (1, 3, 3))"),
    ("nn.Conv3d(1, 8, kernel_size=3, padding=1)", 0, {"padding": 0}, "nn.Conv3d(1, 8, kernel_size=3)"),
    ("nn.Conv3d(padding=1, in_channels=1, out_channels=8, kernel_size=3)", 0, {"padding": 0},
     "nn.Conv3d(in_channels=1, out_channels=8, kernel_size=3)"),
    ("nn.Conv3d(1, 8, 3, 2, 1)  # half", 0, {"stride": 1}, "nn.Conv3d(1, 8, 3, 1, 1)  # half"),
    ("nn.Conv3d(1, 8, 3)", 0, {"kernel_size": (3, 3)}, "nn.Conv3d(1, 8, (3, 3))"),
    ("nn.Conv3d(1, 8, 3)", 0, {"kernel_size": (5, 5, 5)}, "nn.Conv3d(1, 8, 5)"),
    ("nn.Conv3d(1, 8, 3)", 0, {"stride": True, "padding": None}, "nn.Conv3d(1, 8, 3, stride=True, padding=None)"),
    ("nn.Conv3d(\n    1,\n    8,\n    3,\n)", 0, {"dilation": 2}, "nn.Conv3d(\n    1,\n    8,\n    3, dilation=2,\n)"),
    ("n = 8\nnn.Sequential(nn.Conv3d(1, n, 3), nn.Conv3d(n, n, 3))", 1, {"out_channels": 4},
     "n = 8\nnn.Sequential(nn.Conv3d(1, n, 3), nn.Conv3d(n, 4, 3))"),
    ("x = '\u00e9'; nn.MaxPool3d(2)", 0, {"stride": 1}, "x = '\u00e9'; nn.MaxPool3d(2, stride=1)"),
    ("torch.nn.Linear(8, out_features=2)", 0, {"input_dims": 4, "output_dims": 3},
     "torch.nn.Linear(4, out_features=3)"),
    ("y = F.max_pool3d(x, 2)", 0, {"kernel_size": 3, "padding": 1}, "y = F.max_pool3d(x, 3, padding=1)"),
    ("y = x.flatten(1)", 0, {"start_dim": 2}, "y = x.flatten(2)"),
    ("y = mx.mean(x, axis=(1, 2))", 0, {"axis": (1, 2, 3), "keepdims": True},
     "y = mx.mean(x, axis=(1, 2, 3), keepdims=True)"),
    ("y = x.permute(0, 1, 2, 3, 4).mean(dim=(1, 2))", 1, {"axis": (2, 3, 4), "keepdims": True},
     "y = x.permute(0, 1, 2, 3, 4).mean(dim=(2, 3, 4), keepdim=True)"),
    ("y = F.adaptive_avg_pool3d(x, 1)", 0, {"output_size": (1, 2, 2)}, "y = F.adaptive_avg_pool3d(x, (1, 2, 2))"),
    ("y = mx.flatten(x, start_axis=1)", 0, {"start_dim": 2}, "y = mx.flatten(x, start_axis=2)"),
    ("Sequential(\n  (layers.0): Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1), padding=(0, 0, 0), dilation=1)\n"
     ")",
     0, {"padding": 1},
     "Sequential(\n  (layers.0): Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1), padding=1, dilation=1)\n)"),
    ("class A(nn.Module):\n  def __init__(self, c=1):\n    self.a = nn.Conv3d(c, 8, 3)\n  def forward(self, x):\n"
     "    return self.a(x)", 0, {"padding": "same"},
     "class A(nn.Module):\n  def __init__(self, c=1):\n    self.a = nn.Conv3d(c, 8, 3, padding='same')\n"
     "  def forward(self, x):\n    return self.a(x)"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "index", "arguments", "after"), IN_PLACE, ids=range(len(IN_PLACE)))
def test_an_edit_keeps_the_rest_of_the_text(text: str, index: int, arguments: dict[str, Any], after: str) -> None:
    chain = read_chain(text)
    edited = with_arguments(chain, index, **arguments)
    assert edited.text == after
    assert edited.framework == chain.framework
    assert [layer.kind for layer in edited.layers] == [layer.kind for layer in chain.layers]


@pytest.mark.parametrize(
    ("text", "index", "arguments", "after"),
    [
        # one call makes both layers
        ("nn.Sequential(*[nn.Conv3d(8, 8, 3) for _ in range(2)])", 1, {"stride": 2},
         "nn.Sequential(\n    nn.Conv3d(8, 8, kernel_size=3),\n    nn.Conv3d(8, 8, kernel_size=3, stride=2),\n)"),
        # the sizes are not written out in the call
        ("a = (1, 8, 3)\nnn.Conv3d(*a)", 0, {"out_channels": 4},
         "nn.Sequential(\n    nn.Conv3d(1, 4, kernel_size=3),\n)"),
        (">>> nn.Conv3d(1, 8,\n...           3)", 0, {"stride": 2},
         "nn.Sequential(\n    nn.Conv3d(1, 8, kernel_size=3, stride=2),\n)"),
    ],
)  # fmt: skip
def test_what_cannot_be_edited_is_written_anew(text: str, index: int, arguments: dict[str, Any], after: str) -> None:
    assert with_arguments(read_chain(text), index, **arguments).text == after


def test_the_text_still_tells_the_framework() -> None:
    chain = read_chain("nn.Conv3d(1, 8, 3, padding='same')")
    edited = with_arguments(chain, 0, padding=1)
    assert edited.text == "import torch.nn as nn\n\nnn.Conv3d(1, 8, 3, padding=1)"
    assert read_chain(edited.text).framework == edited.framework == "torch"
    chain = read_chain("torch.nn.Sequential(torch.nn.Conv3d(1, 8, 3), torch.nn.ReLU())")
    shorter = with_layers(chain, chain.layers[:1])
    assert read_chain(shorter.text) == shorter
    assert shorter.framework == "torch"


def test_layers_are_reordered_and_taken_out() -> None:
    chain = read_chain("nn.Sequential(nn.Conv3d(1, 8, 3), nn.relu, nn.MaxPool3d(2))")
    after = with_layers(chain, [chain.layers[2], chain.layers[0]])
    assert after.text == "nn.Sequential(\n    nn.MaxPool3d(2),\n    nn.Conv3d(1, 8, kernel_size=3),\n)"
    assert [layer.name for layer in after.layers] == ["0", "1"]
    with pytest.raises(SpecError, match=r"^layers: none is left; keep at least one layer\.$"):
        with_layers(chain, [])


def test_an_edit_follows_the_shape_that_the_text_gives() -> None:
    chain = read_chain("conv = nn.Conv3d(1, 8, 3)\ny = conv(mx.zeros((1, 8, 8, 8, 1)))")
    assert with_arguments(chain, 0, padding=1).input_shape == (1, 8, 8, 8, 1)
    # Layers written anew come without what is done with them.
    assert with_layers(chain, chain.layers).input_shape is None


VALUES = st.sampled_from([1, 2, 3, 0, -1, True, None, "same", 2.5, (1, 2, 3), (3, 3, 3), (3, 3)])
TEXTS = [
    "nn.Conv3d(1, 8, 3)",
    "nn.Sequential(nn.Conv3d(1, 8, kernel_size=3, stride=2,), nn.ReLU())",
    "conv = nn.Conv3d(1, 8, 3, 1, 1, 1, False)(x)",
    "class A(nn.Module):\n  def __init__(self, c=1):\n    self.a = [nn.Conv3d(c, 8, 3)]\n  def __call__(self, x):\n"
    "    return self.a[0](x)",
    "(conv): Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1))",
]


@given(
    st.sampled_from(TEXTS),
    st.dictionaries(
        st.sampled_from(["in_channels", "kernel_size", "stride", "padding", "dilation", "bias"]), VALUES, min_size=1
    ),
)
def test_an_edited_layer_has_what_it_was_given(text: str, arguments: dict[str, Any]) -> None:
    before = read_chain(text)
    after = with_arguments(before, 0, **arguments)
    assert read_chain(after.text, after.framework) == after
    for name in ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "bias"]:
        wanted = arguments.get(name, before.layers[0].value(name, before.framework))
        found = after.layers[0].value(name, after.framework)
        assert one(found) == one(wanted), (name, after.text)


def one(value: object) -> str:
    """Three equal numbers are the one number, and True is not 1."""
    if isinstance(value, tuple) and len(value) == 3 and len({repr(number) for number in value}) == 1:
        value = value[0]
    return repr(value)


def test_a_chain_without_a_text_is_written() -> None:
    chain = read_chain("nn.Sequential(nn.Conv3d(1, 8, 3), nn.ReLU())")
    bare = Chain(chain.layers, chain.framework)
    assert with_layers(bare, bare.layers).layers[0].arguments == chain.layers[0].arguments
