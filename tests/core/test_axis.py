"""One axis: numbers from the literature, and every formula against windows that are laid down one by one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.axis import Axis
from tests.core.strategies import axes, fitting_axes, sizes


def windows(axis: Axis, size: int) -> list[list[int]]:
    """The taps of every window that fits, laid down one after the other on the padded input."""
    last_position = size + axis.padding - 1
    found: list[list[int]] = []
    while True:
        first = -axis.padding + len(found) * axis.stride
        taps = [first + tap * axis.dilation for tap in range(axis.kernel_size)]
        if taps[-1] > last_position:
            return found
        found.append(taps)


# Dumoulin & Visin 2016 draw most of these; figure numbers as there.
BY_HAND = [
    # k, s, p, d, input, effective kernel, outputs, leftover
    pytest.param(3, 1, 0, 1, 4, 3, 2, 0, id="no padding, figure 2.1"),
    pytest.param(4, 1, 2, 1, 5, 4, 6, 0, id="arbitrary padding, figure 2.2"),
    pytest.param(3, 1, 1, 1, 5, 3, 5, 0, id="same padding, figure 2.3"),
    pytest.param(3, 1, 2, 1, 5, 3, 7, 0, id="full padding, figure 2.4"),
    pytest.param(3, 2, 0, 1, 5, 3, 2, 0, id="stride 2, figure 2.5"),
    pytest.param(3, 2, 1, 1, 5, 3, 3, 0, id="stride and padding, figure 2.6"),
    pytest.param(3, 2, 1, 1, 6, 3, 3, 1, id="the floor drops one, figure 2.7"),
    pytest.param(3, 1, 0, 2, 7, 5, 3, 0, id="dilation 2, figure 5.1"),
    pytest.param(7, 2, 3, 1, 224, 7, 112, 1, id="the stem of ResNet"),
    pytest.param(1, 3, 0, 1, 9, 1, 3, 2, id="a tap every three voxels"),
    pytest.param(1, 1, 0, 9, 5, 1, 5, 0, id="dilation of a single tap does nothing"),
    pytest.param(3, 2, 0, 1, 2, 3, 0, 2, id="does not fit, where MLX says 1"),
    pytest.param(5, 1, 1, 1, 2, 5, 0, 4, id="does not fit, and nothing is read"),
]


@pytest.mark.parametrize(("k", "s", "p", "d", "size", "effective", "outputs", "leftover"), BY_HAND)
def test_sizes_by_hand(k: int, s: int, p: int, d: int, size: int, effective: int, outputs: int, leftover: int) -> None:
    axis = Axis(k, s, p, d)
    assert axis.effective_kernel_size == effective
    assert axis.padded_size(size) == size + 2 * p
    assert axis.output_size(size) == outputs
    assert axis.fits(size) == (outputs > 0)
    assert axis.leftover(size) == leftover


def test_taps_by_hand() -> None:
    axis = Axis(kernel_size=3, stride=2, padding=3, dilation=2)
    assert [list(axis.taps(output)) for output in range(3)] == [[-3, -1, 1], [-1, 1, 3], [1, 3, 5]]
    assert [axis.window(output) for output in range(3)] == [(-3, 1), (-1, 3), (1, 5)]
    assert axis.window(0, 2) == (-3, 5)
    assert [list(axis.taps_inside(output, 4)) for output in range(3)] == [[1], [1, 3], [1, 3]]
    assert axis.output_size(4) == 3
    assert [axis.readers(index, 4) for index in range(4)] == [[], [0, 1, 2], [], [1, 2]]
    assert axis.readers_per_voxel(4) == [0, 3, 0, 2]


@given(axes(), sizes)
def test_as_many_outputs_as_windows_that_fit(axis: Axis, size: int) -> None:
    placed = windows(axis, size)
    assert axis.output_size(size) == len(placed)
    assert axis.fits(size) == bool(placed)
    assert [list(axis.taps(output)) for output in range(len(placed))] == placed


@given(axes(), sizes)
def test_leftover_is_what_lies_behind_the_last_window(axis: Axis, size: int) -> None:
    placed = windows(axis, size)
    end = placed[-1][-1] if placed else -axis.padding - 1
    assert axis.leftover(size) == size + axis.padding - 1 - end


@given(axes(), st.integers(0, 20), st.integers(0, 5))
def test_window_of_a_run_of_outputs_spans_the_windows_of_its_ends(axis: Axis, first: int, more: int) -> None:
    last = first + more
    assert axis.window(first) == (axis.taps(first)[0], axis.taps(first)[-1])
    assert axis.window(first, last) == (axis.window(first)[0], axis.window(last)[1])
    assert (
        axis.window(first, last)[1] - axis.window(first, last)[0] + 1 == more * axis.stride + axis.effective_kernel_size
    )


@given(fitting_axes())
def test_readers_are_the_inverse_of_taps(axis_and_size: tuple[Axis, int]) -> None:
    axis, size = axis_and_size
    outputs = range(axis.output_size(size))
    # Padding has readers, too: one position more than the padding on both sides.
    for index in range(-axis.padding - 1, size + axis.padding + 1):
        assert axis.readers(index, size) == [output for output in outputs if index in axis.taps(output)]


@given(axes(), sizes)
def test_no_output_no_reader(axis: Axis, size: int) -> None:
    if not axis.fits(size):
        assert axis.readers_per_voxel(size) == [0] * size
        assert all(axis.readers(index, size) == [] for index in range(size))


@given(fitting_axes())
def test_readers_per_voxel_counts_readers(axis_and_size: tuple[Axis, int]) -> None:
    axis, size = axis_and_size
    assert axis.readers_per_voxel(size) == [len(axis.readers(index, size)) for index in range(size)]


@given(fitting_axes())
def test_taps_inside_are_the_taps_that_are_not_padding(axis_and_size: tuple[Axis, int]) -> None:
    axis, size = axis_and_size
    for output in range(axis.output_size(size)):
        assert list(axis.taps_inside(output, size)) == [index for index in axis.taps(output) if 0 <= index < size]


def test_a_huge_padding_or_kernel_costs_nothing() -> None:
    assert Axis(3, padding=10**9).readers_per_voxel(4) == [3, 3, 3, 3]
    assert Axis(10**9, padding=10**9).readers_per_voxel(4) == [10**9, 10**9, 10**9, 10**9]
    assert list(Axis(10**9, padding=10**9, dilation=7).taps_inside(10**9, 20)) == [0, 7, 14]


@given(fitting_axes(), st.integers(0, 8))
def test_a_shift_of_the_output_is_a_shift_by_the_stride(axis_and_size: tuple[Axis, int], output: int) -> None:
    axis, _ = axis_and_size
    assert [index + axis.stride for index in axis.taps(output)] == list(axis.taps(output + 1))


def test_the_first_tap_by_hand() -> None:
    assert [Axis(3, stride=2, padding=1).first_tap(output) for output in (0, 1, 5)] == [-1, 1, 9]
