"""Names that somebody may have meant."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Iterable


def meant(word: str, words: Iterable[str], alike: float = 0.85) -> str:
    """The one of some words that is most like another, capitals and small letters taken as one; "" where none is.

    >>> meant("Conv3D", ["Conv3d", "MaxPool3d"]), meant("Attention", ["Conv3d"]), meant("strides", ["stride"])
    ('Conv3d', '', 'stride')
    """
    return _closest(word[:100].lower(), tuple(words), alike)


@functools.lru_cache(maxsize=1024)  # a loop asks for the same one again and again
def _closest(word: str, words: tuple[str, ...], alike: float) -> str:
    by_small = {other.lower(): other for other in words}
    found = difflib.get_close_matches(word, by_small, 1, alike)
    return by_small[found[0]] if found else ""


def did_you_mean(word: str, words: Iterable[str], alike: float = 0.85) -> str:
    """The same as a question in brackets with a blank before it; "" where there is none to ask.

    >>> did_you_mean("kernal_size", ["kernel_size", "stride"])
    ' (did you mean kernel_size?)'
    """
    found = meant(word, words, alike)
    return f" (did you mean {found}?)" if found else ""
