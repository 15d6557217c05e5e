"""One message to an element: a header and arrays, as bytes, because JSON makes text of every number.

The length of the JSON (uint32, little-endian), the JSON, then each array's float32 in C order; `volume.js` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


def pack(header: Mapping[str, Any], arrays: Mapping[str, NDArray[np.float32]]) -> bytes:
    """The message.

    >>> pack({}, {"x": np.ones((1, 2), np.float32)})[4:]
    b'{"header":{},"arrays":[{"name":"x","shape":[1,2]}]}\\x00\\x00\\x80?\\x00\\x00\\x80?'
    """
    listed = [{"name": name, "shape": array.shape} for name, array in arrays.items()]
    text = json.dumps({"header": header, "arrays": listed}, separators=(",", ":"), allow_nan=False).encode()
    numbers = [np.ascontiguousarray(array, "<f4").tobytes() for array in arrays.values()]
    return b"".join([len(text).to_bytes(4, "little"), text, *numbers])


def unpack(message: bytes) -> tuple[dict[str, Any], dict[str, NDArray[np.float32]]]:
    """What `pack` was given."""
    begin = 4 + int.from_bytes(message[:4], "little")
    content = json.loads(message[4:begin])
    arrays = {}
    for entry in content["arrays"]:
        count = int(np.prod(entry["shape"], dtype=np.int64))
        arrays[entry["name"]] = np.frombuffer(message, "<f4", count, begin).reshape(entry["shape"])
        begin += 4 * count
    return content["header"], arrays
