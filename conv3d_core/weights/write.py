"""Weights into a file that both frameworks' loaders take; the same bytes for the same weights."""

from __future__ import annotations

import io
import json
import zipfile

import numpy as np

from conv3d_core.volumes.formats.safetensors_file import TYPES
from conv3d_core.weights.checkpoint import FRAMEWORKS, Checkpoint

_NAMES = {np.dtype(code): name for name, code in TYPES.items()}
_ALIGNED = 8
_FORMATS = {framework: word for word, framework in FRAMEWORKS.items()}


def write_safetensors(checkpoint: Checkpoint) -> bytes:
    """For ``safetensors.torch.load_file`` and for MLX's ``model.load_weights``.

    >>> from safetensors.numpy import load
    >>> list(load(write_safetensors(Checkpoint({"bias": np.zeros(8, np.float32)}, "mlx"))))
    ['bias']
    """
    header: dict[str, object] = {}
    if checkpoint.framework:
        header["__metadata__"] = {"format": _FORMATS[checkpoint.framework]}
    pieces = []
    at = 0
    for name in sorted(checkpoint.arrays, key=lambda name: (-checkpoint.arrays[name].itemsize, name)):
        array = checkpoint.arrays[name]
        stored = array.dtype.newbyteorder("<")
        piece = array.astype(stored).tobytes()
        header[name] = {"dtype": _NAMES[stored], "shape": list(array.shape), "data_offsets": [at, at + len(piece)]}
        pieces.append(piece)
        at += len(piece)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % _ALIGNED)
    return b"".join([len(text).to_bytes(8, "little"), text, *pieces])


def write_npz(checkpoint: Checkpoint) -> bytes:
    """For ``numpy.load`` and for MLX's ``model.load_weights``; the layout is not told.

    >>> file = write_npz(Checkpoint({"conv.bias": np.zeros(8, np.float32)}))
    >>> np.load(io.BytesIO(file))["conv.bias"].shape
    (8,)
    """
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name in sorted(checkpoint.arrays):
            member = io.BytesIO()
            np.lib.format.write_array(member, np.ascontiguousarray(checkpoint.arrays[name]), allow_pickle=False)
            # A ZipInfo of its own has no date of today.
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), member.getvalue())
    return file.getvalue()
