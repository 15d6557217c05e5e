"""What Python's own functions and the methods of lists, dicts and texts give for values that are known."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from conv3d_core.chain.values import Function, Instance, Made, Partial, Row, Unknown
from conv3d_core.source_code import bounded

MOST_ITEMS = 1000
NOTHING = Unknown("", quiet=True)
ROW = "<row>"  # where an Instance of an nn.Sequential keeps its layers


def truth(value: object) -> bool | None:
    """Whether a value holds; None where that is not known."""
    if value is None or isinstance(value, bool | int | float | str | tuple | list | dict):
        return bool(value)
    return True if isinstance(value, Made | Row | Instance | Function | Partial) else None


def items_of(value: object) -> list[object] | None:
    """What a loop over a value meets; None where that is not known."""
    if isinstance(value, Instance):
        value = value.attributes.get(ROW)
    if isinstance(value, Row):
        return list(value.items.values())
    if isinstance(value, list | tuple | dict):
        return list(value)
    return None


def builtin(name: str, values: Sequence[object], keywords: Mapping[str, object]) -> object:
    """The result of a function of Python's; None where it has none that can be told.

    >>> builtin("range", [3], {}), builtin("zip", [[1, 2], [3, 4]], {})
    ([0, 1, 2], [(1, 3), (2, 4)])
    """
    if name == "range":
        return _range(values)
    if name in ("list", "tuple", "reversed", "sorted", "enumerate", "len", "iter", "sum", "min", "max", "set"):
        return _of_items(name, values, keywords)
    if name == "zip":
        rows = [items_of(value) for value in values]
        return (
            None
            if None in rows
            else [tuple(row) for row in zip(*(row for row in rows if row is not None), strict=False)]
        )
    if name == "dict":
        start = values[0] if values else {}
        if isinstance(start, list):
            start = {pair[0]: pair[1] for pair in start if isinstance(pair, tuple | list) and len(pair) == 2}
        return {**start, **keywords} if isinstance(start, dict) else None
    if name in ("int", "float", "bool", "str", "abs", "round") and len(values) == 1:
        return _number(name, values[0])
    return None


def method(of: object, name: str, values: Sequence[object], keywords: Mapping[str, object]) -> object:
    """The result of a method of a list, a dict or a text; None where it has none that can be told."""
    if isinstance(of, list):
        return _of_list(of, name, values)
    if isinstance(of, dict):
        if name in ("items", "keys", "values"):
            return [tuple(pair) for pair in of.items()] if name == "items" else list(getattr(of, name)())
        if name == "get" and values and isinstance(values[0], str | int):
            return of.get(values[0], values[1] if len(values) > 1 else None)
        if name == "update":
            of.update(values[0] if values and isinstance(values[0], dict) else keywords)
            return NOTHING
    if isinstance(of, str):
        if name in ("lower", "upper", "strip") and not values:
            return getattr(of, name)()
        if name in ("startswith", "endswith") and values and isinstance(values[0], str):
            return of.startswith(values[0]) if name == "startswith" else of.endswith(values[0])
    return None


def _range(values: Sequence[object]) -> list[object] | None:
    numbers = [value for value in values if isinstance(value, int)]
    if len(numbers) != len(values) or not 1 <= len(numbers) <= 3 or (len(numbers) == 3 and numbers[2] == 0):
        return None
    found = range(*numbers)
    return list(found) if len(found[: MOST_ITEMS + 1]) <= MOST_ITEMS else None


def _of_items(name: str, values: Sequence[object], keywords: Mapping[str, object]) -> object:
    if name in ("min", "max", "sum") and not (len(values) == 1 and isinstance(values[0], list | tuple)):
        values = [list(values)]
    if not values:
        return [] if name in ("list", "set") else () if name == "tuple" else None
    items = items_of(values[0])
    if items is None:
        return None
    if name == "len":
        return len(items)
    if name in ("list", "set", "iter"):
        return items
    if name == "tuple":
        return tuple(items)
    if name == "reversed":
        return items[::-1]
    if name == "enumerate":
        start = [*values[1:], keywords.get("start", 0)][0]
        return list(enumerate(items, start if isinstance(start, int) else 0))
    numbers = [item for item in items if isinstance(item, int | float)]
    if len(numbers) != len(items) or (not numbers and name != "sum"):
        return None
    if name == "sorted":
        return sorted(numbers, reverse=keywords.get("reverse") is True)
    return bounded(sum(numbers) if name == "sum" else min(numbers) if name == "min" else max(numbers))


def _number(name: str, value: object) -> object:
    if name == "str":
        return str(value) if isinstance(value, bool | int | float | str) else None
    if name == "bool":
        return truth(value)
    if not isinstance(value, bool | int | float):
        return None
    try:
        return int(value) if name == "int" else float(value) if name == "float" else bounded(_rounded(name, value))
    except (OverflowError, ValueError):  # of infinity
        return None


def _rounded(name: str, value: float) -> float:
    return abs(value) if name == "abs" else round(value)


def _of_list(of: list[object], name: str, values: Sequence[object]) -> object:
    if name == "append" and len(values) == 1 and len(of) < MOST_ITEMS:
        of.append(values[0])
        return NOTHING
    if name in ("extend", "__iadd__") and len(values) == 1:
        more = items_of(values[0])
        if more is not None and len(of) + len(more) <= MOST_ITEMS:
            of.extend(more)
            return NOTHING
    if name == "insert" and len(values) == 2 and isinstance(values[0], int) and len(of) < MOST_ITEMS:
        of.insert(values[0], values[1])
        return NOTHING
    if name == "pop" and of:
        place = values[0] if values else -1
        return of.pop(place) if isinstance(place, int) and -len(of) <= place < len(of) else None
    if name == "copy":
        return list(of)
    if name == "reverse":
        of.reverse()
        return NOTHING
    return None


def is_module(value: object) -> bool:
    """Whether it is a layer, or some."""
    return isinstance(value, Made | Row | Instance)


def is_constant(value: object) -> bool:
    """Whether it is a value of Python's own that can be compared."""
    found = leaves(value)
    return found is not None and all(leaf is None or isinstance(leaf, bool | int | float | str) for leaf in found)


def leaves(value: object) -> list[object] | None:
    """What is in lists, tuples and dicts and is none itself; None where that is much.

    A few lines can put lists into lists until nothing can go through them.
    """
    found: list[object] = []
    todo = [value]
    for _ in range(2 * MOST_ITEMS):
        if not todo:
            return found
        value = todo.pop()
        if isinstance(value, dict):
            todo += list(value.values())[::-1]
        elif isinstance(value, list | tuple):
            todo += value[::-1]
        else:
            found.append(value)
    return None
