"""Every snippet that is wrong gets the finding that it must get, and every change that is offered works in reality."""

from __future__ import annotations

import pytest

from conv3d_core.chain.layer import Case
from conv3d_core.chain.reading import read_chain
from conv3d_core.chain.trace import trace
from conv3d_core.diagnosis import Finding, diagnose
from tests.core.snippets import RIGHT, WRONG, Snippet
from tests.core.snippets.reality import real_shapes

ALL = [*RIGHT, *WRONG]


def case(snippet: Snippet) -> Case:
    return Case(read_chain(snippet.text), snippet.input_shape, snippet.layout)


def names(snippets: list[Snippet]) -> list[str]:
    return [snippet.name for snippet in snippets]


def wanted(snippet: Snippet) -> Finding:
    finding = snippet.finding
    assert finding is not None
    findings = diagnose(case(snippet)).findings
    for found in findings:
        if found.code == finding.code and finding.layer in (None, found.layer) and finding.axis in (None, found.axis):
            return found
    raise AssertionError([(found.code, found.layer, found.axis) for found in findings])


@pytest.mark.parametrize("snippet", WRONG, ids=names(WRONG))
def test_what_is_wrong_is_found(snippet: Snippet) -> None:
    assert snippet.finding is not None
    found = wanted(snippet)
    assert found.words.endswith(".")
    assert found.fixes
    if snippet.finding.field:
        assert snippet.finding.field in found.words


@pytest.mark.parametrize("snippet", [s for s in WRONG if s.raises], ids=names([s for s in WRONG if s.raises]))
def test_what_raises_is_an_error_that_comes_first(snippet: Snippet) -> None:
    if snippet.uncertain is None:
        first = diagnose(case(snippet)).findings[0]
        assert (first.code, first.severity) == (wanted(snippet).code, "error")


@pytest.mark.parametrize("snippet", RIGHT, ids=names(RIGHT))
def test_what_is_right_has_no_error(snippet: Snippet) -> None:
    assert [finding for finding in diagnose(case(snippet)).findings if finding.severity == "error"] == []


def test_what_is_right_is_left_in_peace() -> None:
    found = [finding for snippet in RIGHT for finding in diagnose(case(snippet)).findings]
    assert len(found) <= len(RIGHT) // 5
    # Strided convolutions of 3 without padding, on even sizes.
    assert {finding.code for finding in found if finding.severity == "silent"} == {"dropped-voxels"}


@pytest.mark.parametrize("snippet", ALL, ids=names(ALL))
def test_every_change_works_in_reality(snippet: Snippet) -> None:
    before = case(snippet)
    diagnosis = diagnose(before)
    for finding in diagnosis.findings:
        assert len(finding.fixes) <= 4
        words = [fix.words for fix in finding.fixes]
        assert len(set(words)) == len(words)
        for fix in finding.fixes:
            assert fix.case != before
            after = trace(fix.case)
            if diagnosis.report.failed is None or len(diagnosis.findings) == 1:
                assert after.error is None
            real = real_shapes(fix.case.chain, fix.case.input_shape) if after.error is None else []
            assert real == [row.output_shape for row in after.rows if after.error is None]
            again = read_chain(fix.case.chain.text, fix.case.chain.framework)
            assert [(layer.kind, layer.arguments) for layer in again.layers] == [
                (layer.kind, layer.arguments) for layer in fix.case.chain.layers
            ]
            assert again.framework == before.chain.framework
            left = diagnose(fix.case)
            assert (finding.code, finding.words) not in [(other.code, other.words) for other in left.findings]


def test_a_step_that_changes_values_alone_makes_nothing_uncertain() -> None:
    text = "x = nn.Conv3d(1, 8, 3)(x)\nx = x * 2\n{}x = nn.Conv3d(8, 8, 9)(x)"
    (found,) = diagnose(Case(read_chain(text.format("")), (1, 8, 8, 8, 1))).findings
    assert (found.code, found.severity) == ("kernel-too-large", "error")
    (hint,) = diagnose(Case(read_chain(text.format("x = roll(x)\n")), (1, 8, 8, 8, 1))).findings
    assert hint.severity == "hint"
    assert hint.words.startswith("If line 3, which is passed over, leaves the array as it is: ")
