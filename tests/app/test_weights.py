"""Weights out of a file: handed in, a layer chosen, and what MLX makes of the volume with them."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest
from numpy.typing import NDArray
from safetensors.numpy import save

from conv3d_core import ConvSpec
from conv3d_core.engine import Engine
from tests.app.driver import DRAWN, FIBRES, IMPULSE, NUCLEI, Explorer, OpenExplorer, plain

DRAW = np.random.default_rng(2)
# As PyTorch has them: (O, I, KD, KH, KW).
FIRST = DRAW.normal(size=(4, 1, 3, 3, 3)).astype(np.float32)
BIAS = DRAW.normal(size=4).astype(np.float32)
DEEP = DRAW.normal(size=(6, 4, 1, 3, 5)).astype(np.float32)
NET = {"first.weight": FIRST, "first.bias": BIAS, "deep.weight": DEEP, "head.weight": np.ones((2, 6), np.float32)}


def npz(arrays: dict[str, NDArray[Any]]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    return buffer.getvalue()


def bfloat16(arrays: dict[str, NDArray[np.float32]]) -> bytes:
    """safetensors of the upper halves: NumPy has no such type."""
    halves = save({name: (array.view(np.uint32) >> 16).astype(np.uint16) for name, array in arrays.items()})
    end = 8 + int.from_bytes(halves[:8], "little")
    header = halves[8:end].replace(b'"U16"', b'"BF16"')
    return len(header).to_bytes(8, "little") + header + halves[end:]


def pickled() -> bytes:
    """As torch.save writes it."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("net/data.pkl", b"cposix\nsystem\n.")
    return buffer.getvalue()


def hand_in(page: Explorer, name: str, content: bytes) -> None:
    page.app.file_uploader(key="weights_file").set_value([(name, content, "application/octet-stream")])
    page.run()


def header_words(page: Explorer) -> str:
    """Whose weights they are."""
    (text,) = page.app.get_by_key("header").markdown
    return plain(text.value).removeprefix(":small[").removesuffix("]")


def expected(page: Explorer, weight: NDArray[np.float32], bias: NDArray[np.float32] | None) -> NDArray[np.float32]:
    """What MLX gives for the layer in the header."""
    spec = ConvSpec.parse(page.call)
    with Engine(device="cpu") as engine:
        return engine.run(spec, page.array("input.npy"), weight=weight, bias=bias)


@pytest.mark.parametrize(("name", "content"), [("net.safetensors", save(NET)), ("net.npz", npz(NET))])
def test_a_layer_of_a_file_runs_on_the_volume(open_explorer: OpenExplorer, name: str, content: bytes) -> None:
    page = open_explorer(volume=NUCLEI, weights="From a file")
    assert page.errors == ([], [])
    assert page.drawn == DRAWN, "by random weights meanwhile"
    assert header_words(page) == "Weights: random, seed 0, until their file is here"
    hand_in(page, name, content)
    assert page.errors == ([], [])
    assert header_words(page) == f"Weights: first of {name}"
    assert page.call == "nn.Conv3d(1, 4, kernel_size=3, stride=2, padding=1)", "stride and padding stay"
    output = page.array("output.npy")
    np.testing.assert_array_equal(output, expected(page, FIRST.transpose(0, 2, 3, 4, 1), BIAS))
    page.set(bias=False)
    np.testing.assert_array_equal(page.array("output.npy"), expected(page, FIRST.transpose(0, 2, 3, 4, 1), None))


def test_another_layer_is_chosen_and_the_channels_are_mended(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI, weights="From a file")
    hand_in(page, "net.safetensors", save(NET))
    page.choose("Layer (2 Conv3d", "deep")
    assert page.call == "nn.Conv3d(4, 6, kernel_size=(1, 3, 5), stride=2, padding=1, bias=False)"
    message = (
        "layer: 'deep' of the file takes 4 channels and the volume has 1; "
        "use in_channels=1 for the first of them, or choose a layer that takes 1."
    )
    assert page.errors == ([message], [message])
    assert page.beside == ["weights_layout"]
    page.press("Set in_channels = 1")
    assert page.errors == ([], [])
    assert header_words(page) == "Weights: deep of net.safetensors, of its 4 input channels the first 1"
    weight = DEEP[:, :1].transpose(0, 2, 3, 4, 1)
    np.testing.assert_array_equal(page.array("output.npy"), expected(page, weight, None))
    page.set(k3=False)
    assert page.errors[0] == [
        "kernel_size: the layer has 1×1×1 taps and 'deep' of the file 1×3×5; "
        "use kernel_size=(1, 3, 5), or other weights."
    ]
    page.press("Set the layer as deep is in the file")
    assert page.call.startswith("nn.Conv3d(4, 6, kernel_size=(1, 3, 5)")


def test_a_volume_with_more_channels_than_the_layer(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FIBRES, weights="From a file")
    hand_in(page, "net.npz", npz({"first.weight": FIRST}))
    assert page.errors[1] == [
        "layer: 'first' of the file takes 1 channel and the volume has 3; "
        "keep 1 channel of the volume, or choose a layer that takes 3."
    ]
    assert "Set in_channels = 3" not in page.buttons, "there are no weights for them"
    page.press("Keep only channel 0 of the volume")
    assert page.errors == ([], [])
    np.testing.assert_array_equal(page.array("output.npy"), expected(page, FIRST.transpose(0, 2, 3, 4, 1), None))


def test_both_readings_of_an_ambiguous_weight_are_shown_and_either_runs(open_explorer: OpenExplorer) -> None:
    cube = DRAW.normal(size=(3, 3, 3, 3, 3)).astype(np.float32)
    page = open_explorer(volume=FIBRES, weights="From a file")
    hand_in(page, "cube.npz", npz({"conv.weight": cube}))
    assert "can be read both ways. Its first kernel:" in page.words
    assert len(page.app.sidebar.image) == 2 + 6  # and the six orders of the volume's axes
    for layout, weight in (("mlx", cube), ("torch", cube.transpose(0, 2, 3, 4, 1))):
        page.set(weights_layout=layout)
        np.testing.assert_array_equal(page.array("output.npy"), expected(page, weight, None))


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("net.pt", pickled(), "save it with save_file(model.state_dict(), 'weights.safetensors') of safetensors.torch"),
        ("net.safetensors", b"hello", "net.safetensors"),
        ("flat.npz", npz({"a": np.ones((2, 3))}), "flat.npz"),
    ],
)
def test_what_cannot_be_read_is_said_at_its_control(
    open_explorer: OpenExplorer, name: str, content: bytes, words: str
) -> None:
    page = open_explorer(volume=IMPULSE, weights="From a file")
    hand_in(page, name, content)
    assert page.errors[0] == page.errors[1]
    assert words in page.errors[0][0]
    assert page.beside == ["weights_file"]
    assert page.drawn == DRAWN
    hand_in(page, "net.safetensors", save(NET))
    assert page.errors == ([], [])
    before = page.array("output.npy")
    hand_in(page, name, content)
    assert words in page.errors[1][0]
    np.testing.assert_array_equal(page.array("output.npy"), before, "the weights of before stay")
    assert header_words(page) == "Weights: first of net.safetensors"


def test_a_file_taken_away_takes_its_weights_along(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, weights="From a file")
    hand_in(page, "net.safetensors", save(NET))
    page.app.file_uploader(key="weights_file").set_value(None)
    page.run()
    hand_in(page, "net.pt", pickled())  # as a browser changes one for another
    assert header_words(page) == "Weights: first of net.safetensors"
    page.app.file_uploader(key="weights_file").set_value(None)
    page.run()
    assert page.errors == ([], [])
    assert header_words(page) == "Weights: first of net.safetensors", "it was the other one that went"
    hand_in(page, "net.safetensors", save(NET))
    page.app.file_uploader(key="weights_file").set_value(None)
    page.run()
    assert header_words(page) == "Weights: random, seed 0, until their file is here"


def test_names_that_cannot_be_shown_and_names_that_are_shown_alike(open_explorer: OpenExplorer) -> None:
    odd = {name: FIRST + number for number, name in enumerate(["\ud800.weight", "a.weight", "a", "a\n.weight", "*b*"])}
    header, numbers, at = {}, b"", 0
    for name, array in odd.items():
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [at, at + array.nbytes]}
        numbers, at = numbers + array.tobytes(), at + array.nbytes
    text = json.dumps(header).encode()
    page = open_explorer(volume=IMPULSE, weights="From a file")
    hand_in(page, "net.safetensors", len(text).to_bytes(8, "little") + text + numbers)
    box = page.app.selectbox(key="weights_layer")
    assert [option.split(":")[0] for option in box.options] == ["*b*", "a", "a #3", "a #4", "#5"]
    outputs = set()
    for name in ("*b*", "a", "a #3", "a #4", "#5"):
        page.choose("Layer (5", name)
        assert page.errors == ([], [])
        outputs.add(page.file("output.npy"))
    assert len(outputs) == 5


def test_the_link_names_the_file_and_asks_for_it_again(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FIBRES, weights="From a file", edit="")
    hand_in(page, "net.safetensors", save(NET))
    page.choose("Layer (2", "deep")
    page.set(**{"in": 3, "s": 1})
    page.set(oc=2)
    page.press("Negate")
    (link,) = (code.value for code in page.app.code if code.value.startswith(("?", "http")))
    asked = parse_qs(urlsplit(link).query)
    again = open_explorer(**asked)
    message = (
        "weights: the link was made with the file 'net.safetensors', which a link cannot carry; "
        "hand it in again, or choose other weights."
    )
    assert again.errors == ([message], [message])
    assert again.beside == ["weights_file"]
    assert again.warnings == []
    assert (again.call, again.drawn) == (page.call, DRAWN)
    assert header_words(again) == "Weights: random, seed 0, until their file is here"
    random = again.array("output.npy")
    again.set(s=2)
    again.set(s=1)
    np.testing.assert_array_equal(again.array("output.npy"), random, "the link's edits are not theirs")
    hand_in(again, "net.safetensors", save(NET))
    assert again.errors == ([], [])
    assert (again.call, header_words(again)) == (page.call, header_words(page))
    assert "not the numbers" not in again.words
    np.testing.assert_array_equal(again.array("output.npy"), page.array("output.npy"))
    other = open_explorer(**asked)
    hand_in(other, "net.safetensors", save(NET | {"deep.weight": DEEP + 1}))
    assert "These are not the numbers that the link was made with." in other.words
    other.set(weights="Random")
    assert not {"wf", "wd", "wl", "wr"} & set(other.app.query_params)


def test_the_same_name_with_other_numbers_is_another_result(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, weights="From a file")
    hand_in(page, "net.safetensors", save(NET))
    before = page.array("output.npy")
    hand_in(page, "net.safetensors", save(NET | {"first.weight": 2 * FIRST, "first.bias": 2 * BIAS}))
    np.testing.assert_array_equal(page.array("output.npy"), 2 * before)


@pytest.mark.parametrize(
    ("name", "content", "settings"),
    [
        ("net.safetensors", save(NET), {}),
        ("my net's.npz", npz(NET), {"out": 2, "bias": True}),
        (
            "half.safetensors",
            save({name: array.astype(np.float16) for name, array in NET.items()}),
            {"dtype": "float16"},
        ),
        ("short.safetensors", bfloat16(NET), {}),
        ("double.npz", npz({name: array.astype(np.float64) / 3 for name, array in NET.items()}), {}),
        ("mlx.safetensors", save({"c.weight": np.ascontiguousarray(FIRST.transpose(0, 2, 3, 4, 1))}), {}),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_program_loads_the_file_and_computes_this_output(
    open_explorer: OpenExplorer, tmp_path: Path, name: str, content: bytes, settings: dict[str, Any]
) -> None:
    page = open_explorer(volume=IMPULSE, weights="From a file")
    hand_in(page, name, content)
    if settings:
        page.set(**settings)
    page.press("Negate")
    (tmp_path / name).write_bytes(content)
    (tmp_path / "reproduce.py").write_text(page.program)
    (tmp_path / "input.npy").write_bytes(page.file("input.npy"))
    done = subprocess.run(
        [sys.executable, "-I", "reproduce.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert np.load(tmp_path / "output.npy").tobytes() == page.array("output.npy").tobytes()
