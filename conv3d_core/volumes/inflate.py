"""What inflates: zlib-ng, a fork of zlib that takes half its time.

It gives and refuses what zlib does; `tests/core/test_inflating.py` holds it to that.
"""

from __future__ import annotations

from zlib_ng.gzip_ng import GzipNGFile as GzipFile
from zlib_ng.zlib_ng import decompressobj, error

__all__ = ["GzipFile", "InflateError", "decompressobj"]

InflateError: type[Exception] = error  # type: ignore[assignment]  # typed as if it were one that was raised
