"""A layer of a chain: the answers in its text, and what the frameworks make of them."""

from __future__ import annotations

import functools
import math
from typing import Any

import pytest

from conv3d_core import ConvSpec, ShapeError, SpecError
from conv3d_core.chain import Case, Chain
from conv3d_core.chain.reading import read_chain
from conv3d_core.solve import (
    even_sizes_in_case,
    field_in_case,
    half,
    same,
    settings_for_memory,
    settings_for_output,
    settings_in_case,
)
from conv3d_core.solve.cases import to_ndhwc

MLX = """import mlx.nn as nn
net = nn.Sequential(
    nn.Conv3d(1, 8, 3, padding=1),  # first
    nn.ReLU(),
    nn.MaxPool3d(2),
    nn.Conv3d(8, 16, 3),
)
"""
TORCH = """import torch.nn as nn
nn.Sequential(
    nn.Conv3d(1, 4, 3, padding="same"),
    nn.MaxPool3d(2),
    nn.Conv3d(4, 4, 3, groups=2),
)
"""


def case_of(text: str, *shape: int) -> Case:
    return Case(read_chain(text), shape)


def torch_shape(chain: Chain, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What PyTorch's own layers give."""
    torch = pytest.importorskip("torch")
    names: dict[str, Any] = {"nn": torch.nn, "torch": torch}
    *imports, expression = chain.text.strip().partition("nn.Sequential(")[::2]
    assert "import" in imports[0]
    model = eval(f"nn.Sequential({expression}", names)
    with torch.no_grad():
        return tuple(model(torch.zeros(shape)).shape)


def mlx_shape(chain: Chain, shape: tuple[int, ...]) -> tuple[int, ...]:
    """What MLX's own layers give; nothing is evaluated."""
    import mlx.core as mx

    names: dict[str, Any] = {}
    exec(chain.text, names)
    return tuple(names["net"](mx.zeros(shape)).shape)


def test_an_answer_is_written_into_the_text() -> None:
    case = case_of(MLX, 1, 32, 32, 32, 1)
    (found,) = settings_in_case(case, 3, (1, 16, 16, 16, 8), same)
    assert found.words == "padding=1"
    assert found.case == Case(
        read_chain(MLX.replace("nn.Conv3d(8, 16, 3)", "nn.Conv3d(8, 16, 3, padding=1)")), case.input_shape
    )
    assert mlx_shape(found.case.chain, case.input_shape) == (1, 16, 16, 16, 16)


@pytest.mark.parametrize("wanted", [(16, 16, 16), (7, 7, 7), (14, 16, 7), (4, 4, 4)])
def test_every_answer_gives_mlx_what_was_asked(wanted: tuple[int, int, int]) -> None:
    case = case_of(MLX, 2, 32, 32, 32, 1)
    for found in settings_in_case(case, 3, (2, 16, 16, 16, 8), functools.partial(settings_for_output, wanted=wanted)):
        assert found.case
        assert mlx_shape(found.case.chain, case.input_shape) == (2, *wanted, 16)


@pytest.mark.parametrize("shape", [(2, 1, 32, 30, 28), (1, 32, 30, 28)])
def test_every_answer_gives_pytorch_what_was_asked(shape: tuple[int, ...]) -> None:
    case = case_of(TORCH, *shape)
    for found in settings_in_case(case, 2, (*shape[:-4], 4, 16, 15, 14), same):
        assert found.case
        assert torch_shape(found.case.chain, shape) == (*shape[:-4], 4, 16, 15, 14)


def test_the_word_same_becomes_the_numbers_that_it_stood_for() -> None:
    case = case_of(TORCH, 1, 1, 32, 32, 32)
    (found,) = settings_in_case(case, 0, case.input_shape, half)
    assert found.words == "stride=2, padding=1"
    assert found.case
    assert "nn.Conv3d(1, 4, 3, padding=1, stride=2)" in found.case.chain.text
    assert torch_shape(found.case.chain, case.input_shape) == (1, 4, 6, 6, 6)


def test_another_layer_is_not_solved_for() -> None:
    with pytest.raises(SpecError, match=r"^layer: 'ReLU' is no Conv3d"):
        settings_in_case(case_of(MLX, 1, 32, 32, 32, 1), 1, (1, 32, 32, 32, 8), same)


# --- memory ---------------------------------------------------------------------------------------------------------


def test_the_first_layer_may_ask_for_a_smaller_input() -> None:
    case = case_of(MLX, 1, 64, 64, 64, 1)
    limit = functools.partial(settings_for_memory, memory_bytes=2**25)
    found = settings_in_case(case, 0, case.input_shape, limit)
    # Fewer channels would not do for the layer behind.
    assert [answer.words for answer in found] == ["input (1, 57, 57, 57, 1)", "stride=2"]
    assert [answer.case and answer.case.input_shape for answer in found] == [(1, 57, 57, 57, 1), (1, 64, 64, 64, 1)]


def test_a_smaller_batch_is_that_of_the_whole_case() -> None:
    case = case_of(TORCH, 8, 1, 32, 32, 32)
    limit = functools.partial(settings_for_memory, memory_bytes=2**22)
    found = settings_in_case(case, 2, (8, 4, 16, 16, 16), limit)
    assert found[0].words == "input (2, 1, 32, 32, 32)"
    assert found[0].case
    assert found[0].case.input_shape == (2, 1, 32, 32, 32)
    assert [answer.words for answer in found[1:]] == ["stride=2"]


@pytest.mark.parametrize("memory_bytes", range(250_000, 300_000, 10_000))
def test_groups_are_never_split(memory_bytes: int) -> None:
    case = case_of("import torch.nn as nn\nnn.Sequential(nn.Conv3d(8, 64, 3, groups=4))", 1, 8, 8, 8, 8)
    limit = functools.partial(settings_for_memory, memory_bytes=memory_bytes)
    for found in settings_in_case(case, 0, case.input_shape, limit):
        assert found.case
        torch_shape(found.case.chain, found.case.input_shape)


# --- receptive field ------------------------------------------------------------------------------------------------


def test_a_field_counts_poolings_and_passes_over_what_reads_one_voxel() -> None:
    case = case_of(MLX, 1, 32, 32, 32, 1)
    found = field_in_case(case, 0, 10)
    assert [answer.words for answer in found] == ["padding=2, dilation=2", "kernel_size=5, padding=2", "stride=2"]
    assert found[2].note == "receptive field 13 x 13 x 13, output 16 x 16 x 16"
    for answer in found[:2]:
        assert answer.case
        assert answer.note == "receptive field 10 x 10 x 10, sizes as before"
        assert answer.output_shape == (1, 32, 32, 32, 8)
        assert mlx_shape(answer.case.chain, case.input_shape) == mlx_shape(case.chain, case.input_shape)


def test_a_field_is_not_solved_for_through_an_upsampling() -> None:
    case = case_of("nn.Sequential(nn.Conv3d(1, 8, 3), nn.Upsample(2.0))", 1, 8, 8, 8, 1)
    with pytest.raises(SpecError, match=r"^layer: layer 2, Upsample, is not among those"):
        field_in_case(case, 0, 5)


# --- sizes that divide evenly ---------------------------------------------------------------------------------------

U_NET = """import torch.nn as nn
nn.Sequential(
    nn.Conv3d(1, 2, 3, padding=1), nn.BatchNorm3d(2), nn.ReLU(), nn.MaxPool3d(2),
    nn.Conv3d(2, 2, 3, padding=1), nn.ReLU(), {pool}, {up},
    nn.Upsample(scale_factor=2),
)
"""


@pytest.mark.parametrize(
    ("pool", "up"),
    [
        ("nn.MaxPool3d(2)", "nn.ConvTranspose3d(2, 2, 2, stride=2)"),
        ("nn.Conv3d(2, 2, 3, stride=2, padding=1)", "nn.ConvTranspose3d(2, 2, 3, 2, 1, output_padding=1)"),
        ("nn.AvgPool3d(2, ceil_mode=True)", "nn.Upsample(scale_factor=(2, 2, 2))"),
    ],
)
def test_a_decoder_comes_back_exactly_at_even_sizes(pool: str, up: str) -> None:
    case = case_of(U_NET.format(pool=pool, up=up), 1, 1, 9, 14, 16)
    found = even_sizes_in_case(case, count=2)
    assert [along.rule for along in found] == ["multiples of 4"] * 3
    assert [along.sizes for along in found] == [(4, 8, 12, 16), (8, 12, 16, 20), (8, 12, 16, 20, 24)]
    for size in range(4, 14):
        shape = (1, 1, size, size, size)
        came_back = torch_shape(case.chain, shape)[2:] == shape[2:]
        assert came_back == (size % 4 == 0)


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("nn.Conv3d(1, 8, 7, stride=2, padding=3), nn.MaxPool3d(2)", "multiples of 4"),
        # No size is divided exactly by a stride without padding: then nothing may be left over.
        ("nn.Conv3d(1, 8, 3, stride=2), nn.MaxPool3d(2)", "4n + 1, from 5 on"),
        # 2 and 1 zeros cannot both be used up: then no voxel may be left over.
        ("nn.Conv3d(1, 8, 2, stride=4, padding=1), nn.Conv3d(8, 8, 4, stride=2, padding=1)", None),
    ],
)
def test_what_is_even_is_what_a_stride_divides_exactly_where_there_is_such_a_size(text: str, rule: str | None) -> None:
    found = even_sizes_in_case(case_of(f"nn.Sequential({text})", 1, 32, 32, 32, 1), count=1)
    if rule:
        assert [along.rule for along in found] == [rule] * 3
    else:
        assert found[0].sizes


def test_what_is_flattened_has_no_further_say() -> None:
    text = "nn.Sequential(nn.Conv3d(1, 8, 3, stride=2), nn.MaxPool3d(2), nn.Flatten(), nn.Linear(8, 2))"
    case = case_of(f"import torch.nn as nn\n{text}", 1, 1, 11, 11, 11)
    assert even_sizes_in_case(case, count=1)[0].rule == "4n + 1, from 5 on"


@pytest.mark.parametrize("pool", ["nn.AdaptiveAvgPool3d(1)", "nn.AdaptiveMaxPool3d((1, 7, 7))"])
def test_what_is_pooled_to_a_fixed_size_has_no_further_say(pool: str) -> None:
    text = f"import torch.nn as nn\nnn.Sequential(nn.Conv3d(1, 8, 3, stride=2), {pool}, nn.Conv3d(8, 2, 1))"
    case = case_of(text, 1, 1, 12, 12, 12)
    assert even_sizes_in_case(case, count=1)[0].rule == "odd sizes, from 3 on"
    assert field_in_case(case, 0, 5)
    with pytest.raises(SpecError, match=r"^layer: layer 3 reads no volume"):
        field_in_case(case, 2, 5)


def test_an_upsampling_to_a_fixed_size_is_refused() -> None:
    case = case_of("import torch.nn as nn\nnn.Sequential(nn.MaxPool3d(2), nn.Upsample(size=8))", 1, 1, 8, 8, 8)
    with pytest.raises(SpecError, match=r"^scale_factor: None of layer 2 is no factor"):
        even_sizes_in_case(case)


def test_a_volume_has_five_axes_and_four_in_pytorch() -> None:
    assert to_ndhwc((1, 2, 3, 4, 5), "mlx") == (1, 2, 3, 4, 5)
    assert to_ndhwc((1, 2, 3, 4, 5), "torch") == (1, 3, 4, 5, 2)
    with pytest.raises(ShapeError, match=r"^input: \(2, 3, 4, 5\) has 4 axes; use five sizes \(N, D, H, W, C\)\.$"):
        to_ndhwc((2, 3, 4, 5), "mlx")


def test_the_numbers_of_an_answer_are_the_layers() -> None:
    case = case_of(MLX, 1, 32, 32, 32, 1)
    found = field_in_case(case, 3, 12)[0]
    assert (found.spec.in_channels, found.spec.out_channels) == (8, 16)
    assert found.spec == ConvSpec(8, 16, 3, padding=1, dilation=2)
    assert found.macs == math.prod(found.output_shape) * 27 * 8
