"""The rules of the house that import-linter cannot hold: who touches Streamlit's state, and what an import brings."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = sorted([ROOT / "app.py", *(ROOT / "conv3d_core").rglob("*.py"), *(ROOT / "pages").rglob("*.py")])
NAMES_THAT_SAY_NOTHING = {"common", "helper", "helpers", "misc", "util", "utils"}


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def names_used(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every attribute read (`st.session_state`) and every name imported, with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            yield node.attr, node.lineno
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                yield alias.name, node.lineno


def broad_handlers(tree: ast.AST) -> Iterator[int]:
    """Lines of `except:`, `except Exception` and `except BaseException`, alone or in a tuple, by any spelling."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            names = {getattr(kind, "attr", None) or getattr(kind, "id", None) for kind in kinds}
            if None in kinds or names & {"Exception", "BaseException"}:
                yield node.lineno


def users_of(names: set[str], *, allowed: str) -> list[str]:
    found = []
    for path in SOURCES:
        if relative(path) != allowed:
            used = names_used(ast.parse(path.read_text(encoding="utf-8")))
            found += [f"{relative(path)}:{line}: {name}" for name, line in used if name in names]
    return found


def test_only_session_py_touches_the_session_and_the_address() -> None:
    assert users_of({"session_state", "query_params"}, allowed="pages/_ui/session.py") == []


def test_only_cached_py_caches() -> None:
    assert users_of({"cache_data", "cache_resource"}, allowed="pages/_ui/cached.py") == []


def test_nobody_catches_everything() -> None:
    found = [
        f"{relative(path)}:{line}"
        for path in SOURCES
        for line in broad_handlers(ast.parse(path.read_text(encoding="utf-8")))
    ]
    assert found == []


@pytest.mark.parametrize(
    "handler",
    ["except:", "except Exception:", "except (ValueError, Exception) as e:", "except builtins.BaseException:"],
)
def test_a_broad_handler_is_seen(handler: str) -> None:
    assert list(broad_handlers(ast.parse(f"try:\n    pass\n{handler}\n    pass"))) == [3]


def test_a_narrow_handler_is_fine() -> None:
    assert list(broad_handlers(ast.parse("try:\n    pass\nexcept (ValueError, OSError):\n    pass"))) == []


def test_names_of_modules_say_what_is_inside() -> None:
    assert [relative(path) for path in SOURCES if {path.stem, path.parent.name} & NAMES_THAT_SAY_NOTHING] == []


def test_app_py_holds_the_frame_and_nothing_else() -> None:
    """A visitor who comes by a deep link to a cold server gets the page without what app.py would add."""
    tree = ast.parse((ROOT / "app.py").read_text(encoding="utf-8"))
    calls = {ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)}
    assert {call for call in calls if call.startswith("st.") and "(" not in call} == {
        "st.Page",
        "st.navigation",
        "st.set_page_config",
    }


@pytest.mark.parametrize("heavy", ["mlx", "streamlit", "plotly", "nibabel", "tifffile"])
def test_importing_the_core_brings_nothing_heavy(heavy: str) -> None:
    code = f"import sys, conv3d_core; sys.exit({heavy!r} in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr or f"import conv3d_core imports {heavy}"
