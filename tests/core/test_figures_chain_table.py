"""A chain as a table, in numbers done by hand."""

from __future__ import annotations

from conv3d_core.chain import Case
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.trace import trace
from conv3d_core.figures.chain_table import Cell, Facts, TableInfo, table_info


def table(text: str, *input_shape: int) -> TableInfo:
    return table_info(trace(Case(read_chain(text), input_shape)))


NET = "nn.Sequential(nn.Conv3d(1, 8, (1, 3, 3), stride=2, bias=False), nn.MaxPool3d(2), nn.GroupNorm(2, 8))"


def test_each_layer_says_what_is_written_and_what_comes_of_it() -> None:
    conv, pool, norm = table(NET, 1, 9, 9, 9, 1).rows
    assert conv.cells == {
        "in": Cell("in_channels", "1"),
        "out": Cell("out_channels", "8"),
        "kernel_size": Cell("kernel_size", "1, 3, 3"),
        "stride": Cell("stride", "2"),
        "padding": Cell("padding", "0"),
        "dilation": Cell("dilation", "1"),
    }
    assert conv.others == "bias=False"
    # 5 x 4 x 4 outputs of 8 channels, 9 taps each; MLX unfolds 9 values of 80 windows.
    assert conv.facts == Facts("NDHWC", "1, 5, 4, 4, 8", "72", "5,760", "2.50 KiB", "2.81 KiB", "1 × 3 × 3", "2")
    # Where no stride is written it is the kernel's.
    assert {column: cell.text for column, cell in pool.cells.items()} == {
        "kernel_size": "2",
        "stride": "2",
        "padding": "0",
    }
    assert (pool.facts.output, pool.facts.field, pool.facts.jump) == ("1, 2, 2, 2, 8", "3 × 5 × 5", "4")
    assert (norm.cells, norm.facts.parameters) == ({"in": Cell("dims", "8")}, "16")


def test_the_last_row_sums() -> None:
    total = table(NET, 1, 9, 9, 9, 1).total
    assert (total.parameters, total.macs, total.memory) == ("88", "5,760", "3.00 KiB")


def test_a_layer_that_does_not_fit_is_marked_and_those_behind_it() -> None:
    rows = table("nn.Sequential(nn.ReLU(), nn.Conv3d(2, 8, 3), nn.ReLU())", 1, 9, 9, 9, 1).rows
    assert [row.state for row in rows] == ["ok", "failed", "unreached"]
    assert rows[1].facts == Facts()


def test_what_follows_something_unknown_is_uncertain() -> None:
    rows = table("nn.Sequential(nn.ReLU(), Mystery(), nn.ReLU())", 1, 9, 9, 9, 1).rows
    assert [row.state for row in rows] == ["ok", "uncertain"]


def test_a_text_in_the_place_of_a_number_is_shown_as_it_is() -> None:
    (row,) = table('nn.Conv3d(1, 8, 3, padding="same")', 1, 9, 9, 9, 1).rows
    assert row.cells["padding"] == Cell("padding", "same")
    assert row.state == "failed"
