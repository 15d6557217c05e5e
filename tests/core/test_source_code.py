"""Layer text: what people paste, right and wrong, and that no text does anything but give a layer or a SpecError."""

import re
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from conv3d_core import ConvSpec, SpecError
from conv3d_core.source_code import MAX_TEXT, read_call, write_call
from tests.core.strategies import specs

RIGHT = [
    # MLX and PyTorch, as one types them
    ("nn.Conv3d(1, 8, 3)", ConvSpec(1, 8, 3)),
    ("nn.Conv3d(1, 8, 3, stride=2, padding=1)", ConvSpec(1, 8, 3, stride=2, padding=1)),
    ("Conv3d(1, 8, 3, 2, 1, 4)", ConvSpec(1, 8, 3, 2, 1, 4)),
    ("mlx.nn.Conv3d(1, 8, kernel_size=(1, 3, 3), stride=[1, 2, 2])", ConvSpec(1, 8, (1, 3, 3), stride=(1, 2, 2))),
    ("nn.Conv3d(out_channels=8, kernel_size=3, in_channels=1)", ConvSpec(1, 8, 3)),
    ("self.conv = torch.nn.Conv3d(3, 2 * 8, (1, 3, 3))", ConvSpec(3, 16, (1, 3, 3))),
    ("nn.Conv3d(64 // 4, 4 + 4, 5 - 2)  # comment", ConvSpec(16, 8, 3)),
    ("nn.Conv3d(8, 8 * 2**3, 11 % 4)", ConvSpec(8, 64, 3)),
    ("  \n\tnn.Conv3d(1,\n    8,\n    kernel_size=3,\n),\n", ConvSpec(1, 8, 3)),
    ("layer: nn.Module = nn.Conv3d(1, 8, +3)", ConvSpec(1, 8, 3)),
    ("import mlx.nn as nn\nlayer = nn.Conv3d(1, 8, 3)\ny = layer(x)", ConvSpec(1, 8, 3)),
    ("nn.Sequential(nn.Conv3d(1, 8, 3), nn.ReLU())", ConvSpec(1, 8, 3)),
    ("y = nn.Conv3d(1, 8, 3)(x)", ConvSpec(1, 8, 3)),
    # the seventh argument: bias in MLX, groups in PyTorch, whose eighth is bias
    ("nn.Conv3d(1, 8, 3, 1, 0, 1, False)", ConvSpec(1, 8, 3, bias=False)),
    ("nn.Conv3d(1, 8, 3, 1, 0, 1, 1)", ConvSpec(1, 8, 3)),
    ("nn.Conv3d(1, 8, 3, 1, 0, 1, 1, False)", ConvSpec(1, 8, 3, bias=False)),
    ("nn.Conv3d(1, 8, 3, 1, 0, 1, 1, False, 'zeros')", ConvSpec(1, 8, 3, bias=False)),
    # PyTorch only
    ("nn.Conv3d(1, 8, 3, padding='same', dilation=2)", ConvSpec(1, 8, 3, padding=2, dilation=2)),
    ("nn.Conv3d(1, 8, (1, 3, 5), padding='same')", ConvSpec(1, 8, (1, 3, 5), padding=(0, 1, 2))),
    ("nn.Conv3d(1, 8, 3, padding='valid')", ConvSpec(1, 8, 3)),
    ("nn.Conv3d(1, 8, 3, groups=1, padding_mode='zeros', device='cuda', dtype=torch.half)", ConvSpec(1, 8, 3)),
    # as PyTorch 2 prints a layer, alone and in a model
    ("Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(2, 2, 2), padding=(1, 1, 1))", ConvSpec(1, 8, 3, 2, 1)),
    (
        "Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1), padding=same, bias=False)",
        ConvSpec(1, 8, 3, 1, 1, 1, False),
    ),
    ("  (0): Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1))", ConvSpec(1, 8, 3)),
    ("(conv1): Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1))", ConvSpec(1, 8, 3)),
    # as MLX prints it
    (
        "Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(2, 1, 1), padding=(1, 1, 1), dilation=2, bias=True)",
        ConvSpec(1, 8, 3, stride=(2, 1, 1), padding=1, dilation=2),
    ),
    (
        "(layers.0): Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1), padding=(0, 0, 0), dilation=1, bias=False)",
        ConvSpec(1, 8, 3, bias=False),
    ),
]

ONE_LAYER = "paste one layer, such as nn.Conv3d(1, 8, kernel_size=3)."
WRONG = [
    ("", f"text: '' has no Conv3d call; {ONE_LAYER}", "text"),
    ("Conv3d", f"text: 'Conv3d' has no Conv3d call; {ONE_LAYER}", "text"),
    ("# nn.Conv3d(1, 8, 3)", f"text: '# nn.Conv3d(1, 8, 3)' has no Conv3d call; {ONE_LAYER}", "text"),
    ("nn.Conv2d(1, 8, 3)", f"text: 'nn.Conv2d(1, 8, 3)' has no Conv3d call; {ONE_LAYER}", "text"),
    (
        "nn.Conv3d(1, 8, 3); nn.Conv3d(8, 8, 3)",
        "text: 'nn.Conv3d(1, 8, 3); nn.Conv3d(8, 8, 3)' has 2 Conv3d calls; paste",
        "text",
    ),
    ("nn.Conv3d(1, 8, 3", "text: 'nn.Conv3d(1, 8, 3' is not a Python call ('(' was never closed); paste one", "text"),
    ("nn.Conv3d(1, 8, 3\0)", "is not a Python call (", "text"),
    ("nn.Conv3d(1, 8, \ud800)", "is not a Python call (UnicodeEncodeError); paste one", "text"),
    ("nn.Conv3d(1, 8, kernel_size=3, kernel_size=3)", "kernel_size: it is given twice; give it once.", "kernel_size"),
    ("nn.Conv3d(1, 8)", "kernel_size: it is missing; give it, as in nn.Conv3d(1, 8, kernel_size=3).", "kernel_size"),
    ("nn.Conv3d()", "in_channels: it is missing; give it, as in nn.Conv3d(1, 8, kernel_size=3).", "in_channels"),
    ("nn.Conv3d(1, 8, 3, in_channels=1)", "in_channels: it is given twice; give it once.", "in_channels"),
    (
        "nn.Conv3d(1, 8, 3, padding_size=1)",
        "padding_size: Conv3d has no such argument;"
        " use in_channels, out_channels, kernel_size, stride, padding, dilation, bias.",
        "padding_size",
    ),
    (
        "nn.Conv3d(1, 8, 3, 1, 0, 1, 1, True, 'zeros', 'cuda')",
        "text: 10 positional arguments are more than Conv3d takes; use at most 9.",
        "text",
    ),
    ("nn.Conv3d(1, width, 3)", "text: 'width' is not a number; write the number itself; text is never run.", "text"),
    ("nn.Conv3d(1, 8, k if k else 3)", "text: 'k if k else 3' is not a number; write the number itself", "text"),
    ("nn.Conv3d(1, 8, 3 | 2)", "text: '3 | 2' is not a number; write the number itself", "text"),
    ("nn.Conv3d(1, 8, exit())", "text: 'exit()' is not a number; write the number itself; text is never run.", "text"),
    ("nn.Conv3d(*args)", "text: '*args' is not a number; write the number itself", "text"),
    (
        "nn.Conv3d(**config)",
        "text: **'config' cannot be read without running it; write the arguments out.",
        "text",
    ),
    ("nn.Conv3d(1, 8, 3 // 0)", "text: '3 // 0' divides by zero; use a number other than 0.", "text"),
    ("nn.Conv3d(1, 8, 3 % 0)", "text: '3 % 0' divides by zero; use a number other than 0.", "text"),
    ("nn.Conv3d(1, 8, 2 ** -1)", "text: '2 ** (-1)' is no power of a parameter; write the number itself.", "text"),
    ("nn.Conv3d(1, 8, 1e300 * 1e300 ** 60)", "is no power of a parameter; write the number itself.", "text"),
    ("nn.Conv3d(1, 8, (2.0 ** 62) ** 64)", "is too large for a parameter; use a smaller number.", "text"),
    ("nn.Conv3d(1, 16 / 2, 3)", "out_channels: 8.0 is not an integer; use an integer >= 1.", "out_channels"),
    ("nn.Conv3d(1, 8, 3.5)", "kernel_size: 3.5 is not an integer; use an integer >= 1.", "kernel_size"),
    ("nn.Conv3d(1, 8, -3.5)", "kernel_size: -3.5 is not an integer; use an integer >= 1.", "kernel_size"),
    ("nn.Conv3d(1, 8, '3')", "kernel_size: '3' is text; use an integer >= 1 or three (D, H, W).", "kernel_size"),
    ("nn.Conv3d(1, 8, (3, 3))", "kernel_size: (3, 3) has 2 numbers; use one integer >= 1 or three", "kernel_size"),
    ("nn.Conv3d(1, 8, 3, stride=True)", "stride: True is a truth value; use an integer >= 1.", "stride"),
    ("nn.Conv3d(1, 8, 3, padding=-1)", "padding: -1 is below 0; use an integer >= 0.", "padding"),
    ("nn.Conv3d(1, 8, 3, padding='SAME')", "padding: 'SAME' is text; use an integer >= 0 or three", "padding"),
    ("nn.Conv3d(1, 8, 3, bias=None)", "bias: None is not Python's True or False; use True or False.", "bias"),
    (
        "nn.Conv3d(4, 8, 3, groups=2)",
        "groups: 2 is not 1, and MLX has no grouped 3-D convolution; use groups=1.",
        "groups",
    ),
    (
        "nn.Conv3d(1, 8, 3, padding=1, padding_mode='circular')",
        "padding_mode: 'circular' is not what nn.Conv3d does; use 'zeros', or pad before with mx.pad.",
        "padding_mode",
    ),
    (
        "Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1), padding=(1, 1, 1), padding_mode=reflect)",
        "padding_mode: 'reflect' is not what nn.Conv3d does; use 'zeros', or pad before with mx.pad.",
        "padding_mode",
    ),
    (
        "nn.Conv3d(1, 8, 4, padding='same')",
        "depth: effective kernel 4 is even, and MLX pads both sides alike; use an odd kernel_size for 'same' padding.",
        "padding",
    ),
    (
        "nn.Conv3d(1, 8, 3, stride=2, padding='same')",
        "depth: stride 2 cannot keep the size; use stride 1 for 'same' padding.",
        "padding",
    ),
]


@pytest.mark.parametrize(("text", "spec"), RIGHT)
def test_right_texts(text: str, spec: ConvSpec) -> None:
    assert ConvSpec.parse(text) == spec


@pytest.mark.parametrize(("text", "message", "field"), WRONG, ids=[ascii(text) for text, *_ in WRONG])
def test_wrong_texts(text: str, message: str, field: str) -> None:
    with pytest.raises(SpecError, match=re.escape(message)) as caught:
        ConvSpec.parse(text)
    assert caught.value.field == field


@pytest.mark.parametrize("text", [None, 3, b"nn.Conv3d(1, 8, 3)", ["nn.Conv3d(1, 8, 3)"], " " * (MAX_TEXT + 1)])
def test_what_is_no_short_text(text: Any) -> None:
    with pytest.raises(SpecError, match=r"^text: it is not text of at most 20,000 characters; paste one layer"):
        ConvSpec.parse(text)


@pytest.mark.parametrize(
    "argument",
    [
        "0x" + "f" * 9000,
        "-0x" + "f" * 9000,
        "9" * 4000 + "*" + "9" * 4000,
        "x * 0x" + "f" * 9000,
        "9" * 9000,
        "-" * 1500 + "3",
        "-" * 9000 + "3",
        "1" + "+1" * 1500,
        "(" * 3000 + "3" + ")" * 3000,
        "[" * 150 + "3" + "]" * 150,
        "x" + ".y" * 3000,
    ],
    ids=lambda argument: argument[:12],
)
@pytest.mark.parametrize("place", ["nn.Conv3d(1, 8, {})", "nn.Conv3d(1, 8, 3, **{})", "nn.Conv3d(1, 8, 3, groups={})"])
def test_texts_that_would_exhaust_the_reader(place: str, argument: str) -> None:
    with pytest.raises(SpecError) as caught:
        ConvSpec.parse(place.format(argument))
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    "number", ["0x" + "f" * 9000, "-0x" + "f" * 9000, "9" * 20, "99999 * 99999 * 99999 * 99999"], ids=len
)
def test_numbers_that_no_parameter_reaches(number: str) -> None:
    with pytest.raises(SpecError, match=r"^text: .+ is too large for a parameter; use a smaller number\.$"):
        read_call(f"nn.Conv3d(1, 8, {number})")


def test_text_is_never_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SpecError, match="text is never run"):
        ConvSpec.parse("nn.Conv3d(1, 8, print('run'))")
    assert ConvSpec.parse("print('run'); nn.Conv3d(1, 8, 3)") == ConvSpec(1, 8, 3)
    assert ConvSpec.parse("nn.Conv3d(1, 8, 3, device=print('run'))") == ConvSpec(1, 8, 3)
    assert capsys.readouterr().out == ""


WORDS = (
    "nn.Conv3d( Conv3d kernel_size= padding= 'same' same stride= groups= bias= True None x 1j b'1' f'{3}' lambda:3 if"
)
PIECES = st.sampled_from([*WORDS.split(), *"()[]{,138-+*/0#=:.\\\0\né ", "//", "**", "*a", "..."])
JOINED = st.lists(PIECES, max_size=12).map("".join)


@given(JOINED | JOINED.map("nn.Conv3d(1, 8, {})".format))
@example("nn.Conv3d(1, 8, '\\d')")
def test_any_text_is_a_layer_or_a_spec_error(text: str) -> None:
    try:
        spec = ConvSpec.parse(text)
    except SpecError:
        return
    assert ConvSpec.parse(spec.to_mlx()) == spec


@given(st.text(max_size=30))
def test_any_characters_are_a_layer_or_a_spec_error(text: str) -> None:
    with pytest.raises(SpecError):
        ConvSpec.parse(text)


# --- writing --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "arguments"),
    [
        (ConvSpec(1, 8, 3), "(1, 8, kernel_size=3)"),
        (ConvSpec(1, 8, 3, stride=2, padding=1), "(1, 8, kernel_size=3, stride=2, padding=1)"),
        (ConvSpec(3, 16, (1, 3, 3), padding=(0, 1, 1)), "(3, 16, kernel_size=(1, 3, 3), padding=(0, 1, 1))"),
        (ConvSpec(1, 1, 1, dilation=(1, 1, 2), bias=False), "(1, 1, kernel_size=1, dilation=(1, 1, 2), bias=False)"),
    ],
)
def test_written_calls(spec: ConvSpec, arguments: str) -> None:
    assert spec.to_mlx() == "nn.Conv3d" + arguments
    assert spec.to_torch() == "torch.nn.Conv3d" + arguments


def test_an_impossible_layer_is_written_as_it_was_given() -> None:
    given = {"in_channels": 0, "out_channels": "x", "kernel_size": (3, 3), "stride": True, "padding": "same", "bias": 1}
    assert (
        write_call("nn.Conv3d", given) == "nn.Conv3d(0, 'x', kernel_size=(3, 3), stride=True, padding='same', bias=1)"
    )


def as_mlx_prints(spec: ConvSpec) -> str:
    s = spec
    return (
        f"Conv3d({s.in_channels}, {s.out_channels}, kernel_size={s.kernel_size}, stride={s.stride},"
        f" padding={s.padding}, dilation={s.dilation}, bias={s.bias})"
    )


def as_torch_prints(spec: ConvSpec) -> str:
    text = f"Conv3d({spec.in_channels}, {spec.out_channels}, kernel_size={spec.kernel_size}, stride={spec.stride}"
    if spec.padding != (0, 0, 0):
        text += f", padding={spec.padding}"
    if spec.dilation != (1, 1, 1):
        text += f", dilation={spec.dilation}"
    return text + ("" if spec.bias else ", bias=False") + ")"


@given(specs())
def test_what_is_written_or_printed_can_be_read(spec: ConvSpec) -> None:
    for text in (spec.to_mlx(), spec.to_torch(), as_mlx_prints(spec), as_torch_prints(spec)):
        for around in ("{}", "self.conv = {},", "(layers.3): {}", "x = relu({}(x))"):
            assert ConvSpec.parse(around.format(text)) == spec


def test_read_call_passes_on_what_was_written() -> None:
    text = "nn.Conv3d(0, 8, (3, 3), stride=-1, padding='same', device=torch.device('cuda'))"
    assert read_call(text) == {
        "in_channels": 0, "out_channels": 8, "kernel_size": (3, 3), "stride": -1, "padding": "same",
    }  # fmt: skip
