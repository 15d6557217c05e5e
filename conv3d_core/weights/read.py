"""A file of weights: safetensors, or NumPy's .npz. Nothing is unpickled, and nothing is believed that is not there."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np

from conv3d_core.chain.layer import Framework
from conv3d_core.errors import VolumeError, WeightsError
from conv3d_core.volumes.formats import numpy_files, safetensors_file
from conv3d_core.volumes.limits import MIB, check_dtype, clean, shown
from conv3d_core.volumes.members import GZIP, ZIP, Data, Member, members_of
from conv3d_core.weights.checkpoint import FRAMEWORKS, Array, Checkpoint

# Of all arrays together, as they are here.
MAX_BYTES = 1024 * MIB
# Weights are noise, which no packing makes much smaller: what unpacks to more than that is made to fill the memory.
MOST_UNPACKED = 32
SPARE_BYTES = 64 * MIB
SAVE = "save it with save_file(model.state_dict(), 'weights.safetensors') of safetensors.torch"
# What torch.save and torch.jit.save put into their archives, first in the file and named in its directory at the end.
PICKLE = re.compile(rb"/(data|constants)\.pkl(?!\.npy)")
EDGE = 2**16
READ_HERE = "use .safetensors or .npz"
KNOWN = (
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", "save its arrays with numpy.savez('weights.npz', **arrays)"),
    (b"GGUF", "a GGUF file", READ_HERE),
    (GZIP, "gzip data", "unpack it first"),
    (numpy_files.MAGIC, "one array without a name", "save all with numpy.savez('weights.npz', **arrays)"),
)


def read_checkpoint(data: Data, name: str = "") -> Checkpoint:
    """The arrays in a .safetensors or .npz file, told by its content.

    Floats of 16 and 64 bits come out as float32, bfloat16 exactly; integers stay what they are.

    Args:
        data: the file's bytes.
        name: to be shown.

    Raises:
        WeightsError: another format - a pickle, as torch.save writes it, with how to save it safely -, a damaged,
            lying or too large file.

    >>> import io, numpy
    >>> file = io.BytesIO()
    >>> numpy.savez(file, **{"conv.weight": numpy.ones((8, 3, 3, 3, 1), numpy.float16)})
    >>> read_checkpoint(file.getvalue(), "weights.npz").arrays["conv.weight"].dtype
    dtype('float32')
    """
    view = memoryview(data).cast("B").toreadonly()
    try:
        if bytes(view[:2]) == ZIP:
            # Asked before the archive is opened: PyTorch's is in the 64-bit form, which is not read here.
            if PICKLE.search(bytes(view[:EDGE])) or PICKLE.search(bytes(view[-EDGE:])):
                raise _pickled(name)
            return _npz(view, name)
        member = Member(name, view)
        if safetensors_file.recognises(member):
            return _safetensors(member)
    except VolumeError as error:
        _, problem, remedy = error.args
        raise WeightsError("weights", f"'{shown(name)}': {problem}", remedy) from error
    raise _not_read(view, name)


def _safetensors(member: Member) -> Checkpoint:
    start, tensors, metadata = safetensors_file.read_header(member)
    arrays, left_out = {}, []
    _check_total((4 * math.prod(tensor.shape) for tensor in tensors), None)
    for tensor in tensors:
        if tensor.dtype == safetensors_file.BFLOAT16:
            halves = _array(member.data, start + tensor.first, np.dtype("<u2"), tensor.shape)
            arrays[tensor.name] = safetensors_file.widened(halves)
        elif tensor.dtype in safetensors_file.TYPES:
            dtype = np.dtype(safetensors_file.TYPES[tensor.dtype])
            arrays[tensor.name] = _plain(_array(member.data, start + tensor.first, dtype, tensor.shape))
        else:
            left_out.append(clean(tensor.name))
    return _checkpoint(arrays, FRAMEWORKS.get(metadata.get("format", "")), left_out, member.name)


def _npz(view: memoryview, name: str) -> Checkpoint:
    members = members_of([(name, view)])
    headers = []
    for member in members:
        if not member.head.startswith(numpy_files.MAGIC):
            problem = f"'{shown(name)}' is a zip archive with '{shown(member.name)}', which is no .npy"
            raise WeightsError("weights", problem, READ_HERE)
        shape, fortran, dtype, offset = numpy_files.read_header(member)
        check_dtype(dtype)
        member.check_holds(offset + math.prod(shape) * dtype.itemsize)
        headers.append((member, shape, fortran, dtype, offset))
    _check_total((math.prod(shape) * max(4, dtype.itemsize) for _, shape, _, dtype, _ in headers), len(view))
    arrays: dict[str, Array] = {}
    for member, shape, fortran, dtype, offset in headers:
        key = member.name.removesuffix(".npy")
        if key in arrays:
            raise WeightsError("weights", f"'{shown(name)}' has '{clean(key)}' twice", "save it again")
        stored = shape[::-1] if fortran else shape
        array = _array(member.view(), offset, dtype, stored)
        arrays[key] = _plain(array.transpose() if fortran else array)
    return _checkpoint(arrays, None, [], name)


def _checkpoint(arrays: dict[str, Array], said: Framework | None, left_out: list[str], name: str) -> Checkpoint:
    if not arrays:
        raise WeightsError("weights", f"'{shown(name)}' holds no array that is read here", READ_HERE)
    return Checkpoint(arrays, said, tuple(left_out), name=shown(name))


def _check_total(sizes: Any, packed: int | None) -> None:
    total = sum(sizes)
    most = MAX_BYTES if packed is None else min(MAX_BYTES, SPARE_BYTES + MOST_UNPACKED * packed)
    if total > most:
        problem = f"its arrays take {total / MIB:,.0f} MiB"
        raise WeightsError("weights", problem, f"use a file with at most {most / MIB:,.0f} MiB of them")


def _array(data: memoryview, offset: int, dtype: np.dtype[Any], shape: tuple[int, ...]) -> Array:
    """Numbers as they lie; both readers have seen that they are there."""
    count = math.prod(shape)
    if not count:
        return np.zeros(shape, dtype)
    if len(data) < offset + count * dtype.itemsize:
        raise WeightsError("weights", "the file ends before its numbers do", "save or copy it again")
    return np.frombuffer(data, dtype, count, offset).reshape(shape)


def _plain(array: Array) -> Array:
    """Floats as float32; all in this machine's order of bytes, and not a view of the file."""
    if array.dtype.kind != "f":
        return array.astype(array.dtype.newbyteorder("="))
    with np.errstate(over="ignore"):  # a float64 beyond float32 is infinite there
        return array.astype(np.float32)


def _not_read(view: memoryview, name: str) -> WeightsError:
    head = bytes(view[:16])
    # Protocol 2 and up begin with a mark and a number; 0 and 1 with an opcode, and all end with a full stop.
    binary = head[:1] == b"\x80" and 2 <= head[1:2][0:1].ljust(1, b"\0")[0] <= 5
    textual = head[:1] in (b"(", b"c", b"]", b"}") and bytes(view[-1:]) == b"."
    if binary or textual:
        return _pickled(name)
    for magic, kind, remedy in KNOWN:
        if head.startswith(magic):
            return WeightsError("weights", f"'{shown(name)}' is {kind}", remedy)
    size = f"{len(view):,} bytes" if len(view) else "0 bytes"
    return WeightsError("weights", f"'{shown(name)}' ({size}) is neither safetensors nor .npz", READ_HERE)


def _pickled(name: str) -> WeightsError:
    return WeightsError("weights", f"'{shown(name)}' is a pickle, and reading one can run any code", SAVE)
