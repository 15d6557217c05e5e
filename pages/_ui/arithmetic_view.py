"""The sum behind the pinned output voxel as tables: patch times kernel, subtotals, bias, total, and MLX's value."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from conv3d_core.arithmetic import LARGEST, Arithmetic
from conv3d_core.figures.arithmetic import aligned, strengths
from conv3d_core.figures.palette import depth_colours, number

# What an eye takes in at once: cells of a grid, grids one below the other. Beyond it they are folded.
OPEN_CELLS, OPEN_GRIDS = 25, 9
# More products than this are not drawn one by one, and more than that are not gathered.
MAX_DRAWN, MAX_PRODUCTS = 4096, 2**20
# Subtotals that are listed before the rest is one line, and how many are listed without one.
SUBTOTALS, FEW_SUBTOTALS = 12, 16
# Of the result and its parts: what float32 holds.
DIGITS = 7
# A product of less than this share of the largest has no colour.
FAINTEST = 0.02
TOTAL = ' class="total"'
_TIMES, _MINUS = "\N{MULTIPLICATION SIGN}", "\N{MINUS SIGN}"
_STYLE = """
<style>
.sum {display: flex; flex-wrap: wrap; gap: 1.2rem 2.4rem; align-items: flex-start; --faint: 18%; --dashes: 70%;
  font-size: .8rem; line-height: 1.35; font-variant-numeric: tabular-nums;}
.sum > * {max-width: 100%; min-width: 0;}
.sum > .all {flex: 1 1 17rem; display: flex; flex-wrap: wrap; gap: .6rem 2.4rem; align-items: flex-start;}
.sum > .all > div + div {flex: 1 1 15rem; max-width: 26rem;}
.sum > .wide {flex: 1 1 100%;}
.sum .box {overflow-x: auto; padding: 2px;}
.sum table {border-collapse: collapse; margin: 0; width: auto; font-size: inherit;}
.sum caption {text-align: left; padding: 0 .4rem .25rem; font-weight: 600; white-space: nowrap; color: inherit;
  caption-side: top; font-size: inherit;}
.sum td, .sum th {border: 0; padding: .12rem .4rem; text-align: right; white-space: nowrap; font-weight: 400;}
.sum td, .sum code {font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, 'Liberation Mono', monospace;
  font-size: inherit; background: none; color: inherit; padding-inline: .4rem;}
.sum code {padding: 0; font-weight: 600;}
.sum th {color: color-mix(in srgb, currentColor 78%, transparent);}
.sum .row {display: flex; flex-wrap: wrap; align-items: center; gap: .7rem .6rem; border-left: 4px solid;
  padding: .1rem 0 .1rem .7rem;}
.sum .row + .row {margin-top: 1rem;}
.sum .term {display: flex; align-items: center; gap: .6rem;}
.sum .term > span {font-size: 1rem; padding-top: 1.9rem;}
/* No narrower than its caption, or the columns of one grid would not stand under another's. */
.sum .grid {min-width: 7.2rem;}
.sum .grid td {border: 1px solid color-mix(in srgb, currentColor var(--faint), transparent);
  min-width: calc(var(--w) * 1ch + .9rem);}
.sum .grid th {font-size: .72rem; padding: .05rem .35rem;}
.sum .grid .nil {color: color-mix(in srgb, currentColor 64%, transparent);}
.sum .pad {outline: 1.5px dashed color-mix(in srgb, currentColor var(--dashes), transparent); outline-offset: -3px;}
.sum .up {background: rgb(178 24 43 / var(--s));}
.sum .down {background: rgb(33 102 172 / var(--s));}
.sum .result {display: flex; flex-direction: column; padding: 1.1rem 0 0 .3rem;}
.sum .result small {font-size: .72rem;}
@media (max-width: 640px) {.sum .result {padding-top: 0; flex-direction: row; gap: .5rem; align-items: baseline;}}
.sum .list th:first-child {text-align: left;}
.sum .list :is(tbody tr + tr, tfoot tr) > * {
  border-top: 1px solid color-mix(in srgb, currentColor var(--faint), transparent);}
.sum .list thead th {vertical-align: bottom;}
.sum .list .total > * {border-top: 2px solid; font-weight: 700; color: inherit;}
.sum .chip {display: inline-block; width: .7rem; height: .7rem; border-radius: 2px; margin-right: .4rem;}
.sum .bar {display: inline-block; width: 3rem; margin-right: .5rem;}
.sum .bar i {display: block; height: .5rem; border-radius: 2px; background: currentColor; opacity: .5;}
.sum details {border-left: 4px solid; padding: .1rem 0 .1rem .7rem; margin-top: .35rem;}
.sum details .row {border-left: 0; padding: .4rem 0 .5rem;}
.sum summary {cursor: pointer; width: max-content; max-width: 100%;}
.sum p {margin: 0 0 .6rem; font-size: inherit; line-height: 1.45;}
.sum p .pad {display: inline-block; width: 1.2rem; text-align: center; margin-right: .35rem; outline-offset: -1px;}
</style>
"""


def show(found: Arithmetic, value: float, dtype: str) -> None:
    """The whole sum, and what MLX says.

    Args:
        found: the sum.
        value: MLX's, of the same voxel and channel.
        dtype: what MLX computed in.
    """
    depth, height, width, channels = found.products.shape
    folded = height * width > OPEN_CELLS or depth * channels > OPEN_GRIDS
    words = _paragraph(closing_words(found, value, dtype)) + _legend(found)
    total = f"{_box('The sum', _sum_table(found, value))}<div>{words}</div>"
    if folded:
        first, last = _box("The largest products", _largest_table(found)), _folded(found)
    else:
        first, last = _box("Patch, kernel and products", "".join(row for _, _, row in _rows(found))), ""
    body = f'<div>{first}</div><div class="all">{total}</div><div class="wide">{last}</div>'
    st.html(f'{_STYLE}<div class="sum">{body}</div>')


def too_many(products: int) -> None:
    """Where the sum has more products than are gathered."""
    st.markdown(
        f"The value of this voxel is the sum of {products:,} products. More than {MAX_PRODUCTS:,} are not written out: "
        "choose a smaller kernel_size or fewer channels."
    )


def closing_words(found: Arithmetic, value: float, dtype: str) -> str:
    """Whether the sum closes with MLX's value, and what a difference comes from."""
    count = f"{found.products.size:,} product{'s' if found.products.size != 1 else ''}"
    rounding = number(found.rounding).replace("-", "\N{NON-BREAKING HYPHEN}")
    if dtype != "float32":
        return f"MLX computed in {dtype}, which rounds the voxels, the weights and the sum; this table did not."
    if not found.closes_with(value):
        return f"The rounding of {count} explains a difference of up to {rounding}, not this one."
    if not math.isfinite(found.total):
        return "A voxel or a weight is not finite, and so is the sum, here as in MLX."
    if not math.isfinite(value):
        return "The sum is beyond the largest number of float32, in which MLX adds."
    if value == found.total:
        return "It closes: MLX, which adds in float32, comes to the same number."
    return (
        f"It closes: MLX adds in float32 and this table in float64, so that the sums of {count} may differ by up to "
        f"{rounding}."
    )


def _rows(found: Arithmetic) -> Iterator[tuple[int, int, str]]:
    """For each kernel depth plane and input channel: patch times kernel = products, and the subtotal."""
    depth, height, width, channels = found.products.shape
    shape = found.products.shape
    patch, kernel, products = (
        np.array(aligned(values)).reshape(shape) for values in (found.patch, found.kernel, found.products)
    )
    subtotals = np.array(aligned(found.subtotals, DIGITS)).reshape(depth, channels)
    tints = strengths(found.products).reshape(shape)
    colours = depth_colours(depth)
    depths, rows, columns = found.rows
    widest = [max(map(len, texts.flat)) for texts in (patch, kernel, products)]
    for kd, i in product(range(depth), range(channels)):
        padding = found.in_padding[kd]
        of = f", C {i}" if channels > 1 else ""
        cut = (kd, slice(None), slice(None), i)
        places = rows, columns
        numbers = range(height), range(width)
        terms = (
            _grid(f"input D {_index(depths[kd])}{of}", patch[cut], widest[0], places, padding=padding),
            _grid(f"kernel D {kd}{of}", kernel[cut], widest[1], numbers, found.kernel[cut]),
            _grid("products", products[cut], widest[2], numbers, found.products[cut], padding, tints[cut]),
        )
        signs = ("", f"<span>{_TIMES}</span>", "<span>=</span>")
        row = "".join(f'<div class="term">{sign}{grid}</div>' for sign, grid in zip(signs, terms, strict=True))
        result = f'<div class="result"><small>subtotal</small><code>{html.escape(subtotals[kd, i])}</code></div>'
        yield kd, i, f'<div class="row" style="border-color: {colours[kd]}">{row}{result}</div>'


def _grid(
    caption: str,
    texts: NDArray[np.str_],
    widest: int,
    places: tuple[Sequence[int], Sequence[int]],
    values: NDArray[Any] | None = None,
    padding: NDArray[np.bool_] | None = None,
    tints: NDArray[np.float64] | None = None,
) -> str:
    """One small table: H down, W across.

    Args:
        caption: what it holds.
        texts: the numbers (H, W); widest: characters of the longest one in all grids of the kind.
        places: the indices of its rows and of its columns.
        values: the numbers themselves, where those that are 0 step back.
        padding: which of them are hollow.
        tints: how strongly each is coloured by its sign.
    """
    head = "".join(f'<th scope="col">{_index(w)}</th>' for w in places[1])
    body = []
    for y, h in enumerate(places[0]):
        cells = []
        for x, text in enumerate(texts[y].tolist()):
            kind = ""
            if padding is not None and padding[y, x]:
                kind = ' class="pad" title="in the padding"'
                text = text if text.strip("0.") else "0"
            elif values is not None and values[y, x] == 0:
                kind = ' class="nil"'
            elif values is not None and tints is not None and tints[y, x] >= FAINTEST:
                kind = f' class="{"up" if values[y, x] > 0 else "down"}" style="--s: {0.45 * tints[y, x]:.2f}"'
            cells.append(f"<td{kind}>{html.escape(text)}</td>")
        body.append(f'<tr><th scope="row">{_index(h)}</th>{"".join(cells)}</tr>')
    return (
        f'<table class="grid" style="--w: {widest}"><caption>{html.escape(caption)}</caption>'
        f'<thead><tr><th scope="col">H \\ W</th>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'
    )


def _sum_table(found: Arithmetic, value: float) -> str:
    """Subtotals, bias, total, MLX's value and the difference."""
    depth, channels = found.subtotals.shape
    places = list(product(range(depth), range(channels)))
    listed = places
    if len(places) > FEW_SUBTOTALS:
        magnitudes = np.nan_to_num(np.abs(found.subtotals), nan=np.inf, posinf=np.inf)
        listed = sorted(places, key=lambda place: -magnitudes[place])[:SUBTOTALS]
    rest = [float(found.subtotals[place]) for place in places if place not in set(listed)]
    lines: list[tuple[str, float]] = []
    if rest:
        lines.append((f"{len(rest):,} other subtotals", sum(rest)))
    if found.bias is not None:
        lines.append(("bias", found.bias))
    lines.append(("total", found.total))
    lines.append(("MLX says", value))
    numbers = [*(float(found.subtotals[place]) for place in listed), *(number for _, number in lines)]
    texts = aligned(numbers, DIGITS)
    colours = depth_colours(depth)
    rows = "".join(
        f'<tr><th scope="row"><i class="chip" style="background: {colours[kd]}"></i>kernel D {kd}'
        f"{f', channel {i}' if channels > 1 else ''}</th><td>{html.escape(text)}</td></tr>"
        for (kd, i), text in zip(listed, texts, strict=False)
    )
    feet = "".join(
        f'<tr{TOTAL if name == "total" else ""}><th scope="row">{name}</th><td>{html.escape(text)}</td></tr>'
        for (name, _), text in zip(lines, texts[len(listed) :], strict=True)
    )
    feet += f'<tr><th scope="row">difference</th><td>{_difference(value, found.total)}</td></tr>'
    first = "the largest subtotals" if rest else "subtotals"
    return (
        '<table class="list"><caption>The sum</caption>'
        f'<thead><tr><th scope="col">{first}</th><th scope="col">value</th></tr></thead>'
        f"<tbody>{rows}</tbody><tfoot>{feet}</tfoot></table>"
    )


def _largest_table(found: Arithmetic) -> str:
    """The largest products, one a line, and all others in one."""
    depth, _, _, channels = found.products.shape
    largest = found.largest
    values, weights, products = (
        aligned([getattr(c, name) for c in largest]) for name in ("value", "weight", "product")
    )
    # Of its own, since it may be a hundred times as large as each of them.
    (rest,) = aligned([found.rest])
    colours = depth_colours(depth)
    lines = []
    for place, c in enumerate(largest):
        channel = f"<td>{c.channel}</td>" if channels > 1 else ""
        lines.append(
            f'<tr><th scope="row"><i class="chip" style="background: {colours[c.tap[0]]}"></i>{_place(c.tap)}</th>'
            f"<td>{_place(c.voxel)}</td>{channel}<td>{html.escape(values[place])}</td>"
            f"<td>{_TIMES} {html.escape(weights[place])}</td><td>= {html.escape(products[place])}</td>"
            f"<td>{_share(c.share, largest[0].share)}</td></tr>"
        )
    others = found.products.size - len(largest)
    share = 1 - sum(c.share for c in largest) if largest else 0.0
    foot = ""
    if others:
        span = 4 + (channels > 1)
        foot = (
            f'<tfoot><tr><th scope="row" colspan="{span}">{others:,} other products</th>'
            f"<td>{html.escape(rest)}</td><td>{_share(share, 0)}</td>"
            "</tr></tfoot>"
        )
    names = ["tap D, H, W", "input voxel", *(["channel"] if channels > 1 else []), "value", "weight", "product"]
    head = "".join(f'<th scope="col">{name}</th>' for name in [*names, "share"])
    what = f"The {len(largest)} largest of {found.products.size:,} products"
    if len(largest) < min(LARGEST, found.products.size):
        what = f"{len(largest)} of {found.products.size:,} products {'is' if len(largest) == 1 else 'are'} not 0"
    return (
        f'<table class="list"><caption>{what}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody>{foot}</table>"
    )


def _folded(found: Arithmetic) -> str:
    """The grids, each behind its own line."""
    depth, _, _, channels = found.products.shape
    if not _is_drawn(found):
        return _paragraph(
            f"The grids of {found.products.size:,} products are too many to draw; up to {MAX_DRAWN:,} are drawn."
        )
    subtotals = aligned(found.subtotals, DIGITS)
    colours = depth_colours(depth)
    return "".join(
        f'<details style="border-color: {colours[kd]}"><summary>Kernel D {kd} on input D '
        f"{_index(found.rows[0][kd])}{f', channel {i}' if channels > 1 else ''}: subtotal "
        f"<code>{html.escape(subtotals[kd * channels + i])}</code></summary>"
        f"{_box(f'Kernel D {kd}, channel {i}', row)}</details>"
        for kd, i, row in _rows(found)
    )


def _legend(found: Arithmetic) -> str:
    key = '<span class="pad">0</span>in the padding, read as 0. ' if found.in_padding.any() else ""
    colours = f"{key}Products: red above 0, blue below, the stronger the larger. " if _is_drawn(found) else ""
    return f"<p>{colours}MLX computes a cross-correlation: the kernel lies on the volume as it is, not flipped.</p>"


def _is_drawn(found: Arithmetic) -> bool:
    return found.products.size <= MAX_DRAWN


def _box(label: str, content: str) -> str:
    """Content that scrolls in itself where the page is narrow, also by keyboard."""
    return f'<div class="box" role="group" tabindex="0" aria-label="{html.escape(label)}">{content}</div>'


def _paragraph(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def _difference(value: float, total: float) -> str:
    if repr(value) == repr(total):
        return "0"
    return "none to tell" if math.isnan(value - total) else number(value - total)


def _share(share: float, largest: float) -> str:
    """A share of the whole, with a bar beside the largest one; without where that is 0."""
    if math.isnan(share):
        return "unknown"
    bar = f'<span class="bar"><i style="width: {100 * share / largest:.0f}%"></i></span>' if largest else ""
    return f"{bar}{100 * abs(share):.1f} %"


def _place(indices: Sequence[int]) -> str:
    return ", ".join(_index(index) for index in indices)


def _index(index: int) -> str:
    return str(index).replace("-", _MINUS)
