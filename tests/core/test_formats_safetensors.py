"""safetensors against its own library, and files made to hurt."""

import json
import re
import struct

import numpy as np
import pytest
from safetensors.numpy import load, save

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, inspect_volume, read_volume


def made(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(dtype="U8", shape=(2, 3, 4), first=0, end=24):
    return {"dtype": dtype, "shape": list(shape), "data_offsets": [first, end]}


def refused(data, message, **options):
    with pytest.raises(VolumeError, match=re.escape(message)) as caught:
        read_volume(data, **options)
    return caught.value


@pytest.mark.parametrize("dtype", ["?", "i1", "u1", "<i2", "<u2", "<i4", "<u4", "<i8", "<u8", "<f2", "<f4", "<f8"])
def test_every_type_as_the_library_writes_it(dtype):
    array = (np.arange(24).reshape(2, 3, 4) * 5).astype(dtype)
    volume = read_volume(save({"scan": array}))
    np.testing.assert_array_equal(volume.array[..., 0], array.astype(np.float32))
    assert (volume.dtype, volume.notes) == (np.dtype(dtype).name, ())
    assert volume.source == f"safetensors, {volume.dtype} (2, 3, 4) 0 1 2 -> D H W = 0 1 2"


def test_several_tensors_are_chosen_by_name():
    arrays = {
        "a": np.ones((2, 3, 4), np.float32),
        "b": np.arange(120, dtype=np.int16).reshape(2, 3, 4, 5),
        "line": np.ones(5, np.float32),
        "number": np.array(1.0),
    }
    data = save(arrays, {"made": "here"})
    np.testing.assert_array_equal(read_volume(data, member="b").array, load(data)["b"])
    entries = {entry.name: entry for entry in inspect_volume(data)}
    assert set(entries) == set(arrays)
    assert str(entries["line"].refusal).startswith("file: an array (5,) is not a volume")
    assert str(entries["number"].refusal).startswith("file: an array () is not a volume")
    assert (entries["line"].sizes, entries["number"].sizes) == ((1, 1, 1, 1), (1, 1, 1, 1))
    assert entries["line"].source.startswith("safetensors 'line', float")
    refused(data, "member: 2 of its 4 arrays could be the volume; name one of")
    refused(data, "an array (5,) is not a volume", member="line")
    assert refused(data, "member: there is no 'c'", member="c").field == "member"


def test_the_weights_of_a_layer_are_listed_with_why_they_are_no_volume():
    data = save({"conv.weight": np.ones((8, 4, 3, 3, 3), np.float32), "scan": np.ones((2, 3, 4), np.float32)})
    refused(
        data,
        "a tensor (8, 4, 3, 3, 3) of five axes is no volume: the weights of a Conv3d are such; use one of (D, H, W)",
        member="conv.weight",
    )
    assert read_volume(data).source.startswith("safetensors 'scan'")
    assert read_volume(save({"x": np.ones((1, 2, 3, 4, 5), np.float32)})).shape == (2, 3, 4, 5)


def test_bfloat16_is_the_upper_half_of_a_float32():
    values = np.array([1.5, -2.0, 3e38, 1e-40, np.inf, np.nan] * 4, np.float32).view(np.uint32) >> 16
    data = made({"x": tensor("BF16", end=48)}, values.astype("<u2").tobytes())
    volume = read_volume(data)
    np.testing.assert_array_equal(volume.array.ravel(), (values << 16).astype(np.uint32).view(np.float32))
    assert volume.array.ravel()[:2].tolist() == [1.5, -2.0]
    assert volume.notes[0] == "bfloat16 values, which float32 holds exactly"


@pytest.mark.parametrize("dtype", ["F8_E4M3", "F8_E5M2", "F4", "C64", "Q9\x1b"])
def test_other_types_are_refused_one_by_one(dtype):
    data = made({"x": tensor(dtype), "y": tensor(first=24, end=48)}, bytes(48))
    assert read_volume(data).shape == (2, 3, 4, 1)
    refused(data, "are not read here; save integers, or floats of 16 to 64 bits", member="x")


def test_an_empty_tensor_is_refused_alone():
    data = made({"x": tensor(shape=(2, 0, 4), end=0), "y": tensor()}, bytes(24))
    assert read_volume(data).shape == (2, 3, 4, 1)
    refused(data, "the declared shape (2, 0, 4) holds no voxel", member="x")


def test_several_files_are_told_apart():
    files = [
        (f"{name}.safetensors", save({"x": np.full((2, 2, 2), value, "u1")})) for name, value in (("a", 1), ("b", 2))
    ]
    assert [entry.name for entry in inspect_volume(files)] == ["a.safetensors: x", "b.safetensors: x"]
    assert read_volume(files, member="b.safetensors: x").array.max() == 2


def test_a_part_equals_a_cut_of_the_whole():
    array = np.random.default_rng(0).random((12, 20, 30, 2)).astype(np.float32)
    words = made(
        {"x": tensor("BF16", array.shape, 0, array.size * 2)}, (array.view(np.uint32) >> 16).astype("<u2").tobytes()
    )
    for data in (save({"before": np.ones(3), "x": array}), words):
        whole = read_volume(data, member=None if data is words else "x")
        part = read_volume(
            data, member=None if data is words else "x", part=Part(box=((3, 10), (2, 9), (5, 16)), reduce=2, channel=1)
        )
        cut = whole.array[3:11, 2:10, 5:17, 1:].reshape(4, 2, 4, 2, 6, 2, 1).mean(axis=(1, 3, 5), dtype=np.float64)
        np.testing.assert_array_equal(part.array, cut.astype(np.float32))


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(made({"x": tensor()}, bytes(23)), "it is cut off: its header declares", id="cut off"),
        pytest.param(made({"x": tensor(end=25)}, bytes(99)), "tensor 'x' of U8 (2, 3, 4) has 25 bytes", id="size"),
        pytest.param(made({"x": tensor(first=30)}, bytes(99)), "has -6 bytes of data", id="backwards"),
        pytest.param(
            made({"x": tensor(), "y": tensor(first=20, end=44)}, bytes(99)), "'y' lies over the one", id="overlap"
        ),
        pytest.param(
            made({"x": tensor("F8_E4M3", end=2**62), "y": tensor()}, bytes(99)), "lies over the one", id="over all"
        ),
        pytest.param(made({"x": tensor("F8_E4M3", end=2**62)}, bytes(99)), "it is cut off", id="far"),
        pytest.param(made({"x": tensor(shape=[2**62] * 3)}), "has 24 bytes of data", id="huge"),
        pytest.param(made({"x": tensor(shape=[True, 3, 8])}, bytes(24)), "does not say what tensor 'x' is", id="bool"),
        pytest.param(made({"x": tensor(shape=[-2, -3, 4])}, bytes(24)), "does not say what tensor", id="negative"),
        pytest.param(made({"x": tensor(shape=[2.0, 3, 4])}, bytes(24)), "does not say what tensor", id="float"),
        pytest.param(made({"x": tensor(shape=[1] * 99, end=1)}, bytes(1)), "does not say what tensor", id="many axes"),
        pytest.param(made({"x": [1]}), "does not say what tensor 'x' is", id="no object"),
        pytest.param(made({"x": {"dtype": 5}}), "does not say what tensor 'x' is", id="no fields"),
        pytest.param(
            made({"x": {**tensor(), "data_offsets": [0, 12, 24]}}, bytes(24)), "does not say what", id="offsets"
        ),
        pytest.param(made({"__metadata__": {"a": "b"}}), "it holds no tensor", id="empty"),
        pytest.param(made(b'{"x": 1, "x": 2}'), "two entries of the same name", id="twice"),
        pytest.param(made(b"{]"), "its safetensors header is no JSON", id="no json"),
        pytest.param(made(b'{"\xff": 1}'), "its safetensors header is no JSON", id="no text"),
        pytest.param(made(b'{"a":' + b"[" * 100_000), "its safetensors header is no JSON", id="deep"),
        pytest.param(made(b'{"a":' + b"9" * 100_000 + b"}"), "its safetensors header is no JSON", id="many digits"),
        pytest.param(made(b"{" + b" " * 5_000_000), "its safetensors header is 5 MiB long", id="long header"),
        pytest.param(
            made({f"{n}": tensor() for n in range(20_001)}), "it holds more than 20,000 tensors", id="many"
        ),
        pytest.param(made({"x": tensor()}, length=1000), "is not a volume format that is read here", id="beyond"),
        pytest.param(made({"x": tensor()}, length=2**63), "is not a volume format that is read here", id="length"),
    ],
)  # fmt: skip
def test_refusals(data, message):
    refused(data, message)
