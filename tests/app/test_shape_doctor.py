"""The shape doctor's page through AppTest: what it says of a text, what its buttons do to it, what it refuses."""

from __future__ import annotations

import re

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from conv3d_core import ConvSpec
from conv3d_core.chain.examples import EXAMPLES
from conv3d_core.chain.reading import read_chain
from conv3d_core.engine import Engine
from conv3d_core.weights import Checkpoint, read_checkpoint, write_safetensors
from pages._ui.doctor_controls import FIRST
from tests.app.driver import open_page, plain, run

OPENED = EXAMPLES["Kernel too wide"]


def open_doctor(**link: str) -> AppTest:
    return open_page("shape_doctor", **link)


def words(app: AppTest) -> str:
    return "\n".join(plain(element.value) for element in app.main.markdown)


def codes(app: AppTest) -> list[str]:
    return [code.value for code in app.code]


def errors(app: AppTest) -> list[str]:
    return [plain(error.value) for error in app.error]


def shapes(app: AppTest) -> list[str]:
    """In the verdict: of the input and, where there is one, of the output."""
    return re.findall(r'aria-label="(\(.*?\))"', "".join(element.value for element in app.main.html))


def press(app: AppTest, label: str) -> AppTest:
    (button,) = (button for button in app.button if plain(button.label) == label)
    button.click()
    return run(app)


def put(app: AppTest, key: str, value: str) -> AppTest:
    app.get_by_key(key).set_value(value)
    return run(app)


def test_it_opens_with_a_layer_that_fails_and_says_why_beside_mlx() -> None:
    app = open_doctor()
    assert app.get_by_key("code").value == FIRST == OPENED.text
    assert app.get_by_key("shape").value == "1, 16, 64, 64, 1"
    assert "Does not work" in words(app)
    assert shapes(app) == ["(1, 16, 64, 64, 1)"]
    assert codes(app)[0].startswith("floor((7 + 2*0 - 9) / 1) + 1 = floor(-2) + 1 = -1, with the effective kernel")
    chain = read_chain(OPENED.text)
    with Engine(device="cpu") as engine:
        own = engine.attempt(chain.layers, (1, 16, 64, 64, 1))
    assert own.failed == 2
    assert codes(app)[1] == f"{own.error}: {own.message}"
    assert errors(app) == []


def test_a_fix_changes_the_text_and_can_be_taken_back() -> None:
    app = open_doctor()
    fixes = [button for button in app.button if (button.key or "").startswith("fix_0_")]
    assert 1 <= len(fixes) <= 4
    fixes[0].click()
    run(app)
    text = app.get_by_key("code").value
    assert text != FIRST
    # In its place: the rest of the text is as it was, the comment too.
    assert text.startswith(FIRST.partition("dilation")[0])
    assert "# fails" in text
    assert "Does not work" not in words(app)
    assert len(shapes(app)) == 2
    press(app, "Undo")
    assert app.get_by_key("code").value == FIRST
    assert "Does not work" in words(app)
    assert app.get_by_key("undo").disabled


@pytest.mark.parametrize("name", EXAMPLES)
def test_each_example_is_a_click_away(name: str) -> None:
    app = press(open_doctor(), name)
    assert app.get_by_key("code").value == EXAMPLES[name].text
    assert app.get_by_key("shape").value == ", ".join(map(str, read_chain(EXAMPLES[name].text).input_shape or ()))
    assert errors(app) == []
    assert bool(EXAMPLES[name].finding) == ("Does not work" in words(app) or "Runs, and is not right" in words(app))


def test_a_scenario_is_a_click_away() -> None:
    app = press(open_doctor(), "Dilated")
    assert app.get_by_key("code").value == "nn.Conv3d(1, 8, kernel_size=3, padding=2, dilation=2)"
    assert shapes(app) == ["(1, 32, 32, 32, 1)", "(1, 32, 32, 32, 8)"]


def test_where_mlx_says_nothing_it_is_said_so() -> None:
    app = press(open_doctor(), "Memory garbage")
    assert re.search(r"MLX itself says nothing: for layer 1 it announces the shape \(1, .*, 1\)\.", words(app))


def test_the_shape_follows_the_text_until_it_is_typed() -> None:
    app = open_doctor(code="nn.Conv3d(4, 8, 3)")
    assert app.get_by_key("shape").value == "1, 32, 32, 32, 4"
    put(app, "code", "torch.nn.Conv3d(2, 8, 3)")
    assert app.get_by_key("shape").value == "1, 2, 32, 32, 32"
    put(app, "shape", "1x2x8x8x8")
    put(app, "code", "torch.nn.Conv3d(2, 8, 5)")
    assert app.get_by_key("shape").value == "1x2x8x8x8"
    assert shapes(app) == ["(1, 2, 8, 8, 8)", "(1, 8, 4, 4, 4)"]


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ({"code": "import os; os.system('true')"}, "text: there is no layer in it that is read here; paste layers"),
        ({"code": "nothing to see"}, "text: "),
        ({"shape": "1, 2, a"}, "input: 'a' in '1, 2, a' is not an integer; write sizes such as 1, 32, 32, 32, 1."),
    ],
)
def test_what_cannot_be_read_is_refused_at_its_control_and_stays(typed: dict[str, str], message: str) -> None:
    app = open_doctor()
    ((key, value),) = typed.items()
    put(app, key, value)
    found = errors(app)
    assert len(found) == 2, "at the control and in the main column"
    assert found[0] == found[1]
    assert message in found[0]
    assert app.get_by_key(key).value == value
    put(app, key, FIRST if key == "code" else "1, 16, 64, 64, 1")
    assert errors(app) == []


def test_what_is_passed_over_is_said_by_line() -> None:
    text = "nn.Sequential(\n    nn.Conv3d(1, 8, 3),\n    Mystery(8),\n    nn.ReLU(),\n)"
    app = open_doctor(code=text)
    (warning,) = (plain(warning.value) for warning in app.warning)
    assert warning.startswith("Line 3, `Mystery(8)`, is passed over: ")
    assert warning.endswith("Shapes are uncertain from layer 2 on.")


def test_a_chain_is_built_from_nothing_and_taken_down_again() -> None:
    app = open_doctor(code=" ")
    assert errors(app) == []
    assert any("Paste layers on the left" in plain(info.value) for info in app.info)
    for kind in ("Conv3d", "ReLU"):
        put(app, "new_layer", kind)
        press(app, "Add")
    assert [layer.kind for layer in read_chain(app.get_by_key("code").value).layers] == ["Conv3d", "ReLU"]
    assert shapes(app) == ["(1, 32, 32, 32, 1)", "(1, 32, 32, 32, 1)"]
    press(app, "Undo")
    press(app, "Undo")
    assert app.get_by_key("code").value == " "


def test_what_is_assumed_is_said_and_what_the_text_makes_otherwise_too() -> None:
    app = open_doctor(code="nn.Conv3d(1, 8, 3)")
    assert "Assumed, since the text does not tell: 32 voxels along each axis." in words(app)
    app = put(open_doctor(), "shape", "1, 32, 64, 64, 1")
    assert "Assumed" not in words(app)
    assert "The text itself makes an input of (1, 16, 64, 64, 1)." in words(app)


def test_adding_a_layer_keeps_the_shape() -> None:
    app = open_doctor(code="net = nn.Conv3d(2, 8, 3)\ny = net(mx.zeros((2, 50, 60, 70, 2)))")
    press(app, "Add")
    assert app.get_by_key("shape").value == "2, 50, 60, 70, 2"
    press(app, "Undo")
    assert app.get_by_key("shape").value == "2, 50, 60, 70, 2"


def test_nothing_is_certain_behind_what_was_passed_over() -> None:
    app = open_doctor(code="nn.Sequential(nn.Conv3d(1, 8, 3), Mystery(), nn.Conv3d(16, 8, 3))")
    html = "".join(element.value for element in app.main.html)
    assert "uncertain from layer 2 on" in html
    assert "fails at" not in html
    app = open_doctor(code="nn.Sequential(nn.Conv3d(1, 8, 3), Mystery(), nn.ReLU())")
    assert not app.success
    assert any("is uncertain" in plain(info.value) for info in app.info)


def test_a_layer_is_added_behind_the_last() -> None:
    app = open_doctor(code="nn.Conv3d(1, 8, 3)")
    put(app, "new_layer", "MaxPool3d")
    press(app, "Add")
    assert [layer.kind for layer in read_chain(app.get_by_key("code").value).layers] == ["Conv3d", "MaxPool3d"]
    assert shapes(app) == ["(1, 32, 32, 32, 1)", "(1, 15, 15, 15, 8)"]


@pytest.mark.parametrize(
    ("question", "wish", "gives"),
    [
        ("same", None, (1, 32, 32, 32, 8)),
        ("half", None, (1, 16, 16, 16, 8)),
        ("output size", "10, 16, 16", (1, 10, 16, 16, 8)),
    ],
)
def test_what_is_solved_for_comes_by_a_click(question: str, wish: str | None, gives: tuple[int, ...]) -> None:
    app = open_doctor(code="nn.Conv3d(1, 8, 3)", shape="1, 32, 32, 32, 1", tool="Solve for")
    put(app, "solve", question)
    if wish:
        put(app, f"wish_{question}", wish)
    app.button(key="solution_0").click()
    run(app)
    (layer,) = read_chain(app.get_by_key("code").value).layers
    assert ConvSpec.from_arguments(layer.arguments).output_shape((1, 32, 32, 32, 1)) == gives
    assert shapes(app)[1] == str(gives)


def test_a_wish_that_is_none_is_refused_there() -> None:
    app = open_doctor(code="nn.Conv3d(1, 8, 3)", tool="Solve for")
    put(app, "solve", "output size")
    put(app, "wish_output size", "big")
    assert errors(app) == ["wish: 'big' is not one size or three; write 16, or 8, 16, 16."]
    put(app, "solve", "memory")
    put(app, "wish_memory", "much")
    assert errors(app) == ["wish: 'much' is no size in MiB; write 64, or 1.5 GiB."]
    put(app, "wish_memory", "1 MiB")
    assert errors(app) == []
    assert any(plain(button.label).startswith("input (1, ") for button in app.button)


def test_inputs_that_divide_evenly_are_offered() -> None:
    text = "nn.Sequential(nn.Conv3d(1, 8, 3, stride=2, padding=1), nn.MaxPool3d(2))"
    app = open_doctor(code=text, shape="1, 30, 32, 33, 1", tool="Solve for")
    put(app, "solve", "even sizes")
    press(app, "Use an input of (1, 32, 32, 36, 1)")
    assert app.get_by_key("shape").value == "1, 32, 32, 36, 1"
    assert "**depth**: multiples of 4" in words(app)


def test_the_program_is_there_for_both() -> None:
    app = open_doctor(code=EXAMPLES["A stem that works"].text, tool="Code for both")
    mlx, torch = (code for code in codes(app) if code.startswith("import"))
    assert "BatchNorm3d(64)" in mlx
    assert "class BatchNorm3d(nn.BatchNorm)" in mlx, "MLX's own takes up to four axes"
    assert "nn.BatchNorm3d(64)" in torch


def test_weights_are_turned_into_the_other_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    files: dict[str, object] = {}
    button = __import__("streamlit").download_button

    def download_button(label: str, data: object, **options: object) -> bool:
        files[str(options["file_name"])] = data
        return bool(button(label, data, **options))

    monkeypatch.setattr("streamlit.download_button", download_button)
    weight = np.arange(8 * 2 * 27, dtype=np.float32).reshape(8, 2, 3, 3, 3)
    given = write_safetensors(Checkpoint({"weight": weight, "bias": np.ones(8, np.float32)}, "torch"))
    app = open_doctor(code="torch.nn.Conv3d(2, 8, 3)", tool="Weights")
    app.file_uploader(key="chain_weights").set_value([("net.safetensors", given, "application/octet-stream")])
    run(app)
    assert errors(app) == []
    make = files["weights.safetensors"]
    assert callable(make)
    arrays = read_checkpoint(make()).arrays
    (converted,) = (array for array in arrays.values() if array.ndim == 5)
    np.testing.assert_array_equal(converted, weight.transpose(0, 2, 3, 4, 1))


def test_a_pickle_is_not_opened() -> None:
    app = open_doctor(tool="Weights")
    app.file_uploader(key="chain_weights").set_value([("net.pt", b"\x80\x04}.", "application/octet-stream")])
    run(app)
    (message,) = errors(app)
    assert message.startswith("weights: ")
    assert "Does not work" in words(app), "the rest of the page is there"


def test_the_differences_are_listed() -> None:
    app = open_doctor(tool="MLX beside PyTorch")
    assert any("(O, KD, KH, KW, I)" in element.value for element in app.main.html)
