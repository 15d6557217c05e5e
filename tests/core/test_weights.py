"""Weights out of files that may be hostile, their layouts told apart, and turned into the other framework's."""

from __future__ import annotations

import io
import json
import pickle
import tracemalloc
import zipfile
from collections.abc import Callable

import numpy as np
import pytest
import safetensors.numpy
from hypothesis import given, settings
from hypothesis import strategies as st

from conv3d_core.chain.layer import Chain, Framework
from conv3d_core.chain.reading import read_chain
from conv3d_core.weights import (
    Checkpoint,
    WeightsError,
    conv3d_layers,
    convert,
    read_checkpoint,
    write_npz,
    write_safetensors,
)

Arrays = dict[str, np.ndarray]


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32)


def npz(**arrays: np.ndarray) -> bytes:
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def lying(header: object, data: bytes = b"\0" * 64) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data


def entry(dtype: str = "F32", shape: object = (2,), offsets: object = (0, 8)) -> dict[str, object]:
    return {"a": {"dtype": dtype, "shape": shape, "data_offsets": offsets}}


SOME: Arrays = {
    "conv.weight": random(8, 3, 3, 3, 2),
    "conv.bias": random(8, seed=1),
    "norm.num_batches_tracked": np.array(7, np.int64),
    "mask": np.array([True, False]),
    "nothing": np.zeros((0, 3), np.float32),
}


class TestReading:
    @pytest.mark.parametrize("write", [safetensors.numpy.save, lambda arrays: npz(**arrays)])
    def test_what_others_write(self, write: Callable[[Arrays], bytes]) -> None:
        read = read_checkpoint(write(SOME), "weights")
        assert read.arrays.keys() == SOME.keys()
        for name, array in SOME.items():
            np.testing.assert_array_equal(read.arrays[name], array)
            assert read.arrays[name].dtype == array.dtype
            assert not read.arrays[name].flags.writeable

    @pytest.mark.parametrize("write", [write_safetensors, write_npz])
    def test_what_is_written_here_is_read_here_and_is_the_same_twice(
        self, write: Callable[[Checkpoint], bytes]
    ) -> None:
        file = write(Checkpoint(SOME, "mlx"))
        assert file == write(Checkpoint(dict(reversed(SOME.items())), "mlx"))
        read = read_checkpoint(file)
        for name, array in SOME.items():
            np.testing.assert_array_equal(read.arrays[name], array)
        assert read.framework == ("mlx" if write is write_safetensors else None)

    def test_what_is_written_here_others_read(self) -> None:
        for found in (
            safetensors.numpy.load(write_safetensors(Checkpoint(SOME, "torch"))),
            np.load(io.BytesIO(write_npz(Checkpoint(SOME)))),
        ):
            for name, array in SOME.items():
                np.testing.assert_array_equal(found[name], array)

    def test_halves_and_doubles_are_float32(self) -> None:
        values = np.array([1.5, -2, 0.25, 1e30], np.float64)
        read = read_checkpoint(npz(half=values[:3].astype(np.float16), double=values, big=values.astype(">f4")))
        assert {array.dtype for array in read.arrays.values()} == {np.dtype(np.float32)}
        np.testing.assert_array_equal(read.arrays["half"], values[:3])
        np.testing.assert_array_equal(read.arrays["big"], values.astype(np.float32))

    def test_bfloat16(self) -> None:
        file = lying(entry("BF16", [2], [0, 4]), b"\xc0\x3f\x00\xc0")
        np.testing.assert_array_equal(read_checkpoint(file).arrays["a"], [1.5, -2])

    def test_fortran_order_and_compression(self) -> None:
        array = random(2, 3, 4)
        file = io.BytesIO()
        np.savez_compressed(file, a=np.asfortranarray(array))
        np.testing.assert_array_equal(read_checkpoint(file.getvalue()).arrays["a"], array)

    def test_types_that_are_not_read_are_left_out(self) -> None:
        read = read_checkpoint(lying(entry() | {"q": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [8, 12]}}))
        assert (list(read.arrays), read.left_out) == (["a"], ("q",))

    def test_whose_it_is_where_the_file_says_so(self) -> None:
        for said, framework in (("pt", "torch"), ("mlx", "mlx"), ("tf", None)):
            assert read_checkpoint(safetensors.numpy.save(SOME, {"format": said})).framework == framework

    def test_mlxs_and_pytorchs_own_files(self, tmp_path) -> None:
        mx = pytest.importorskip("mlx.core")
        half = mx.array([1.5, 2]).astype(mx.bfloat16)
        mx.save_safetensors(str(tmp_path / "a.safetensors"), {"a": half}, {"format": "mlx"})
        mx.savez(str(tmp_path / "a.npz"), a=mx.array([1.5, 2]))
        for name, framework in (("a.safetensors", "mlx"), ("a.npz", None)):
            read = read_checkpoint((tmp_path / name).read_bytes(), name)
            np.testing.assert_array_equal(read.arrays["a"], [1.5, 2])
            assert read.framework == framework


def zipped(**members: bytes) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, content in members.items():
            archive.writestr(name.replace("__", "/"), content)
    return file.getvalue()


def npy(array: np.ndarray, allow_pickle: bool = False) -> bytes:
    file = io.BytesIO()
    np.save(file, array, allow_pickle=allow_pickle)
    return file.getvalue()


PICKLED = "is a pickle, and reading one can run any code; save it with save_file(model.state_dict(), "
HOSTILE = {
    "a zip of torch.save": (zipped(**{"archive__data.pkl": b"\x80\x02}.", "archive__data__0": b"\0" * 8}), PICKLED),
    "TorchScript": (zipped(**{"net__constants.pkl": b"\x80\x02).", "net__code__a.py": b""}), PICKLED),
    "a pickle, protocol 0": (pickle.dumps({"a": 1}, 0), PICKLED),
    "a pickle, protocol 2": (pickle.dumps({"a": 1}, 2), PICKLED),
    "a pickle, protocol 5": (pickle.dumps({"a": 1}, 5), PICKLED),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + b"\0" * 99, "is an HDF5 file; save its arrays with numpy.savez"),
    "one array": (npy(np.ones(3)), "is one array without a name; save all with numpy.savez"),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 20, "is gzip data; unpack it first"),
    "text": (b"weights", "(7 bytes) is neither safetensors nor .npz; use"),
    "nothing": (b"", "(0 bytes) is neither safetensors nor .npz"),
    "objects": (zipped(**{"a.npy": npy(np.array([{}, 1], object), True)}), "holds Python objects, and reading those"),
    "complex": (npz(a=np.ones(3, complex)), "complex128 values are complex"),
    "no array in a zip": (zipped(**{"a.txt": b"x"}), "is a zip archive with 'a.txt', which is no .npy"),
    "an empty zip": (zipped(), "holds no array that is read here"),
    "a damaged .npy": (zipped(**{"a.npy": npy(np.ones(3))[:20]}), "its .npy header is damaged"),
    "a .npy without its end": (zipped(**{"a.npy": npy(np.ones(9))[:-8]}), "it is cut off: its header declares"),
    "a .npy of 10^18": (
        zipped(**{"a.npy": npy(np.ones(3)).replace(b"(3,), }" + b" " * 17, b"(1000000000000000000,), }")}),
        "it is cut off: its header declares 8,000,000,000,000,000,",
    ),
    "out of the archive": (zipped(**{"..__a.npy": npy(np.ones(3))}), "points out of its archive"),
    "a header that is cut off": (lying(entry())[:30], "is neither safetensors"),
    "no JSON": (lying(b"{" + b"x" * 30), "its safetensors header is no JSON"),
    "deep JSON": (lying(b'{"a":' + b"[" * 100_000), "its safetensors header is no JSON"),
    "the same name twice": (lying(b'{"a":1,"a":2}'), "has two entries of the same name"),
    "no tensor": (lying(b'{"__metadata__":{}}'), "it holds no tensor"),
    "too long for its data": (lying(entry(shape=[99], offsets=[0, 396])), "it is cut off: its header declares"),
    "another length": (lying(entry(shape=[3])), "tensor 'a' of F32 (3,) has 8 bytes of data"),
    "a negative size": (lying(entry(shape=[-2])), "does not say what tensor 'a' is"),
    "a size of 10^30": (lying(entry(shape=[10**30])), "does not say what tensor 'a' is"),
    "offsets backwards": (lying(entry(shape=[0], offsets=[8, 0])), "has -8 bytes of data"),
    "overlapping": (
        lying(entry() | {"b": {"dtype": "F32", "shape": [2], "data_offsets": [4, 12]}}),
        "tensor 'b' lies over the one before it",
    ),
}  # fmt: skip


class TestHostile:
    @pytest.mark.parametrize("name", HOSTILE)
    def test_is_explained(self, name: str) -> None:
        data, words = HOSTILE[name]
        with pytest.raises(WeightsError) as caught:
            read_checkpoint(data, "/home/me/weights.bin")
        text = str(caught.value)
        assert text.startswith("weights: 'weights.bin'")
        assert text.endswith(".")
        assert words in text

    def test_a_real_torch_save(self) -> None:
        torch = pytest.importorskip("torch")
        for new in (True, False):
            file = io.BytesIO()
            torch.save({"a": torch.ones(3)}, file, _use_new_zipfile_serialization=new)
            with pytest.raises(WeightsError, match="is a pickle, and reading one can run any code; save it with"):
                read_checkpoint(file.getvalue(), "model.safetensors")

    def test_a_bomb_stays_packed(self) -> None:
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive, archive.open("a.npy", "w") as member:
            np.lib.format.write_array_header_1_0(
                member, {"descr": "<f4", "fortran_order": False, "shape": (25 * 2**20,)}
            )
            for _ in range(100):
                member.write(bytes(2**20))
        data = file.getvalue()
        assert len(data) < 2**18
        tracemalloc.start()
        with pytest.raises(WeightsError, match="its arrays take 100 MiB; use a file with at most 67 MiB of them"):
            read_checkpoint(data)
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
        tracemalloc.stop()

    @settings(max_examples=200)
    @given(st.sampled_from([safetensors.numpy.save(SOME), npz(**SOME)]), st.data())
    def test_damage_gives_weights_or_the_error(self, file: bytes, data: st.DataObject) -> None:
        damaged = bytearray(file[: data.draw(st.integers(0, len(file)))])
        if data.draw(st.booleans()):
            damaged = bytearray(file)
        for _ in range(data.draw(st.integers(0, 4))):
            if damaged:
                last = min(len(damaged), 600) if data.draw(st.booleans()) else len(damaged)
                damaged[data.draw(st.integers(0, last - 1))] = data.draw(st.integers(0, 255))
        try:
            read = read_checkpoint(bytes(damaged))
        except WeightsError:
            return
        assert sum(array.nbytes for array in read.arrays.values()) <= 4 * len(file)


def checkpoint(shapes: dict[str, tuple[int, ...]], framework: Framework | None = None) -> Checkpoint:
    return Checkpoint({name: random(*shape, seed=len(name)) for name, shape in shapes.items()}, framework)


class TestLayouts:
    def test_by_the_channels_and_the_kernels(self) -> None:
        torch = checkpoint({"a.weight": (8, 1, 3, 3, 3), "a.bias": (8,), "b.weight": (16, 8, 5, 5, 5), "c": (5, 5)})
        mlx = checkpoint({"a.weight": (8, 3, 3, 3, 1), "a.bias": (8,), "b.weight": (16, 5, 5, 5, 8), "c": (5, 5)})
        for given_, layout in ((torch, "torch"), (mlx, "mlx")):
            first, second = conv3d_layers(given_)
            assert (first.name, first.key, first.bias_key) == ("a", "a.weight", "a.bias")
            assert (first.layout, second.layout) == (layout, layout)
            assert not first.ambiguous
            assert (first.weight().shape, second.weight().shape) == ((8, 3, 3, 3, 1), (16, 5, 5, 5, 8))
            assert first.bias is not None
            assert second.bias is None
        readings = conv3d_layers(torch)[1].readings
        assert [reading.layout for reading in readings] == ["mlx", "torch"]
        assert readings[0].why == (
            "its kernel of 8×5×5 would be uneven",
            "it would take 5 channels, and the layer before it puts 8 out",
        )
        assert readings[1].why == (
            "its kernel would be 5×5×5",
            "it would take the 8 channels that the layer before it puts out",
        )

    def test_large_kernels_are_implausible(self) -> None:
        (layer,) = conv3d_layers(checkpoint({"a.weight": (64, 3, 3, 3, 128)}))
        assert layer.layout == "mlx"
        assert [reading.plausible for reading in layer.readings] == [True, False]
        assert "a kernel of 3×3×128 would be very large" in layer.readings[1].why

    def test_where_all_sizes_agree_both_are_shown(self) -> None:
        (layer,) = conv3d_layers(checkpoint({"a.weight": (3, 3, 3, 3, 3)}))
        assert layer.ambiguous
        assert layer.readings[0].shape == layer.readings[1].shape
        assert not np.array_equal(layer.weight("mlx"), layer.weight("torch"))
        np.testing.assert_array_equal(layer.weight("mlx"), layer.stored)
        np.testing.assert_array_equal(layer.weight("torch"), layer.stored.transpose(0, 2, 3, 4, 1))

    def test_the_other_layers_of_the_file_speak_for_it(self) -> None:
        for more, layout in (((8, 3, 3, 3, 1), "mlx"), ((8, 1, 3, 3, 3), "torch")):
            first, second = conv3d_layers(checkpoint({"b.weight": (3, 3, 3, 3, 3), "a.weight": more}))
            assert (first.name, second.name) == ("a", "b")
            assert (first.layout, second.layout) == (layout, layout)
            assert (first.ambiguous, second.ambiguous) == (False, True)

    def test_what_the_file_says_speaks_for_it(self) -> None:
        shapes = {"a.weight": (3, 3, 3, 3, 3)}
        assert conv3d_layers(checkpoint(shapes, "mlx"))[0].layout == "mlx"
        assert conv3d_layers(checkpoint(shapes, "torch"))[0].layout == "torch"
        named = conv3d_layers(checkpoint({**shapes, "n.num_batches_tracked": ()}))
        assert named[0].readings[1].why[0] == "num_batches_tracked is a name that only PyTorch has"

    def test_a_transposed_one_and_integers_are_left_out(self) -> None:
        given_ = checkpoint({"up.weight": (8, 4, 2, 2, 2), "up.bias": (4,), "a.weight": (2, 2, 2, 2, 2)})
        more = Checkpoint({**given_.arrays, "n": np.ones((1, 1, 1, 1, 1), np.int64)})
        assert [layer.name for layer in conv3d_layers(more)] == ["a"]

    def test_the_digest_is_of_the_numbers(self) -> None:
        one, two = (Checkpoint({"a.weight": random(2, 3, 3, 3, 1, seed=seed)}) for seed in (0, 1))
        assert conv3d_layers(one)[0].digest == conv3d_layers(one)[0].digest != conv3d_layers(two)[0].digest

    @given(
        st.lists(st.sampled_from([8, 16, 32, 64]), min_size=1, max_size=4),
        st.lists(st.sampled_from([1, 3, 5, 7]), min_size=4, max_size=4),
        st.sampled_from([1, 2, 4]),
        st.sampled_from(["mlx", "torch"]),
    )
    def test_a_network_is_told_right_or_ambiguous(
        self, outputs: list[int], kernels: list[int], first: int, layout: Framework
    ) -> None:
        shapes = {}
        for index, (inputs, out) in enumerate(zip([first, *outputs], outputs, strict=False)):
            kernel = (kernels[index],) * 3
            shapes[f"{index}.weight"] = (out, *kernel, inputs) if layout == "mlx" else (out, inputs, *kernel)
        for layer in conv3d_layers(checkpoint(shapes)):
            assert layer.layout == layout or layer.ambiguous


NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv3d(3, 3, 3)
        self.conv2 = nn.Conv3d(3, 3, 3, bias=False)
    def forward(self, x):
        return self.conv2(self.conv1(x))
"""
SHAPES = {"conv1.weight": (3, 3, 3, 3, 3), "conv1.bias": (3,), "conv2.weight": (3, 3, 3, 3, 3)}


def chain(text: str = NET) -> Chain:
    return read_chain(text, "torch")


class TestConverting:
    def test_by_the_names_of_the_text_whatever_their_order(self) -> None:
        given_ = checkpoint({f"model.{name}": shape for name, shape in reversed(SHAPES.items())}, "torch")
        there = convert(given_, chain(), "mlx")
        assert there.framework == "mlx"
        assert set(there.arrays) == set(SHAPES)
        for name in ("conv1", "conv2"):
            stored = given_.arrays[f"model.{name}.weight"]
            np.testing.assert_array_equal(there.arrays[f"{name}.weight"], stored.transpose(0, 2, 3, 4, 1))

    def test_by_shape_in_natural_order(self) -> None:
        sequential = read_chain(
            "nn.Sequential(nn.Conv3d(1, 2, 1), nn.ReLU(), nn.Conv3d(2, 2, 1), nn.Conv3d(2, 2, 1))", "torch"
        )
        shapes = {"9.weight": (2, 2, 1, 1, 1), "10.weight": (2, 2, 1, 1, 1), "1.weight": (2, 1, 1, 1, 1)}
        given_ = checkpoint(
            {**shapes, **{name.replace("weight", "bias"): (2,) for name in shapes}, "other": (3,)}, "torch"
        )
        there = convert(given_, sequential, "mlx")
        assert sorted(there.arrays)[1::2] == ["layers.0.weight", "layers.2.weight", "layers.3.weight"]
        np.testing.assert_array_equal(there.arrays["layers.3.bias"], given_.arrays["10.bias"])
        assert there.left_out == ("other",)

    def test_where_all_sizes_agree_it_has_to_be_said(self) -> None:
        given_ = checkpoint(SHAPES)
        with pytest.raises(WeightsError, match="layout: the sizes agree in both layouts, so nothing tells"):
            convert(given_, chain(), "mlx")
        same = convert(given_, chain(), "mlx", given="mlx")
        np.testing.assert_array_equal(same.arrays["conv1.weight"], given_.arrays["conv1.weight"])
        moved = convert(given_, chain(), "mlx", given="torch")
        np.testing.assert_array_equal(
            moved.arrays["conv1.weight"], given_.arrays["conv1.weight"].transpose(0, 2, 3, 4, 1)
        )

    def test_the_wrong_file_is_explained(self) -> None:
        with pytest.raises(WeightsError) as caught:
            convert(checkpoint({"a.weight": (4, 3, 3, 3, 3), "a.bias": (4,)}), chain(), "mlx")
        assert str(caught.value) == (
            "weights: layer 1, nn.Conv3d, wants weight (3, 3, 3, 3, 3), bias (3,) of PyTorch, and no name in the file "
            "has these; use the file of this chain; it has a.weight (4, 3, 3, 3, 3)."
        )

    def test_the_wrong_layout_is_recognised(self) -> None:
        one = read_chain("nn.Conv3d(2, 8, 3)", "torch")
        given_ = checkpoint({"weight": (8, 3, 3, 3, 2), "bias": (8,)})
        np.testing.assert_array_equal(convert(given_, one, "mlx").arrays["layers.0.weight"], given_.arrays["weight"])
        with pytest.raises(WeightsError, match="of PyTorch, and no name in the file has these"):
            convert(given_, one, "mlx", given="torch")
