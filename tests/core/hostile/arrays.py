"""NumPy's files, safetensors, and numbers with a declared layout."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from functools import partial

import numpy as np

from conv3d_core.volumes import RawLayout
from tests.core.canaries import TOUCHED
from tests.core.hostile import small
from tests.core.hostile.case import Case, Reads
from tests.core.hostile.packed import zipped
from tests.core.hostile.small import npy_header, safetensors, tensor
from tests.core.hostile.strangers import Payload

CODE = f"__import__('os').system('touch {TOUCHED}')"
NO_VOXEL = "holds no voxel"
LARGER = "larger than any volume"
DAMAGED = r"\.npy header is damaged"
SHAPES = {
    "zero": ("(3, 0, 5)", NO_VOXEL),
    "negative": ("(3, -4, 5)", NO_VOXEL),
    "two negative ones": ("(-3, -4, 5)", NO_VOXEL),
    "2**63": (f"({2**63}, 1, 1)", LARGER),
    "2**32 thrice": (f"({2**32}, {2**32}, {2**32})", LARGER),
    "2**64 by overflow is 0": (f"({2**32}, {2**32}, 1)", LARGER),
    "5,000 digits": (f"({'9' * 5000}, 1, 1)", DAMAGED),
    "fraction": "(3.0, 4, 5)",
    "text": "('3', 4, 5)",
    "infinite": "(1e999, 4, 5)",
    "one number": "60",
    "33 axes": (f"({'1, ' * 33})", "larger than any volume"),
    "no axis": ("()", "is not a volume"),
    "larger than the file": ("(30, 40, 50)", "cut off"),
    "far larger than the file": ("(30000, 40000, 50000)", "cut off"),
    "code": CODE,
}  # fmt: skip
TYPES = {
    "objects": ("'|O'", "would run code from the file"),
    "objects in a structure": ("[('a', '<i2'), ('b', '|O')]", "would run code"),
    "structure": ("[('a', '<i2')]", "are not plain numbers"),
    "complex": ("'<c8'", "complex64 values are complex"),
    "16 bytes": ("'<f16'", "are not plain numbers"),
    "dates": ("'<M8[s]'", "are not plain numbers"),
    "letters": ("'<U1000000'", "are not plain numbers"),
    "of no size": ("'|V0'", "are not plain numbers"),
    "of a huge size": (f"'|V{2**31 - 1}'", "are not plain numbers"),
    "arrays of arrays": ("('<i2', (10000, 10000, 10000))", "header is damaged|not plain numbers"),
    "nonsense": ("'hello'", DAMAGED),
    "code": (CODE, DAMAGED),
    "comma": ("'i2,i2'", "are not plain numbers"),
    "deep": (f"{'[' * 300}{']' * 300}", DAMAGED),
}


def cases() -> Iterator[tuple[str, Case]]:
    for name, given in SHAPES.items():
        shape, expect = (given, DAMAGED) if isinstance(given, str) else given
        yield f"npy: shape {name}", Case(partial(npy_header, shape), expect)
    for name, (descr, expect) in TYPES.items():
        yield f"npy: type {name}", Case(partial(npy_header, descr=descr), expect)
    yield from _npy()
    yield from _safetensors()
    yield from _raw()


def _npy() -> Iterator[tuple[str, Case]]:
    pickled = partial(small.npy, np.array([Payload()] * 8, object), allow_pickle=True)
    yield "npy: pickled", Case(pickled, "would run code from the file")
    yield "npz: pickled", Case(lambda: zipped(("a.npy", pickled())), "would run code from the file")
    for at in (6, 8, 9, 40, 127, 129, 200, 247):
        yield f"npy: cut off at byte {at}", Case(partial(_cut, at), f"{DAMAGED}|cut off")
    yield "npy: version 9", Case(lambda: b"\x93NUMPY\x09\0" + small.npy()[8:], "version 9.0")
    yield (
        "npy: header of 64 KB that is not there",
        Case(lambda: small.npy()[:8] + b"\xff\xff" + small.npy()[10:], DAMAGED),
    )
    yield "npy: header of 4 GB", Case(lambda: b"\x93NUMPY\2\0" + b"\xff" * 4 + small.npy()[10:], DAMAGED)
    yield "npy: header of zeros", Case(lambda: b"\x93NUMPY\1\0" + struct.pack("<H", 118) + bytes(1000), DAMAGED)
    yield "npy: 9,000 brackets", Case(lambda: b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"(" * 9000, DAMAGED)
    yield (
        "npy: 9,000 minus signs",
        Case(lambda: b"\x93NUMPY\1\0" + struct.pack("<H", 9000) + b"-" * 8999 + b"1", DAMAGED),
    )
    yield "npy: header is a list", Case(lambda: b"\x93NUMPY\1\0" + struct.pack("<H", 2) + b"[]", DAMAGED)
    yield "npy: more fields", Case(lambda: npy_header("(3, 4, 5), 'more': 1"), DAMAGED)
    yield "npy: order is text", Case(lambda: npy_header(fortran="'yes'"), DAMAGED)
    yield (
        "npy: integers above 2**24",
        Case(lambda: small.npy(np.full((3, 4, 5), 2**24 + 1)), Reads((3, 4, 5, 1), "lose precision")),
    )
    yield (
        "npy: numbers beyond float32",
        Case(lambda: small.npy(np.full((3, 4, 5), 1e300)), Reads((3, 4, 5, 1), "became infinite")),
    )
    yield (
        "npz: a member that is no array",
        Case(lambda: zipped(("a.npy", small.npy()), ("b.npy", b"hello")), Reads((3, 4, 5, 1), "left out")),
    )


def _cut(at: int) -> bytes:
    return small.npy()[:at]


def _safetensors() -> Iterator[tuple[str, Case]]:
    damaged = "does not say what tensor"
    headers = {
        "shape zero": (tensor("[3, 0, 5]", offsets="[0, 0]"), NO_VOXEL),
        "shape negative": (tensor("[3, -4, -5]"), damaged),
        "shape 2**63": (tensor(f"[{2**63}, 1, 1]"), damaged),
        "shape 2**62": (tensor(f"[{2**62}, 1, 1]"), "has 120 bytes of data"),
        "shape a fraction": (tensor("[3.0, 4, 5]"), damaged),
        "shape true": (tensor("[true, 4, 15]"), damaged),
        "shape of 5,000 digits": (tensor(f"[{'9' * 5000}, 4, 5]"), "is no JSON"),
        "shape of 100,000 axes": (tensor(f"[{'1,' * 99_999}1]"), damaged),
        "NaN": (tensor("[NaN, 4, 5]"), damaged),
        "type is code": (tensor(dtype=f'"{CODE}"'), "are not read here"),
        "type is a number": (tensor(dtype="1"), damaged),
        "type of 4 bits": (tensor(dtype='"F4"', offsets="[0, 30]"), "F4 are not read here"),
        "offsets behind the end": (tensor(offsets="[1000, 1120]"), "cut off"),
        "offsets beyond 2**62": (tensor(offsets=f"[{2**62}, {2**62 + 120}]"), "cut off"),
        "offsets negative": (tensor(offsets="[-120, 0]"), damaged),
        "offsets backwards": (tensor(offsets="[120, 0]"), "bytes of data"),
        "offsets over each other": (_two("[60, 180]"), "lies over the one before it"),
        "two of a name": (_two("[120, 240]").replace('"b"', '"a"'), "two entries of the same name"),
        "no object": ("[1, 2, 3]" + " " * 20, "is not a volume format"),
        "an object that ends early": ('{"a": ', "is no JSON"),
        "a list for a tensor": ('{"a": [1, 2]}', damaged),
        "100,000 brackets": ('{"a": ' + "[" * 100_000, "is no JSON"),
        "100,000 objects": ('{"a":' * 100_000, "is no JSON"),
        "30,000 tensors": (_many(30_000), "more than 20,000 tensors"),
        "name of control characters": (tensor("[5]", offsets="[0, 10]", name="\\u001b[31m\\u202e"), "is not a volume"),
    }
    for name, (header, expect) in headers.items():
        yield f"safetensors: {name}", Case(partial(safetensors, header), expect)
    for length in (0, 1, 2**24, 2**27, 2**31, 2**63, 2**64 - 1):
        expect = "is not a volume format|is no JSON|MiB long|cut off"
        yield f"safetensors: header of {length} bytes", Case(partial(safetensors, tensor(), length=length), expect)
    yield "safetensors: header is no UTF-8", Case(lambda: struct.pack("<Q", 100) + b"{" + b"\xff" * 200, "is no JSON")
    yield "safetensors: cut off", Case(lambda: safetensors(tensor())[:-1], "cut off")


def _two(offsets: str) -> str:
    return tensor()[:-1] + ", " + tensor(offsets=offsets, name="b")[1:]


def _many(count: int) -> str:
    one = '"{}":{{"dtype":"U8","shape":[1,1,1],"data_offsets":[{},{}]}}'
    return "{" + ",".join(one.format(n, n, n + 1) for n in range(count)) + "}"


def _raw() -> Iterator[tuple[str, Case]]:
    for name, layout in {
        "larger than the file": RawLayout((30, 40, 50)),
        "far larger": RawLayout((2**15, 2**15, 2**15)),
        "behind the end": RawLayout((3, 4, 5), "<u2", 2**47),
        "a byte short": RawLayout((3, 4, 5), "<u2", 1),
    }.items():
        yield f"raw: {name}", Case(lambda: bytes(120), "bytes and 120 are there", raw=layout)
    yield (
        "raw: anything as floats",
        Case(lambda: b"\xff" * 240, Reads((3, 4, 5, 1), "60 NaN values"), raw=RawLayout((3, 4, 5), "<f4")),
    )
    yield (
        "raw: an archive as it is",
        Case(
            lambda: zipped(("a.npy", small.npy())), Reads((3, 4, 5, 1), "were left out"), raw=RawLayout((3, 4, 5), "u1")
        ),
    )
