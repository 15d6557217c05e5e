"""Files made to hurt, by their names: each is built when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from tests.core.hostile import (
    archives,
    arrays,
    dicom_files,
    hdf5_files,
    pictures,
    scans,
    strangers,
    tiff_files,
    zarr_files,
)
from tests.core.hostile.case import Case, Files, Reads

__all__ = ["CASES", "Case", "Files", "Reads"]


def _cases() -> Iterator[tuple[str, Case]]:
    for group in (strangers, archives, arrays, scans, tiff_files, dicom_files, pictures, zarr_files, hdf5_files):
        yield from group.cases()


def _distinct() -> dict[str, Case]:
    cases: dict[str, Case] = {}
    for name, case in _cases():
        assert name not in cases, name
        cases[name] = case
    return cases


CASES = _distinct()
