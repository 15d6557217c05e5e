"""Biases that do nothing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from conv3d_core.chain.trace import Report, Row
from conv3d_core.diagnosis.edits import Change
from conv3d_core.diagnosis.finding import Draft, Finding
from conv3d_core.diagnosis.wording import called, counted, sentence, several

GIVES_BIAS = ("Conv3d", "ConvTranspose3d", "Linear")


def dead_biases(report: Report) -> Draft | None:
    """The biases that a norm right behind takes away again, with the mean; one draft for all."""
    chain = report.case.chain
    passed = {passed.before for passed in chain.passed}
    # An Identity leaves all as it is.
    rows = [row for row in report.rows if row.layer.kind != "Identity"]
    pairs = [
        (row, behind)
        for row, behind in pairwise(rows)
        if row.layer.kind in GIVES_BIAS
        and row.layer.value("bias", chain.framework) is True
        and _takes_means(row, behind)
        and passed.isdisjoint(range(row.index + 1, behind.index + 1))
    ]
    if not pairs:
        return None
    dead = [row.index for row, _ in pairs]
    row, behind = pairs[0]
    parameters = sum(_outputs(row) for row, _ in pairs)
    if len(pairs) == 1:
        words = f"The bias of {called(chain, row.index)} does nothing: {called(chain, behind.index)} behind it takes"
        words += " away each channel's mean, and with it whatever was added to the channel."
    else:
        words = f"The biases of {several(chain, dead)} do nothing: the {_kinds([behind for _, behind in pairs])} behind"
        words += " each takes away each channel's mean, and with it whatever was added to the channel."
    words += f" {counted(parameters, 'parameter')} {'are' if parameters > 1 else 'is'} trained in vain."

    def changes() -> Iterator[Change]:
        yield Change({index: {"bias": False} for index in dead}, idea="all")

    return Draft(Finding("dead-bias", "hint", row.index, None, sentence(words)), changes)


def _kinds(rows: Sequence[Row]) -> str:
    return " or ".join(dict.fromkeys(row.layer.kind for row in rows))


def _outputs(row: Row) -> int:
    return row.output_shape[row.letters.index("C") if "C" in row.letters else -1]


def _takes_means(row: Row, behind: Row) -> bool:
    """Whether a norm takes the mean of each channel that the layer before it gives, alone."""
    if behind.layer.kind in ("BatchNorm", "InstanceNorm"):
        return True
    if behind.layer.kind != "GroupNorm" or "C" not in row.letters:
        return False
    return behind.layer.arguments.get("num_groups") == behind.layer.arguments.get("dims")
