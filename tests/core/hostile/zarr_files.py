"""Zarr: codecs that run code, chunks that inflate, grids of a voxel each, paths that lead out."""

from __future__ import annotations

import bz2
import json
import pickle
import struct
import zlib
from collections.abc import Iterator
from functools import partial
from typing import Any

from tests.core.canaries import CANARY
from tests.core.hostile.case import Case, Files, Reads
from tests.core.hostile.packed import zeros_bzip2, zeros_gzip, zeros_zlib, zipped
from tests.core.hostile.strangers import Payload

THREE = Reads((3, 4, 5, 1))


def array_2(**changed: Any) -> bytes:
    usual = {
        "zarr_format": 2, "shape": [3, 4, 5], "chunks": [3, 4, 5], "dtype": "<i2", "compressor": None, "fill_value": 0,
        "order": "C", "filters": None,
    }  # fmt: skip
    return json.dumps({**usual, **changed}).encode()


def array_3(**changed: Any) -> bytes:
    usual = {
        "zarr_format": 3, "node_type": "array", "shape": [3, 4, 5], "data_type": "int16", "fill_value": 0,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [3, 4, 5]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
    }  # fmt: skip
    return json.dumps({**usual, **changed}).encode()


def zarr_2(chunk: bytes = bytes(120), **changed: Any) -> bytes:
    """A zip of one array and one chunk."""
    return zipped((".zarray", array_2(**changed)), ("0.0.0", chunk))


def zarr_3(chunk: bytes = bytes(120), **changed: Any) -> bytes:
    return zipped(("zarr.json", array_3(**changed)), ("c/0/0/0", chunk))


def regular(*sizes: Any) -> dict[str, Any]:
    return {"name": "regular", "configuration": {"chunk_shape": list(sizes)}}


def cases() -> Iterator[tuple[str, Case]]:
    yield "Zarr 2: sound", Case(zarr_2, THREE)
    yield "Zarr 3: sound", Case(zarr_3, THREE)
    yield from _code()
    yield from _sizes()
    yield from _bombs()
    yield from _damaged()
    yield from _folders()


def _code() -> Iterator[tuple[str, Case]]:
    payload = pickle.dumps(Payload())
    for name in ("pickle", "json2", "msgpack2", "vlen-utf8", "vlen-bytes", "vlen-array", "categorize", "os.system"):
        yield f"Zarr 2: filter {name}", Case(partial(zarr_2, payload, filters=[{"id": name}]), "is not read here")
        yield (
            f"Zarr 2: objects through {name}",
            Case(partial(zarr_2, payload, dtype="|O", filters=[{"id": name}]), "is not a plain number"),
        )
        codecs = [{"name": "bytes", "configuration": {"endian": "little"}}, {"name": f"numcodecs.{name}"}]
        yield f"Zarr 3: codec {name}", Case(partial(zarr_3, payload, codecs=codecs), "is not read here")
    yield (
        "Zarr 2: compressor is code",
        Case(partial(zarr_2, payload, compressor={"id": "__import__('os').system('id')"}), "is not read here"),
    )
    yield (
        "Zarr 3: codec of a module",
        Case(
            partial(zarr_3, payload, codecs=[{"name": "https://example.com/codec", "configuration": {}}]),
            "are not read here",
        ),
    )
    yield "Zarr 3: storage transformer", Case(partial(zarr_3, storage_transformers=[{"name": "x"}]), "is not read here")
    yield "Zarr 3: must be understood", Case(partial(zarr_3, extension={"must_understand": True}), "is not read here")


def _sizes() -> Iterator[tuple[str, Case]]:
    for name, shape, expect in (
        ("zero", [3, 0, 5], "holds no voxel"),
        ("negative", [3, -4, -5], "holds no voxel"),
        ("2**63", [2**63, 1, 1], "larger than any volume"),
        ("2**32 thrice", [2**32] * 3, "larger than any volume"),
        ("a fraction", [3.5, 4, 5], "declares no shape"),
        ("true", [True, 4, 5], "declares no shape"),
        ("text", "3 4 5", "declares no shape"),
        ("of 10,000 axes", [1] * 10_000, "larger than any volume"),
        ("of none", [], "describes no array"),
    ):
        yield f"Zarr 2: shape {name}", Case(partial(zarr_2, shape=shape), expect)
        yield f"Zarr 3: shape {name}", Case(partial(zarr_3, shape=shape), expect)
    for name, chunks, expect in (
        ("zero", [3, 0, 5], "holds no voxel"),
        ("negative", [3, -4, 5], "holds no voxel"),
        ("of two axes", [3, 4], "do not fit an array"),
        ("of 64 GB", [4096, 4096, 2048], "MiB each"),
        ("null", None, "declares no"),
    ):
        yield f"Zarr 2: chunks {name}", Case(partial(zarr_2, chunks=chunks), expect)
        grid = {"name": "regular", "configuration": {"chunk_shape": chunks}}
        yield f"Zarr 3: chunks {name}", Case(partial(zarr_3, chunk_grid=grid), expect)
    one = {"shape": [1000, 1000, 1000]}
    yield (
        "Zarr 2: chunks of a voxel",
        Case(partial(zarr_2, **one, chunks=[1, 1, 1]), "cut it into 1,000,000,000 pieces"),
    )
    yield "Zarr 3: chunks of a voxel", Case(partial(zarr_3, **one, chunk_grid=regular(1, 1, 1)), "1,000,000,000 pieces")
    yield (
        "Zarr 3: shards of chunks of a voxel",
        Case(partial(zarr_3, **one, chunk_grid=regular(1000, 1000, 100), codecs=[sharding([1, 1, 1])]), "pieces"),
    )
    yield (
        "Zarr 2: 4 GiB in 225 bytes",
        Case(partial(zarr_2, bytes(20), shape=[1024] * 3, chunks=[512] * 3, dtype="<i2"), "MiB as float32|chunks"),
    )
    yield (
        "Zarr 2: 1 GiB that is not there",
        Case(partial(zarr_2, shape=[512, 1024, 1024], chunks=[128] * 3), "MiB as float32"),
    )
    for dtype in ("|O", "<U10", "|V8", "<c8", "<M8[s]", "<f1", "<f16", "<i3", [["a", "<i2"]], "hello", None, 7):
        yield f"Zarr 2: type {dtype}", Case(partial(zarr_2, dtype=dtype), "Zarr data type")
    for dtype in ("complex64", "string", "r16", "bfloat16", {"name": "numpy.datetime64"}, None):
        yield f"Zarr 3: type {dtype}", Case(partial(zarr_3, data_type=dtype), "Zarr data type")
    for fill in ("hello", 1e300, -1, [1], {"a": 1}, "0xzz"):
        yield f"Zarr 2: fill value {fill}", Case(partial(zarr_2, fill_value=fill, dtype="<u2"), "fill value")


def _bombs() -> Iterator[tuple[str, Case]]:
    for name, data in (("zlib", zeros_zlib), ("gzip", zeros_gzip)):
        yield (
            f"Zarr 2: chunk is a {name} bomb",
            Case(
                lambda name=name, data=data: zarr_2(data(1024)[:60_000], compressor={"id": name}),
                "one of its chunks",
            ),
        )
    yield (
        "Zarr 2: chunk is a bzip2 bomb",
        Case(lambda: zarr_2(zeros_bzip2(10), compressor={"id": "bz2"}), "one of its chunks"),
    )
    yield (
        "Zarr 2: chunk of a megabyte for 120 bytes",
        Case(lambda: zarr_2(bytes(2**20)), "one of its chunks has 1,048,576 bytes"),
    )
    yield (
        "Zarr 2: Blosc declares 4 GB",
        Case(
            lambda: zarr_2(
                struct.pack("<4B3I", 2, 1, 1, 1, 2**32 - 1, 2**18, 50) + bytes(34), compressor={"id": "blosc"}
            ),
            "Blosc declares",
        ),
    )
    yield (
        "Zarr 2: Blosc of nonsense",
        Case(
            lambda: zarr_2(struct.pack("<4B3I", 2, 1, 1, 1, 120, 120, 50) + b"\xff" * 34, compressor={"id": "blosc"}),
            "damaged",
        ),
    )
    yield (
        "Zarr 2: Zstandard declares 2**60",
        Case(
            lambda: zarr_2(b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**60) + bytes(20), compressor={"id": "zstd"}),
            "Zstandard declares",
        ),
    )
    yield (
        "Zarr 2: Zstandard does not say",
        Case(lambda: zarr_2(b"\x28\xb5\x2f\xfd\0\x58" + b"\xff" * 20, compressor={"id": "zstd"}), "damaged"),
    )
    yield (
        "Zarr 2: LZ4 declares 4 GB",
        Case(lambda: zarr_2(b"\xff\xff\xff\xff" + bytes(30), compressor={"id": "lz4"}), "LZ4 declares"),
    )
    yield (
        "Zarr 2: LZMA of a large dictionary",
        Case(
            lambda: zarr_2(b"\x5d\xff\xff\xff\xff" + b"\xff" * 8 + bytes(100), compressor={"id": "lzma"}),
            "one of its chunks is damaged",
        ),
    )
    yield "Zarr 2: 100 compressors", Case(partial(zarr_2, filters=[{"id": "zlib"}] * 100), "100 codecs")
    yield (
        "Zarr 2: compressed twice",
        Case(
            lambda: zarr_2(
                zlib.compress(zlib.compress(bytes(120))), filters=[{"id": "zlib"}], compressor={"id": "zlib"}
            ),
            "follows",
        ),
    )
    yield (
        "Zarr 2: bzip2 cut off",
        Case(lambda: zarr_2(bz2.compress(bytes(120))[:-9], compressor={"id": "bz2"}), "damaged|cut off"),
    )


def _damaged() -> Iterator[tuple[str, Case]]:
    yield "Zarr 2: chunk too short", Case(partial(zarr_2, bytes(119)), "holds 119 bytes, and 120 are declared")
    yield "Zarr 2: no chunk", Case(lambda: zipped((".zarray", array_2())), "none of its 1 chunks")
    yield (
        "Zarr 2: a chunk is missing",
        Case(lambda: zarr_2(bytes(40), chunks=[1, 4, 5]), Reads((3, 4, 5, 1), "2 of its 3 chunks are missing")),
    )
    yield "Zarr 2: order nonsense", Case(partial(zarr_2, order="Z"), "unknown order")
    yield "Zarr 2: separator is a path", Case(partial(zarr_2, dimension_separator="/../"), "unknown order or separator")
    yield (
        "Zarr 2: delta of nonsense",
        Case(partial(zarr_2, filters=[{"id": "delta", "dtype": "|O"}]), "not a plain number"),
    )
    yield (
        "Zarr 2: scale of nothing",
        Case(
            partial(zarr_2, filters=[{"id": "fixedscaleoffset", "scale": 0, "offset": 0, "dtype": "<i2"}]), "no scale"
        ),
    )
    yield (
        "Zarr 3: transposed out of it",
        Case(
            partial(zarr_3, codecs=[{"name": "transpose", "configuration": {"order": [0, 1, 7]}}, "bytes"]),
            "axes that are not there",
        ),
    )
    yield (
        "Zarr 3: codecs are none",
        Case(partial(zarr_3, codecs=[]), "its codecs (none)".replace("(", r"\(").replace(")", r"\)")),
    )
    yield "Zarr 3: codecs are numbers", Case(partial(zarr_3, codecs=[1, 2]), "metadata is damaged")
    yield "Zarr 3: irregular grid", Case(partial(zarr_3, chunk_grid={"name": "rectilinear"}), "is not read here")
    yield (
        "Zarr 3: key encoding is a path",
        Case(
            partial(zarr_3, chunk_key_encoding={"name": "default", "configuration": {"separator": "/../"}}),
            "are not read here",
        ),
    )
    sharded = {"codecs": [sharding([1, 4, 5])]}
    yield "Zarr 3: shard cut off", Case(partial(zarr_3, bytes(20), **sharded), "shards is cut off|checksum")
    yield (
        "Zarr 3: shard's table points behind the end",
        Case(
            lambda: zarr_3(
                bytes(120) + struct.pack("<6Q", 0, 40, 2**62, 40, 40, 40), codecs=[sharding([1, 4, 5], False)]
            ),
            "cut off",
        ),
    )
    yield (
        "Zarr 3: shards in shards",
        Case(partial(zarr_3, codecs=[sharding([3, 4, 5], inner=[sharding([1, 4, 5])])]), "not read here"),
    )
    deep = b'{"zarr_format": 2, "shape": ' + b"[" * 200_000
    yield (
        "Zarr 2: JSON 200,000 deep",
        Case(lambda: zipped((".zarray", deep), ("0.0.0", bytes(120))), "none of the 2 files"),
    )
    yield (
        "Zarr 2: attributes 200,000 deep",
        Case(lambda: zipped((".zarray", array_2()), (".zattrs", b"[" * 200_000), ("0.0.0", bytes(120))), THREE),
    )
    yield (
        "Zarr 2: JSON of 5 MB",
        Case(lambda: zipped((".zarray", array_2() + b" " * 4_900_000), ("0.0.0", bytes(120))), "larger than 4 MiB"),
    )
    yield (
        "Zarr 3: JSON cut off",
        Case(lambda: zipped(("zarr.json", array_3()[:100]), ("c/0/0/0", bytes(120))), "none of the 2 files"),
    )


def _folders() -> Iterator[tuple[str, Case]]:
    yield (
        "Zarr 2: 5,000 arrays",
        Case(lambda: zipped(*((f"{n}/.zarray", array_2()) for n in range(5000))), "groups and arrays"),
    )
    yield (
        "Zarr 2: 5,000 folders deep",
        Case(
            lambda: [("a/" * 5000 + ".zarray", array_2()), ("a/" * 5000 + "0.0.0", bytes(120))], "none of the 2 files"
        ),
    )
    yield "OME-Zarr: dataset above", Case(partial(_ome, f"../{CANARY}"), "describes no array|none of its|arrays")
    yield "OME-Zarr: dataset absolute", Case(partial(_ome, "/etc"), "describes no array|none of its|arrays")
    yield "OME-Zarr: dataset is itself", Case(partial(_ome, "."), "describes no array|none of its|arrays")
    yield "OME-Zarr: 30,000 datasets", Case(lambda: _ome("0", 30_000), THREE)
    for scale in ("[0, 0, 0]", "[1e999, 1, 1]", "[NaN, 1, 1]", "[-1, 1, 1]", "[1]", '["a", 1, 1]'):
        yield f"OME-Zarr: scale {scale}", Case(partial(_ome_scaled, scale), THREE)


def sharding(chunk: list[int], checksum: bool = True, inner: list[Any] | None = None) -> dict[str, Any]:
    little = {"name": "bytes", "configuration": {"endian": "little"}}
    return {
        "name": "sharding_indexed",
        "configuration": {
            "chunk_shape": chunk,
            "codecs": inner or [little],
            "index_codecs": [little, *([{"name": "crc32c"}] if checksum else [])],
        },
    }


def _ome(path: str, times: int = 1) -> Files:
    axes = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]
    step = [{"type": "scale", "scale": [1, 1, 1]}]
    datasets = [{"path": path, "coordinateTransformations": step}] * times
    multiscales = [{"version": "0.4", "axes": axes, "datasets": datasets}]
    files = [("a/.zgroup", b'{"zarr_format": 2}'), ("a/.zattrs", json.dumps({"multiscales": multiscales}).encode())]
    return files + ([("a/0/.zarray", array_2()), ("a/0/0.0.0", bytes(120))] if path == "0" else [])


def _ome_scaled(scale: str) -> Files:
    return [(name, content.replace(b'"scale": [1, 1, 1]', f'"scale": {scale}'.encode())) for name, content in _ome("0")]
