"""What a file may ask of this machine, decided from its header before anything is made of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from importlib import import_module
from typing import Any

import numpy as np

from conv3d_core.errors import VolumeError

MIB = 2**20
# Of a volume as float32; what is larger is read in part, or reduced.
MAX_VOLUME_BYTES = 512 * MIB
# Of a compressed file that has to be inflated as a whole.
MAX_INFLATED_BYTES = 2048 * MIB
MAX_MEMBERS = 20_000
MAX_FRAMES = 100_000
MAX_AXES = 32
MAX_NAME = 80
EXTRAS = "requirements-formats.txt"


def shown(name: str) -> str:
    r"""A file's name, fit to be shown: the last part of a path, without control characters, cut to 80.

    >>> shown("../secret/scan\x1b[31m.nii")
    'scan[31m.nii'
    """
    return clean(name.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1])


def clean(text: str) -> str:
    r"""Text out of a file, fit to be shown: without control characters and unusual spaces, cut to 80.

    >>> clean("a/b\n\u202e c\u2028")
    'a/b c'
    """
    kept = "".join(letter for letter in text if letter.isprintable())
    return kept if len(kept) <= MAX_NAME else kept[: MAX_NAME - 3] + "..."


def broken(problem: str, remedy: str = "save or copy it again", **fields: object) -> VolumeError:
    """The error of a file that is not what its header says."""
    return VolumeError("file", problem, remedy, **fields)  # type: ignore[arg-type]


def check_sizes(shape: Sequence[int]) -> int:
    """Number of elements of a declared shape, in Python's integers, which cannot overflow.

    Raises:
        VolumeError: a size below 1, or more than anything has.
    """
    sizes = tuple(int(size) for size in shape)
    if any(size < 1 for size in sizes):
        raise broken(
            f"the declared shape {clean(str(sizes))} holds no voxel",
            "use a volume whose sizes are all >= 1",
            value=sizes,
        )
    elements = math.prod(sizes)
    if elements >= 2**48 or len(sizes) > MAX_AXES:
        raise broken(f"the declared shape {clean(str(sizes))} is larger than any volume", value=sizes)
    return elements


def check_dtype(dtype: np.dtype[Any]) -> None:
    """Let real numbers of up to 8 bytes pass.

    Raises:
        VolumeError: complex, structured, object, text, date or extended precision values.
    """
    if dtype.hasobject:
        raise broken("it holds Python objects, and reading those would run code from the file", "save numbers only")
    if dtype.kind == "c":
        raise broken(f"{dtype} values are complex", "save the magnitude or the real part as float32", value=str(dtype))
    if dtype.kind not in "biuf" or dtype.itemsize > 8:
        problem = f"{dtype} values are not plain numbers"
        raise broken(problem, "save integers or floats of 8 to 64 bits", value=str(dtype))


def check_present(needed: int, present: int) -> None:
    """Refuse a file that ends before its data does.

    Raises:
        VolumeError: fewer bytes present than needed.
    """
    if present < needed:
        raise broken(f"it is cut off: its header declares {needed:,} bytes and {present:,} are there", value=present)


def need(module: str, package: str, kind: str) -> Any:
    """A module of a format whose library is not installed with the app.

    Args:
        module: to import.
        package: that brings it, as pip names it.
        kind: of file, in words.

    Raises:
        VolumeError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError as error:
        problem = f"{kind} is read by {package}, which is not installed"
        raise broken(problem, f"pip install -r {EXTRAS} (or only {package})", value=package) from error
