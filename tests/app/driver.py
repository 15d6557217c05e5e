"""Drives the explorer through AppTest: what a person sets, and what the page then shows."""

from __future__ import annotations

import ast
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from streamlit.testing.v1 import AppTest

from pages._ui.viewer import unpack

ROOT = Path(__file__).parents[2]
VOLUMES = ROOT / "assets" / "volumes"

BRAIN = "Brain, MRI, 2 mm"  # (94, 116, 98, 1)
FMRI = "Brain, functional MRI"  # (24, 96, 128, 2)
FIBRES = "Brain, nerve fibre direction"  # (53, 128, 128, 3)
NUCLEI = "Cell nuclei, fluorescence"  # (31, 61, 57, 1)
IMPULSE = "Impulse"  # (17, 17, 17, 1)
RAMP = "Ramp"  # (24, 24, 24, 1)
MADE = "Made to size"  # of the size in the field "made"

DRAWN = ["viewer", "scene", "histogram"]
CALL = "nn.Conv3d(1, 8, kernel_size=3, stride=2, padding=1)"


class Explorer:
    """The page in a session of its own.

    AppTest has no address bar: what a person sets goes into the query as the browser would put it there.
    """

    def __init__(self, files: dict[str, Any], link: dict[str, Any]) -> None:
        self.files = files
        self.app = AppTest.from_file(ROOT / "pages" / "explorer.py", default_timeout=60)
        for key, value in link.items():
            self.app.query_params[key] = as_query(value)
        self.run()

    def run(self) -> None:
        self.files.clear()
        self.app.run()
        assert [(error.value, error.stack_trace) for error in self.app.exception] == []

    def set(self, **values: Any) -> None:
        """Set widgets by key, all in one run."""
        for key, value in values.items():
            widget = self.app.get_by_key(key)
            widget.set_value(value)
            default = getattr(widget.proto, "default", None)
            numbers = list(default) if hasattr(default, "__len__") else [default]
            if widget.type in ("number_input", "slider") and numbers == np.atleast_1d(value).tolist():
                self.app.query_params.pop(key, None)
            else:
                self.app.query_params[key] = as_query(value)
        self.run()

    def press(self, label: str) -> None:
        self.button(label).click()
        self.run()

    def upload(self, name: str, content: bytes) -> None:
        self.app.file_uploader(key="upload").set_value([(name, content, "application/octet-stream")])
        self.run()

    def choose(self, label: str, option: Any) -> None:
        """Pick an option of the select box whose label begins so."""
        (box,) = (box for box in self.app.selectbox if box.label.startswith(label))
        box.set_value(option)
        self.run()

    def button(self, label: str) -> Any:
        (found,) = (button for button in self.app.button if button.label == label)
        return found

    @property
    def buttons(self) -> list[str]:
        return [button.label for button in self.app.button]

    def value(self, key: str) -> Any:
        return self.app.get_by_key(key).value

    @property
    def call(self) -> str:
        return str(self.app.get_by_key("header").code[0].value)

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """The shapes in the header: of the input and, where there is one, of the output."""
        html = "".join(element.value for element in self.app.get_by_key("header").html)
        return [ast.literal_eval(shape) for shape in re.findall(r'aria-label="(\(.*?\))"', html)]

    @property
    def sentence(self) -> str:
        (found,) = (text.value for text in self.app.main.markdown if text.value.startswith("Output ("))
        return str(found)

    @property
    def words(self) -> str:
        """All running text."""
        return "\n".join(plain(element.value) for element in (*self.app.markdown, *self.app.text))

    @property
    def drawn(self) -> list[str]:
        """Keys of the charts on the page."""
        return [key for key in DRAWN if self.has(key)]

    def has(self, key: str) -> bool:
        return any(getattr(element, "key", None) == key for element in self.app)

    def message(self, key: str = "viewer") -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
        """What an element of the viewer was sent: "viewer" itself, "viewer_input" or "viewer_output" its volumes."""
        (found,) = (element for element in self.app if getattr(element, "key", None) == key)
        return unpack(found.proto.bytes)

    @property
    def errors(self) -> tuple[list[str], list[str]]:
        """What the main area says is wrong, and what the sidebar does."""
        main, sidebar = ([plain(error.value) for error in block.error] for block in (self.app.main, self.app.sidebar))
        return main, sidebar

    @property
    def beside(self) -> list[str]:
        """For each error in the sidebar the key of the control before it."""
        found, last = [], ""
        for element in self.app.sidebar:
            if element.type == "error":
                found.append(last)
            elif hasattr(element, "set_value"):
                last = getattr(element, "key", None) or last
        return found

    @property
    def warnings(self) -> list[str]:
        return [plain(warning.value) for warning in self.app.warning]

    @property
    def statistics(self) -> Any:
        (frame,) = (element.value for element in self.app.dataframe if "flag" in element.value.columns)
        return frame

    @property
    def program(self) -> str:
        (found,) = (code.value for code in self.app.code if "np.save" in code.value)
        return str(found)

    def file(self, name: str) -> bytes:
        """What the download button of that name delivers."""
        data = self.files[name]
        content = data() if callable(data) else data
        return content.encode() if isinstance(content, str) else bytes(content)

    def array(self, name: str) -> NDArray[np.float32]:
        array: NDArray[np.float32] = np.load(io.BytesIO(self.file(name)), allow_pickle=False)
        return array


def open_page(name: str, **link: str) -> AppTest:
    """A page that is no explorer, by its link."""
    app = AppTest.from_file(ROOT / "pages" / f"{name}.py", default_timeout=60)
    for key, value in link.items():
        app.query_params[key] = value
    return run(app)


def run(app: AppTest) -> AppTest:
    app.run()
    assert [(error.value, error.stack_trace) for error in app.exception] == []
    return app


def as_query(value: Any) -> str | list[str]:
    if isinstance(value, bool):
        return str(value).lower()
    return [str(item) for item in value] if isinstance(value, list | tuple) else str(value)


def plain(text: str) -> str:
    """Markdown's escapes taken off."""
    return re.sub(r"\\([^A-Za-z0-9\s])", r"\1", text)


OpenExplorer = Callable[..., Explorer]
