"""Every example is what its name says."""

from __future__ import annotations

import pytest

from conv3d_core.chain import Case
from conv3d_core.chain.examples import EXAMPLES
from conv3d_core.chain.reading import read_chain
from conv3d_core.diagnosis import diagnose


@pytest.mark.parametrize("name", EXAMPLES)
def test_an_example_states_its_input_and_gets_its_finding(name: str) -> None:
    example = EXAMPLES[name]
    chain = read_chain(example.text)
    assert chain.input_shape
    codes = [
        finding.code for finding in diagnose(Case(chain, chain.input_shape)).findings if finding.severity != "hint"
    ]
    assert codes[:1] == ([example.finding] if example.finding else [])
