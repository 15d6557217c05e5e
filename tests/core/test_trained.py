"""Weights out of a file: which layers take them, which part, and the program that loads them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from conv3d_core import ConvSpec, ShapeError
from conv3d_core.edits import Edit, edited
from conv3d_core.engine import Engine
from conv3d_core.kernels import FILE
from conv3d_core.reproduce import reproduction
from conv3d_core.trained import Trained

STORED = Trained("net.safetensors", "safetensors", "conv", "conv.weight", "conv.bias", "mlx", (6, 1, 2, 3, 4), "")
WEIGHT = np.arange(6 * 2 * 3 * 4, dtype=np.float32).reshape(6, 1, 2, 3, 4)


def test_the_layer_as_it_is_in_the_file() -> None:
    spec = ConvSpec(**STORED.arguments)
    assert spec == ConvSpec(4, 6, (1, 2, 3))
    assert STORED.is_whole(spec)
    assert STORED.words(spec) == ""
    weight, bias = STORED.cut(spec, WEIGHT, np.arange(6, dtype=np.float32))
    np.testing.assert_array_equal(weight, WEIGHT)
    assert bias.tolist() == list(range(6))


def test_of_more_channels_the_first_are_taken() -> None:
    spec = ConvSpec(1, 2, (1, 2, 3), stride=2)
    assert not STORED.is_whole(spec)
    assert STORED.words(spec) == "of its 4 input channels the first 1, and of its 6 output channels the first 2"
    weight, bias = STORED.cut(spec, WEIGHT, None)
    np.testing.assert_array_equal(weight, WEIGHT[:2, ..., :1])
    assert weight.flags.c_contiguous
    assert bias.tolist() == [0, 0]


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            ConvSpec(4, 6, 3),
            "kernel_size: the layer has 3×3×3 taps and 'conv' of the file 1×2×3; "
            "use kernel_size=(1, 2, 3), or other weights.",
        ),
        (
            ConvSpec(5, 6, (1, 2, 3)),
            "in_channels: the layer has 5 and 'conv' of the file 4; use in_channels <= 4, or other weights.",
        ),
        (
            ConvSpec(4, 7, (1, 2, 3)),
            "out_channels: the layer has 7 and 'conv' of the file 6; use out_channels <= 6, or other weights.",
        ),
    ],
)
def test_a_layer_that_cannot_take_them(spec: ConvSpec, message: str) -> None:
    for refuse in (lambda: STORED.check(spec), lambda: STORED.cut(spec, WEIGHT, None)):
        with pytest.raises(ShapeError) as raised:
            refuse()
        assert str(raised.value) == message


@pytest.mark.parametrize(
    ("spec", "channels", "message"),
    [
        (ConvSpec(4, 6, (1, 2, 3)), 4, ""),
        (ConvSpec(3, 6, (1, 2, 3)), 1, ""),  # not as the file has it: the layer itself says what is wrong
        (
            ConvSpec(4, 6, (1, 2, 3)),
            1,
            "layer: 'conv' of the file takes 4 channels and the volume has 1; "
            "use in_channels=1 for the first of them, or choose a layer that takes 1.",
        ),
        (
            ConvSpec(4, 6, (1, 2, 3)),
            3,
            "layer: 'conv' of the file takes 4 channels and the volume has 3; "
            "use in_channels=3 for the first 3 of them, or choose a layer that takes 3.",
        ),
        (
            ConvSpec(4, 6, (1, 2, 3)),
            5,
            "layer: 'conv' of the file takes 4 channels and the volume has 5; "
            "keep 4 channels of the volume, or choose a layer that takes 5.",
        ),
    ],
)
def test_a_volume_of_other_channels(spec: ConvSpec, channels: int, message: str) -> None:
    if not message:
        STORED.check_input(spec, channels)
        return
    with pytest.raises(ShapeError) as raised:
        STORED.check_input(spec, channels)
    assert str(raised.value) == message


@pytest.mark.parametrize("kind", ["safetensors", "npz"])
@pytest.mark.parametrize("layout", ["mlx", "torch"])
@pytest.mark.parametrize(
    ("spec", "dtype"),
    [(ConvSpec(4, 6, (1, 2, 3)), np.float32), (ConvSpec(2, 3, (1, 2, 3), bias=False), np.float16)],
    ids=["whole", "part"],
)
def test_the_program_computes_the_same_bits(kind: Any, layout: Any, spec: ConvSpec, dtype: Any, tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    weight = draw.normal(size=STORED.shape).astype(dtype)
    bias = draw.normal(size=6).astype(dtype)
    # A name that says nothing of the format, and one that must be quoted.
    trained = Trained("it's.bin", kind, "a", "a 'b'.weight", "a 'b'.bias", layout, STORED.shape, "")
    stored = np.ascontiguousarray(weight.transpose(0, 4, 1, 2, 3)) if layout == "torch" else weight
    arrays = {trained.key: stored, "a 'b'.bias": bias}
    if kind == "npz":
        with (tmp_path / trained.file).open("wb") as file:
            np.savez(file, **arrays)
    else:
        save_file(arrays, tmp_path / trained.file)
    edits = (Edit((1, 0, 1, 2, 1), 0.5),)
    x = draw.normal(size=(1, 5, 6, 7, spec.in_channels)).astype(np.float32)
    np.save(tmp_path / "input.npy", x)
    ours, offset = trained.cut(spec, weight.astype(np.float32), bias.astype(np.float32))
    with Engine(device="cpu", accelerate=False) as engine:
        expected = engine.run(spec, x, weight=edited(ours, edits), bias=offset if spec.bias else None)
    program = reproduction(spec, FILE, 0, x.shape, "cpu", edits=edits, trained=trained)
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, timeout=60, check=True)
    np.testing.assert_array_equal(np.load(tmp_path / "output.npy"), expected)


def test_the_program_says_what_is_turned() -> None:
    lines = Trained("u.npz", "npz", "c", "c.weight", None, "torch", (6, 3, 3, 3, 4), "").program(ConvSpec(1, 6, 3))
    assert lines == [
        "stored = np.load('u.npz')",
        "weight = stored['c.weight'].transpose(0, 2, 3, 4, 1)[:6, ..., :1]"
        "  # PyTorch's (O, I, KD, KH, KW) to MLX's (O, KD, KH, KW, I)",
        "layer.weight = mx.array(weight.astype(np.float32))",
    ]
    lines = STORED.program(ConvSpec(4, 6, (1, 2, 3)))
    assert lines == [
        "stored = mx.load('net.safetensors', format=\"safetensors\")",
        "weight = stored['conv.weight']",
        "layer.weight = weight.astype(mx.float32)",
        "layer.bias = stored['conv.bias'].astype(mx.float32)",
    ]
