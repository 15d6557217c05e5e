"""Who reads whom: every window, tap and reader against sets of voxels that are built one by one."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core import ConvSpec, ShapeError, SpecError
from conv3d_core.axis import Axis
from conv3d_core.kernels import factors
from conv3d_core.receptive_field import (
    MAX_FOLLOWED,
    central_voxel,
    central_voxel_of,
    check_output,
    coverage,
    describe,
    describe_coverage,
    describe_window,
    output_spacing,
    readers,
    receptive_field,
    taps,
    unread_voxels,
    voxels_inside,
)
from conv3d_core.spec import Shape, Triple
from tests.core.strategies import axes, layers_and_inputs, specs


def voxels(size: Triple) -> list[Triple]:
    d, h, w = size
    return list(itertools.product(range(d), range(h), range(w)))


def outputs_of(spec: ConvSpec, shape: Shape) -> list[Triple]:
    _, d, h, w, _ = spec.output_shape(shape)
    return voxels((d, h, w))


def along_depth(*layers: Axis) -> list[ConvSpec]:
    """Layers that do something along depth only."""
    return [
        ConvSpec(1, 1, (a.kernel_size, 1, 1), (a.stride, 1, 1), (a.padding, 0, 0), (a.dilation, 1, 1)) for a in layers
    ]


# --- stacks ---------------------------------------------------------------------------------------------------------


def test_one_layer_by_hand() -> None:
    field = receptive_field([ConvSpec(1, 8, (1, 3, 5), stride=(1, 2, 3), padding=(0, 1, 2), dilation=(9, 1, 2))])
    assert (field.size, field.jump, field.effective_padding) == ((1, 3, 9), (1, 2, 3), (0, 1, 2))
    assert field.window((4, 4, 4)) == ((4, 4), (7, 9), (10, 18))
    assert field.window((0, 0, 0)) == ((0, 0), (-1, 1), (-2, 6))


def test_stacks_by_hand() -> None:
    spec = ConvSpec(1, 1, 3, stride=2, padding=1)
    field = receptive_field([spec, spec])
    assert (field.size, field.jump, field.effective_padding) == ((7,) * 3, (4,) * 3, (3,) * 3)
    assert field.window((4, 4, 4)) == ((13, 19),) * 3
    # Two layers of 3 see what one of 5 sees, three what one of 7 sees (Simonyan & Zisserman 2015, section 2.3).
    assert receptive_field([ConvSpec(1, 1, 3)] * 2).size == (5, 5, 5)
    assert receptive_field([ConvSpec(1, 1, 3)] * 3).size == (7, 7, 7)
    # Dilations 1, 2, 4 grow it exponentially: 3, 7, 15 (Yu & Koltun 2016, figure 1).
    dilated = [ConvSpec(1, 1, 3, dilation=dilation) for dilation in (1, 2, 4)]
    assert [receptive_field(dilated[:n]).size[0] for n in (1, 2, 3)] == [3, 7, 15]
    # The stem of ResNet, a 7 with stride 2, and the pooling of 3 with stride 2 behind it: 11, jump 4.
    stem = receptive_field([ConvSpec(1, 1, 7, stride=2, padding=3), ConvSpec(1, 1, 3, stride=2, padding=1)])
    assert (stem.size[0], stem.jump[0], stem.effective_padding[0]) == (11, 4, 5)


@given(st.lists(axes(), min_size=1, max_size=3), st.integers(0, 6))
def test_a_stack_spans_what_its_composed_taps_span(layers: list[Axis], output: int) -> None:
    reached = {output}
    for layer in reversed(layers):
        reached = {index for position in reached for index in layer.taps(position)}
    window = receptive_field(along_depth(*layers)).window((output, 0, 0))
    assert window == ((min(reached), max(reached)), (0, 0), (0, 0))


@given(st.lists(specs(channels=1), min_size=1, max_size=3), st.tuples(*[st.integers(0, 9)] * 3))
def test_a_window_is_size_long_and_moves_by_the_jump(layers: list[ConvSpec], output: Triple) -> None:
    field = receptive_field(layers)
    d, h, w = output
    here, there = field.window((d, h, w)), field.window((d + 1, h + 1, w + 1))
    assert tuple(last - first + 1 for first, last in here) == field.size
    assert tuple(after[0] - before[0] for before, after in zip(here, there, strict=True)) == field.jump
    assert tuple(-first for first, _ in field.window((0, 0, 0))) == field.effective_padding


@given(layers_and_inputs())
def test_the_window_of_one_layer_is_that_of_its_axes(layer: tuple[ConvSpec, Shape]) -> None:
    spec, _ = layer
    assert receptive_field([spec]).window((1, 2, 3)) == tuple(
        axis.window(index) for axis, index in zip(spec.axes, (1, 2, 3), strict=True)
    )


def test_a_stack_must_fit_together() -> None:
    with pytest.raises(SpecError) as caught:
        receptive_field([])
    assert str(caught.value) == "layers: there is none; give at least one ConvSpec."
    with pytest.raises(SpecError) as caught:
        receptive_field([ConvSpec(1, 8, 3), ConvSpec(8, 8, 3), ConvSpec(4, 1, 3)])
    assert str(caught.value) == "in_channels: layer 3 takes 4 and layer 2 gives 8; use in_channels=8 in layer 3."
    assert (caught.value.field, caught.value.value) == ("in_channels", 4)


# --- taps and readers -----------------------------------------------------------------------------------------------


def test_taps_by_hand() -> None:
    spec = ConvSpec(1, 1, (1, 2, 2), stride=(1, 2, 1), padding=(0, 1, 0), dilation=(1, 1, 3))
    assert [tuple(tap) for tap in taps(spec, (2, 0, 1), (4, 4, 5))] == [
        ((0, 0, 0), (2, -1, 1), True),
        ((0, 0, 1), (2, -1, 4), True),
        ((0, 1, 0), (2, 0, 1), False),
        ((0, 1, 1), (2, 0, 4), False),
    ]


@given(layers_and_inputs(kernel=3, slack=3), st.data())
def test_every_tap_is_on_the_voxel_that_the_definition_says(layer: tuple[ConvSpec, Shape], data: st.DataObject) -> None:
    spec, shape = layer
    _, *size, _ = shape
    output = data.draw(st.sampled_from(outputs_of(spec, shape)))
    found = taps(spec, output, size)
    kd, kh, kw = spec.kernel_size
    assert [tap.tap for tap in found] == voxels((kd, kh, kw))
    for tap in found:
        expected = [
            o * s - p + t * d
            for o, s, p, t, d in zip(output, spec.stride, spec.padding, tap.tap, spec.dilation, strict=True)
        ]
        assert list(tap.voxel) == expected
        assert tap.in_padding == any(index < 0 or index >= n for index, n in zip(expected, size, strict=True))


@given(layers_and_inputs(kernel=3, slack=2))
def test_readers_are_the_inverse_of_taps(layer: tuple[ConvSpec, Shape]) -> None:
    spec, shape = layer
    _, d, h, w, _ = shape
    if d * h * w > 300:
        return
    expected: dict[Triple, list[Triple]] = {voxel: [] for voxel in voxels((d, h, w))}
    for output in outputs_of(spec, shape):
        for tap in taps(spec, output, (d, h, w)):
            if not tap.in_padding:
                expected[tap.voxel].append(output)
    assert {voxel: readers(spec, voxel, (d, h, w)) for voxel in expected} == expected
    assert unread_voxels(spec, (d, h, w)) == sum(not found for found in expected.values())


@pytest.mark.parametrize(
    ("spec", "size", "unread"),
    [
        (ConvSpec(1, 1, 2, stride=3), (8, 8, 8), 296),  # 512 - 6^3
        (ConvSpec(1, 1, 3, stride=2), (10, 10, 10), 271),  # 1000 - 9^3, dropped by the floor
        (ConvSpec(1, 1, 3), (4, 5, 6), 0),
        (ConvSpec(1, 1, 1, stride=2), (4, 4, 4), 56),  # 64 - 2^3
        (ConvSpec(1, 1, 3), (2, 9, 9), 162),  # does not fit: nothing is read
        (ConvSpec(1, 1, (1, 1, 3), dilation=(1, 1, 2)), (1, 1, 5), 2),  # holes of a single window
        (ConvSpec(1, 1, 3, padding=10**8), (4, 4, 4), 0),
    ],
)
def test_unread_voxels_by_hand(spec: ConvSpec, size: Triple, unread: int) -> None:
    assert unread_voxels(spec, size) == unread


# --- coverage -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("layers", "size", "unreached", "least", "most"),
    [
        ([ConvSpec(1, 1, 2, stride=3)], (8, 8, 8), 296, 1, 1),  # 512 - 6^3
        ([ConvSpec(1, 1, 3, stride=2)], (10, 10, 10), 271, 1, 8),  # 1000 - 9^3
        ([ConvSpec(1, 1, 3)], (5, 5, 5), 0, 1, 27),
        ([ConvSpec(1, 1, 3)] * 2, (9, 9, 9), 0, 1, 125),  # as one layer of 5
        ([ConvSpec(1, 1, 2, stride=3), ConvSpec(1, 1, 1, stride=2)], (11, 11, 11), 1331 - 64, 1, 1),
        ([ConvSpec(1, 1, 1), ConvSpec(1, 1, 2, stride=3)], (8, 8, 8), 296, 1, 1),
        ([ConvSpec(1, 1, 1, padding=5)], (1, 1, 1), 0, 1, 1),
        ([ConvSpec(1, 1, 1, padding=5, stride=3)], (1, 1, 1), 1, 0, 0),  # outputs at -5, -2, 1, 4
    ],
)
def test_coverage_by_hand(layers: list[ConvSpec], size: Triple, unreached: int, least: int, most: int) -> None:
    found = coverage(layers, size)
    assert (found.unreached, found.least, found.most) == (unreached, least, most)
    assert found.voxels == size[0] ** 3


def test_padding_between_two_layers_is_no_way() -> None:
    # The second layer's outputs 0 and 4 lie on the first one's padding: they reach nothing.
    layers = along_depth(Axis(1), Axis(1, padding=1))
    assert coverage(layers, (3, 1, 1)).along[0] == [1, 1, 1]
    # One layer of the same window would give the two ends more than one output each.
    assert coverage(along_depth(Axis(3, padding=2)), (3, 1, 1)).along[0] == [3, 3, 3]
    assert coverage(along_depth(Axis(1), Axis(3, padding=1)), (3, 1, 1)).along[0] == [2, 3, 2]


@given(st.lists(axes(), min_size=1, max_size=3), st.integers(1, 7))
def test_coverage_counts_the_outputs_that_a_chain_of_taps_leads_to(layers: list[Axis], size: int) -> None:
    sizes = [size]
    for layer in layers:
        sizes.append(layer.output_size(sizes[-1]))
    reached = {output: {output} for output in range(sizes[-1])}
    for layer, before in zip(reversed(layers), reversed(sizes[:-1]), strict=True):
        reached = {
            output: {index for position in at for index in layer.taps(position) if 0 <= index < before}
            for output, at in reached.items()
        }
    counts = [sum(index in at for at in reached.values()) for index in range(size)]
    assert coverage(along_depth(*layers), (size, 1, 1)).along[0] == counts


@given(layers_and_inputs())
def test_coverage_of_one_layer_is_its_readers(layer: tuple[ConvSpec, Shape]) -> None:
    spec, (_, d, h, w, _) = layer
    found = coverage([spec], (d, h, w))
    assert found.unreached == unread_voxels(spec, (d, h, w))
    for voxel in voxels((d, h, w))[::5]:
        assert found.at(voxel) == len(readers(spec, voxel, (d, h, w)))


def test_an_axis_too_long_to_follow() -> None:
    long = ConvSpec(1, 1, 1, padding=10**8)
    assert coverage([long], (4, 4, 4)).most == 1, "one layer is solved, not followed"
    with pytest.raises(ShapeError) as caught:
        coverage([long, ConvSpec(1, 1, 1)], (4, 4, 4))
    assert str(caught.value) == (
        "depth: 200,000,004 positions in a layer are too many to follow through a stack; use a smaller padding or "
        f"volume, to stay at or below {MAX_FOLLOWED:,}, or look at the first layer alone."
    )
    assert (caught.value.field, caught.value.axis) == ("coverage", "D")


# --- who does not exist ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ask", [taps, describe, check_output])
def test_an_output_that_does_not_exist(ask) -> None:  # type: ignore[no-untyped-def]
    spec = ConvSpec(1, 1, 3)
    with pytest.raises(ShapeError) as caught:
        ask(spec, (0, 6, 0), (8, 8, 8))
    assert str(caught.value) == "height: output 6 is not among the 6 outputs; use 0 to 5."
    assert (caught.value.field, caught.value.axis, caught.value.value) == ("output", "H", 6)
    with pytest.raises(ShapeError, match=r"^width: output -1 is not among the 6 outputs; use 0 to 5\.$"):
        ask(spec, (0, 0, -1), (8, 8, 8))
    with pytest.raises(ShapeError, match=r"^depth: output 0 is not among the 0 outputs; make the kernel fit first\.$"):
        ask(spec, (0, 0, 0), (2, 8, 8))


@pytest.mark.parametrize(("voxel", "message"), [
    ((8, 0, 0), "depth: input voxel 8 is not in 0..7; use 0 to 7."),
    ((0, 0, -1), "width: input voxel -1 is not in 0..7; use 0 to 7."),
])  # fmt: skip
def test_an_input_voxel_that_does_not_exist(voxel: Triple, message: str) -> None:
    with pytest.raises(ShapeError) as caught:
        readers(ConvSpec(1, 1, 3), voxel, (8, 8, 8))
    assert str(caught.value) == message
    assert caught.value.field == "voxel"


def test_the_central_voxel_by_hand() -> None:
    spec = ConvSpec(1, 1, (2, 3, 4), stride=(1, 2, 1), padding=(0, 1, 0), dilation=(1, 1, 2))
    assert central_voxel(spec, (3, 2, 1), (9, 9, 9)) == (3, 4, 3)
    assert central_voxel(ConvSpec(1, 1, 3, padding=2), (0, 0, 0), (4, 4, 4)) == (0, 0, 0), "the nearest voxel"
    assert central_voxel(ConvSpec(1, 1, 3, padding=2), (5, 5, 5), (4, 4, 4)) == (3, 3, 3)


@given(layers_and_inputs(), st.data())
def test_the_central_voxel_is_the_one_that_identity_copies(layer: tuple[ConvSpec, Shape], data: st.DataObject) -> None:
    spec, (_, *size, _) = layer
    output = data.draw(st.sampled_from(outputs_of(spec, layer[1])))
    (rows,) = factors("identity", spec.kernel_size)
    copied = [axis.taps(index)[row.index(1.0)] for axis, index, row in zip(spec.axes, output, rows, strict=True)]
    assert central_voxel(spec, output, size) == tuple(
        min(max(index, 0), n - 1) for index, n in zip(copied, size, strict=True)
    )


def test_outputs_lie_a_stride_apart() -> None:
    spec = ConvSpec(1, 1, 3, stride=(1, 2, 3))
    assert output_spacing(spec, (4.0, 1.0, 0.5)) == (4.0, 2.0, 1.5)
    assert output_spacing(spec, None) == (1.0, 2.0, 3.0), "in voxels of the input"


# --- in words -------------------------------------------------------------------------------------------------------

LAYER = ConvSpec(1, 8, 3, stride=2, padding=1)


@pytest.mark.parametrize(
    ("spec", "output", "size", "channel", "sentence"),
    [
        pytest.param(
            LAYER, (8, 11, 9), (96, 112, 96), 0,
            "Output (8, 11, 9) of channel 0 reads 27 voxels:"
            " depth 15-17, height 21-23, width 17-19; none in the padding.",
            id="the first sentence of the app",
        ),
        pytest.param(
            LAYER, (0, 0, 0), (96, 112, 96), 7,
            "Output (0, 0, 0) of channel 7 reads 8 voxels:"
            " depth 0-1, height 0-1, width 0-1; 19 taps fall in the padding.",
            id="a corner",
        ),
        pytest.param(
            ConvSpec(3, 1, 3, dilation=(1, 2, 3)), (0, 0, 0), (9, 9, 9), 0,
            "Output (0, 0, 0) of channel 0 reads 27 voxels in each of 3 channels:"
            " depth 0-2, height 0-4 in steps of 2, width 0-6 in steps of 3; none in the padding.",
            id="dilation and channels",
        ),
        pytest.param(
            ConvSpec(1, 1, 1), (2, 3, 4), (9, 9, 9), 0,
            "Output (2, 3, 4) of channel 0 reads 1 voxel: depth 2, height 3, width 4; none in the padding.",
            id="a single tap",
        ),
        pytest.param(
            ConvSpec(1, 1, (2, 1, 1), padding=(1, 0, 0)), (0, 0, 0), (9, 9, 9), 0,
            "Output (0, 0, 0) of channel 0 reads 1 voxel: depth 0, height 0, width 0; 1 tap falls in the padding.",
            id="a single tap in the padding",
        ),
        pytest.param(
            ConvSpec(1, 1, 2, padding=2), (0, 5, 5), (9, 9, 9), 0,
            "Output (0, 5, 5) of channel 0 reads 0 voxels; 8 taps fall in the padding.",
            id="all in the padding",
        ),
        pytest.param(
            ConvSpec(1, 1, 500, padding=499), (0, 0, 0), (9, 9, 9), 0,
            "Output (0, 0, 0) of channel 0 reads 1 voxel:"
            " depth 0, height 0, width 0; 124,999,999 taps fall in the padding.",
            id="more taps than one wants to list",
        ),
    ],
)  # fmt: skip
def test_sentences(spec: ConvSpec, output: Triple, size: Triple, channel: int, sentence: str) -> None:
    assert describe(spec, output, size, channel) == sentence


@given(layers_and_inputs(), st.data())
def test_the_sentence_counts_the_taps(layer: tuple[ConvSpec, Shape], data: st.DataObject) -> None:
    spec, shape = layer
    _, *size, _ = shape
    output = data.draw(st.sampled_from(outputs_of(spec, shape)))
    inside = sum(not tap.in_padding for tap in taps(spec, output, size))
    outside = len(taps(spec, output, size)) - inside
    sentence = describe(spec, output, size)
    assert f" reads {inside} voxel{'s' if inside != 1 else ''}" in sentence
    assert (f"; {outside} tap" if outside else "; none in the padding.") in sentence


@pytest.mark.parametrize("channel", [-1, 8])
def test_a_channel_that_does_not_exist(channel: int) -> None:
    with pytest.raises(ShapeError, match=rf"^channel: output channel {channel} is not in 0\.\.7; use 0 to 7\.$"):
        describe(LAYER, (0, 0, 0), (9, 9, 9), channel)


@pytest.mark.parametrize(
    ("window", "spacing", "sentence"),
    [
        (
            ((1, 3), (1, 3), (1, 3)), None,
            "The window spans 3 x 3 x 3 voxels: depth 1 to 3, height 1 to 3, width 1 to 3; none of it in the padding.",
        ),
        (
            ((0, 0), (-2, 3), (6, 9)), (2.0, 0.5, 1.25),
            "The window spans 1 x 6 x 4 voxels (2 x 3 x 5 mm): depth 0, height -2 to 3, width 6 to 9; "
            "16 of 24 positions (66.7 %) lie in the padding.",
        ),
        (
            ((-1, 0), (0, 0), (0, 0)), None,
            "The window spans 2 x 1 x 1 voxels: depth -1 to 0, height 0, width 0; "
            "1 of 2 positions (50 %) lies in the padding.",
        ),
    ],
)  # fmt: skip
def test_sentences_on_windows(window, spacing, sentence: str) -> None:  # type: ignore[no-untyped-def]
    assert describe_window(window, (8, 8, 8), spacing) == sentence


def test_a_window_in_the_padding_alone() -> None:
    window = ((-5, -3), (0, 2), (9, 12))
    assert voxels_inside(window, (8, 8, 8)) == 0
    assert central_voxel_of(window, (8, 8, 8)) == (0, 1, 7)
    assert "36 of 36 positions (100 %) lie in the padding." in describe_window(window, (8, 8, 8))


@pytest.mark.parametrize(
    ("layers", "of_stack", "sentence"),
    [
        ([ConvSpec(1, 1, 2, stride=3)], False,
         "The layer never reads 296 of 512 voxels (57.8 %); each of the others is read by 1 output."
         " Voxel (2, 0, 0) is read by none."),
        ([ConvSpec(1, 1, 3, padding=1)], True,
         "The first layer alone reads all 512 voxels; each is read by 8 to 27 outputs."
         " Voxel (2, 0, 0) is read by 12 outputs."),
        ([ConvSpec(1, 1, 2, stride=2)] * 2, True,
         "The stack of 2 layers reaches all 512 voxels; each is reached by 1 output."
         " Voxel (2, 0, 0) is reached by 1 output."),
        ([ConvSpec(1, 1, 1, stride=20, padding=5)], False,
         "The layer reads no voxel at all: every tap falls in the padding."),
    ],
)  # fmt: skip
def test_sentences_on_coverage(layers: list[ConvSpec], of_stack: bool, sentence: str) -> None:
    assert describe_coverage(coverage(layers, (8, 8, 8)), (2, 0, 0), len(layers), of_stack) == sentence
