"""Sizes that divide evenly: by hand, and against every size tried one by one."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import ConvSpec, SpecError
from conv3d_core.axis import Axis
from conv3d_core.solve import even_sizes
from conv3d_core.solve.even import Down, Leftover, Step, Up, even_along
from tests.core.strategies import axes

KEEP, POOL, DOUBLE, DOWN = Down(3, 1, 1), Down(2, 2), Up(Fraction(2)), Down(3, 2, 1)
VALID = Down(3)


@pytest.mark.parametrize(
    ("steps", "leftover", "rule", "sizes"),
    [
        ([KEEP], "nothing", "every size", (14, 15, 16, 17, 18)),
        ([VALID, VALID], "nothing", "every size from 5 on", (14, 15, 16, 17, 18)),
        ([POOL], "nothing", "even sizes", (12, 14, 16, 18, 20)),
        ([Down(3, 2)], "nothing", "odd sizes, from 3 on", (13, 15, 17, 19)),
        ([POOL] * 4, "nothing", "multiples of 16", (16, 32, 48)),
        ([KEEP, POOL, KEEP, POOL, DOUBLE, DOUBLE], "nothing", "multiples of 4", (8, 12, 16, 20, 24)),
        ([DOWN] * 3, "nothing", "8n + 1", (1, 9, 17, 25)),
        ([DOWN] * 3, "zeros", "every size", (14, 15, 16, 17, 18)),
        # Only even sizes come back from half of them.
        ([DOWN, DOWN, DOUBLE, DOUBLE], "zeros", "multiples of 4", (8, 12, 16, 20, 24)),
        # Two strides of 2 are answered by one step up by 4.
        ([POOL, POOL, Up(Fraction(4))], "nothing", "multiples of 4", (8, 12, 16, 20, 24)),
        # A transposed convolution of 3, stride 2, padding 1: 2 n - 1.
        ([DOWN, Up(Fraction(2), -1)], "zeros", "odd sizes", (13, 15, 17, 19)),
        # The first U-Net, without its way back: 572 of it gives 28.
        ([VALID, VALID, POOL] * 4 + [VALID, VALID], "nothing", "16n + 12, from 140 on", (140, 156)),
        ([Down(7, 4, 1)], "zeros", "4n + 1 or 4n + 2, from 5 on", (13, 14, 17, 18)),
        ([Down(9, 8, 4)], "zeros", "5 of every 8 sizes", (12, 13, 17, 18)),
        ([DOWN] * 3, "quotient", "multiples of 8", (8, 16, 24, 32)),
        ([KEEP, DOWN, VALID, POOL], "quotient", "multiples of 4, from 8 on", (8, 12, 16, 20, 24)),
        ([Down(7, 2, 3), Down(3, 2, 1), POOL], "quotient", "multiples of 8", (8, 16, 24, 32)),
    ],
)
def test_rules_by_hand(steps: Sequence[Step], leftover: Leftover, rule: str, sizes: tuple[int, ...]) -> None:
    found = even_along(steps, 16, 2, leftover)
    assert (found.rule, found.sizes) == (rule, sizes)


def test_a_decoder_that_cannot_come_back_says_where() -> None:
    with pytest.raises(SpecError, match=r"^height: there is no size at which layer 2 comes back to the size before"):
        even_along([DOWN, DOUBLE], 16, letter="H")


def test_layers_one_by_one_along_each_axis() -> None:
    found = even_sizes([ConvSpec(1, 1, (1, 2, 3), stride=(1, 2, 2))] * 2, (5, 6, 7), count=1)
    assert [along.rule for along in found] == ["every size", "multiples of 4", "4n + 3, from 7 on"]
    assert [along.sizes for along in found] == [(4, 5, 6), (4, 8), (7, 11)]
    assert [along.smallest for along in found] == [1, 4, 7]


def test_no_layer_is_no_question() -> None:
    with pytest.raises(SpecError, match=r"^layers: there is none"):
        even_sizes([], 16)


def test_huge_strides_are_no_search() -> None:
    found = even_along([Down(1, 10**6), Down(1, 10**6)], 10**13, 1)
    assert found.rule == "1,000,000,000,000n + 1"
    assert found.sizes == (9 * 10**12 + 1, 10**13 + 1)


@st.composite
def layers(draw: st.DrawFn) -> list[Axis | int]:
    """Axes of layers, and factors by which an upsampling repeats."""
    return draw(st.lists(axes() | st.integers(1, 3), min_size=1, max_size=4))


def evenly(layers: Sequence[Axis | int], size: int, leftover: Leftover) -> bool:
    """One size through the layers, one by one."""
    before: list[tuple[int, int]] = []
    for layer in layers:
        if isinstance(layer, int):
            size, left = size * layer, Fraction(layer)
            trying = list(before)
            while trying and left > 1:
                stride, there = trying.pop()
                left /= stride
                if left == 1:
                    if there != size:
                        return False
                    before = trying
            continue
        if not layer.fits(size) or layer.leftover(size) > layer.padding * (leftover != "nothing"):
            return False
        if layer.stride > 1:
            if leftover == "quotient" and layer.output_size(size) * layer.stride != size:
                return False
            before.append((layer.stride, size))
        size = layer.output_size(size)
    return True


@given(layers(), st.integers(1, 60), st.integers(0, 3), st.sampled_from(get_args(Leftover)))
def test_every_listed_size_is_even_and_none_between_was_missed(
    layers: list[Axis | int], around: int, count: int, leftover: Leftover
) -> None:
    steps = [
        Up(Fraction(layer))
        if isinstance(layer, int)
        else Down(layer.effective_kernel_size, layer.stride, layer.padding)
        for layer in layers
    ]
    tried = [size for size in range(1, 1200) if evenly(layers, size, leftover)]
    try:
        found = even_along(steps, around, count, leftover)
    except SpecError:
        # A few small sizes may come back by chance.
        assert not [size for size in tried if size > 100]
        return
    below, above = [size for size in tried if size < around], [size for size in tried if size > around]
    expected = below[-count:] * bool(count) + [around] * (around in tried) + above[:count]
    assert list(found.sizes) == expected
    assert found.smallest == tried[0]


@given(st.lists(axes(), min_size=1, max_size=4), st.sampled_from(["nothing", "zeros"]))
def test_a_rule_counts_the_sizes_that_are_even(layers: list[Axis], leftover: Leftover) -> None:
    steps = [Down(axis.effective_kernel_size, axis.stride, axis.padding) for axis in layers]
    found = even_along(steps, 1, 1, leftover)
    rule = found.rule.partition(", from")[0]
    sizes = range(600, 600 + 4 * 256)
    if "every size" in rule:
        said = [True] * len(sizes)
    elif rule.endswith("sizes") and "of" in rule:
        return
    else:
        said = [any(fits(part, size) for part in rule.split(" or ")) for size in sizes]
    assert said == [evenly(layers, size, leftover) for size in sizes]


def fits(rule: str, size: int) -> bool:
    """Whether a size is one of "16n + 5", "16n", "multiples of 16", "even sizes" or "odd sizes"."""
    if rule in ("even sizes", "odd sizes"):
        return size % 2 == (rule == "odd sizes")
    if rule.startswith("multiples of "):
        return size % int(rule.removeprefix("multiples of ").replace(",", "")) == 0
    period, _, rest = rule.partition("n")
    return size % int(period.replace(",", "")) == int(rest.removeprefix(" + ").replace(",", "") or 0)
