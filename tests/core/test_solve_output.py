"""Settings for a wanted output size: by hand, against brute force, and against MLX's own layer."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError, SpecError
from conv3d_core.axis import Axis
from conv3d_core.solve import PARAMETERS, Solution, half, same, settings_for_output
from conv3d_core.solve.answer import change_of, changed, weight_of
from conv3d_core.spec import Shape
from tests.core.strategies import axes, specs

CUBE = (1, 32, 32, 32, 1)
SMALL = range(9)


def said(solutions: Sequence[Solution]) -> list[str]:
    return [found.words for found in solutions]


def mlx_shape(spec: ConvSpec, shape: Shape) -> Shape:
    """What MLX says: nothing is evaluated."""
    import mlx.core as mx
    import mlx.nn as nn

    found = nn.Conv3d(**spec.to_dict())(mx.zeros(shape)).shape
    return tuple(found)


def fits_sensibly(before: Axis, after: Axis, size: int) -> bool:
    """What no answer does: padding beyond the kernel's reach, dilation beyond the input, a kernel of one tap."""
    excess = before.padding if before.padding >= before.effective_kernel_size else 0
    return (
        after.fits(size)
        and after.padding <= max(after.effective_kernel_size - 1, excess)
        and after.dilation <= max(before.dilation, size - 1)
        and after.kernel_size >= min(2, before.kernel_size)
    )


# --- by hand --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "wanted", "answers"),
    [
        (ConvSpec(1, 8, 3), (32, 32, 32), ["padding=1"]),
        (ConvSpec(1, 8, 3, padding=1), (16, 16, 16), ["stride=2", "dilation=9"]),
        (ConvSpec(1, 8, 3), (30, 30, 30), ["as it is"]),
        (ConvSpec(1, 8, 3, padding=1), (16, None, None), ["stride=(2, 1, 1)", "dilation=(9, 1, 1)"]),
        (ConvSpec(1, 8, (1, 3, 3)), (32, 32, 32), ["padding=(0, 1, 1)"]),
        (ConvSpec(1, 8, 2, stride=2), (31, 31, 31), ["stride=1"]),
        (ConvSpec(1, 8, 3), (34, 34, 34), ["padding=2"]),
    ],
)
def test_answers_by_hand(spec: ConvSpec, wanted: tuple[int | None, ...], answers: list[str]) -> None:
    assert said(settings_for_output(spec, CUBE, wanted)) == answers


def test_an_answer_says_what_it_costs() -> None:
    (found,) = settings_for_output(ConvSpec(1, 8, 3), CUBE, (32, 32, 32))
    assert found.spec == ConvSpec(1, 8, 3, padding=1)
    assert (found.changes, found.output_shape, found.note) == ({"padding": 1}, (1, 32, 32, 32, 8), "")
    assert (found.parameters, found.macs) == (224, 32**3 * 8 * 27)


def test_axes_that_are_alike_stay_alike() -> None:
    """Depth alone would need stride 2 without padding; with it, one layer does for all three."""
    found = half(ConvSpec(1, 8, 3), (1, 31, 32, 32, 1))
    assert said(found) == ["stride=2, padding=1"]
    assert found[0].output_shape == (1, 16, 16, 16, 8)


def test_an_axis_of_which_nothing_is_asked_is_made_to_fit() -> None:
    found = settings_for_output(ConvSpec(1, 8, 5), (1, 3, 32, 32, 1), (None, None, None))
    assert said(found) == ["padding=(1, 0, 0)", "kernel_size=(3, 5, 5)"]


def test_a_stride_wider_than_the_kernel_says_what_it_leaves() -> None:
    found = settings_for_output(ConvSpec(1, 8, 2), CUBE, (8, 8, 8))
    assert (found[0].words, found[0].note) == ("stride=4", "leaves 2 of 4 voxels between windows along D, H, W")


def test_same_for_an_even_kernel_changes_the_kernel() -> None:
    spec = ConvSpec(1, 8, 4)
    with pytest.raises(SpecError, match="is even, and MLX pads both sides alike"):
        spec.same_padding()
    assert said(same(spec, CUBE)) == ["padding=3, dilation=2", "kernel_size=3, padding=1"]


def test_same_undoes_a_stride() -> None:
    assert said(same(ConvSpec(1, 8, 3, stride=2), CUBE)) == ["stride=1, padding=1"]


@pytest.mark.parametrize(
    ("kernel", "shape", "words", "note"),
    [
        (3, (1, 32, 32, 32, 1), "stride=2, padding=1", ""),
        (2, (1, 32, 32, 32, 1), "stride=2", ""),
        (3, (1, 32, 33, 32, 1), "stride=2, padding=1", "half of H = 33 is rounded up to 17"),
        (2, (1, 32, 32, 33, 1), "stride=2", "half of W = 33 is rounded down to 16"),
    ],
)
def test_half_says_which_way_it_rounds(kernel: int, shape: Shape, words: str, note: str) -> None:
    found = half(ConvSpec(1, 8, kernel), shape)
    assert (found[0].words, found[0].note) == (words, note)


def test_what_may_change_can_be_chosen() -> None:
    assert said(settings_for_output(ConvSpec(1, 8, 3), CUBE, (16, 16, 16), changing=["kernel_size"])) == [
        "kernel_size=17"
    ]
    with pytest.raises(SpecError, match=r"^depth: padding alone cannot give 16 of 32; let other parameters change"):
        settings_for_output(ConvSpec(1, 8, 3), CUBE, (16, 16, 16), changing=["padding"])


# --- what cannot be had ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("size", "wanted", "message"),
    [
        (4, 500, r"^height: no settings up to 32 give 500 of 4; ask for 35, or use more than one layer\.$"),
        (9000, 6000, r"^height: no settings up to 32 give 6,000 of 9,000; ask for 4,516 or 8,969, or use more"),
    ],
)
def test_where_there_is_none_the_nearest_is_named_and_works(size: int, wanted: int, message: str) -> None:
    shape = (1, 8, size, 8, 1)
    with pytest.raises(SpecError, match=message) as caught:
        settings_for_output(ConvSpec(1, 1, 3), shape, (None, wanted, None))
    assert (caught.value.field, caught.value.axis) == ("wanted", "H")
    _, _, remedy = caught.value.args
    for number in remedy.removeprefix("ask for ").partition(", or use")[0].split(" or "):
        assert settings_for_output(ConvSpec(1, 1, 3), shape, (None, int(number.replace(",", "")), None))


@pytest.mark.parametrize("wanted", [(0, 1, 1), (True, 1, 1), (1.5, 1, 1)])
def test_a_wanted_size_is_an_integer_from_1(wanted: tuple[int, ...]) -> None:
    with pytest.raises(SpecError, match=r"^depth: an output of .* is no size; ask for an integer >= 1\.$"):
        settings_for_output(ConvSpec(1, 1, 3), CUBE, wanted)


def test_three_sizes_are_wanted() -> None:
    with pytest.raises(SpecError, match=r"^wanted: \[16, 16\] has 2 sizes; give three"):
        settings_for_output(ConvSpec(1, 1, 3), CUBE, (16, 16))


def test_other_channels_are_another_matter() -> None:
    with pytest.raises(ShapeError, match="the layer takes 3"):
        same(ConvSpec(3, 1, 3), CUBE)


def test_what_mlx_cannot_index_is_no_answer() -> None:
    with pytest.raises(ShapeError, match="more than MLX can index"):
        same(ConvSpec(1, 2**12, 3), (1, 128, 128, 128, 1))


# --- properties -----------------------------------------------------------------------------------------------------


@st.composite
def questions(draw: st.DrawFn) -> tuple[ConvSpec, Shape, tuple[int | None, int | None, int | None]]:
    """A layer, an input that it need not fit, and a size to ask for; often the same along all axes."""
    spec = draw(specs())
    number = st.integers(1, 12)
    d, h, w = draw(st.tuples(number, number, number) | number.map(lambda n: (n, n, n)))
    asked = st.none() | st.integers(1, 14)
    wanted = draw(st.tuples(asked, asked, asked) | st.integers(1, 14).map(lambda n: (n, n, n)))
    return spec, (1, d, h, w, spec.in_channels), wanted


@given(questions())
def test_every_answer_gives_what_was_asked(
    question: tuple[ConvSpec, Shape, tuple[int | None, int | None, int | None]],
) -> None:
    spec, shape, wanted = question
    found = settings_for_output(spec, shape, wanted)
    assert 1 <= len(found) <= 6
    assert len({answer.spec for answer in found}) == len(found)
    for answer in found:
        assert answer.input_shape == shape
        assert answer.output_shape == answer.spec.output_shape(shape) == mlx_shape(answer.spec, shape)
        assert all(o in (None, size) for o, size in zip(wanted, answer.output_shape[1:4], strict=True))
        assert ConvSpec(**{**spec.to_dict(), **answer.changes}) == answer.spec
        assert dict(answer.changes) == changed(spec, answer.spec.axes)
        assert all(map(fits_sensibly, spec.axes, answer.spec.axes, shape[1:4]))
    sets = [frozenset(answer.changes) for answer in found]
    assert not any(one < other for one, other in itertools.permutations(sets, 2))
    order = [(weight_of(answer.changes), sum(map(change_of, spec.axes, answer.spec.axes))) for answer in found]
    assert order == sorted(order)


@given(questions())
def test_no_smaller_change_of_one_parameter_was_missed(
    question: tuple[ConvSpec, Shape, tuple[int | None, int | None, int | None]],
) -> None:
    spec, shape, wanted = question
    found = settings_for_output(spec, shape, wanted)
    changes = {frozenset(answer.changes): sum(map(change_of, spec.axes, answer.spec.axes)) for answer in found}

    def values(name: str, before: Axis, size: int, outputs: int | None) -> dict[int, int]:
        """What may stand there, and by how much it differs."""
        axes = [before._replace(**{name: value}) for value in SMALL if value or name == "padding"]
        return {
            getattr(after, name): change_of(before, after)
            for after in axes
            if fits_sensibly(before, after, size) and outputs in (None, after.output_size(size))
        }

    for name in PARAMETERS:
        along = [values(name, *axis) for axis in zip(spec.axes, shape[1:4], wanted, strict=True)]
        if not all(along):
            continue
        least = sum(min(values.values()) for values in along)
        if not least:
            assert said(found) == ["as it is"]
        elif least <= 8 * min(changes.values()):
            # As small, or larger because one value serves axes that are alike.
            answer = next(answer for answer in found if set(answer.changes) == {name})
            assert least <= changes[frozenset({name})]
            if changes[frozenset({name})] > least:
                before, after = getattr(spec, name), getattr(answer.spec, name)
                assert any(
                    spec.axes[i] == spec.axes[j] and after[i] == after[j] != before[i]
                    for i, j in itertools.combinations(range(3), 2)
                )


@given(axes(), st.integers(1, 12), st.integers(1, 14))
def test_no_smaller_change_of_two_parameters_was_missed(axis: Axis, size: int, wanted: int) -> None:
    spec = ConvSpec(1, 1, *axis)
    found = settings_for_output(spec, (1, size, size, size, 1), (wanted, wanted, wanted))
    changes = {frozenset(answer.changes): change_of(axis, answer.spec.axes[0]) for answer in found}
    for one, other in itertools.combinations(PARAMETERS, 2):
        if any(chosen < {one, other} for chosen in changes):
            continue
        tried = [
            change_of(axis, after)
            for value, another in itertools.product(SMALL, repeat=2)
            if (value or one == "padding") and (another or other == "padding")
            if (after := axis._replace(**{one: value, other: another})).output_size(size) == wanted
            if fits_sensibly(axis, after, size)
        ]
        if tried and min(tried) <= 8 * min(changes.values()):
            assert changes[frozenset({one, other})] <= min(tried)


@given(specs(kernel=3), st.integers(1, 8), st.integers(1, 14), st.sets(st.sampled_from(PARAMETERS), max_size=2))
def test_where_there_is_none_brute_force_finds_none(spec: ConvSpec, size: int, wanted: int, names: set[str]) -> None:
    shape = (1, size, size, size, spec.in_channels)
    try:
        assert settings_for_output(spec, shape, (wanted, None, None), changing=names)
    except SpecError:
        for numbers in itertools.product(SMALL, repeat=len(names)):
            if not all(number or name == "padding" for number, name in zip(numbers, names, strict=True)):
                continue
            after = [axis._replace(**dict(zip(names, numbers, strict=True))) for axis in spec.axes]
            assert not (
                all(fits_sensibly(axis, new, size) for axis, new in zip(spec.axes, after, strict=True))
                and after[0].output_size(size) == wanted
            )
