"""Pasted text -> layers: what is read, in whose words, what is passed over, and that no text does anything else."""

from __future__ import annotations

import contextlib
import re
import sys
import time
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core import SpecError
from conv3d_core.chain import Chain, Framework, Passed
from conv3d_core.chain.reading import read_chain
from conv3d_core.source_code import MAX_TEXT
from tests.core import snippets


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
    ("it is \u201cmine\u201d:\nnn.Conv3d(1, 8, 3, padding=\u201csame\u201d)", "torch", {**THREE, "padding": "same"}),
    ("nn.Conv3d(1, 8, 3, padding=\u2018same\u2019)  # it\u2019s", "torch", {**THREE, "padding": "same"}),
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


# --- what goes in -----------------------------------------------------------------------------------------------------

NET = """class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv = nn.Conv3d(1, 8, 3)
    def forward(self, x):
        return self.conv(x)
"""
GOES_IN = [
    ("x = mx.zeros((1, 32, 32, 32, 1))\ny = nn.Conv3d(1, 8, 3)(x)", (1, 32, 32, 32, 1)),
    ("nn.Conv3d(1, 8, 3)(torch.randn(2, 1, 64, 64, 64))", (2, 1, 64, 64, 64)),
    ("n, d = 2, 16\nnn.Conv3d(1, 8, 3)(torch.rand([n, 1, d, d, d // 2], device='cuda'))", (2, 1, 16, 16, 8)),
    ("shape = (1, 8, 8, 8, 1)\nnn.Conv3d(1, 8, 3)(mx.random.normal(shape=shape))", (1, 8, 8, 8, 1)),
    ("nn.Conv3d(1, 8, 3)(mx.random.uniform(0, 1, (1, 8, 8, 8, 1)))", (1, 8, 8, 8, 1)),
    ("x = np.random.randint(0, 255, size=(1, 8, 8, 8, 1)).astype(np.float32)\nnn.Conv3d(1, 8, 3)(mx.array(x))",
     (1, 8, 8, 8, 1)),
    ("x = mx.ones((1, 8, 8, 8, 1))\nnn.Conv3d(1, 8, 3)(mx.zeros_like(x))", (1, 8, 8, 8, 1)),
    (NET + "out = Net()(torch.full((2, 1, 8, 8, 8), 0.5).cuda())", (2, 1, 8, 8, 8)),
    ("class Net(nn.Module):\n    def __call__(self, x):\n        return nn.Conv3d(1, 8, 3)(x[None] / 255)\n"
     "Net()(mx.zeros((8, 8, 8, 1)))", (8, 8, 8, 1)),
    # Not made, made for nothing, made of who knows what, made into something else.
    (NET, None),
    ("x = mx.zeros((1, 8, 8, 8, 1))\nnn.Conv3d(1, 8, 3)(load('scan'))", None),
    ("nn.Conv3d(1, 8, 3)(torch.randn(n, 1, 64, 64, 64))", None),
    ("nn.Conv3d(1, 8, 3)(np.random.normal(0, 1))", None),
    ("nn.Conv3d(1, 8, 3)(mx.zeros((1, 8, 8, 8, 2))[..., :1])", None),
    ("nn.Conv3d(1, 8, 3)(roll(mx.zeros((1, 8, 8, 8, 1))))", None),
]  # fmt: skip


@pytest.mark.parametrize(("text", "shape"), GOES_IN, ids=range(len(GOES_IN)))
def test_the_shape_that_the_text_itself_gives_the_first_layer(text: str, shape: tuple[int, ...] | None) -> None:
    assert read_chain(text).input_shape == shape


# --- what is not read -------------------------------------------------------------------------------------------------

WRONG = [
    ("", "text: there is no layer in it that is read here; paste layers, such as nn.Conv3d(1, 8, kernel_size=3)"),
    ("# nn.Conv3d(1, 8, 3)", "text: there is no layer in it that is read here; paste layers"),
    ("nn.Conv2d(1, 8, 3)", "text: there is no layer in it that is read here (it is 2-D; use Conv3d); paste layers"),
    ("nn.Conv3d(1, 8, 3", "text: line 1 is not Python ('(' was never closed); paste layers"),
    ("nn.Conv3d(1, 8, \ud800)", "text: 'nn.Conv3d(1, 8, \\ud800)' cannot be read (UnicodeEncodeError); paste layers"),
    ("\nnn.Conv3d(width, 8, 3)", "in_channels: 'width' on line 2 is not a number that the text gives; write"),
    ("\nnn.Conv3D(1, 8, 3)", "text: there is no layer in it that is read here (line 2: did you mean Conv3d?); paste"),
    ("nn.Dense(1, 8)", "text: there is no layer in it that is read here; paste layers"),
    ("nn.Conv3d(1, 8, kernal_size=3)", "kernal_size: Conv3d on line 1 has no such argument (did you mean kernel_size?"),
    ("nn.Conv3d(1, 8, 3, strides=2)", "(did you mean stride?); use in_channels, out_channels, kernel_size, stride, "),
    ("nn.Conv3d(1, 8, 3, rate=2)", "rate: Conv3d on line 1 has no such argument; use in_channels, out_channels"),
    ("F.max_pool3d(x, kernal_size=2)", "max_pool3d on line 1 has no such argument (did you mean kernel_size?); use"),
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


# --- pooling over whole axes ------------------------------------------------------------------------------------------

OVER_AXES = [
    ("mx.mean(x, axis=(1, 2, 3))", "Mean", {"axis": (1, 2, 3)}),
    ("mx.mean(x, (1, 2, 3), keepdims=True)", "Mean", {"axis": (1, 2, 3), "keepdims": True}),
    ("x.mean(axis=[1, 2, 3])", "Mean", {"axis": (1, 2, 3)}),
    ("x.mean(axis=-2)", "Mean", {"axis": -2}),
    ("mx.max(x, axis=(1, 2, 3))", "Max", {"axis": (1, 2, 3)}),
    ("x.max((1, 2, 3), True)", "Max", {"axis": (1, 2, 3), "keepdims": True}),
    ("x.mean(dim=(2, 3, 4))", "Mean", {"axis": (2, 3, 4)}),
    ("torch.mean(x, dim=[2, 3, 4])", "Mean", {"axis": (2, 3, 4)}),
    ("torch.mean(x, (2, 3, 4), keepdim=True)", "Mean", {"axis": (2, 3, 4), "keepdims": True}),
    ("torch.amax(x, dim=(2, 3, 4))", "Max", {"axis": (2, 3, 4)}),
    ("x.amax((-3, -2, -1), keepdim=False)", "Max", {"axis": (-3, -2, -1), "keepdims": False}),
    ("F.adaptive_avg_pool3d(x, 1)", "AdaptiveAvgPool3d", {"output_size": 1}),
    ("F.adaptive_avg_pool3d(x, output_size=(1, None, 7))", "AdaptiveAvgPool3d", {"output_size": (1, None, 7)}),
    ("F.adaptive_max_pool3d(x, 2)", "AdaptiveMaxPool3d", {"output_size": 2}),
    ("nn.AdaptiveAvgPool3d((1, 1, 1))(x)", "AdaptiveAvgPool3d", {"output_size": (1, 1, 1)}),
    ("nn.AdaptiveMaxPool3d(output_size=2, return_indices=False)(x)", "AdaptiveMaxPool3d",
     {"output_size": 2, "return_indices": False}),
]  # fmt: skip


@pytest.mark.parametrize(("text", "kind", "arguments"), OVER_AXES, ids=[text for text, *_ in OVER_AXES])
def test_pooling_over_whole_axes(text: str, kind: str, arguments: dict[str, object]) -> None:
    chain = read_chain(f"x = nn.Conv3d(1, 8, 3)(x)\ny = {text}")
    assert [(layer.kind, layer.arguments) for layer in chain.layers[1:]] == [(kind, arguments)]
    assert chain.uncertain_from is None
    assert chain.layers[1].span
    told = ("dim", "torch", "F.", "Adaptive")
    assert chain.framework == ("torch" if any(word in text for word in told) and "keepdims" not in text else "mlx")


@pytest.mark.parametrize(
    "text",
    ["x.mean()", "mx.mean(x)", "x.mean(axis=None)", "x.mean(axis=axes)", "torch.max(x, dim=1)", "x.max(dim=1)"],
)
def test_what_leaves_a_number_or_is_not_known_is_no_layer(text: str) -> None:
    chain = read_chain(f"x = nn.Conv3d(1, 8, 3)(x)\nx = {text}\ny = nn.ReLU()(x)")
    assert kinds(chain) == ["Conv3d", "ReLU"]
    assert chain.uncertain_from == 1


def test_a_loss_is_not_the_end_of_the_chain() -> None:
    chain = read_chain("net = nn.Conv3d(1, 8, 3)\nloss = (net(x) - y).mean()\nloss.backward()")
    assert kinds(chain) == ["Conv3d"]
    assert chain.uncertain_from is None


def test_axes_after_a_mean_are_counted_without_those_that_are_gone() -> None:
    chain = read_chain("x = nn.Conv3d(1, 8, 3)(x)\nx = x.mean(axis=(1, 2))\ny = mx.swapaxes(x, -1, -2)")
    assert chain.layers[2].arguments == {"axes": (0, 2, 1)}


# --- what is passed over ----------------------------------------------------------------------------------------------

JOINS = "it joins the data with what came from elsewhere, and its shape depends on both"
PASSED = [
    ("nn.Sequential(nn.Conv3d(1, 8, 3), nn.Conv2d(8, 8, 3), nn.ReLU())", 1,
     "nn.Conv2d(8, 8, 3): it is 2-D; use Conv3d"),
    ("nn.Sequential(nn.Conv3d(1, 8, 3), Attention(8))", 1, "Attention(8): it is not a layer that is read here"),
    ("nn.Sequential(nn.Conv3d(1, 8, 3), nn.ReLU)", 1, "nn.ReLU is the class and no layer; write nn.ReLU(...)"),
    ("nn.Sequential(nn.Conv3d(1, 8, 3), nn.Relu())", 1,
     "nn.Relu(): it is not a layer that is read here (did you mean ReLU?)"),
    ("nn.Sequential(nn.Conv3d(1, 8, 3), nn.Relu)", 1, "nn.ReLU is the class and no layer; write nn.ReLU(...)"),
    ("x = nn.Conv3d(1, 8, 3)(x)\nx = nn.Maxpool3D(2)(x)\nnn.ReLU()(x)", 1,
     "nn.Maxpool3D(2): it is not a layer that is read here (did you mean MaxPool3d?)"),
    ("x = nn.Conv3d(1, 8, 3)(x)\nx = F.maxpool3d(x, 2)\nF.relu(x)", 1,
     "what F.maxpool3d does to the shape is not known here (did you mean max_pool3d?)"),
    ("nn.Sequential([nn.Conv3d(1, 8, 3)])", None, "nn.Sequential takes layers, not a list of them; put a * before it"),
    ("x = nn.Conv3d(1, 8, 3)(x)\nx = nn.ReLU(x)\nnn.Tanh()(x)", 1,
     "nn.ReLU is a class: make the layer first, then apply it: nn.ReLU(...)(x)"),
    ("c = nn.Conv3d(8, 8, 3)\ny = c(x) + x\nc(y)", 1, JOINS),
    ("c = nn.Conv3d(8, 8, 3)\ny = c(mx.concatenate([x, x], -1))\n", 0, JOINS),
    ("c = nn.Conv3d(8, 8, 3)\ny = c(c(x)[:, :4])", 1, "it takes a part of the data, and its shape is not followed"),
    ("c = nn.Conv3d(8, 8, 3)\ny = c(c(x).reshape(2, 4, 8, 8, 8))", 1,
     "it gives the data a new shape that is not followed"),
    ("c = nn.Conv3d(8, 8, 3)\ny = c(roll(c(x)))", 1, "what roll does to the shape is not known here"),
    ("layers = [nn.Conv3d(8, 8, 3)]\nnn.ReLU()(layers(nn.Tanh()(x)))", 1,
     "layers is a list, which cannot be called; use nn.Sequential(*...) or a loop"),
    ("class A:\n  def __call__(self, x):\n    x = nn.Conv3d(1, 1, 1)(x)\n    if mx.any(x):\n      x = f(x)\n"
     "    return nn.ReLU()(x)", 1, "whether it holds is not known"),
    ("class A:\n  def __call__(self, x):\n    x = nn.Conv3d(1, 1, 1)(x)\n    while x:\n      x = f(x)\n"
     "    return nn.ReLU()(x)", 1, "it is not followed"),
    ("class A:\n  def __call__(self, x):\n    x = nn.Conv3d(1, 1, 1)(x)\n    for f in g():\n      x = f(x)\n"
     "    return nn.ReLU()(x)", 1, "what it goes through is not known"),
    ("nn.Sequential(nn.Conv3d(1, 8, 3), nn.Dropout(rate))", None,
     "p=rate is not a value that the text gives, and is left out"),
    ("nn.Sequential(nn.Conv3d(1, 8, 3))\nspare = nn.ReLU()\nnn.Tanh()(x)", None,
     "nn.ReLU is made and not applied on the way that is followed"),
    ("nn.Conv3d(1, 8, 3)\nprint(3)", None, "it takes no part in the data's way"),
    ("here is mine:\nnn.Conv3d(1, 8, 3)", None, "it is not Python"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "before", "why"), PASSED, ids=range(len(PASSED)))
def test_what_is_not_understood_is_told(text: str, before: int | None, why: str) -> None:
    chain = read_chain(text)
    assert (before, why) in [(place, said) for _, place, said in whys(chain)]
    assert chain.uncertain_from == before


LEFT_OUT = "it changes values and no shape, and is left out"
VALUES_ONLY = [
    ("x = c(x * 2)", 0),
    ("x = c(x / 255.0 - 0.5)", 0),
    ("x = c(255 - x)", 0),
    ("x = c(x)\nx *= self.scale", 1),
    ("x = -c(x)", 1),
    ("x = mx.clip(c(x), 0, 1)", 1),
    ("x = c(x).abs()", 1),
    ("x = mx.multiply(c(x), 2)", 1),
    ("x = mx.maximum(c(x), 0.1)", 1),
    ("x = F.normalize(c(x))", 1),
    ("x = nn.Hardtanh()(c(x))", 1),
    ("x = nn.Sequential(c, nn.Hardtanh())(x)", 1),
]


@pytest.mark.parametrize(("lines", "before"), VALUES_ONLY, ids=[lines for lines, _ in VALUES_ONLY])
def test_what_changes_values_alone_is_told_and_keeps_the_shapes_certain(lines: str, before: int) -> None:
    chain = read_chain(f"self.scale = 0.5\nc = nn.Conv3d(8, 8, 3)\n{lines}\ny = nn.ReLU()(x)")
    assert kinds(chain) == ["Conv3d", "ReLU"]
    assert chain.uncertain_from is None
    on_the_way = [(passed.before, passed.keeps_shape, passed.why) for passed in chain.passed if passed.why == LEFT_OUT]
    assert on_the_way == [(before, True, LEFT_OUT)]


@pytest.mark.parametrize("lines", ["x = c(+x)", "x = c(x).contiguous()", "x = c(x.astype(mx.float32)).to('cpu')"])
def test_what_changes_nothing_is_not_told(lines: str) -> None:
    assert read_chain(f"c = nn.Conv3d(8, 8, 3)\n{lines}\ny = nn.ReLU()(x)").passed == ()


def test_what_is_done_with_the_output_beside_the_way_is_not_told() -> None:
    assert read_chain("y = nn.Conv3d(8, 8, 3)(x)\nloss = y * 0.5").passed == ()


def test_the_end_can_be_uncertain_where_no_layer_is() -> None:
    chain = read_chain("class A:\n  def __call__(self, x):\n    return x + nn.Conv3d(1, 1, 1)(x)")
    assert kinds(chain) == ["Conv3d"]
    assert whys(chain) == [(3, 1, JOINS)]


def test_what_stands_beside_the_way_makes_nothing_uncertain() -> None:
    chain = read_chain(
        "import torch\ndevice = torch.device('cuda')\nnet = torch.nn.Conv3d(1, 8, 3).to(device)\n"
        "loss = torch.nn.MSELoss()\nopt = torch.optim.Adam(net.parameters())\nout = net(torch.randn(1, 1, 8, 8, 8))\n"
        "loss(out, y).backward()\nprint(out.shape)"
    )
    assert kinds(chain) == ["Conv3d"]
    assert chain.uncertain_from is None
    assert {line for line, *_ in whys(chain)} >= {2, 4, 5, 7, 8}


def test_a_call_that_makes_several_layers_has_no_place_of_its_own() -> None:
    chain = read_chain("c = nn.Conv3d(3, 3, 3)\nd = nn.Conv3d(3, 3, 1)\ny = d(c(c(x)))")
    assert [layer.span is None for layer in chain.layers] == [True, True, False]


# --- any text ---------------------------------------------------------------------------------------------------------

CANARIES = """
import os, subprocess
os.system("touch /tmp/ran"); subprocess.run(["touch", "/tmp/ran"]); open("/tmp/ran", "w").write("x")
__import__("os").system("touch /tmp/ran"); eval("open('/tmp/ran', 'w')"); exec("import os")
class A(nn.Module):
    x = open("/tmp/ran", "w")
    def __init__(self, y=open("/tmp/ran", "w")):
        self.conv = nn.Conv3d(1, 8, 3, device=__import__("os").system("x"), bias=compile("1", "", "eval"))
        [open("/tmp/ran", "w") for _ in range(3)]
        getattr(os, "system")("x"); (lambda: open("/tmp/ran"))(); f"{open('/tmp/ran')}"
        self.__class__.__bases__[0].__subclasses__(); "".join.__self__.__class__
    def __call__(self, x): return self.conv(x)
"""


FORBIDDEN = ("exec", "open", "import", "os.", "subprocess.", "socket.", "shutil.", "ctypes.", "builtins.input")
seen: list[str] | None = None


def watch(event: str, arguments: object) -> None:
    told = f"{event} {arguments}"
    # CPython itself looks for the line of a SyntaxError in a file of this name.
    if seen is not None and event.startswith(FORBIDDEN) and not told.startswith("open ('<unknown>'"):
        seen.append(told)


sys.addaudithook(watch)  # Python tells of every file, import, run code and process; a hook stays until the end


@contextlib.contextmanager
def nothing_runs() -> Iterator[None]:
    global seen
    seen = found = []
    try:
        yield
    finally:
        seen = None
    assert found == []


def test_the_watch_sees_what_runs() -> None:
    for code in ("import wave", "open(__file__).close()", "__import__('os').system('true')", "eval('1')"):
        with pytest.raises(AssertionError), nothing_runs():
            exec(code, {"__file__": __file__})


def test_text_is_never_run() -> None:
    with nothing_runs():
        assert kinds(read_chain(CANARIES)) == ["Conv3d"]
    with nothing_runs(), pytest.raises(SpecError, match="is not a number that the text gives"):
        read_chain("import antigravity\nnn.Conv3d(1, 8, __import__('antigravity'))")


def seconds(text: str) -> float:
    start = time.process_time()
    with contextlib.suppress(SpecError):
        read_chain(text)
    return time.process_time() - start


HEAVY = {
    "layers": "nn.Sequential(\n" + "    nn.Conv3d(8, 8, kernel_size=3, padding=1),\n" * 440 + ")",
    "unused": "nn.Conv3d(8, 8, 3)(x)\n" + "".join(f"c{i} = nn.Conv3d(8, 8, 3)\n" for i in range(740)),
    "a sum": "nn.Conv3d(1, 8, " + "+".join("1" * 9000) + ")",
    "attributes": "x" + ".y" * 9900,
    "indices": "x" + "[None]" * 3000,
    "brackets": "(" * 9000 + ")" * 9000,
    "calls": "f" + "(1)" * 6000,
    "lambdas": "f = " + "lambda x: " * 1900 + "x",
    "minuses": "nn.Conv3d(1, 8, " + "-" * 15000 + "3)",
    "loops": "for i in range(60):\n for j in range(60):\n  for k in range(60):\n   z = i*j*k\nnn.Conv3d(1,1,1)",
    "comprehension": "[i for a in range(300) for b in range(300) for i in range(300)]\nnn.Conv3d(1, 8, 3)",
    "no Python": "a b c\n" * 3300,
    "printed": "Sequential(\n" + "  (0): ReLU()\n" * 1400 + ")",
    "printed repeats": "(0-1): 200 x Sequential(\n" * 40 + "(0): ReLU()\n" + ")\n" * 40,
    "endless call": "def f(x):\n    return f(f(x))\nf(x)\nnn.Conv3d(1,8,3)",
    "endless object": "class A:\n  def __init__(self):\n    self.a = A()\nA()\nnn.Conv3d(1,8,3)",
    "doubled tuple": "a = (1,)\n" + "a = (a, a)\n" * 40 + "nn.Conv3d(1, 8, a)\nif a == a: pass\nnn.Conv3d(1, 8, 3)(a)",
    "doubled list": "a = [1]\n" + "a = [a, a]\n" * 40 + "nn.Sequential(a)(x)\nnn.Conv3d(1, 8, 3)(a)",
    "doubled row": "a = nn.Sequential()\n" + "a = nn.Sequential(a, a)\n" * 40 + "a(x)\nnn.Conv3d(1, 8, 3)(x)",
    "doubled text": "a = 'x'\n" + "a = a + a\n" * 1500 + "nn.Conv3d(1, 8, a)",
    "doubled number": "a = 2\n" + "a = a * a\n" * 1500 + "nn.Conv3d(1, 8, a)",
    "a list in itself": "a = []\na.append(a)\nnn.Sequential(a)(x)\nnn.Sequential(*a)(a)\nnn.Conv3d(1, 8, a)(x)",
    "a row in itself": "a = nn.Sequential()\na.append(a)\na(x)\nnn.Conv3d(1, 8, 3)",
    "slices": "a = [0] * 300\nfor i in range(64):\n for j in range(64):\n  b = a[:]\nnn.Conv3d(1, 8, 3)(x)",
    "fences": "```\n" * 5000,
    "one long line": "x = '" + "\u00e9" * 9000 + "'; " + "nn.Conv3d(1, 8, 3)(x); " * 400,
}  # fmt: skip


@pytest.mark.parametrize("text", HEAVY.values(), ids=HEAVY)
def test_no_text_takes_long(text: str) -> None:
    assert min(seconds(text[:MAX_TEXT]) for _ in range(2)) < 0.5  # 0.2 s on a machine that is not shared


SNIPPETS = [snippet.text for snippet in (*snippets.RIGHT, *snippets.WRONG)]
WORDS = """
( ) [ ] { } , : = . * ** -1 999999999999999999999 1e400 0x None True self x nn. mx. F. torch. Conv3d ReLU() 'same'
lambda return import @ := *x **k ... # >>> ``` lambda\u00a0x: class\u00a0A: \u00e9 f'{x}' [None] += if for
"""
TOKENS = [
    *WORDS.split(" "),
    *(" lambda x: ", "def f(x):", "class A:", "for i in range(9):", "if x:", "\\", "\t", "\0", "\n    ", "\ud800"),
]


@st.composite
def mutated(draw: st.DrawFn) -> str:
    """A snippet that was cut, joined with another, doubled in a part, or hit by strange characters."""
    text = draw(st.sampled_from(SNIPPETS))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(text)))
        end = min(len(text), start + draw(st.integers(0, 60)))
        part = draw(
            st.sampled_from(["", text[start:end] * 2, "\n"])
            | st.sampled_from(TOKENS)
            | st.lists(st.sampled_from(TOKENS), max_size=4).map("".join)
            | st.text(max_size=5)
            | st.tuples(st.sampled_from(SNIPPETS), st.integers(0, 500)).map(lambda other: other[0][other[1] :][:200])
        )
        text = text[:start] + part + text[end:]
    return text[:MAX_TEXT]


@settings(max_examples=600)
@given(mutated() | st.lists(st.sampled_from(TOKENS), max_size=30).map(" ".join) | st.text(max_size=60))
def test_any_text_is_a_chain_or_a_spec_error(text: str) -> None:
    try:
        with nothing_runs():
            chain = read_chain(text)
    except SpecError:
        return
    assert 1 <= len(chain.layers) <= 200
    for layer in chain.layers:
        assert layer.span is None or 0 <= layer.span[0] < layer.span[1] <= len(text)
        assert 0 <= layer.line <= 1 + text.count("\n") + text.count("\r")
    for passed in chain.passed:
        assert passed.before is None or 0 <= passed.before <= len(chain.layers)


@given(st.sampled_from(SNIPPETS), st.sampled_from(["    ", "\t", ">>> ", "```\n", "\r\n", "\u00a0"]))
def test_what_is_around_the_code_changes_nothing(text: str, around: str) -> None:
    if re.search(r"^(>>>|\s+self|    nn|```|%|  )", text, re.MULTILINE) and around != "\r\n":
        around = "\r\n"
    whole = {
        ">>> ": "\n".join(f"{'... ' if line[:1] in (' ', ')', '') else '>>> '}{line}" for line in text.split("\n")),
        "```\n": f"some words\n```python\n{text}```\nmore of them",
        "\r\n": text.replace("\n", "\r\n"),
    }.get(around, "\n".join(around + line for line in text.split("\n")))
    left, right = read_chain(text), read_chain(whole)
    assert kinds(left) == kinds(right)
    assert [layer.arguments for layer in left.layers] == [layer.arguments for layer in right.layers]


@pytest.mark.parametrize(
    "text",
    [
        "nn.Sequential(\n    nn.Conv3d(1, 8, 3),\n    Mystery(8),\n    nn.ReLU(),\n)",
        "model = nn.Sequential(\n    nn.Conv3d(1, 8, 3),\n    Mystery(8),\n    nn.ReLU(),\n)\ny = model(x)",
        "a = nn.Conv3d(1, 8, 3)\nmodel = nn.Sequential(\n    *[a, Mystery(8)], nn.ReLU())",
    ],
)
def test_what_is_not_understood_in_a_row_is_said_by_its_own_line(text: str) -> None:
    chain = read_chain(text)
    (passed,) = chain.passed
    assert passed == Passed(3, passed.text, "Mystery(8): it is not a layer that is read here", 1)
    assert "Mystery(8)" in passed.text
