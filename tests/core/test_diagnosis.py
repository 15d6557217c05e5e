"""What is found and offered, by numbers that anyone can check; and every change works, whatever the layers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core.chain import KINDS, Case, Chain, Framework, Layer
from conv3d_core.chain.layer import Layout, Sizes
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.trace import trace
from conv3d_core.chain.writing import to_sequential
from conv3d_core.diagnosis import Diagnosis, Finding, diagnose
from conv3d_core.errors import SpecError
from tests.core.chain_strategies import layers_and_shapes
from tests.core.test_chain_reading import mutated
from tests.core.test_chain_trace import garbage

SEVERITIES = ("error", "silent", "hint")


def diagnosed(text: str, *shape: int, layout: Layout | None = None, memory: int | None = None) -> Diagnosis:
    return diagnose(Case(read_chain(text), shape, layout), memory)


def only(text: str, *shape: int, layout: Layout | None = None, memory: int | None = None) -> Finding:
    findings = diagnosed(text, *shape, layout=layout, memory=memory).findings
    assert len(findings) == 1, [(finding.code, finding.words) for finding in findings]
    return findings[0]


def offered(finding: Finding) -> list[str]:
    return [fix.words for fix in finding.fixes]


def torch(*layers: str) -> str:
    return f"import torch.nn as nn\nnet = nn.Sequential({', '.join('nn.' + layer for layer in layers)})"


def mlx(*layers: str) -> str:
    return f"import mlx.nn as nn\nnet = nn.Sequential({', '.join('nn.' + layer for layer in layers)})"


class TestWhatRaises:
    def test_is_said_with_the_layer_the_axis_and_the_formula(self) -> None:
        found = only(mlx("Conv3d(1, 4, 3)", "MaxPool3d(2)", "Conv3d(4, 4, (5, 3, 3), dilation=2)"), 1, 16, 34, 34, 1)
        assert (found.code, found.severity, found.layer, found.axis) == ("kernel-too-large", "error", 2, "D")
        assert found.words == (
            "Layer 3 (Conv3d): along depth the kernel of 5 with dilation 2 spans 9 voxels, and there are 7 (the input"
            " has 16): it does not fit even once. MLX's own message names the kernel of 5 and not its dilation."
        )
        assert found.formula == (
            "floor((7 + 2*0 - 9) / 1) + 1 = floor(-2) + 1 = -1, with the effective kernel 2*(5 - 1) + 1 = 9"
        )
        # With any but the first a single window is left, and it sees every second voxel: trouble again.
        assert offered(found) == [
            "Set dilation=(1, 2, 2)",
            "Set padding=(1, 0, 0)",
            "Set kernel_size=(4, 3, 3)",
            "Use an input of (1, 20, 34, 34, 1) or more along depth",
        ]

    def test_is_mended_in_the_text(self) -> None:
        text = "# the stem\nconv = nn.Conv3d(\n    1,  # grey\n    8, 5)\n"
        fix = only(text, 1, 4, 64, 64, 1).fixes[0]
        assert fix.case.chain.text == "# the stem\nconv = nn.Conv3d(\n    1,  # grey\n    8, 5, padding=(1, 0, 0))\n"

    def test_channels_are_set_where_they_are_taken_or_given(self) -> None:
        found = only(torch("Conv3d(1, 32, 3, bias=False)", "BatchNorm3d(32)", "Conv3d(64, 2, 1)"), 1, 1, 8, 8, 8)
        assert found.words == "Layer 3 (Conv3d) takes 64 channels (in_channels=64), and layer 1 (Conv3d) gives 32."
        assert offered(found) == [
            "Set in_channels=32",
            "Set out_channels=64 in layer 1 (Conv3d); set num_features=64 in layer 2 (BatchNorm3d)",
        ]

    @pytest.mark.parametrize(
        ("text", "shape", "code"),
        [
            ("nn.Conv3d(3, 8, 3)", (1, 3, 20, 24, 28), "channels-first"),
            # A cube of 8 with 16 channels is no volume of 8 x 8 x 16 with 8.
            ("nn.Conv3d(8, 8, 3)", (1, 8, 8, 8, 16), "channels"),
            ("nn.Conv3d(3, 8, 3)", (20, 24, 28, 3), "missing-batch"),
            ("import torch.nn as nn\nnn.Conv3d(3, 8, 3)", (20, 24, 28, 3), "unbatched-channels"),
            ("import torch.nn as nn\nnn.Conv3d(1, 8, 3)", (2, 24, 28, 20), "unbatched-channels"),
            ("import torch.nn as nn\nnn.Conv3d(8, 8, 3)", (1, 16, 8, 8, 8), "channels"),
        ],
    )
    def test_axes_in_another_order_are_told_from_a_wrong_number(self, text: str, shape: Sizes, code: str) -> None:
        assert only(text, *shape).code == code

    def test_a_missing_batch_whose_channels_come_first_is_added_and_they_are_moved(self) -> None:
        found = only("nn.Conv3d(3, 8, 3)", 3, 20, 24, 28)
        assert offered(found)[0] == "Add axis 0, and move the channels last: (1, 20, 24, 28, 3)"

    def test_features_are_counted_and_the_input_that_gives_them_is_found(self) -> None:
        found = only(torch("Conv3d(1, 8, 3)", "MaxPool3d(2)", "Flatten()", "Linear(4096, 10)"), 2, 1, 16, 16, 16)
        assert found.words == "Layer 4 (Linear) takes 4096 features, and (2, 2744) has 2744 in its last axis."
        assert found.formula == "8 * 7 * 7 * 7 = 2744"
        assert offered(found) == ["Set in_features=2744", "Pad the input to (2, 1, 18, 18, 18)"]

    def test_two_things_wrong_with_a_layer_are_mended_together(self) -> None:
        found = only(mlx("Conv3d(2, 8, (5, 5))"), 1, 4, 16, 16, 3)
        assert found.code == "bad-argument"
        assert offered(found)[0] == "Set kernel_size=5, in_channels=3, padding=(1, 0, 0)"

    def test_what_one_framework_lacks_is_said(self) -> None:
        found = only("import mlx.nn as nn\nnn.AvgPool3d(2, ceil_mode=True)", 1, 9, 9, 9, 1)
        assert found.words == (
            "MLX's AvgPool3d has no argument ceil_mode; PyTorch's has. MLX's rounds down: voxels that are left over at"
            " the end are dropped."
        )

    @pytest.mark.parametrize(
        ("text", "shape", "words"),
        [
            (torch("MaxPool3d(2, padding=2)"), (1, 1, 8, 8, 8), "Set padding=1"),
            (mlx("ConvTranspose3d(1, 1, 3, stride=2, padding=(0, 3, 0))"), (1, 8, 8, 8, 1), "Set padding=(0, 2, 0)"),
            (torch("ConvTranspose3d(1, 1, 3, stride=2, output_padding=4)"), (1, 1, 8, 8, 8), "Set output_padding=1"),
        ],
    )
    def test_the_most_padding_that_goes_is_offered(self, text: str, shape: Sizes, words: str) -> None:
        assert offered(only(text, *shape))[0] == words

    def test_an_empty_input_is_one(self) -> None:
        found = only("nn.Conv3d(1, 8, 3)", 1, 0, 16, 0, 1)
        assert (found.code, found.axis) == ("zero-size", "D")
        assert (
            found.words
            == "The input (1, 0, 16, 0, 1) has nothing along depth and width, so there is nothing to compute from."
        )
        assert offered(found) == ["Use an input of (1, 3, 16, 3, 1) or more along depth and width"]


class TestWhatRaisesNothing:
    def test_voxels_at_the_end_are_counted(self) -> None:
        """Windows of 3 at 0, 2, 4, 6: voxel 9 of 10 is left, along each axis. 1000 - 9^3 = 271."""
        found = only("nn.Conv3d(1, 8, 3, stride=2)", 1, 10, 10, 10, 1)
        assert (found.code, found.severity, found.axis) == ("dropped-voxels", "silent", "D")
        assert found.words == (
            "Conv3d never reads the last of 10 voxels along depth: windows of 3 begin at every 2nd voxel, and one more"
            " would end beyond the input. The same along height and width: 271 of 1,000 voxels in all."
        )
        assert offered(found)[:2] == ["Set padding=1", "Set kernel_size=4"]

    def test_voxels_between_windows_are_counted(self) -> None:
        """Windows of 2 at 0, 3, 6 of 8: voxels 2 and 5 are left. 512 - 6^3 = 296."""
        found = only("nn.Conv3d(1, 8, 2, stride=3)", 1, 8, 8, 8, 1)
        assert (found.code, found.axis) == ("unread-voxels", "D")
        assert "296 of 512 voxels (57.8 %) count for nothing." in found.words
        assert offered(found) == ["Set stride=2", "Set kernel_size=5"]

    def test_a_kernel_of_one_with_a_stride_is_meant_so(self) -> None:
        """A residual block's shortcut reads 16 of 32; that the last is not among them is no matter of its own."""
        found = only("nn.Conv3d(8, 16, 1, stride=2)", 1, 32, 32, 32, 8)
        assert (found.code, found.severity) == ("unread-voxels", "hint")
        assert found.words.startswith("Conv3d never reads 16 of 32 voxels along depth:")

    def test_poolings_that_drop_voxels_are_one_finding_with_one_cause(self) -> None:
        """63 -> 31 -> 15 -> 7."""
        found = only(torch(*["MaxPool3d(2)"] * 3), 1, 1, 63, 63, 63)
        assert (found.code, found.severity, found.layer) == ("dropped-voxels", "hint", 0)
        assert found.words.endswith("So do layers 2 and 3 with what comes to them.")
        assert offered(found)[0] == "Pad the input to (1, 1, 64, 64, 64) (multiples of 8 divide evenly)"

    def test_an_input_that_the_text_turns_is_changed_along_its_own_axes(self) -> None:
        text = (
            "class Net(nn.Module):\n    def __init__(self):\n        self.pool = nn.MaxPool3d(2)\n"
            "        self.conv = nn.Conv3d(3, 4, 9)\n\n    def __call__(self, x):\n"
            "        x = x.transpose(0, 2, 3, 4, 1)\n        x = self.pool(self.pool(x))\n        return self.conv(x)\n"
        )
        found = diagnosed(text, 2, 3, 31, 36, 36).findings
        assert [(finding.code, finding.layer, finding.axis) for finding in found] == [
            ("kernel-too-large", 3, "D"),
            ("dropped-voxels", 1, "D"),
        ]
        assert "there are 7 (the input has 31)" in found[0].words
        assert offered(found[0])[-1] == "Use an input of (2, 3, 36, 36, 36) or more along depth"
        assert offered(found[1])[0] == "Pad the input to (2, 3, 36, 36, 36) (multiples of 4 divide evenly)"

    def test_outputs_of_padding_alone_are_counted(self) -> None:
        """Windows of 3 begin at -4 ... 9 of 8: those at -4, -3, 8 and 9 see none. 14^3 - 10^3 = 1744."""
        found = only("nn.Conv3d(1, 8, 3, padding=4)", 1, 8, 8, 8, 1)
        assert (found.code, found.axis) == ("padding-beyond-reach", "D")
        assert "4 of 14 outputs along depth" in found.words
        assert "1,744 of 2,744 outputs" in found.words

    def test_an_even_kernel_shifts(self) -> None:
        found = only("nn.Conv3d(1, 8, (4, 3, 3), padding=(2, 1, 1))", 1, 16, 16, 16, 1)
        assert (found.code, found.axis) == ("even-kernel-shift", "D")
        assert "16 become 17" in found.words
        assert offered(found)[0] == "Set kernel_size=3, padding=1"
        assert diagnosed("nn.Conv3d(1, 8, 4, stride=4)", 1, 16, 16, 16, 1).findings == ()

    def test_gaps_that_no_layer_fills_are_found_and_filled_ones_are_not(self) -> None:
        grid = mlx("Conv3d(1, 4, 3, dilation=2)", "ReLU()", "Conv3d(4, 4, 3, dilation=2)")
        found = only(grid, 1, 32, 32, 32, 1)
        assert (found.code, found.layer, found.axis) == ("dilation-gaps", 2, "D")
        assert "spans 9 voxels along depth, height and width and sees 5 of them" in found.words
        rising = mlx("Conv3d(1, 4, 3)", "Conv3d(4, 4, 3, dilation=2)", "Conv3d(4, 4, 3, dilation=4)")
        assert diagnosed(rising, 1, 32, 32, 32, 1).findings == ()

    def test_dead_biases_are_one_finding_and_one_click(self) -> None:
        text = torch(
            "Conv3d(1, 8, 3)", "BatchNorm3d(8)", "ReLU()", "Conv3d(8, 4, 3)", "Identity()", "InstanceNorm3d(4)"
        )
        found = only(text, 1, 1, 8, 8, 8)
        assert (found.code, found.severity, found.layer) == ("dead-bias", "hint", 0)
        assert found.words == (
            "The biases of layers 1 and 4 do nothing: the BatchNorm or InstanceNorm behind each takes away each"
            " channel's mean, and with it whatever was added to the channel. 12 parameters are trained in vain."
        )
        assert offered(found) == ["Set bias=False in layers 1 and 4"]
        assert found.fixes[0].case.chain.text.count("bias=False") == 2

    def test_a_norm_over_several_channels_leaves_a_bias_alive(self) -> None:
        assert diagnosed(mlx("Conv3d(1, 8, 3)", "GroupNorm(4, 8)"), 1, 8, 8, 8, 1).findings == ()
        assert diagnosed(mlx("Conv3d(1, 8, 3)", "ReLU()", "InstanceNorm(8)"), 1, 8, 8, 8, 1).findings == ()

    def test_a_size_that_does_not_come_back_is_found_at_the_first_join(self) -> None:
        """31 -> 15 -> 7, and back 14 for 15."""
        text = mlx("MaxPool3d(2)", "MaxPool3d(2)", "ConvTranspose3d(1, 1, 2, stride=2)", "Upsample(2.0)")
        found = only(text, 1, 31, 32, 32, 1)
        assert (found.code, found.severity, found.layer, found.axis) == ("unet-off-by-one", "silent", 2, "D")
        assert found.formula == "15 -> 7 -> 14"
        assert offered(found) == [
            "Pad the input to (1, 32, 32, 32, 1) (multiples of 4 divide evenly)",
            "Crop the input to (1, 28, 32, 32, 1) (multiples of 4 divide evenly)",
        ]

    def test_a_decoder_that_makes_other_sizes_by_its_kernel_is_left_alone(self) -> None:
        """16 -> 8 -> (8 - 1)*2 + 5 = 19: no rounding is more than 1."""
        text = mlx("MaxPool3d(2)", "ConvTranspose3d(1, 1, 5, stride=2)")
        assert diagnosed(text, 1, 16, 16, 16, 1).findings == ()

    def test_output_padding_brings_a_size_back(self) -> None:
        text = mlx("MaxPool3d(2)", "ConvTranspose3d(1, 1, 2, stride=2)")
        assert offered(only(text, 1, 8, 9, 8, 1))[0] == "Set output_padding=(0, 1, 0)"

    def test_output_padding_that_mlx_alone_takes_is_told(self) -> None:
        """(3 - 1)*2 - 2*1 + 3 + 3 = 8 outputs, and the taps of the last input end at 2*2 - 1 + 2 = 5."""
        found = only("up = nn.ConvTranspose3d(1, 1, 3, stride=2, padding=1, output_padding=3)", 1, 3, 3, 3, 1)
        assert (found.code, found.severity, found.axis) == ("output-padding", "silent", "D")
        assert found.words.endswith("MLX takes it, PyTorch does not. The last 2 outputs hold the bias alone.")
        assert offered(found) == ["Set output_padding=1", "Set output_padding=0"]

    def test_memory_is_told_only_where_there_is_a_limit(self) -> None:
        text, shape = "nn.Conv3d(1, 32, 5)", (2, 64, 64, 64, 1)
        assert diagnosed(text, *shape).findings == ()
        found = only(text, *shape, memory=2**27)
        assert (found.code, found.severity) == ("memory", "silent")
        assert found.words.startswith("Conv3d holds up to 315.48 MiB at once, and there are 128.00 MiB.")
        assert offered(found) == [
            "Crop the input to (2, 48, 48, 48, 1)",
            "Use a batch of 1 and crop the input to (1, 56, 56, 56, 1)",
        ]
        for fix in found.fixes:
            assert trace(fix.case).peak_bytes <= 2**27

    def test_both_readings_fit_and_the_owner_says_which(self) -> None:
        text, shape = "nn.Conv3d(8, 4, 3)", (1, 8, 32, 32, 8)
        found = only(text, *shape, layout="NCDHW")
        assert (found.code, found.severity) == ("channels-first", "silent")
        assert found.fixes[0].case == Case(read_chain(text), (1, 32, 32, 8, 8), "NDHWC")
        assert diagnosed(text, *shape, layout="NDHWC").findings == ()
        assert offered(only(text, 1, 4, 32, 32, 8, layout="NCDHW")) == [
            "Set in_channels=4; move axis 1 last: (1, 32, 32, 8, 4)",
            "Say that the input is (N, D, H, W, C)",
        ]
        # Nobody says so, and it looks so: 3 channels of 64 x 64 x 64.
        assert only("nn.Conv3d(64, 4, 3)", 1, 3, 64, 64, 64).severity == "hint"

    @pytest.mark.parametrize(
        ("text", "shape"),
        [
            (torch("Conv3d(3, 64, 7, stride=2, padding=3)", "ReLU()", "MaxPool3d(3, 2, 1)"), (1, 3, 64, 64, 64)),
            (
                mlx(
                    "Conv3d(1, 8, 3, padding=1)", "ReLU()", "MaxPool3d(2)", "Conv3d(8, 16, 3, padding=1)", "ReLU()",
                    "MaxPool3d(2)", "ConvTranspose3d(16, 8, 2, stride=2)", "ConvTranspose3d(8, 8, 2, stride=2)",
                    "Conv3d(8, 2, 1)",
                ),
                (1, 64, 64, 64, 1),
            ),
            (
                torch(
                    "Conv3d(1, 8, 3, padding=1, bias=False)", "BatchNorm3d(8)", "ReLU()", "MaxPool3d(2)",
                    "Conv3d(8, 16, 3, padding='same')", "ReLU()", "MaxPool3d(2)", "Flatten()", "Linear(65536, 2)",
                ),
                (2, 1, 64, 64, 64),
            ),
        ],
        ids=["stem", "u-net", "vgg"],
    )  # fmt: skip
    def test_sound_networks_are_left_in_peace(self, text: str, shape: Sizes) -> None:
        assert diagnosed(text, *shape).findings == ()


def test_what_was_passed_over_makes_hints_without_changes_of_what_comes_after() -> None:
    text = (
        "class Net(nn.Module):\n    def __init__(self):\n        self.a = nn.Conv3d(1, 8, 3)\n"
        "        self.b = nn.Conv3d(16, 8, 3)\n\n    def __call__(self, x):\n        x = self.a(x)\n"
        "        x = mx.concatenate([x, x], axis=-1)\n        return self.b(x)\n"
    )
    found = only(text, 1, 16, 16, 16, 1)
    assert (found.code, found.severity, found.fixes) == ("channels", "hint", ())
    assert found.words == (
        "If line 8, which is passed over, leaves the array as it is: Layer 2 (self.b) takes 16 channels"
        " (in_channels=16), and layer 1 (self.a) gives 8."
    )


def test_a_bias_before_something_that_was_passed_over_may_be_alive() -> None:
    text = (
        "class Net(nn.Module):\n    def __init__(self):\n        self.a = nn.Conv3d(1, 8, 3)\n"
        "        self.b = nn.InstanceNorm(8)\n\n    def __call__(self, x):\n        x = self.a(x)\n"
        "        x = mystery(x)\n        return self.b(x)\n"
    )
    assert diagnosed(text, 1, 16, 16, 16, 1).findings == ()
    assert only(text.replace("        x = mystery(x)\n", ""), 1, 16, 16, 16, 1).code == "dead-bias"


def test_errors_come_first_and_then_what_is_silent() -> None:
    text = torch("Conv3d(1, 8, 3, stride=2)", "BatchNorm3d(8)", "Conv3d(8, 4, 3)", "Conv3d(8, 4, 1)")
    found = diagnosed(text, 1, 1, 20, 20, 20).findings
    assert [(finding.severity, finding.code) for finding in found] == [
        ("error", "channels"),
        ("silent", "dropped-voxels"),
        ("hint", "dead-bias"),
    ]


def check(case: Case) -> None:
    """What holds of any diagnosis: every change does what it is for, and breaks nothing."""
    diagnosis = diagnose(case)
    failed, framework = diagnosis.report.failed, case.chain.framework
    severities = [SEVERITIES.index(finding.severity) for finding in diagnosis.findings]
    assert severities == sorted(severities)
    assert (failed is None) or severities[0] == 0 or case.chain.uncertain_from is not None
    for finding in diagnosis.findings:
        assert finding.words.endswith(".")
        assert len(finding.fixes) <= 4
        for fix in finding.fixes:
            after, gone = trace(fix.case), len(case.chain.layers) - len(fix.case.chain.layers)
            if finding.severity == "error":
                assert finding.layer is not None
                assert after.failed is None or after.failed > finding.layer - max(0, gone)
            elif failed is None:
                assert after.failed is None
            if not gone:
                left = [(other.code, other.layer) for other in diagnose(fix.case).findings]
                assert (finding.code, finding.layer) not in left
            if not fix.case.chain.text:  # what has no text that is read, and changed its input alone
                continue
            again = read_chain(fix.case.chain.text, framework)
            assert again.framework == framework
            assert [(layer.kind, repr(layer.arguments)) for layer in again.layers] == [
                (layer.kind, repr(layer.arguments)) for layer in fix.case.chain.layers
            ]


def written(layers: list[Layer], framework: Framework, shape: Sizes, layout: Layout | None = None) -> Case:
    """A case with its text, where that can be read."""
    chain = Chain(tuple(layers), framework)
    try:
        read = read_chain(to_sequential(chain), framework)
    except SpecError:
        return Case(chain, shape, layout)
    same = read.framework == framework and len(read.layers) == len(layers)
    return Case(read if same else chain, shape, layout)


@settings(max_examples=100)
@given(data=st.data(), framework=st.sampled_from(["mlx", "torch"]), kind=st.sampled_from(sorted(KINDS)))
def test_any_layer_with_any_arguments(data: st.DataObject, framework: Framework, kind: str) -> None:
    made, shape = data.draw(layers_and_shapes(framework, (kind,)))
    signature, _ = KINDS[kind].signatures(framework)
    names = [*signature.defaults] if signature else ["axes", "axis", "start_dim"]
    wrong = data.draw(st.dictionaries(st.sampled_from([*names, "groups", "nothing"]), garbage, max_size=2))
    layout = data.draw(st.sampled_from([None, None, "NDHWC", "NCDHW"]))
    check(written([replace(made, arguments={**made.arguments, **wrong})], framework, shape, layout))


@st.composite
def networks(draw: st.DrawFn, framework: Framework) -> tuple[list[Layer], Sizes]:
    """Layers that go with each other, nearly always."""
    channels = first = draw(st.integers(1, 3))
    layers = []
    numbers: dict[str, Any] = {
        name: st.integers(low, high) | st.tuples(*[st.integers(low, high)] * 3)
        for name, low, high in (("stride", 1, 3), ("padding", 0, 4), ("dilation", 1, 3))
    }
    for _ in range(draw(st.integers(1, 6))):
        kind = draw(st.sampled_from(["Conv3d", "Conv3d", "ConvTranspose3d", "MaxPool3d", "Norm", "Upsample", "ReLU"]))
        arguments: dict[str, Any] = {}
        if kind.startswith("Conv"):
            outputs = draw(st.integers(1, 4))
            arguments = {"in_channels": channels + (draw(st.integers(0, 9)) == 9), "out_channels": outputs}
            arguments["kernel_size"] = draw(st.integers(1, 5))
            arguments |= {name: draw(values) for name, values in numbers.items() if draw(st.booleans())}
            channels = outputs
        elif kind == "MaxPool3d":
            arguments = {"kernel_size": draw(st.integers(1, 3))}
        elif kind == "Norm":
            kind, arguments = draw(
                st.sampled_from(
                    [("BatchNorm", {"num_features": channels}), ("GroupNorm", {"num_groups": 2, "dims": channels})]
                )
            )
        elif kind == "Upsample":
            arguments = {"scale_factor": 2}
        layers.append(Layer(kind, arguments))
    sizes = draw(st.tuples(*[st.integers(1, 20)] * 3))
    return layers, (1, *sizes, first) if framework == "mlx" else (1, first, *sizes)


@settings(max_examples=100)
@given(data=st.data(), framework=st.sampled_from(["mlx", "torch"]))
def test_any_network(data: st.DataObject, framework: Framework) -> None:
    layers, shape = data.draw(networks(framework))
    check(written(layers, framework, shape))


sizes = st.sampled_from([(1, 8, 8, 8, 1), (1, 1, 16, 16, 16), (2, 3, 8, 8, 8), ()]) | st.lists(
    st.integers(-1, 40) | st.integers() | st.sampled_from([2**31, 2**63]), max_size=9
).map(tuple)


@settings(max_examples=100)
@given(text=mutated(), shape=sizes)
def test_any_text_that_is_read_and_any_shape(text: str, shape: Sizes) -> None:
    try:
        chain = read_chain(text)
    except SpecError:
        return
    check(Case(chain, shape))
