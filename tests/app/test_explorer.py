"""The explorer through AppTest: every control with the real engine, read back from what the page shows.

What only a browser can show (plots, the address bar, what stands on screen meanwhile) is in tests/browser.
"""

from __future__ import annotations

import gzip
import io
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import nibabel
import numpy as np
import pytest
import tifffile
from numpy.typing import NDArray
from PIL import Image

from conv3d_core import ConvSpec, kernels
from conv3d_core.engine import Engine
from tests.app.driver import (
    BRAIN,
    CALL,
    DRAWN,
    FIBRES,
    FMRI,
    IMPULSE,
    NUCLEI,
    RAMP,
    VOLUMES,
    OpenExplorer,
    plain,
)


def test_the_page_opens_on_a_picture(open_explorer: OpenExplorer) -> None:
    page = open_explorer()
    assert page.call == CALL
    assert page.shapes == [(1, 94, 116, 98, 1), (1, 47, 58, 49, 8)]
    assert page.drawn == DRAWN
    assert page.sentence == (
        "Output (23, 28, 24) of channel 0 reads 27 voxels: depth 45-47, height 55-57, width 47-49; none in the padding."
    )
    assert page.errors == ([], [])
    assert page.warnings == []


# The layer


@pytest.mark.parametrize(
    ("key", "value", "call", "output"),
    [
        ("k", 5, "nn.Conv3d(1, 8, kernel_size=5, stride=2, padding=1)", (1, 8, 8, 8, 8)),
        ("k", 1, "nn.Conv3d(1, 8, kernel_size=1, stride=2, padding=1)", (1, 10, 10, 10, 8)),
        ("k", 19, "nn.Conv3d(1, 8, kernel_size=19, stride=2, padding=1)", (1, 1, 1, 1, 8)),
        ("s", 1, "nn.Conv3d(1, 8, kernel_size=3, padding=1)", (1, 17, 17, 17, 8)),
        ("s", 5, "nn.Conv3d(1, 8, kernel_size=3, stride=5, padding=1)", (1, 4, 4, 4, 8)),
        ("s", 2_000_000_000, "nn.Conv3d(1, 8, kernel_size=3, stride=2000000000, padding=1)", (1, 1, 1, 1, 8)),
        ("p", 0, "nn.Conv3d(1, 8, kernel_size=3, stride=2)", (1, 8, 8, 8, 8)),
        ("p", 4, "nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=4)", (1, 12, 12, 12, 8)),
        ("d", 3, "nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=1, dilation=3)", (1, 7, 7, 7, 8)),
        ("d", 9, "nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=1, dilation=9)", (1, 1, 1, 1, 8)),
        ("out", 1, "nn.Conv3d(1, 1, kernel_size=3, stride=2, padding=1)", (1, 9, 9, 9, 1)),
        ("out", 40, "nn.Conv3d(1, 40, kernel_size=3, stride=2, padding=1)", (1, 9, 9, 9, 40)),
        ("bias", False, "nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=1, bias=False)", (1, 9, 9, 9, 8)),
    ],
)
def test_a_changed_parameter(
    open_explorer: OpenExplorer, key: str, value: int | bool, call: str, output: tuple[int, ...]
) -> None:
    page = open_explorer(volume=IMPULSE)
    page.set(**{key: value})
    assert page.errors == ([], [])
    assert page.call == call
    assert page.shapes == [(1, 17, 17, 17, 1), output]
    assert ConvSpec.parse(call).output_shape((1, 17, 17, 17, 1)) == output
    assert page.array("output.npy").shape == output


@pytest.mark.parametrize(
    ("name", "key", "numbers"),
    [
        ("kernel_size", "k", (1, 5, 2)),
        ("stride", "s", (1, 3, 2)),
        ("padding", "p", (0, 4, 1)),
        ("dilation", "d", (1, 2, 4)),
    ],
)
def test_a_parameter_unlocked_per_axis(
    open_explorer: OpenExplorer, name: str, key: str, numbers: tuple[int, ...]
) -> None:
    page = open_explorer(volume=IMPULSE)
    page.set(**{f"{key}3": True})
    page.set(**{f"{key}{letter}": number for letter, number in zip("dhw", numbers, strict=True)})
    spec = ConvSpec(**{**ConvSpec.parse(CALL).to_dict(), name: numbers})
    assert page.call == spec.to_mlx()
    assert f"{name}={numbers}" in page.call
    assert page.shapes[1] == spec.output_shape((1, 17, 17, 17, 1)) == page.array("output.npy").shape
    page.set(**{f"{key}3": False})  # one number for all again: that of the depth
    assert page.value(key) == numbers[0]
    assert page.call == ConvSpec(**{**spec.to_dict(), name: numbers[0]}).to_mlx()


@pytest.mark.parametrize(("key", "number"), [("k", 5), ("s", 3), ("p", 2), ("d", 2)])
def test_unlocking_alone_changes_nothing(open_explorer: OpenExplorer, key: str, number: int) -> None:
    page = open_explorer(volume=IMPULSE, **{key: number})
    before = page.call
    page.set(**{f"{key}3": True})
    assert page.call == before
    assert [page.value(f"{key}{letter}") for letter in "dhw"] == [number] * 3
    page.set(**{f"{key}3": False})
    assert page.call == before


def test_an_unlocked_parameter_is_in_the_link(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, k=5)
    page.set(k3=True)
    assert open_explorer(**page.app.query_params).call == page.call


IMPOSSIBLE = [
    ({"k": 0}, "k", "kernel_size: 0 is below 1; use an integer >= 1."),
    (
        {"k": 200},
        "k",
        "depth: effective kernel 200 does not fit the padded input of 19 (17 + 2*1); "
        "use depth >= 198, padding >= 92 or kernel_size <= 19.",
    ),
    (
        {"k": 3000},
        "k",
        "kernel_size: a weight of 8*3000*3000*3000*1 = 216,000,000,000 elements is more than MLX can index; "
        "keep the product at or below 2,147,483,647.",
    ),
    ({"k": -(2**53) + 1}, "k", "kernel_size: -9007199254740991 is below 1; use an integer >= 1."),
    ({"s": 0}, "s", "stride: 0 is below 1; use an integer >= 1."),
    ({"p": -1}, "p", "padding: -1 is below 0; use an integer >= 0."),
    (
        {"p": 10**6},
        "p",
        "padding: the padded input 1*2000017*2000017*2000017*1 = 8,000,204,001,734,004,913 elements is more than MLX "
        "can index; use a smaller padding or crop the input, to stay at or below 2,147,483,647.",
    ),
    ({"d": 0}, "d", "dilation: 0 is below 1; use an integer >= 1."),
    (
        {"d": 10},
        "k",  # the effective kernel is too large
        "depth: effective kernel 21 does not fit the padded input of 19 (17 + 2*1); "
        "use depth >= 19, padding >= 2 or dilation <= 9.",
    ),
    ({"in": 0}, "out", "in_channels: 0 is below 1; use an integer >= 1."),
    ({"out": 0}, "out", "out_channels: 0 is below 1; use an integer >= 1."),
    (
        {"out": 10**9},
        "k",
        "kernel_size: a weight of 1000000000*3*3*3*1 = 27,000,000,000 elements is more than MLX can index; "
        "keep the product at or below 2,147,483,647.",
    ),
    (
        {"out": 10**9, "k": 1},
        "out",
        "out_channels: the output 1*10*10*10*1000000000 = 1,000,000,000,000 elements is more than MLX can index; "
        "use a smaller out_channels or crop the input, to stay at or below 2,147,483,647.",
    ),
    ({"k3": True, "kd": 3, "kh": 0, "kw": 3}, "kw", "kernel_size: 0 along H is below 1; use an integer >= 1."),
    (
        {"k3": True, "kd": 1, "kh": 3, "kw": 20},
        "kw",
        "width: effective kernel 20 does not fit the padded input of 19 (17 + 2*1); "
        "use width >= 18, padding >= 2 or kernel_size <= 19.",
    ),
    # FACTS.md, MLX 2: with this stride MLX returns memory garbage instead of an error.
    (
        {"k": 20, "s": 3},
        "k",
        "depth: effective kernel 20 does not fit the padded input of 19 (17 + 2*1); "
        "use depth >= 18, padding >= 2 or kernel_size <= 19.",
    ),
]


@pytest.mark.parametrize(("typed", "control", "message"), IMPOSSIBLE, ids=[str(case[0]) for case in IMPOSSIBLE])
def test_an_impossible_layer_is_explained_and_not_run(
    open_explorer: OpenExplorer, nothing_computes: list[str], typed: dict[str, Any], control: str, message: str
) -> None:
    page = open_explorer(volume=IMPULSE, **typed)
    assert page.errors == ([message], [message])
    assert page.beside == [control]
    assert nothing_computes == []
    assert page.drawn == []
    # The header stays: what was typed, the input, and no output.
    for number in typed.values():
        if number is not True:
            assert str(number) in page.call
    assert page.shapes == [(1, 17, 17, 17, 1)]


def test_an_impossible_value_typed_on_a_running_page_is_undone_by_typing_again(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE)
    before = page.array("output.npy")
    for value in (0, 200, -1):
        page.set(k=value)
        assert page.drawn == []
        assert len(page.errors[0]) == len(page.errors[1]) == 1
        assert "output.npy" not in page.files
    page.set(k=3)
    assert page.errors == ([], [])
    assert page.call == CALL
    np.testing.assert_array_equal(page.array("output.npy"), before)


@pytest.mark.parametrize(
    "layer",
    [
        {"k": 500, "p": 250, "weights": "Random"},  # 4 GB of weights, 344 GB while it runs
        {"k": 500, "p": 250, "weights": "Box"},
        {"k": 1, "s": 17, "p": 0, "out": 10**9, "weights": "Box"},  # one output voxel a channel
    ],
    ids=str,
)
def test_a_layer_beyond_the_memory_is_refused_before_its_weights_are_made(
    open_explorer: OpenExplorer, nothing_computes: list[str], monkeypatch: pytest.MonkeyPatch, layer: dict[str, Any]
) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "1 GiB")
    page = open_explorer(volume=IMPULSE, **layer)
    assert nothing_computes == []
    (message,) = page.errors[0]
    assert message.startswith("memory: ")
    assert "the budget is 1.00 GiB; use a smaller kernel_size or set CONV3D_MEMORY_BUDGET" in message


def test_the_memory_budget_is_said(open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CONV3D_MEMORY_BUDGET", "1 MiB")
    page = open_explorer(volume=IMPULSE, k=5, s=1, p=2)
    (message,) = page.errors[0]
    assert re.fullmatch(
        r"memory: three planes of this layer on an input of \(1, 17, 17, 17, 1\) needs up to .* MiB \(.*\), "
        r"and the budget is 1\.00 MiB; set CONV3D_MEMORY_BUDGET to more than 128\.00 MiB\.",
        message,
    )
    assert page.shapes[1] == (1, 17, 17, 17, 8)  # the layer fits; the machine does not
    assert page.drawn == []


# Padding by its name


def test_the_padding_helpers_set_the_padding(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, k=5, s=1)
    page.press("same")
    assert (page.value("p"), page.shapes[1]) == (2, (1, 17, 17, 17, 8))
    page.press("full")
    assert (page.value("p"), page.shapes[1]) == (4, (1, 21, 21, 21, 8))
    page.press("valid")
    assert (page.value("p"), page.shapes[1]) == (0, (1, 13, 13, 13, 8))
    assert page.call == "nn.Conv3d(1, 8, kernel_size=5)"


def test_the_padding_helpers_count_the_dilation(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, s=1, d=3)
    page.press("same")
    assert page.value("p") == 3
    page.press("full")
    assert page.value("p") == 6


@pytest.mark.parametrize(
    ("layer", "reason"),
    [
        ({}, "depth: stride 2 cannot keep the size; use stride 1 for 'same' padding."),
        ({"s3": True, "sd": 1, "sh": 2, "sw": 1}, "height: stride 2 cannot keep the size"),
        ({"s": 1, "k": 4}, "depth: effective kernel 4 is even, and MLX pads both sides alike; use an odd kernel_size"),
    ],
    ids=str,
)
def test_same_padding_that_cannot_be_had_says_why(
    open_explorer: OpenExplorer, layer: dict[str, Any], reason: str
) -> None:
    page = open_explorer(volume=IMPULSE, **layer)
    assert {label: page.button(label).disabled for label in ("valid", "same", "full")} == {
        "valid": False,
        "same": True,
        "full": False,
    }
    assert plain(page.button("same").help).startswith(reason)


def test_no_padding_of_an_impossible_layer(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, k=0)
    assert all(page.button(label).disabled for label in ("valid", "same", "full"))
    assert "kernel_size: 0 is below 1" in plain(page.button("full").help)


def test_a_helper_mends_an_impossible_padding(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, p=-1)
    page.press("valid")
    assert page.errors == ([], [])
    assert page.call == "nn.Conv3d(1, 8, kernel_size=3, stride=2)"


def test_a_helper_unlocks_the_padding_where_the_axes_differ_and_locks_it_again(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, s=1, k3=True, kd=1, kh=3, kw=5)
    page.press("same")
    assert page.value("p3") is True
    assert [page.value(key) for key in ("pd", "ph", "pw")] == [0, 1, 2]
    assert page.call == "nn.Conv3d(1, 8, kernel_size=(1, 3, 5), padding=(0, 1, 2))"
    assert page.shapes[1] == (1, 17, 17, 17, 8)
    page.press("full")
    assert [page.value(key) for key in ("pd", "ph", "pw")] == [0, 2, 4]
    page.press("valid")
    assert page.value("p3") is False
    assert page.call == "nn.Conv3d(1, 8, kernel_size=(1, 3, 5))"


def test_a_padding_that_a_helper_set_is_in_the_link(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, s=1, k3=True, kd=1, kh=3, kw=5)
    page.press("same")
    assert open_explorer(**page.app.query_params).call == page.call


# Channels


def test_in_channels_follow_the_volume_until_typed(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE)
    for volume, channels in ((FMRI, 2), (FIBRES, 3), (IMPULSE, 1)):
        page.set(volume=volume)
        assert page.call == f"nn.Conv3d({channels}, 8, kernel_size=3, stride=2, padding=1)"
        assert page.errors == ([], [])
    page.set(**{"in": 2})
    assert page.shapes == [(1, 17, 17, 17, 1)]
    page.set(volume=FIBRES)
    assert page.call == "nn.Conv3d(2, 8, kernel_size=3, stride=2, padding=1)"
    message = (
        "in_channels: the layer takes 2 and the input (1, 53, 128, 128, 3) has 3; "
        "use in_channels=3, or an input whose last axis is 2."
    )
    assert page.errors == ([message], [message])
    assert page.beside == ["out"]  # the two fields for channels stand side by side, the message under them


@pytest.mark.parametrize(
    ("fix", "shapes"),
    [
        ("Set in_channels = 2", [(1, 24, 96, 128, 2), (1, 12, 48, 64, 8)]),
        ("Keep only channel 0 of the volume", [(1, 24, 96, 128, 1), (1, 12, 48, 64, 8)]),
    ],
)
def test_a_mismatch_of_channels_is_not_run_and_both_fixes_work(
    open_explorer: OpenExplorer, monkeypatch: pytest.MonkeyPatch, fix: str, shapes: list[tuple[int, ...]]
) -> None:
    page = open_explorer(volume=FMRI)
    with monkeypatch.context() as patch:
        for name in ("submit", "planes"):
            patch.setattr(Engine, name, lambda *_, **__: pytest.fail("it runs"))
        page.set(**{"in": 1})
    assert page.drawn == []
    assert page.errors[0] == page.errors[1]
    assert page.errors[0][0].startswith("in_channels: the layer takes 1 and the input (1, 24, 96, 128, 2) has 2;")
    assert [label for label in page.buttons if "channel" in label] == [
        "Set in_channels = 2",
        "Keep only channel 0 of the volume",
    ]

    page.press(fix)
    assert page.errors == ([], [])
    assert page.shapes == shapes
    assert page.array("input.npy").shape == shapes[0]
    assert not [label for label in page.buttons if "channel" in label]


def test_where_more_channels_are_wanted_than_there_are_only_one_fix_is_offered(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, **{"in": 3})
    assert [label for label in page.buttons if "channel" in label] == ["Set in_channels = 1"]
    page.press("Set in_channels = 1")
    assert page.call == CALL


# Weights


def test_named_kernels_are_what_their_names_say(open_explorer: OpenExplorer) -> None:
    """On the ramp 4 d + 2 h + w every answer is known: copies, means, and slopes times the smoothing's weight."""
    page = open_explorer(volume=RAMP, s=1, p=0, out=1, weights="Identity")
    d, h, w = np.indices((22, 22, 22)) + 1
    ramp = (4 * d + 2 * h + w)[None, ..., None]
    np.testing.assert_array_equal(page.array("output.npy"), ramp)
    for name in ("Box", "Gaussian"):
        page.set(weights=name)
        np.testing.assert_allclose(page.array("output.npy"), ramp, rtol=1e-5)
    for name, slope in {"Sobel D": 128, "Sobel H": 64, "Sobel W": 32, "Laplacian": 0, "Depth difference": 4}.items():
        page.set(weights=name)
        np.testing.assert_allclose(page.array("output.npy"), slope, atol=1e-4)
        assert page.call == "nn.Conv3d(1, 1, kernel_size=3)"


def test_one_of_each_is_all_of_them_in_turn(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP, s=1, p=0, out=9)
    output = page.array("output.npy")
    titles = ["Identity", "Box", "Gaussian", "Sobel D", "Sobel H", "Sobel W", "Laplacian", "Depth difference"]
    assert page.statistics["kernel"].tolist() == [*titles, "Identity"]
    for channel, title in enumerate(titles):
        page.set(weights=title)
        np.testing.assert_array_equal(output[..., channel], page.array("output.npy")[..., 0], err_msg=title)
    np.testing.assert_array_equal(output[..., 8], output[..., 0])


def test_the_seed_changes_the_output_and_the_same_seed_gives_it_again(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, weights="Random")
    first = page.array("output.npy")
    page.set(seed=1)
    second = page.array("output.npy")
    assert page.call == CALL
    assert not np.array_equal(first, second)
    page.set(seed=0)
    np.testing.assert_array_equal(page.array("output.npy"), first)
    # An impulse shows the kernel: within the bounds of nn.Conv3d's initial weights, and nothing else.
    assert np.abs(first).max() <= 1 / np.sqrt(27)
    assert np.abs(first).max() > 0.5 / np.sqrt(27)


def test_a_kernel_that_does_not_exist_at_this_size(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, k=1, weights="Sobel D")
    message = (
        "kernel_size: Sobel D compares voxels and needs 2 taps along D; "
        "use kernel_size >= 2 along D, or another kernel."
    )
    assert page.errors == ([message], [message])
    assert page.beside == ["k"]
    page.set(weights="Box")
    assert page.errors == ([], [])


@pytest.mark.parametrize("seed", [-1, -(2**53) + 1])
def test_a_seed_that_is_none(open_explorer: OpenExplorer, seed: int) -> None:
    page = open_explorer(volume=IMPULSE, weights="Random", seed=seed)
    message = f"seed: {seed} is not an integer from 0 to 2**64 - 1; use an integer >= 0."
    assert page.errors == ([message], [message])
    assert page.beside == ["seed"]


# The volume


@pytest.mark.parametrize("volume", [BRAIN, FMRI, NUCLEI, FIBRES, "Fields from the air, hyperspectral"])
def test_a_real_volume_says_what_it_is_and_runs(open_explorer: OpenExplorer, volume: str) -> None:
    page = open_explorer(volume=volume)
    array = page.array("input.npy")
    assert page.shapes[0] == array.shape
    assert page.array("output.npy").shape == page.shapes[1]
    d, h, w, c = array.shape[1:]
    facts = page.app.sidebar.markdown.values
    assert any(f"D {d} × H {h} × W {w} × C {c}" in text for text in facts)
    assert any(f"{array.min():.4g} to {array.max():.4g}" in text for text in facts)


@pytest.mark.parametrize("volume", [IMPULSE, "Ball, bar and step", "Checkerboard", "Gyroid", RAMP])
def test_a_synthetic_volume_runs(open_explorer: OpenExplorer, volume: str) -> None:
    page = open_explorer(volume=volume)
    assert page.errors == ([], [])
    assert page.drawn


def test_spacing_type_and_memory_are_said(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FIBRES)
    assert "3 × 1.719 × 1.719 mm · float32 in the file" in page.words
    assert "9.94 MiB" in page.words  # 53 * 128 * 128 * 3 * 4 B
    page.set(volume=NUCLEI)
    assert "uint16 in the file" in page.words
    assert "unknown spacing" in page.words


def test_a_crop_is_what_the_layer_gets(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    whole = page.array("input.npy")
    page.set(crop=True)
    np.testing.assert_array_equal(page.array("input.npy"), whole)
    page.set(cd=(2, 9), ch=(0, 4), cw=(20, 23))
    np.testing.assert_array_equal(page.array("input.npy"), whole[:, 2:10, 0:5, 20:24])
    assert page.shapes == [(1, 8, 5, 4, 1), (1, 4, 3, 2, 8)]
    page.set(crop=False)
    assert page.shapes[0] == (1, 24, 24, 24, 1)


def test_a_crop_to_one_voxel_runs(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP, crop=True, cd=(3, 3), ch=(4, 4), cw=(5, 5))
    assert page.shapes == [(1, 1, 1, 1, 1), (1, 1, 1, 1, 8)]
    assert page.array("input.npy").ravel().tolist() == [4 * 3 + 2 * 4 + 5]
    assert page.sentence.startswith("Output (0, 0, 0) of channel 0 reads 1 voxel: depth 0, height 0, width 0; 26 taps")


def test_a_crop_turned_round_in_a_link_is_said_under_a_header(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP, crop=True, cd=(9, 2))
    message = "depth: 9 to 2 is not inside 0 to 23; use 0 <= first <= last <= 23."
    assert page.errors == ([message], [message])
    assert page.drawn == []
    assert page.call == CALL  # the constructor call is there at all times


def test_another_volume_is_taken_as_it_is(open_explorer: OpenExplorer) -> None:
    """What was cut out of one volume says nothing of the next."""
    page = open_explorer(volume=FMRI, crop=True, cd=(10, 20), axes="WHDC", c="1", norm="z-score")
    page.set(volume=IMPULSE)
    assert page.errors == ([], [])
    assert page.shapes == [(1, 17, 17, 17, 1), (1, 9, 9, 9, 8)]
    assert page.value("norm") == "z-score"
    page.set(volume=FMRI)
    assert page.shapes[0] == (1, 24, 96, 128, 2)
    page.set(crop=True)
    assert page.value("cd") == (0, 23)


def test_axes_are_mapped_anew(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI)
    stored = page.array("input.npy")[0]
    page.set(axes="HDWC")
    assert page.shapes[0] == (1, 61, 31, 57, 1)
    np.testing.assert_array_equal(page.array("input.npy")[0], stored.transpose(1, 0, 2, 3))
    page.set(axes="DHCW")  # the width becomes the channels, and in_channels follow
    assert page.shapes[0] == (1, 31, 61, 1, 57)
    assert page.call == "nn.Conv3d(57, 8, kernel_size=3, stride=2, padding=1)"
    assert page.errors == ([], [])


@pytest.mark.parametrize("channel", [0, 1])
def test_one_channel_is_picked(open_explorer: OpenExplorer, channel: int) -> None:
    page = open_explorer(volume=FMRI)
    both = page.array("input.npy")
    page.set(c=str(channel))
    np.testing.assert_array_equal(page.array("input.npy"), both[..., channel : channel + 1])
    assert page.call == CALL


def test_values_are_normalised(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI)
    stored = page.array("input.npy").astype(np.float64)
    page.set(norm="0-1")
    span = stored.max() - stored.min()
    np.testing.assert_allclose(page.array("input.npy"), (stored - stored.min()) / span, atol=1e-6)
    assert "0 to 1" in page.words
    page.set(norm="z-score")
    np.testing.assert_allclose(page.array("input.npy"), (stored - stored.mean()) / stored.std(), atol=1e-5)
    page.set(norm="none")
    np.testing.assert_array_equal(page.array("input.npy"), stored)


# Uploads


def npy(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.save(buffer, array)
    return buffer.getvalue()


def tiff(array: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, array)
    return buffer.getvalue()


def npz(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


STACK = np.random.default_rng(5).integers(0, 4000, (6, 9, 7)).astype(np.uint16)


@pytest.mark.parametrize(
    ("name", "content"), [("a.npy", npy(STACK)), ("b.tif", tiff(STACK)), ("c.npz", npz(stack=STACK))]
)
def test_an_upload_is_chosen_and_run(open_explorer: OpenExplorer, name: str, content: bytes) -> None:
    page = open_explorer(volume=IMPULSE)
    page.upload(name, content)
    assert page.value("volume") == f"Upload: {name}"
    assert page.shapes == [(1, 6, 9, 7, 1), (1, 3, 5, 4, 8)]
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], STACK)
    page.set(volume=IMPULSE)  # it does not push itself forward again
    assert page.shapes[0] == (1, 17, 17, 17, 1)
    page.set(volume=f"Upload: {name}")
    assert page.shapes[0] == (1, 6, 9, 7, 1)
    page.app.file_uploader(key="upload").clear()  # so it is, too, while one file replaces another
    page.run()
    assert page.errors == ([], [])
    assert page.shapes[0] == (1, 6, 9, 7, 1)


def test_an_array_of_an_upload_is_chosen(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    page.upload("two.npz", npz(first=STACK, second=STACK[:4]))
    assert page.value("volume") == RAMP
    (message,) = set(page.errors[0] + page.errors[1])
    assert message.startswith("member: ")
    page.choose("Which of its 2", "second")
    assert page.errors == ([], [])
    assert page.value("volume") == "Upload: two.npz"
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], STACK[:4])
    page.choose("Which of its 2", "first")
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], STACK)


def test_an_upload_of_nifti(open_explorer: OpenExplorer) -> None:
    path = VOLUMES / "mri_nibabel_example4d.nii.gz"
    page = open_explorer(volume=IMPULSE)
    page.upload("scan.nii.gz", path.read_bytes())
    turned = nibabel.as_closest_canonical(nibabel.load(path)).get_fdata(dtype=np.float32)[::-1, ::-1]  # RAS to LPS
    np.testing.assert_array_equal(page.array("input.npy")[0], turned.transpose(2, 1, 0, 3))
    assert page.call == "nn.Conv3d(2, 8, kernel_size=3, stride=2, padding=1)"


def test_two_uploads_of_one_name_are_two_volumes(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE)
    page.upload("a.npy", npy(STACK))
    before = page.array("output.npy")
    page.upload("a.npy", npy(STACK[::-1]))
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], STACK[::-1])
    assert not np.array_equal(page.array("output.npy"), before)


NIFTI = (VOLUMES / "mri_nibabel_example4d.nii.gz").read_bytes()


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("notes.npy", b"hello", "'notes.npy' (text) is not a volume format that is read here; use NumPy, NIfTI"),
        ("empty.npy", b"", "'empty.npy' (0 bytes) is not a volume format that is read here"),
        ("cut.nii.gz", NIFTI[: len(NIFTI) // 2], "its gzip data is cut off"),
        ("cut.npy", npy(STACK)[:-1], "it is cut off: its header declares 884 bytes and 883 are there"),
        ("pickle.npy", npy(np.array([{}, 1], dtype=object)), "it holds Python objects"),
        ("complex.npy", npy(np.ones((3, 3, 3), np.complex64)), "complex64 values are complex"),
        ("pi*ct_ure<b>.npy", b"%PDF-1.7", "'pi*ct_ure<b>.npy' (a PDF document) is not a volume format"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value[-4:] else "",
)
def test_a_broken_upload_is_explained_and_the_volume_stays(
    open_explorer: OpenExplorer, name: str, content: bytes, message: str
) -> None:
    page = open_explorer(volume=RAMP, k=5)
    before = page.array("output.npy")
    page.upload(name, content)
    assert page.errors[0] == page.errors[1]
    assert message in page.errors[0][0]
    assert page.beside == ["upload"]
    assert page.value("volume") == RAMP
    assert page.call == "nn.Conv3d(1, 8, kernel_size=5, stride=2, padding=1)"
    np.testing.assert_array_equal(page.array("output.npy"), before)


def test_a_broken_upload_after_a_good_one(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=RAMP)
    page.upload("a.npy", npy(STACK))
    page.upload("b.npy", b"hello")
    assert page.value("volume") == "Upload: a.npy"
    np.testing.assert_array_equal(page.array("input.npy")[0, ..., 0], STACK)
    assert page.drawn
    assert page.errors[0] == page.errors[1] != []


# The selection


def test_the_pin_is_the_middle_until_it_is_moved(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE)
    assert page.sentence.startswith("Output (4, 4, 4) of channel 0 reads 27 voxels: depth 7-9,")
    page.set(s=1)
    assert page.sentence.startswith("Output (8, 8, 8) of channel 0 ")
    page.set(od=16, ow=0)
    assert page.sentence == (
        "Output (16, 8, 0) of channel 0 reads 12 voxels: depth 15-16, height 7-9, width 0-1; "
        "15 taps fall in the padding."
    )
    page.set(s=2)  # the smaller output has no 16: the nearest stays, and what was not moved is in the middle
    assert page.sentence.startswith("Output (8, 4, 0) of channel 0 ")


def test_the_sentence_names_the_channel_and_counts_the_inputs(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FMRI, d=2)
    page.set(oc=5, ic=1, axis="W")
    assert re.match(
        r"Output \(5, 23, 31\) of channel 5 reads 27 voxels in each of 2 channels: "
        r"depth 9-13 in steps of 2, height 45-49 in steps of 2, width 61-65 in steps of 2; none in the padding\.",
        page.sentence,
    ), page.sentence


def test_one_output_along_an_axis_has_nothing_to_slide(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, k3=True, kd=19, kh=3, kw=3)
    assert page.shapes[1] == (1, 1, 9, 9, 8)
    assert not page.has("od")
    assert page.sentence.startswith("Output (0, 4, 4) of channel 0 reads 153 voxels: depth 0-16, ")
    page.set(kd=3)
    assert page.value("od") == 4


def test_a_choice_of_channel_that_is_gone_is_the_nearest(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, oc=7)
    assert "of channel 7 " in page.sentence
    page.set(out=3)
    assert "of channel 2 " in page.sentence


@pytest.mark.parametrize("axis", "DHW")
def test_every_map_of_the_plane_is_shown_with_its_range(open_explorer: OpenExplorer, axis: str) -> None:
    page = open_explorer(volume=NUCLEI, axis=axis)
    assert len(page.app.main.image) == 8
    output = page.array("output.npy")
    for channel in range(8):
        assert f"±{np.abs(output[..., channel]).max():.4g}" in page.words
    page.set(range="shared")
    assert page.words.count(f"±{np.abs(output).max():.4g}") == 8


def test_more_maps_than_fit_are_turned_in_pages(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, out=70)
    assert len(page.app.main.image) == 32
    page.app.pagination[0].set_value(3)
    page.run()
    assert len(page.app.main.image) == 6
    page.set(out=8)
    assert len(page.app.main.image) == 8


# What the numbers say


def test_the_output_size_is_explained_per_axis(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FMRI)
    formulas = [code.value for code in page.app.code if code.value.startswith("floor(")]
    assert formulas == [
        "floor((24 + 2*1 - 3) / 2) + 1 = floor(11.5) + 1 = 12",
        "floor((96 + 2*1 - 3) / 2) + 1 = floor(47.5) + 1 = 48",
        "floor((128 + 2*1 - 3) / 2) + 1 = floor(63.5) + 1 = 64",
    ]
    assert page.words.count("the floor drops 1 at the end") == 3


def test_the_cost_is_a_product_that_explains_itself(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FMRI, bias=False)
    (table,) = (element.value for element in page.app.table if "because" in element.value.columns)
    rows = {row.iloc[0]: (row["value"], row["because"]) for _, row in table.iterrows()}
    assert rows["Parameters"] == ("432", "8 out × 3 × 3 × 3 taps × 2 in, no bias")
    assert rows["MACs"][0] == "15.9 M"  # 12 * 48 * 64 outputs * 8 * 27 * 2
    assert rows["Output"][0] == "1.12 MiB"
    assert rows["Type"][0] == "float32"
    assert {"Input", "Weights", "Unfolded by nn.Conv3d at once", "Device", "Time"} <= set(rows)


def test_statistics_are_those_of_the_output(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI, weights="Random", seed=3)
    output = page.array("output.npy")[0].astype(np.float64)
    frame = page.statistics
    for column, values in {
        "min": output.min(axis=(0, 1, 2)),
        "max": output.max(axis=(0, 1, 2)),
        "mean": output.mean(axis=(0, 1, 2)),
        "std": output.std(axis=(0, 1, 2)),
    }.items():
        np.testing.assert_allclose(frame[column], values, rtol=1e-6, err_msg=column)
    assert frame["flag"].tolist() == [""] * 8


def test_a_dead_map_is_flagged(open_explorer: OpenExplorer) -> None:
    """On a ramp without padding every difference of neighbours is the same everywhere, and a mean is not."""
    page = open_explorer(volume=RAMP, s=1, p=0)
    assert page.statistics["flag"].tolist() == [
        "", "", "", "dead: constant 128", "dead: constant 64", "dead: constant 32", "dead: constant 0",
        "dead: constant 4",
    ]  # fmt: skip
    assert page.words.count("dead: constant") == 5  # and under each of its small multiples
    page.set(p=1)  # the padding breaks the ramp at the border
    assert page.statistics["flag"].tolist() == [""] * 8


def test_every_map_of_zeros_is_dead(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, crop=True, cd=(0, 5), weights="Identity")
    assert page.statistics["flag"].tolist() == ["dead: constant 0"] * 8
    assert page.statistics["zeros"].tolist() == [100.0] * 8
    assert page.drawn == DRAWN


def test_what_is_not_finite_is_flagged(open_explorer: OpenExplorer) -> None:
    array = np.ones((5, 5, 5), np.float32)
    array[2, 2, 2] = np.nan
    array[0, 0, 0] = np.inf
    page = open_explorer(volume=IMPULSE, k=1, s=1, p=0, out=1, weights="Identity")
    page.upload("holes.npy", npy(array))
    assert page.statistics["flag"].tolist() == ["2 not finite"]
    assert "1 NaN value" in page.words
    assert "1 infinite value" in page.words


# What can be taken away


def test_the_arrays_are_delivered(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FMRI, axes="HDWC", c="1")
    x, y = page.array("input.npy"), page.array("output.npy")
    assert (x.dtype, y.dtype) == (np.float32, np.float32)
    assert [x.shape, y.shape] == page.shapes == [(1, 96, 24, 128, 1), (1, 48, 12, 64, 8)]
    with Engine(device="cpu") as engine:
        weight, bias = kernels.kernel_weights("each", ConvSpec.parse(page.call))
        np.testing.assert_array_equal(y, engine.run(ConvSpec.parse(page.call), x, weight=weight, bias=bias))


@pytest.mark.parametrize("axes", ["DHWC", "WHDC"])
def test_the_nifti_lies_where_the_scan_does(open_explorer: OpenExplorer, axes: str) -> None:
    """A copy of every second voxel has each of its values where the scan has that value in the world."""
    page = open_explorer(volume=FMRI, c="1", weights="Identity", out=1, axes=axes)
    image = nibabel.Nifti1Image.from_bytes(gzip.decompress(page.file("output.nii.gz")))
    scan = nibabel.load(VOLUMES / "mri_nibabel_example4d.nii.gz")
    there = np.indices(image.shape).reshape(3, -1)
    world = nibabel.affines.apply_affine(image.affine, there.T)
    at = nibabel.affines.apply_affine(np.linalg.inv(scan.affine), world)
    voxels = at.round().astype(int)
    np.testing.assert_allclose(at, voxels, atol=1e-3)
    values = scan.get_fdata(dtype=np.float32)[..., 1]
    np.testing.assert_array_equal(image.get_fdata(dtype=np.float32).ravel(), values[tuple(voxels.T)])
    steps = np.sort(image.header.get_zooms())
    np.testing.assert_allclose(steps, np.sort(scan.header.get_zooms()[:3]) * 2, rtol=1e-4)


def test_no_nifti_of_a_volume_without_a_place(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI)
    assert "output.nii.gz" not in page.files
    page.set(volume=FMRI)
    assert "output.nii.gz" in page.files
    page.set(axes="DHCW")  # an axis of space became the channels
    assert "output.nii.gz" not in page.files


def test_the_picture_has_every_map(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=NUCLEI)
    with Image.open(io.BytesIO(page.file("maps.png"))) as picture:
        picture.load()
    assert picture.format == "PNG"
    assert len(picture.getcolors(2**24)) > 100
    page.set(out=1)
    with Image.open(io.BytesIO(page.file("maps.png"))) as single:
        single.load()
    assert single.width * single.height < picture.width * picture.height / 2


LAYERS: list[dict[str, Any]] = [
    {"volume": NUCLEI, "weights": "Random", "seed": 7},
    {"volume": NUCLEI, "weights": "Random", "bias": False, "k3": True, "kd": 1, "kh": 3, "kw": 5, "s": 1, "d": 2},
    {"volume": FIBRES, "weights": "Random", "seed": 1, "out": 3, "k": 2, "p": 0},
    {"volume": NUCLEI, "weights": "One of each", "norm": "z-score"},
    {"volume": FMRI, "weights": "Gaussian", "k": 4, "s": 3, "p": 5},
    {"volume": FIBRES, "weights": "One of each", "out": 9, "k3": True, "kd": 1, "kh": 3, "kw": 3, "axes": "HDWC"},
    {"volume": FIBRES, "weights": "Laplacian", "out": 1, "k": 5, "crop": True, "cd": (5, 30), "ch": (2, 50)},
]


@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_the_program_on_the_page_computes_this_output(
    open_explorer: OpenExplorer, tmp_path: Path, layer: dict[str, Any]
) -> None:
    """Bit for bit, in a fresh interpreter that knows nothing of this project."""
    page = open_explorer(**layer)
    assert page.file("reproduce.py").decode().rstrip() == page.program
    assert page.call in page.program
    (tmp_path / "reproduce.py").write_text(page.program)
    (tmp_path / "input.npy").write_bytes(page.file("input.npy"))
    done = subprocess.run(
        [sys.executable, "-I", "reproduce.py"], cwd=tmp_path, capture_output=True, text=True, timeout=100
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == str(page.shapes[1])
    theirs, ours = np.load(tmp_path / "output.npy"), page.array("output.npy")
    assert (theirs.dtype, theirs.shape) == (ours.dtype, ours.shape)
    assert theirs.tobytes() == ours.tobytes()


# The link


@pytest.mark.parametrize(
    "spec",
    [
        ConvSpec(1, 8, 3, stride=2, padding=1),
        ConvSpec(1, 3, (1, 3, 5), stride=(1, 2, 3), padding=(0, 1, 2), dilation=(1, 2, 1), bias=False),
        ConvSpec(1, 8, (3, 3, 5), stride=1, padding=(1, 1, 4)),
        ConvSpec(1, 1, 7, stride=3),
    ],
    ids=lambda spec: spec.to_mlx(),
)
def test_a_link_made_by_the_library_is_restored(open_explorer: OpenExplorer, spec: ConvSpec) -> None:
    page = open_explorer(volume=NUCLEI, od="1", oh="2", ow="3", oc="0", axis="H", weights="Box", **spec.to_query())
    assert page.warnings == []
    assert page.call == spec.to_mlx()
    assert page.shapes == [(1, 31, 61, 57, 1), spec.output_shape((1, 31, 61, 57, 1))]
    assert page.sentence.startswith("Output (1, 2, 3) of channel 0 ")
    assert (page.value("axis"), page.value("weights")) == ("H", "Box")


def test_the_link_on_the_page_restores_it(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=FMRI)
    page.set(k=2, s3=True, d=2, weights="Sobel W", norm="z-score", crop=True)
    page.set(sd=1, sh=3, cd=(3, 20), od=2, ow=5, oc=3, ic=1, axis="W", range="shared")
    (link,) = (code.value for code in page.app.code if code.value.startswith(("?", "http")))
    again = open_explorer(**parse_qs(urlsplit(link).query))
    assert again.warnings == []
    assert (again.call, again.shapes, again.sentence) == (page.call, page.shapes, page.sentence)
    assert again.call == "nn.Conv3d(2, 8, kernel_size=2, stride=(1, 3, 2), padding=1, dilation=2)"
    np.testing.assert_array_equal(again.array("output.npy"), page.array("output.npy"))
    assert [again.value(key) for key in ("axis", "range", "norm", "ic")] == ["W", "shared", "z-score", 1]


@pytest.mark.parametrize(
    ("key", "asked", "instead"),
    [
        ("k", "abc", "3"),
        ("k", "3.7", "3"),
        ("k", "nan", "3"),
        ("k", "inf", "3"),
        ("seed", "1e999", "0"),
        ("in", "-inf", "1"),
        ("k", "99999999999999999999", "3"),
        ("k3", "yes", "false"),
        ("bias", "maybe", "true"),
        ("od", "9999", "4"),
        ("oc", "99", "0"),
        ("axis", "Q", "D"),
        ("weights", "Nope", "One of each"),
        ("volume", "my scan.nii", BRAIN),
        ("axes", "DDDD", "DHWC"),
        ("k", "<b>5</b>", "3"),
    ],
)
def test_what_a_link_cannot_restore_is_said_once(
    open_explorer: OpenExplorer, key: str, asked: str, instead: str
) -> None:
    page = open_explorer(**({"volume": IMPULSE, "weights": "Random"} | {key: asked}))
    assert page.warnings == [f"link: {key}={asked} cannot be restored here; showing {instead} instead."]
    assert page.drawn
    page.run()
    assert page.warnings == []


def test_a_scenario_is_a_click_and_leaves_the_rest(open_explorer: OpenExplorer) -> None:
    page = open_explorer(volume=IMPULSE, out=2, weights="Box", k=5)
    page.press("In-plane (1, 3, 3)")
    assert page.call == "nn.Conv3d(1, 2, kernel_size=(1, 3, 3), padding=(0, 1, 1))"
    assert page.value("weights") == "Box"
    page.press("Halve")
    assert page.call == "nn.Conv3d(1, 2, kernel_size=3, stride=2, padding=1)"
    page.press("Break it")
    assert "effective kernel 201 does not fit" in page.errors[0][0]
    page.press("Same")
    assert page.errors == ([], [])
