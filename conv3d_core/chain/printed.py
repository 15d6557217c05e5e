"""What printing a model gives, in MLX or PyTorch, as layers in a row."""

from __future__ import annotations

import ast
import re
from dataclasses import dataclass, field

from conv3d_core.chain.pasted import Pasted
from conv3d_core.errors import SpecError

_NAMED = re.compile(r"\(([\w.\-]+)\): (?:(\d+) x )?")
_OPENS = re.compile(r"(?:\(([\w.\-]+)\): )?(?:(\d+) x )?([A-Za-z_]\w*)\($")
# In these, layers stand in the order in which they are applied.
_IN_A_ROW = ("Sequential", "ModuleList")
_MOST_REPEATS = 200


@dataclass(slots=True)
class Block:
    """A printed module with modules in it."""

    name: str
    kind: str
    times: int = 1
    line: int = 0
    items: list[Block | Leaf] = field(default_factory=list)


@dataclass(slots=True)
class Leaf:
    """A printed layer: a call with its constructor's arguments."""

    name: str
    call: ast.Call
    times: int = 1


def is_printed(lines: list[str]) -> bool:
    """Whether some line is one that only printing gives, such as ``(conv1): Conv3d(...)``.

    >>> is_printed(["Net(", "  (conv1): Conv3d(1, 8, kernel_size=(3, 3, 3), stride=(1, 1, 1))", ")"])
    True
    """
    return any(re.match(r"\s*\([\w.\-]+\): (\d+ x )?[A-Za-z_][\w.]*\(", line) for line in lines)


def read_printed(pasted: Pasted) -> tuple[Block, list[tuple[int, str]]]:
    """The modules as they stand in each other, and the lines that are none, each with why."""
    whole = Block("", "")
    path = [whole]
    passed: list[tuple[int, str]] = []
    for number, line in enumerate(pasted.lines, 1):
        text = line.strip().rstrip(",")
        if not text:
            continue
        opens = _OPENS.fullmatch(text)
        if opens:
            times = min(int(opens[2][:4]), _MOST_REPEATS) if opens[2] else 1
            block = Block(opens[1] or "", opens[3], times, number)
            path[-1].items.append(block)
            path.append(block)
            if len(path) > 50:
                raise SpecError("text", f"modules on line {number} are nested too deeply", "paste a part of it")
        elif text == ")":
            if len(path) > 1:
                path.pop()
        else:
            leaf = _leaf(pasted, number, line)
            if leaf:
                path[-1].items.append(leaf)
            else:
                passed.append((number, "it is not a printed layer"))
    return whole, passed


def _leaf(pasted: Pasted, number: int, line: str) -> Leaf | None:
    stripped = line.strip()
    named = _NAMED.match(stripped)
    start = len(line) - len(line.lstrip()) + (named.end() if named else 0)
    try:
        tree = ast.parse(line[start:].strip().rstrip(","), mode="eval")
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return None
    if not isinstance(tree.body, ast.Call):
        return None
    bytes_before = len(line[:start].encode(errors="replace"))
    for node in ast.walk(tree.body):
        if isinstance(node, ast.expr):
            node.lineno = node.end_lineno = number
            node.col_offset += bytes_before
            node.end_col_offset = (node.end_col_offset or 0) + bytes_before
    times = min(int(named[2][:4]), _MOST_REPEATS) if named and named[2] else 1
    return Leaf(named[1] if named else "", tree.body, times)
