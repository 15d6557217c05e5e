"""A chain as a table: a row a layer, what is written of it and what comes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from conv3d_core.chain.layer import Layer
from conv3d_core.chain.sizes import write_argument
from conv3d_core.chain.trace import Report, Row
from conv3d_core.figures.cost import count
from conv3d_core.figures.growth import sides
from conv3d_core.shapes import format_bytes
from conv3d_core.source_code import short

_POOL = {name: name for name in ("kernel_size", "stride", "padding")}
_CONV = {"in": "in_channels", "out": "out_channels", **_POOL, "dilation": "dilation"}
# Which argument stands in which column, by kind. The others are told in words.
_COLUMNS: Mapping[str, Mapping[str, str]] = {
    "Conv3d": _CONV,
    "ConvTranspose3d": _CONV,
    "MaxPool3d": _POOL,
    "AvgPool3d": _POOL,
    "BatchNorm": {"in": "num_features"},
    "InstanceNorm": {"in": "dims"},
    "GroupNorm": {"in": "dims"},
    "Linear": {"in": "input_dims", "out": "output_dims"},
}
State = Literal["ok", "failed", "unreached", "uncertain"]


@dataclass(frozen=True, slots=True)
class Cell:
    """An argument: MLX's name of it, and its value as text."""

    argument: str
    text: str


@dataclass(frozen=True, slots=True)
class Facts:
    """What comes of a layer, as texts; empty where there is nothing to tell."""

    letters: str = ""
    output: str = ""
    parameters: str = ""
    macs: str = ""
    memory: str = ""
    unfolded: str = ""
    field: str = ""
    jump: str = ""


@dataclass(frozen=True, slots=True)
class TableRow:
    """A layer.

    Attributes:
        kind: its class.
        name: what the text calls it.
        others: arguments that have no column, as written.
        state: whether it takes what comes to it.
        cells: column -> argument; the columns are "in", "out", "kernel_size", "stride", "padding", "dilation".
        facts: what comes of it.
    """

    kind: str
    name: str
    others: str
    state: State
    cells: Mapping[str, Cell]
    facts: Facts


@dataclass(frozen=True, slots=True)
class TableInfo:
    """All layers, and the sums of those that run."""

    rows: tuple[TableRow, ...]
    total: Facts


def table_info(report: Report) -> TableInfo:
    """The table of a traced chain.

    >>> from conv3d_core.chain import Case
    >>> from conv3d_core.chain.reading import read_chain
    >>> from conv3d_core.chain.trace import trace
    >>> info = table_info(trace(Case(read_chain("nn.Conv3d(1, 8, 3, bias=False)"), (1, 8, 8, 8, 1))))
    >>> info.rows[0].cells["kernel_size"], info.rows[0].others, info.rows[0].facts.output, info.total.parameters
    (Cell(argument='kernel_size', text='3'), 'bias=False', '1, 6, 6, 6, 8', '216')
    """
    facts = {row.index: _facts(row) for row in report.rows}
    rows = [
        _row(layer, _state(report, index), facts.get(index, Facts()))
        for index, layer in enumerate(report.case.chain.layers)
    ]
    total = Facts(
        parameters=f"{report.parameters:,}", macs=count(report.macs), memory=format_bytes(report.output_bytes)
    )
    return TableInfo(tuple(rows), total)


def _row(layer: Layer, state: State, facts: Facts) -> TableRow:
    cells = {
        column: Cell(argument, write_argument(_shown(layer, argument)))
        for column, argument in _COLUMNS.get(layer.kind, {}).items()
    }
    known = {cell.argument for cell in cells.values()}
    others = [f"{name}={short(value)!r}" for name, value in layer.arguments.items() if name not in known]
    return TableRow(layer.kind, layer.name, ", ".join(others), state, cells, facts)


def _state(report: Report, index: int) -> State:
    if report.case.chain.is_uncertain(index):
        return "uncertain"
    if report.failed is not None and index >= report.failed:
        return "failed" if index == report.failed else "unreached"
    return "ok"


def _shown(layer: Layer, argument: str) -> object:
    """What is written, or the default; a pooling's stride is its kernel where nothing is said."""
    written = layer.arguments
    if argument in written and not (argument == "stride" and written[argument] is None):
        return written[argument]
    if argument == "stride" and layer.family == "pooling":
        return written.get("kernel_size", "")
    return {"stride": 1, "padding": 0, "dilation": 1}.get(argument, "")


def _facts(row: Row) -> Facts:
    return Facts(
        row.letters,
        ", ".join(map(str, row.output_shape)),
        f"{row.parameters:,}" if row.parameters else "",
        count(row.macs) if row.macs else "",
        format_bytes(row.output_bytes),
        format_bytes(row.unfolded_bytes) if row.unfolded_bytes else "",
        sides(row.reach.size) if row.reach else "",
        _jump(row.reach.jump) if row.reach else "",
    )


def _jump(steps: Sequence[Fraction]) -> str:
    texts = [str(step) for step in steps]
    return texts[0] if len(set(texts)) == 1 else " \N{MULTIPLICATION SIGN} ".join(texts)
