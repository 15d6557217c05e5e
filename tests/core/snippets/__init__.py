"""Text as people paste it, with what it is: read, built, and run beside the real frameworks."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from conv3d_core.chain.layer import Framework, Layout, Sizes

FOLDER = Path(__file__).parent


class Finding(NamedTuple):
    """What the diagnosis must find.

    Attributes:
        code: of the finding.
        layer: by its index; None where any.
        axis: "D", "H", "W"; None where any.
        field: the argument to blame; None where any.
    """

    code: str
    layer: int | None = None
    axis: str | None = None
    field: str | None = None


class Snippet(NamedTuple):
    """One of them.

    Attributes:
        name: unique.
        text: what is pasted.
        framework: in whose words it is.
        input_shape: of the array as it is handed in.
        kinds: of its layers, in order.
        output: shape at the end of the real thing; empty where it is wrong.
        run: what gives the real thing after the text ran (only for our own text, and only in tests); "" where the
            text does not make it.
        uncertain: the layer before which something stands that is not followed.
        layout: what its owner says of the input's axes.
        finding: what is wrong with it.
        raises: whether the framework itself says so; None where it does only on data.
    """

    name: str
    text: str
    framework: Framework
    input_shape: Sizes
    kinds: tuple[str, ...]
    output: Sizes
    run: str = ""
    uncertain: int | None = None
    layout: Layout | None = None
    finding: Finding | None = None
    raises: bool | None = None


def read_snippets(file: str) -> list[Snippet]:
    """Those in a file of this folder: ``#### name``, lines ``#: key value``, the text."""
    return [_snippet(part) for part in (FOLDER / file).read_text("utf-8").split("#### ")[1:]]


def _snippet(part: str) -> Snippet:
    name, _, rest = part.partition("\n")
    said = {}
    while rest.startswith("#: "):
        line, _, rest = rest[3:].partition("\n")
        key, _, said[key] = line.partition(" ")
    finding = None
    if "finding" in said:
        code, layer, axis = (word.strip() for word in said["finding"].split("|"))
        finding = Finding(code, int(layer) if layer else None, axis or None, said.get("field"))
    layout: Layout | None = "NCDHW" if said.get("layout") == "NCDHW" else None
    return Snippet(
        name.strip(),
        rest.strip("\n") + "\n",
        "torch" if said["framework"] == "torch" else "mlx",
        _sizes(said["input"]),
        tuple(said["kinds"].split()),
        _sizes(said["output"]) if "output" in said else (),
        said.get("run", ""),
        int(said["uncertain"]) if "uncertain" in said else None,
        layout,
        finding,
        said["real"] == "raises" if "real" in said else None,
    )


def _sizes(text: str) -> Sizes:
    return tuple(map(int, text.split(",")))


RIGHT = [*read_snippets("mlx_right.txt"), *read_snippets("torch_right.txt")]
WRONG = read_snippets("wrong.txt")
