"""What people paste, read and held beside the real frameworks."""

from __future__ import annotations

from collections import Counter

import pytest

from conv3d_core.chain.reading import read_chain
from tests.core.snippets import RIGHT, WRONG, Snippet
from tests.core.snippets.reality import real_output, real_shapes

ALL = [*RIGHT, *WRONG]


def names(snippets: list[Snippet]) -> list[str]:
    return [snippet.name for snippet in snippets]


def test_there_are_enough_of_them() -> None:
    assert len(ALL) >= 150
    assert len(WRONG) >= 40
    assert max(Counter(names(ALL)).values()) == 1


@pytest.mark.parametrize("snippet", ALL, ids=names(ALL))
def test_the_layers_are_read_in_order(snippet: Snippet) -> None:
    chain = read_chain(snippet.text)
    assert [layer.kind for layer in chain.layers] == list(snippet.kinds)
    assert chain.framework == snippet.framework
    assert chain.uncertain_from == snippet.uncertain
    assert chain.input_shape in (None, snippet.input_shape)
    lines = snippet.text.splitlines()
    for layer in chain.layers:
        written = layer.call.removeprefix("x").rpartition(".")[2]
        assert written in lines[layer.line - 1]
        if layer.span:
            assert written in snippet.text[slice(*layer.span)]


RUN = [snippet for snippet in RIGHT if snippet.run]


@pytest.mark.parametrize("snippet", RUN, ids=names(RUN))
def test_the_real_module_gives_the_shape(snippet: Snippet) -> None:
    assert real_output(snippet) == snippet.output


RAISES = [snippet for snippet in WRONG if snippet.raises]
SILENT = [snippet for snippet in WRONG if snippet.raises is False]
ERRORS = (ValueError, TypeError, RuntimeError, IndexError, ZeroDivisionError)


@pytest.mark.parametrize("snippet", RAISES, ids=names(RAISES))
def test_the_framework_refuses_what_is_said_to_raise(snippet: Snippet) -> None:
    chain = read_chain(snippet.text)
    with pytest.raises(ERRORS):
        assert real_output(snippet) if snippet.run else real_shapes(chain, snippet.input_shape)


@pytest.mark.parametrize("snippet", SILENT, ids=names(SILENT))
def test_the_framework_says_nothing_where_only_we_do(snippet: Snippet) -> None:
    assert len(real_shapes(read_chain(snippet.text), snippet.input_shape)) == len(snippet.kinds)


CERTAIN = [snippet for snippet in RIGHT if snippet.uncertain in (None, len(snippet.kinds))]


@pytest.mark.parametrize("snippet", CERTAIN, ids=names(CERTAIN))
def test_the_layers_that_were_read_give_the_shape(snippet: Snippet) -> None:
    assert real_shapes(read_chain(snippet.text), snippet.input_shape)[-1] == snippet.output
