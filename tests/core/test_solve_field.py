"""Settings for a wanted receptive field: by hand, and against the receptive field of what comes of them."""

from __future__ import annotations

import itertools
import operator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError, SpecError
from conv3d_core.axis import Axis
from conv3d_core.receptive_field import receptive_field
from conv3d_core.solve import settings_for_field
from conv3d_core.spec import Shape, Triple
from conv3d_core.stack import stack_shapes
from tests.core.strategies import specs

CUBE = (1, 32, 32, 32, 1)
SAME = ConvSpec(1, 1, 3, padding=1)
HALF = ConvSpec(1, 1, 3, stride=2, padding=1)


@pytest.mark.parametrize(
    ("stack", "index", "wanted", "answers"),
    [
        ([SAME], 0, 7, ["padding=3, dilation=3", "kernel_size=7, padding=3"]),
        ([SAME, SAME], 1, 5, ["as it is"]),
        # A dilated 3 has odd windows only.
        ([SAME, SAME], 1, 8, ["kernel_size=6, padding=2", "padding=3, dilation=3", "kernel_size=7, padding=3"]),
        # Behind a stride of 2 each tap counts twice: 3 + 2 * 4 = 11.
        ([HALF, SAME], 1, 11, ["padding=2, dilation=2", "kernel_size=5, padding=2"]),
        # Its own kernel, or how far the next one's taps are apart: 3 + 2 * 4 = 11.
        ([SAME, SAME], 0, 11, ["padding=4, dilation=4", "kernel_size=9, padding=4", "stride=4"]),
        ([SAME, SAME], 0, 3, ["kernel_size=1, padding=0"]),
        ([SAME], 0, (3, 7, 7), ["padding=(1, 3, 3), dilation=(1, 3, 3)", "kernel_size=(3, 7, 7), padding=(1, 3, 3)"]),
    ],
)
def test_answers_by_hand(stack: list[ConvSpec], index: int, wanted: int | Triple, answers: list[str]) -> None:
    assert [found.words for found in settings_for_field(stack, index, wanted, CUBE)] == answers


def test_a_note_says_what_comes_of_it() -> None:
    exact, kept, *_ = settings_for_field([SAME, SAME], 1, 8, CUBE)
    assert exact.note == "receptive field 8 x 8 x 8, output 31 x 31 x 31"
    assert kept.note == "receptive field 9 x 9 x 9, sizes as before"
    assert (kept.input_shape, kept.output_shape) == (CUBE, CUBE)


def test_what_cannot_be_reached_says_so() -> None:
    with pytest.raises(
        SpecError, match=r"^depth: no setting of this layer makes the receptive field of 5 one of 5,000"
    ):
        settings_for_field([SAME, SAME], 1, 5000, (1, 8, 8, 8, 1))


@pytest.mark.parametrize(
    ("wanted", "message"),
    [((1, 2), r"^wanted: \[1, 2\] has 2 numbers; give one, or three"), (0, "^depth: a receptive field of 0 is none")],
)
def test_a_field_is_one_number_or_three(wanted: int | Triple, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        settings_for_field([SAME], 0, wanted, CUBE)


def test_layers_that_do_not_fit_say_so_first() -> None:
    with pytest.raises(ShapeError, match=r"^layer 2, depth: effective kernel 9"):
        settings_for_field([SAME, ConvSpec(1, 1, 9)], 0, 20, (1, 8, 8, 8, 1))


@st.composite
def stacks(draw: st.DrawFn) -> tuple[list[ConvSpec], Shape]:
    """One to three layers and an input that they take."""
    layers = draw(st.lists(specs(channels=1, kernel=3), min_size=1, max_size=3))
    sizes = [1, 1, 1]
    for spec in reversed(layers):
        sizes = [
            max(1, (size - 1) * axis.stride + axis.effective_kernel_size - 2 * axis.padding)
            for axis, size in zip(spec.axes, sizes, strict=True)
        ]
    d, h, w = (size + draw(st.integers(0, 6)) for size in sizes)
    return layers, (1, d, h, w, 1)


@given(stacks(), st.data())
def test_every_answer_spans_what_was_asked(stack: tuple[list[ConvSpec], Shape], data: st.DataObject) -> None:
    layers, shape = stack
    index = data.draw(st.integers(0, len(layers) - 1))
    number = st.integers(1, 20)
    wanted = data.draw(st.tuples(number, number, number) | number.map(lambda n: (n, n, n)))
    try:
        found = settings_for_field(layers, index, wanted, shape)
    except SpecError:
        return
    assert 1 <= len(found) <= 6
    assert len({answer.spec for answer in found}) == len(found)
    overshoots = []
    for answer in found:
        whole = [*layers[:index], answer.spec, *layers[index + 1 :]]
        field = receptive_field(whole).size
        assert all(size >= target for size, target in zip(field, wanted, strict=True))
        overshoots.append(sum(field) - sum(wanted))
        after = stack_shapes(whole, shape)
        assert answer.output_shape == after[index]
        assert ("sizes as before" in answer.note) == (after == stack_shapes(layers, shape))
        assert ConvSpec(**{**layers[index].to_dict(), **answer.changes}) == answer.spec
        assert set(answer.changes) <= {"kernel_size", "dilation", "padding"} or set(answer.changes) == {"stride"}
    assert overshoots == sorted(overshoots)


@settings(max_examples=50)
@given(stacks(), st.data())
def test_no_smaller_field_that_keeps_the_size_was_missed(
    stack: tuple[list[ConvSpec], Shape], data: st.DataObject
) -> None:
    layers, shape = stack
    index = data.draw(st.integers(0, len(layers) - 1))
    number = st.integers(1, 20)
    wanted = data.draw(st.tuples(number, number, number) | number.map(lambda n: (n, n, n)))
    given = [shape, *stack_shapes(layers, shape)][index]

    def field(axis: Axis, place: int) -> int:
        along = [spec.axes[place] for spec in layers]
        along[index] = axis
        jumps = itertools.accumulate((axis.stride for axis in along), operator.mul, initial=1)
        return 1 + sum((axis.effective_kernel_size - 1) * jump for axis, jump in zip(along, jumps, strict=False))

    for name in ("kernel_size", "dilation"):
        overshoot = 0
        for place, axis in enumerate(layers[index].axes):
            reached = [
                field(after, place) - wanted[place]
                for value in range(1, min(8, given[1 + place]) + 1)
                for padding in range(12)
                if (after := axis._replace(**{name: value, "padding": padding}))
                and padding <= max(axis.padding, after.effective_kernel_size - 1)
                and after.output_size(given[1 + place]) == axis.output_size(given[1 + place])
            ]
            overshoot += min((over for over in reached if over >= 0), default=10**6)
        now = [field(axis, place) - wanted[place] for place, axis in enumerate(layers[index].axes)]
        if overshoot < (10**6 if min(now) < 0 else sum(now)):
            found = settings_for_field(layers, index, wanted, shape)
            kept = [answer for answer in found if "sizes as before" in answer.note]
            best = [receptive_field([*layers[:index], a.spec, *layers[index + 1 :]]).size for a in kept]
            assert min(map(sum, best)) - sum(wanted) <= overshoot
