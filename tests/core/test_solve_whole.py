"""What fits a whole chain into a memory limit: each answer does, and no smaller change of its kind."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import ShapeError, SpecError
from conv3d_core.chain import Case, Chain, Framework, Layer
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.trace import trace
from conv3d_core.shapes import format_bytes
from conv3d_core.solve import memory_in_case

MLX = """import mlx.nn as nn
net = nn.Sequential(
    nn.Conv3d(1, 8, 3, padding=1),  # first
    nn.ReLU(),
    nn.Conv3d(8, 16, 3, padding=1),
    nn.MaxPool3d(2),
    nn.Conv3d(16, 4, 3),
)
"""


def case_of(text: str, *shape: int) -> Case:
    return Case(read_chain(text), shape)


def test_by_hand() -> None:
    case = case_of(MLX, 4, 64, 64, 32, 1)
    # Of one array the second convolution holds 2^17 windows of 27 * 8 numbers, twice 2^17 * 16 outputs, the input and
    # the padded input of 66 * 66 * 34, each of 8 channels, and its weights: of two it would be over 256 MiB.
    numbers = 2**17 * (216 + 2 * 16 + 8) + 66 * 66 * 34 * 8 + 27 * 8 * 16 + 16
    assert format_bytes(4 * numbers) == "132.53 MiB"
    found = memory_in_case(case, 0, 2**28)
    assert [answer.words for answer in found] == ["input (1, 64, 64, 32, 1)", "input (4, 50, 50, 25, 1)", "stride=2"]
    assert [answer.note for answer in found] == ["132.53 MiB", "253.07 MiB", "66.55 MiB"]
    assert [answer.case and answer.case.input_shape for answer in found] == [
        (1, 64, 64, 32, 1),
        (4, 50, 50, 25, 1),
        (4, 64, 64, 32, 1),
    ]
    assert found[2].case
    assert found[2].case.chain.text == MLX.replace("padding=1),  # first", "padding=1, stride=2),  # first")
    assert (found[1].input_shape, found[1].output_shape) == ((4, 50, 50, 25, 1), (4, 50, 50, 25, 8))


def test_a_layer_is_chosen_for_what_it_does_to_those_behind_it() -> None:
    case = case_of(MLX, 1, 64, 64, 64, 1)
    first, second, last = ([answer.words for answer in memory_in_case(case, index, 2**27)] for index in (0, 2, 4))
    whole = "input (1, 50, 50, 50, 1)"
    assert first == [whole, "stride=2"]
    # Of the second, fewer outputs would not do for the last; of the last, nothing helps.
    assert second == [whole, "stride=2"]
    assert last == [whole]


def test_what_a_linear_counts_must_stay() -> None:
    text = "nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.Flatten(), nn.Linear(4 * 16 ** 3, 2))"
    found = memory_in_case(case_of(f"import torch.nn as nn\n{text}", 8, 1, 16, 16, 16), 0, 7 * 2**17)
    assert [answer.words for answer in found] == ["input (7, 1, 16, 16, 16)"]
    pooled = "nn.Sequential(nn.Conv3d(1, 4, 3, padding=1), nn.AdaptiveAvgPool3d(1), nn.Flatten(), nn.Linear(4, 2))"
    found = memory_in_case(case_of(f"import torch.nn as nn\n{pooled}", 8, 1, 16, 16, 16), 0, 2**19)
    assert [answer.words for answer in found] == [
        "input (6, 1, 16, 16, 16)",
        "input (8, 1, 14, 14, 14)",
        "stride=2",
    ]


def test_axes_are_where_the_chain_has_them() -> None:
    """PyTorch's order, which the text itself turns into MLX's; and no batch axis."""
    net = "y = nn.Conv3d(2, 8, 3)(mx.transpose(x, (0, 2, 3, 4, 1)))"
    found = memory_in_case(case_of(net, 1, 2, 32, 32, 16), 1, 2**20)
    assert [answer.words for answer in found] == ["input (1, 2, 21, 21, 10)", "stride=2"]
    torch = case_of("import torch.nn as nn\nnn.Conv3d(2, 8, 3)", 2, 32, 32, 16)
    words = [answer.words for answer in memory_in_case(torch, 0, 2**18)]
    assert words == ["input (2, 25, 25, 12)", "stride=2", "out_channels=2"]


def test_groups_stay_whole() -> None:
    case = case_of("import torch.nn as nn\nnn.Conv3d(8, 64, 3, groups=4)", 1, 8, 8, 8, 8)
    words = [answer.words for answer in memory_in_case(case, 0, 2**15)]
    assert words[-1] == "out_channels=12"


def test_what_fits_is_left_as_it_is() -> None:
    (found,) = memory_in_case(case_of(MLX, 1, 16, 16, 16, 1), 2, 2**30)
    assert (found.words, found.changes, found.input_shape) == ("as it is", {}, (1, 16, 16, 16, 8))


def test_too_little_says_how_much_is_needed() -> None:
    with pytest.raises(SpecError, match=r"^memory: 20 B is too little whatever changes alone: at least .*; give more"):
        memory_in_case(case_of(MLX, 1, 16, 16, 16, 1), 0, 20)
    with pytest.raises(SpecError, match=r"^memory: 0 is no number of bytes; give an integer >= 1\.$"):
        memory_in_case(case_of(MLX, 1, 16, 16, 16, 1), 0, 0)


def test_what_does_not_fit_says_so_first() -> None:
    with pytest.raises(ShapeError, match=r"^in_channels: the layer takes 1 and the input"):
        memory_in_case(case_of(MLX, 1, 16, 16, 16, 3), 0, 2**30)
    with pytest.raises(SpecError, match=r"^layer: 'ReLU' is no Conv3d"):
        memory_in_case(case_of(MLX, 1, 16, 16, 16, 1), 1, 2**30)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Case, int]:
    """A few layers that fit one another and an input, and the index of a Conv3d among them."""
    framework: Framework = draw(st.sampled_from(["mlx", "torch"]))
    channels = first = draw(st.integers(1, 3))
    layers: list[Layer] = []
    for _ in range(draw(st.integers(1, 4))):
        kind = draw(st.sampled_from(["Conv3d", "Conv3d", "MaxPool3d", "ReLU", "Upsample"]))
        arguments: dict[str, Any] = {}
        if kind == "Conv3d":
            outputs = draw(st.integers(1, 4))
            arguments = {"in_channels": channels, "out_channels": outputs, "kernel_size": draw(st.integers(1, 3)),
                         "padding": draw(st.integers(0, 1)), "dilation": draw(st.integers(1, 2))}  # fmt: skip
            channels = outputs
        elif kind == "MaxPool3d":
            arguments = {"kernel_size": 2}
        elif kind == "Upsample":
            arguments = {"scale_factor": 2}
        layers.append(Layer(kind, arguments))
    space = tuple(draw(st.integers(4, 12)) for _ in range(3))
    batch = draw(st.integers(1, 3))
    shape = (batch, *space, first) if framework == "mlx" else (batch, first, *space)
    report = trace(Case(Chain(tuple(layers), framework), shape))
    head = draw(st.sampled_from(["", "Flatten", "Mean"])) if report.error is None else ""
    if head == "Flatten":
        features = math.prod(report.output_shape[1:])
        layers += [Layer(head, {}), Layer("Linear", {"input_dims": features, "output_dims": 2})]
    elif head:
        axis = (1, 2, 3) if framework == "mlx" else (2, 3, 4)
        layers += [Layer(head, {"axis": axis}), Layer("Linear", {"input_dims": channels, "output_dims": 2})]
    convolutions = [index for index, layer in enumerate(layers) if layer.kind == "Conv3d"]
    return Case(Chain(tuple(layers), framework), shape), draw(st.sampled_from(convolutions or [0]))


def ways(case: Case, index: int) -> Iterator[list[Case]]:
    """Everything that may change alone, each from the least change on."""
    shape = case.input_shape
    first = 1 if case.chain.framework == "mlx" else 2
    space = shape[first : first + 3]
    yield [replace(case, input_shape=(n, *shape[1:])) for n in range(shape[0] - 1, 0, -1)]
    smaller = [
        tuple(max(1, size * longest // max(space)) for size in space) for longest in range(max(space) - 1, 0, -1)
    ]
    yield [replace(case, input_shape=(*shape[:first], *sizes, *shape[first + 3 :])) for sizes in smaller]
    layer = case.chain.layers[index]

    def changed(**arguments: Any) -> Case:
        layers = list(case.chain.layers)
        layers[index] = replace(layer, arguments={**layer.arguments, **arguments})
        return replace(case, chain=replace(case.chain, layers=tuple(layers)))

    yield [changed(stride=n) for n in range(2, 9)]
    yield [changed(out_channels=n) for n in range(layer.arguments["out_channels"] - 1, 0, -1)]


@given(cases(), st.integers(200, 60_000))
def test_every_answer_fits_and_no_smaller_change_does(given: tuple[Case, int], limit: int) -> None:
    case, index = given
    report = trace(case)
    if case.chain.layers[index].kind != "Conv3d" or report.error:
        return
    expected = []
    for way in ways(case, index):
        reports = [trace(after) for after in way]
        fitting = [report for report in reports if report.error is None and report.peak_bytes <= limit]
        expected += [(after.case.input_shape, after.output_shape, after.peak_bytes) for after in fitting[:1]]
    try:
        found = memory_in_case(case, index, limit)
    except SpecError:
        assert not expected
        assert report.peak_bytes > limit
        return
    if report.peak_bytes <= limit:
        expected = [(case.input_shape, report.output_shape, report.peak_bytes)]
    after = [trace(answer.case) for answer in found if answer.case]
    assert [(one.case.input_shape, one.output_shape, one.peak_bytes) for one in after] == expected
