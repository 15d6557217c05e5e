"""The README's Python runs as it stands, and prints what the README says it prints."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
# A python block, and the text block that follows with nothing but blank lines between.
BLOCK = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\s*^```text\n(?P<output>.*?)^```$)?", re.DOTALL | re.MULTILINE)


class Example(NamedTuple):
    """A python block, the line it begins on, and what it is said to print, if that is said."""

    line: int
    code: str
    output: str | None


def examples(text: str) -> list[Example]:
    """All python blocks of a Markdown text."""
    return [
        Example(text.count("\n", 0, match.start()) + 1, match["code"], match["output"])
        for match in BLOCK.finditer(text)
    ]


FOUND = examples(README.read_text(encoding="utf-8")) if README.exists() else []


def test_the_readme_has_examples() -> None:
    assert FOUND, "README.md has no ```python block"


@pytest.mark.parametrize("example", FOUND, ids=lambda example: f"line-{example.line}")
def test_an_example_of_the_readme_runs(example: Example) -> None:
    done = subprocess.run([sys.executable, "-c", example.code], cwd=ROOT, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr
    if example.output is not None:
        assert done.stdout == example.output


def test_blocks_are_found_with_their_output() -> None:
    text = (
        "# T\n\n```python\nprint(1)\n```\n\n```text\n1\n```\nwords\n```python\npass\n```\nwords\n```text\nother\n```\n"
    )
    assert examples(text) == [Example(3, "print(1)\n", "1\n"), Example(11, "pass\n", None)]
