"""Pasted text as Python's parser takes it, with the way back to every character of what was pasted."""

from __future__ import annotations

import ast
import re
import textwrap
from dataclasses import dataclass, field

from conv3d_core.chain.layer import Passed
from conv3d_core.errors import SpecError, shown
from conv3d_core.source_code import EXAMPLE, MAX_TEXT

REMEDY = f"paste layers, such as {EXAMPLE}, nn.Sequential(...) or a class with its __init__ and __call__ or forward"
_NOT_PYTHON = 8  # lines that are passed over before the text is given up: each is another run of the parser
_FENCE = re.compile(r"\s*(```|~~~)")
_PROMPT = re.compile(r"(\s*(?:>>>|\.\.\.|In \[\d*\]:|\s\.\.\.:)) ?")
_BLOCK = re.compile(r"(async |class |def |elif |else\b|except\b|finally\b|for |if |try\b|while |with ).*:$")
_QUOTES = str.maketrans("\u201c\u201d\u201e\u2018\u2019\u201a", "\"\"\"'''")
_SHELL = re.compile(r"\s*(%|!|\?|\$ |pip install |conda install )")


@dataclass(slots=True)
class Pasted:
    """The lines of a text without what is not code: as many as there were, some of them empty.

    Attributes:
        lines: what is left of each line.
        starts: for each, the place in the text of its first character.
        passed: lines that are no Python.
        encoded: lines as `ast` counts in them, where that is another number.
    """

    lines: list[str]
    starts: list[int]
    passed: list[Passed] = field(default_factory=list)
    encoded: dict[int, bytes] = field(default_factory=dict)

    def offset(self, line: int, column: int) -> int:
        """The place in the text of what `ast` says is in a line (from 1) after so many bytes of UTF-8."""
        kept = self.lines[line - 1]
        characters = column
        if not kept.isascii():
            self.encoded.setdefault(line, kept.encode(errors="replace"))
            characters = len(self.encoded[line][:column].decode(errors="ignore"))
        return self.starts[line - 1] + characters

    def span(self, node: ast.expr) -> tuple[int, int]:
        """Where an expression stands in the text."""
        return self.offset(node.lineno, node.col_offset), self.offset(node.end_lineno or 0, node.end_col_offset or 0)

    def line(self, number: int) -> str:
        """A line (from 1) for a message."""
        return textwrap.shorten(self.lines[number - 1][:400], 80, placeholder=" ...")

    def said(self, node: ast.stmt | ast.expr) -> str:
        """What an expression's first line says, for a message."""
        line, start = self.lines[node.lineno - 1], self.starts[node.lineno - 1]
        first = self.offset(node.lineno, node.col_offset) - start
        last = len(line)
        if node.end_lineno == node.lineno:
            last = self.offset(node.lineno, node.end_col_offset or 0) - start
        return textwrap.shorten(line[first : min(last, first + 200)], 60, placeholder="...")

    def parse(self) -> ast.Module:
        """The lines as Python; those that are none (a traceback, words around the code) are passed over.

        Raises:
            SpecError: too many of them are none.
        """
        for _ in range(_NOT_PYTHON + 2):
            try:
                return _parsed("\n".join(self.lines))
            except SyntaxError as error:
                first = error
                if not self._straightened(error) and not self._pass_over(error):
                    break
        at = f"line {first.lineno} " if first.lineno else ""
        reason = (first.msg or "").split(";")[0]
        raise SpecError("text", f"{at}is not Python ({reason})", REMEDY)

    def _straightened(self, error: SyntaxError) -> bool:
        """Turns a word processor's quotes into Python's, in all lines, where one of them is to blame.

        Each is one character as before, so places stay.
        """
        if "invalid character" not in (error.msg or ""):
            return False
        before = list(self.lines)
        self.lines[:] = [line.translate(_QUOTES) for line in before]
        return self.lines != before

    def _pass_over(self, error: SyntaxError) -> bool:
        """Empties the line that is to blame, if it is no Python on its own either."""
        number = error.lineno or 0
        if not 1 <= number <= len(self.lines) or len(self.passed) >= _NOT_PYTHON:
            return False
        line = self.lines[number - 1].strip()
        if not line or line[-1] in "([{,\\" or not _balanced(line) or _BLOCK.match(line):
            return False
        try:
            _parsed(line)
        except SyntaxError:
            self.passed.append(Passed(number, self.line(number), "it is not Python"))
            self.lines[number - 1] = ""
            return True
        return False


def clean(text: object) -> Pasted:
    """The code in a text: without a Markdown fence, prompts, notebook commands and indentation.

    Raises:
        SpecError: it is no text, or too long.

    >>> clean(">>> conv = nn.Conv3d(1, 8, 3)\\n>>> conv(x).shape\\n(1, 6, 6, 6, 8)").lines
    ['conv = nn.Conv3d(1, 8, 3)', 'conv(x).shape', '']
    """
    if not isinstance(text, str) or len(text) > MAX_TEXT:
        raise SpecError("text", f"it is not text of at most {MAX_TEXT:,} characters", REMEDY)
    lines, starts, place = [], [], 0
    for piece in re.split(r"(\r\n|\r|\n)", text):
        if piece in ("\n", "\r", "\r\n"):
            place += len(piece)
            continue
        lines.append(piece)
        starts.append(place)
        place += len(piece)
    pasted = Pasted(lines, starts)
    _unfence(pasted)
    _unprompt(pasted)
    for number, line in enumerate(lines):
        if line.startswith("\ufeff"):
            _cut(pasted, number, 1)
        if _SHELL.match(line):
            lines[number] = ""
        elif "\xa0" in line:  # what a web page puts for a blank; as many characters, so places stay
            lines[number] = line.replace("\xa0", " ")
    _dedent(pasted)
    return pasted


def _cut(pasted: Pasted, number: int, characters: int) -> None:
    pasted.lines[number] = pasted.lines[number][characters:]
    pasted.starts[number] += characters


def _unfence(pasted: Pasted) -> None:
    fences = {number for number, line in enumerate(pasted.lines) if _FENCE.match(line)}
    if fences:
        inside = False
        for number, line in enumerate(pasted.lines):
            if number in fences and line.count("```") < 2:
                inside = not inside
                pasted.lines[number] = ""
            elif not inside and number not in fences:
                pasted.lines[number] = ""
    for number, line in enumerate(pasted.lines):  # `nn.Conv3d(1, 8, 3)` in words' own quotes
        quoted = re.fullmatch(r"(\s*`+(?:python)?)([^`]*)`+\s*", line)
        if quoted:
            pasted.lines[number] = quoted[2]
            pasted.starts[number] += len(quoted[1])


def _unprompt(pasted: Pasted) -> None:
    if not any(re.match(r"\s*(>>>|In \[\d*\]:)", line) for line in pasted.lines):
        return
    for number, line in enumerate(pasted.lines):
        prompt = _PROMPT.match(line)
        if prompt:
            _cut(pasted, number, prompt.end())
        else:  # what was printed
            pasted.lines[number] = ""


def _dedent(pasted: Pasted) -> None:
    lines = [number for number, line in enumerate(pasted.lines) if line.strip()]
    if not lines:
        return
    margin = _margin(pasted, lines)
    first = pasted.lines[lines[0]].rstrip()
    if not margin and _balanced(first) and not first.endswith((":", "\\")):
        # Copied from the middle of a line, only the others are indented.
        lines = lines[1:]
        margin = _margin(pasted, lines)
    for number in lines:
        _cut(pasted, number, min(margin, _indent(pasted.lines[number])))


def _margin(pasted: Pasted, numbers: list[int]) -> int:
    code = [number for number in numbers if not pasted.lines[number].lstrip().startswith("#")]
    return min((_indent(pasted.lines[number]) for number in code), default=0)


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip(" \t"))


def _balanced(line: str) -> bool:
    return all(line.count(opening) == line.count(closing) for opening, closing in ("()", "[]", "{}"))


def _parsed(source: str) -> ast.Module:
    try:
        return ast.parse(source)
    except (ValueError, RecursionError, MemoryError) as error:
        raise SpecError("text", f"{shown(source)} cannot be read ({type(error).__name__})", REMEDY) from None
