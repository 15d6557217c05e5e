"""What fits into a memory limit: each answer does, and nothing larger."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError, SpecError
from conv3d_core.shapes import peak_bytes
from conv3d_core.solve import settings_for_memory
from conv3d_core.solve.memory import in_proportion
from conv3d_core.spec import Shape
from tests.core.strategies import layers_and_inputs


def test_answers_by_hand() -> None:
    spec, shape = ConvSpec(1, 64, 3, padding=1), (4, 128, 128, 64, 1)
    found = settings_for_memory(spec, shape, 2**30)
    assert [answer.words for answer in found] == [
        "input (1, 128, 128, 64, 1)",
        "input (4, 95, 95, 47, 1)",
        "stride=2",
        "out_channels=17",
    ]
    assert [answer.note for answer in found] == ["628.26 MiB", "1016.74 MiB", "343.03 MiB", "1009.02 MiB"]


def test_what_fits_is_left_as_it_is() -> None:
    (found,) = settings_for_memory(ConvSpec(1, 8, 3), (1, 8, 8, 8, 1), 2**30)
    assert (found.words, found.changes, found.input_shape) == ("as it is", {}, (1, 8, 8, 8, 1))


def test_strides_that_differ_are_multiplied_alike() -> None:
    spec = ConvSpec(1, 8, 3, stride=(1, 2, 2))
    words = [answer.words for answer in settings_for_memory(spec, (1, 64, 64, 64, 1), 6 * 2**20)]
    assert "stride=(2, 4, 4)" in words


def test_too_little_says_how_much_is_needed() -> None:
    with pytest.raises(SpecError, match=r"^memory: 20 B is too little whatever changes alone: at least .*; give more"):
        settings_for_memory(ConvSpec(1, 8, 3), (1, 8, 8, 8, 1), 20)


@pytest.mark.parametrize("limit", [0, -1, True, 1.5])
def test_a_limit_is_an_integer(limit: int) -> None:
    with pytest.raises(SpecError, match=r"^memory: .* is no number of bytes; give an integer >= 1\.$"):
        settings_for_memory(ConvSpec(1, 8, 3), (1, 8, 8, 8, 1), limit)


def test_an_input_that_does_not_fit_the_layer_says_so() -> None:
    with pytest.raises(ShapeError, match="does not fit the padded input"):
        settings_for_memory(ConvSpec(1, 8, 9), (1, 8, 8, 8, 1), 2**30)


@given(layers_and_inputs(slack=12), st.integers(100, 40_000))
def test_every_answer_fits_and_no_larger_one_does(case: tuple[ConvSpec, Shape], limit: int) -> None:
    spec, shape = case

    def fits(after: ConvSpec, smaller: Shape) -> bool:
        try:
            return peak_bytes(after, smaller) <= limit
        except ShapeError:
            return False

    sizes = [in_proportion(shape, longest) for longest in range(1, max(shape[1:4]) + 1)]
    batches: list[Shape] = [(count, *shape[1:]) for count in range(1, shape[0] + 1)]
    strided = [ConvSpec(**{**spec.to_dict(), "stride": [n * s for s in spec.stride]}) for n in range(2, 9)]
    narrow = [ConvSpec(**{**spec.to_dict(), "out_channels": n}) for n in range(1, spec.out_channels + 1)]
    try:
        found = [(answer.spec, answer.input_shape) for answer in settings_for_memory(spec, shape, limit)]
    except SpecError:
        assert not any(fits(spec, smaller) for smaller in sizes + batches)
        assert not any(fits(after, shape) for after in strided + narrow)
        return
    if fits(spec, shape):
        assert found == [(spec, shape)]
        return
    expected = [
        *[(spec, smaller) for smaller in batches if fits(spec, smaller)][-1:],
        *[(spec, smaller) for smaller in sizes if fits(spec, smaller)][-1:],
        *[(after, shape) for after in strided if fits(after, shape)][:1],
        *[(after, shape) for after in narrow if fits(after, shape)][-1:],
    ]
    assert found == expected


@given(st.tuples(*[st.integers(1, 60)] * 3), st.data())
def test_in_proportion_keeps_the_ratios_to_a_voxel(sizes: tuple[int, int, int], data: st.DataObject) -> None:
    longest = data.draw(st.integers(1, max(sizes)))
    after = in_proportion((1, *sizes, 1), longest)[1:4]
    assert max(after) == longest
    for size, new in zip(sizes, after, strict=True):
        assert new == max(1, math.floor(size * longest / max(sizes) + 1e-9))
