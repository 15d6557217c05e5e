"""The receptive field page through AppTest: a stack by link, by field, by preset; its sentences; what is no stack."""

from __future__ import annotations

from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from conv3d_core import EngineError
from conv3d_core.engine import Engine
from pages._ui import cached
from tests.app.driver import BRAIN, IMPULSE, open_page, plain, run

CHARTS = ["growth", *(f"{what}_{axis}" for what in ("window", "coverage", "strength") for axis in "DHW")]


def open_field(**link: str) -> AppTest:
    return open_page("receptive_field", **{"volume": IMPULSE, **link})


def words(app: AppTest) -> str:
    return "\n".join(plain(element.value) for element in app.main.markdown)


def errors(app: AppTest) -> list[str]:
    return [plain(error.value) for error in app.main.error]


def growth(app: AppTest) -> Any:
    (frame,) = (element.value for element in app.dataframe if "jump" in element.value.columns)
    return frame


def drawn(app: AppTest) -> list[str]:
    return [key for key in CHARTS if any(getattr(element, "key", None) == key for element in app)]


def test_it_opens_with_a_stack_and_every_picture() -> None:
    app = open_field(volume=BRAIN)
    assert drawn(app) == CHARTS
    frame = growth(app)
    assert frame["window"].tolist() == ["3", "7", "15"]
    assert frame["window, mm"].tolist() == ["6", "14", "30"]
    assert frame["jump"].tolist() == ["2", "4", "4"]
    assert frame["padding"].tolist() == ["1", "3", "7"]
    assert frame["output"].tolist() == ["47 × 58 × 49", "24 × 29 × 25", "24 × 29 × 25"]
    text = words(app)
    assert (
        "Output (11, 14, 12) of layer 3 spans 15 x 15 x 15 voxels (30 x 30 x 30 mm): "
        "depth 37 to 51, height 49 to 63, width 41 to 55; none of it in the padding."
    ) in text
    assert "The stack of 3 layers reaches all 1,068,592 voxels; each is reached by 8 to 64 outputs." in text
    assert "of the window's 3,375 voxels" in text
    assert errors(app) == []
    assert not app.warning


def test_a_stack_comes_from_a_link() -> None:
    app = open_field(k="3", s="1", p="0", stack="k1x3x3,k3d2", rd="0", rh="2", rw="2")
    assert growth(app)["window"].tolist() == ["3", "3 × 5 × 5", "7 × 9 × 9"]
    assert "window, mm" not in growth(app).columns, "the impulse has no spacing"
    assert app.text_input(key="layer_2_kernel_size").value == "1,3,3"
    assert app.text_input(key="layer_3_dilation").value == "2"
    assert "Output (0, 2, 2) of layer 3 spans 7 x 9 x 9 voxels: depth 0 to 6, height 2 to 10" in words(app)
    assert not app.warning


def test_no_further_layer_is_a_stack_too() -> None:
    app = open_field(k="2", s="3", p="0", stack="")
    assert len(growth(app)) == 1
    # 17^3 - 12^3
    assert "The layer never reads 3,185 of 4,913 voxels (64.8 %); each of the others is read by 1 output." in words(app)
    assert not [element for element in app if getattr(element, "key", None) == "cover"]
    assert drawn(app) == CHARTS


def test_coverage_is_of_the_stack_or_of_its_first_layer() -> None:
    app = open_field(k="3", s="1", p="1", stack="k2s3")
    assert "The stack of 2 layers reaches all 4,913 voxels" in words(app)
    app.get_by_key("cover").set_value("first layer")
    run(app)
    assert "The first layer alone reads all 4,913 voxels; each is read by 8 to 27 outputs." in words(app)


def test_fields_write_the_text_and_the_text_fills_the_fields() -> None:
    app = open_field(stack="k3p1")
    app.text_input(key="layer_2_kernel_size").set_value("1, 5 5")
    run(app)
    assert app.text_input(key="stack").value == "k1x5x5p1"
    assert app.text_input(key="layer_2_kernel_size").value == "1,5,5"
    app.button(key="add_layer").click()
    run(app)
    assert app.text_input(key="stack").value == "k1x5x5p1,k3p1"
    app.text_input(key="stack").set_value("k3,k3s2,k3p1")
    run(app)
    assert app.text_input(key="layer_3_stride").value == "2"
    app.button(key="remove_2").click()
    run(app)
    assert app.text_input(key="stack").value == "k3s2,k3p1"
    assert app.text_input(key="layer_2_stride").value == "2"
    assert len(growth(app)) == 3


def test_a_preset_sets_the_sidebar_and_the_stack() -> None:
    app = open_field()
    (button,) = (button for button in app.button if button.label == "(2+1)D")
    button.click()
    run(app)
    call = "nn.Conv3d(1, 8, kernel_size=(1, 3, 3), padding=(0, 1, 1))"
    assert app.get_by_key("header").code[0].value == call
    assert app.text_input(key="stack").value == "k3x1x1p1x0x0"
    assert growth(app)["window"].tolist() == ["1 × 3 × 3", "3"]
    (button,) = (button for button in app.button if button.label == "Dilated 1-2-4")
    button.click()
    run(app)
    assert growth(app)["window"].tolist() == ["3", "7", "15"]


@pytest.mark.parametrize(
    ("stack", "message", "fields"),
    [
        ("hello", "stack: 'hello' is no layer;", False),
        ("k3x3", "layer 2: kernel_size '3,3' is not understood; use one number, or three such as \"1,3,3\".", True),
        ("k3p1,k3s0", "layer 3, stride: 0 is below 1; use an integer >= 1.", True),
        ("k3p1,k99", "layer 3, depth: effective kernel 99 does not fit the padded input of 9 (9 + 2*0);", True),
        ("k1," * 8 + "k1", "stack: 9 further layers are too many;", False),
    ],
)
def test_what_is_no_stack_is_explained_at_its_control(stack: str, message: str, fields: bool) -> None:
    app = open_field(stack=stack)
    found = errors(app)
    assert len(found) == 2, "below the header, and at the control"
    assert found[0] == found[1]
    assert found[0].startswith(message)
    assert drawn(app) == []
    assert bool([field for field in app.text_input if field.key == "layer_2_kernel_size"]) == fields
    app.text_input(key="stack").set_value("k3p1")
    run(app)
    assert errors(app) == []
    assert drawn(app) == CHARTS


def test_letters_in_a_field_stay_in_that_field() -> None:
    app = open_field(stack="k3p1")
    app.text_input(key="layer_2_padding").set_value("same")
    run(app)
    assert errors(app)[0].startswith("layer 2: padding '?ame' is not understood;")


def test_an_impossible_first_layer_is_explained_as_everywhere() -> None:
    app = open_field(k="200")
    assert "depth: effective kernel 200 does not fit the padded input of 19" in errors(app)[0]
    assert drawn(app) == []


def test_the_gradient_is_of_one_seed_of_several_or_of_smooth_weights() -> None:
    app = open_field(k="3", s="1", p="1", stack="k3p1,k3p1", draws="1", gradseed="7")
    assert "(seed 7)" in words(app)
    one = next(text for text in words(app).splitlines() if "of the window's" in text)
    app.number_input(key="draws").set_value(3)
    run(app)
    assert "(seeds 7 to 9)" in words(app)
    assert one not in words(app)
    app.get_by_key("grad").set_value("Gaussian")
    run(app)
    assert "Gaussian weights are smooth and positive in every layer." in words(app)
    # [1 2 1] three times.
    row = [1, 6, 15, 20, 15, 6, 1]
    count = sum(a * b * c > 0.0455 * 8000 for a in row for b in row for c in row)
    assert f"{count} of the window's 343 voxels ({100 * count / 343:.3g} %)" in words(app)


def test_a_gradient_that_cannot_be_had_leaves_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise EngineError("memory", "the gradient needs too much", "use a smaller kernel_size", value=1)

    cached.gradient_strength.clear()
    with monkeypatch.context() as patch:
        patch.setattr(Engine, "stack_gradient", refuse)
        app = open_field(stack="k3p1")
    assert errors(app) == ["memory: the gradient needs too much; use a smaller kernel_size."]
    assert drawn(app) == [key for key in CHARTS if not key.startswith("strength")]
    order = [getattr(element, "key", None) or element.type for element in app.main]
    assert order.index("error") > order.index("coverage_W"), "in its own place"


def test_what_takes_long_waits_until_it_is_wanted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    real = Engine.stack_gradient

    def count(*given: object) -> object:
        asked.append(given)
        return real(*given)  # type: ignore[arg-type]

    cached.gradient_strength.clear()
    monkeypatch.setattr(Engine, "stack_gradient", count)
    app = open_field(k="3", s="1", p="1", out="64", stack="k3p1,k3p1,k3p1,k3p1", draws="32")
    assert not asked
    toggle = app.toggle(key="patience")
    assert toggle.label.startswith("Compute it all the same: 32 times ")
    app.number_input(key="draws").set_value(1)
    run(app)
    assert len(asked) == 1
    app.number_input(key="draws").set_value(32)
    run(app)
    assert len(asked) == 1
    app.number_input(key="draws").set_value(20)
    app.toggle(key="patience").set_value(True)
    run(app)
    assert len(asked) == 20
