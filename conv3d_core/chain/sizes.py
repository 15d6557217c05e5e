"""Sizes and arguments as a person types them: ``1, 32, 32, 32, 1``, ``(1, 2, 2)``, ``1x3x3``, ``same``."""

from __future__ import annotations

import re
from collections.abc import Sequence

from conv3d_core.chain.layer import Sizes
from conv3d_core.errors import ShapeError, SpecError, shown

_EXAMPLE = "write sizes such as 1, 32, 32, 32, 1"
_MOST_AXES = 8
_MOST_DIGITS = 10
_INTEGER = re.compile(rf"[-+]?[0-9]{{1,{_MOST_DIGITS}}}")
_DECIMAL = re.compile(rf"[-+]?[0-9]{{0,{_MOST_DIGITS}}}\.[0-9]{{0,{_MOST_DIGITS}}}")
_WORDS = {"None": None, "none": None, "True": True, "False": False}


def read_sizes(text: str) -> Sizes:
    """The shape of an array; any integers, possible or not.

    Raises:
        ShapeError: the text is no list of integers; the field is "input".

    >>> read_sizes("(1, 32, 32, 32, 1)"), read_sizes("1x16x112x112x3"), read_sizes("torch.Size([1, 1, 8, 8, 8])")
    ((1, 32, 32, 32, 1), (1, 16, 112, 112, 3), (1, 1, 8, 8, 8))
    """
    inner = re.sub(r"^[\w.]*\s*[(\[{]+|[)\]}]+$", "", text.strip())
    parts = [part for part in re.split(r"[\s,;x×*]+", inner) if part]
    for part in parts:
        if not _INTEGER.fullmatch(part):
            raise ShapeError("input", f"{shown(part)} in {shown(text)} is not an integer", _EXAMPLE, value=text)
    if not 1 <= len(parts) <= _MOST_AXES:
        raise ShapeError("input", f"{shown(text)} has {len(parts)} sizes", _EXAMPLE, value=text)
    return tuple(int(part) for part in parts)


def write_sizes(sizes: Sequence[int]) -> str:
    """The inverse of `read_sizes`.

    >>> write_sizes((1, 8, 8, 8, 2))
    '1, 8, 8, 8, 2'
    """
    return ", ".join(map(str, sizes))


def read_argument(text: str) -> object:
    """One argument of a layer: a number, several of them, a word, True, False or None.

    Raises:
        SpecError: the text is none of these; the field is "argument".

    >>> read_argument("3"), read_argument("1, 3, 3"), read_argument("(2,2,2)"), read_argument("same")
    (3, (1, 3, 3), (2, 2, 2), 'same')
    """
    inner = re.sub(r"^[(\[]|[)\]]$", "", text.strip())
    parts = [part for part in re.split(r"[\s,]+", inner) if part]
    if not parts or len(parts) > _MOST_AXES:
        raise SpecError("argument", f"{shown(text)} has {len(parts)} values", "write 3, or 1, 3, 3", value=text)
    values = [_value(part, text) for part in parts]
    if len(values) == 1:
        return values[0]
    if not all(isinstance(value, int | float) for value in values):
        raise SpecError("argument", f"{shown(text)} is not a row of numbers", "write 3, or 1, 3, 3", value=text)
    return tuple(values)


def write_argument(value: object) -> str:
    """The inverse of `read_argument`: three equal numbers as one.

    >>> write_argument((1, 3, 3)), write_argument([2, 2, 2]), write_argument(None)
    ('1, 3, 3', '2', 'None')
    """
    if isinstance(value, tuple | list):
        parts = [str(item) for item in value]
        return parts[0] if len(parts) == 3 and len(set(parts)) == 1 else ", ".join(parts)
    return str(value)


def _value(part: str, text: str) -> object:
    if _INTEGER.fullmatch(part):
        return int(part)
    if _DECIMAL.fullmatch(part) and part.strip("+-.") != "":
        return float(part)
    if part in _WORDS:
        return _WORDS[part]
    word = part.strip("'\"")
    if re.fullmatch(r"[a-z_]{1,20}", word):
        return word
    raise SpecError("argument", f"{shown(part)} in {shown(text)} is no number", "write 3, or 1, 3, 3", value=text)
