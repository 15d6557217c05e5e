"""Zarr against its own library as the writer, and OME-Zarr against its specification, by hand."""

import base64
import bz2
import gzip
import io
import json
import lzma
import resource
import struct
import sys
import zipfile
import zlib

import numcodecs
import numpy as np
import pytest
import zarr
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, chunks, inspect_volume, read_volume
from conv3d_core.volumes.formats import zarr_files

SCAN = np.random.default_rng(0).integers(0, 1000, (11, 13, 17)).astype(np.uint16)


def files(store, prefix=""):
    return [(prefix + key, value.to_bytes()) for key, value in sorted(store.items())]


def zipped(files, method=zipfile.ZIP_STORED):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", method) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return file.getvalue()


def written(array, version=2, prefix="", **options):
    """What the zarr library makes of an array, as files."""
    store = {}
    made = zarr.create_array(
        zarr.storage.MemoryStore(store),
        shape=array.shape,
        dtype=array.dtype,
        zarr_format=version,
        **{"chunks": (4, 5, 8), "fill_value": 0, "config": {"write_empty_chunks": True}, **options},
    )
    made[...] = array
    return files(store, prefix)


def version_2(chunk=b"\0" * 8, **changes):
    """Files of an array of 2 x 2 x 2 bytes in one chunk, with anything in its metadata."""
    metadata = {
        "zarr_format": 2,
        "shape": [2, 2, 2],
        "chunks": [2, 2, 2],
        "dtype": "|u1",
        "compressor": None,
        "filters": None,
        "fill_value": 0,
        "order": "C",
    }
    return [(".zarray", json.dumps({**metadata, **changes}).encode()), ("0.0.0", chunk)]


def version_3(chunk=b"\0" * 8, path="", **changes):
    metadata = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [2, 2, 2],
        "data_type": "uint8",
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [2, 2, 2]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": 0,
        "codecs": [{"name": "bytes"}],
    }
    return [(f"{path}zarr.json", json.dumps({**metadata, **changes}).encode()), (f"{path}c/0/0/0", chunk)]


def same(volume, array):
    np.testing.assert_array_equal(volume.array, array.astype(np.float32).reshape(*array.shape[:3], -1))


class TestAgainstZarr:
    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize("dtype", ["?", "i1", "<u2", ">u2", ">i4", "<i8", "<f2", ">f4", "<f8"])
    def test_every_dtype(self, version, dtype):
        array = (SCAN % 100).astype(dtype)
        volume = read_volume(written(array, version))
        same(volume, array)
        assert volume.dtype == array.dtype.newbyteorder("=").name
        assert volume.notes == ()

    @pytest.mark.parametrize(
        "compressor",
        [
            None,
            numcodecs.Zlib(),
            numcodecs.GZip(),
            numcodecs.BZ2(),
            numcodecs.LZMA(),
            numcodecs.LZ4(),
            numcodecs.Zstd(),
            *(
                numcodecs.Blosc(name, shuffle=shuffle)
                for name in ("lz4", "zstd", "blosclz", "zlib")
                for shuffle in (0, 1, 2)
            ),
        ],
        ids=str,
    )
    def test_version_2_compressors(self, compressor):
        same(read_volume(written(SCAN, compressors=compressor)), SCAN)

    @pytest.mark.parametrize(
        "filters",
        [
            [numcodecs.Delta("<u2")],
            [numcodecs.Delta("<u2", "<i4"), numcodecs.Shuffle(4)],
            [numcodecs.Shuffle(2)],
        ],
        ids=["delta", "delta and shuffle", "shuffle"],
    )
    def test_version_2_filters_that_lose_nothing(self, filters):
        same(read_volume(written(SCAN, filters=filters)), SCAN)

    @pytest.mark.parametrize(
        "found",
        [
            numcodecs.BitRound(5),
            numcodecs.Quantize(2, "<f4"),
            numcodecs.Quantize(1, "<f4", "<f2"),
            numcodecs.FixedScaleOffset(-3.5, 10, "<f4", "<u2"),
        ],
        ids=str,
    )
    def test_version_2_filters_that_lose_something(self, found):
        array = SCAN.astype("<f4") / 7
        stored = written(array, filters=[found])
        store = zarr.storage.MemoryStore({key: zarr.core.buffer.cpu.Buffer.from_bytes(data) for key, data in stored})
        expected = zarr.open_array(store, mode="r")[...]
        assert (expected != array).any()
        same(read_volume(stored), expected)

    @pytest.mark.parametrize("order", ["C", "F"])
    @pytest.mark.parametrize("separator", [".", "/"])
    def test_version_2_order_and_separator(self, order, separator):
        encoding = {"name": "v2", "separator": separator}
        same(read_volume(written(SCAN, order=order, chunk_key_encoding=encoding)), SCAN)

    @pytest.mark.parametrize("separator", [".", "/"])
    def test_version_2_without_a_named_separator(self, separator):
        stored = dict(written(SCAN, chunk_key_encoding={"name": "v2", "separator": separator}))
        metadata = json.loads(stored[".zarray"])
        del metadata["dimension_separator"]
        same(read_volume([*stored.items(), (".zarray", json.dumps(metadata).encode())]), SCAN)

    @pytest.mark.parametrize(
        "options",
        [
            {"compressors": None},
            {"compressors": zarr.codecs.GzipCodec()},
            {"compressors": zarr.codecs.ZstdCodec(checksum=True)},
            {"compressors": zarr.codecs.BloscCodec(cname="lz4", shuffle="bitshuffle")},
            {"compressors": [zarr.codecs.ZstdCodec(), zarr.codecs.Crc32cCodec()]},
            {"compressors": [zarr.codecs.Crc32cCodec(), zarr.codecs.GzipCodec()]},
            {"serializer": zarr.codecs.BytesCodec(endian="big")},
            {"filters": zarr.codecs.TransposeCodec(order=(2, 0, 1))},
            {"filters": [zarr.codecs.TransposeCodec(order=(2, 0, 1)), zarr.codecs.TransposeCodec(order=(1, 0, 2))]},
            {"chunk_key_encoding": {"name": "default", "separator": "."}},
            {"chunk_key_encoding": {"name": "v2", "separator": "/"}},
            {"shards": (8, 10, 16)},
            {"shards": {"shape": (8, 5, 24), "index_location": "start"}, "compressors": zarr.codecs.BloscCodec()},
            {"shards": (4, 5, 8), "filters": zarr.codecs.TransposeCodec(order=(2, 0, 1))},
        ],
        ids=range(14),
    )
    def test_version_3(self, options):
        same(read_volume(written(SCAN, 3, **options)), SCAN)

    @pytest.mark.filterwarnings("ignore:Numcodecs codecs are not in the Zarr version 3")
    def test_version_3_with_codecs_of_version_2(self):
        from zarr.codecs import numcodecs as older

        for codec in (older.Zlib(), older.BZ2(), older.LZ4(), older.LZMA()):
            same(read_volume(written(SCAN, 3, compressors=[older.Shuffle(elementsize=2), codec])), SCAN)

    @given(
        shape=st.tuples(*[st.integers(1, 9)] * 3),
        chunk=st.tuples(*[st.integers(1, 10)] * 3),
        version=st.sampled_from([2, 3]),
        data=st.data(),
    )
    def test_any_box_of_any_grid(self, shape, chunk, version, data):
        array = np.arange(np.prod(shape), dtype="<i4").reshape(shape)
        box = tuple(
            tuple(sorted(data.draw(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))))) for size in shape
        )
        volume = read_volume(written(array, version, chunks=chunk, compressors=None), part=Part(box=box))
        same(volume, array[tuple(slice(first, last + 1) for first, last in box)])

    @pytest.mark.parametrize("options", [{}, {"shards": (8, 10, 16)}], ids=["chunks", "shards"])
    def test_a_part_equals_the_part_of_the_whole_and_decodes_no_more(self, options, monkeypatch):
        array = np.random.default_rng(1).random((11, 13, 17, 3)).astype("f4")
        options = {"chunks": (4, 5, 8, 1), **({"shards": (8, 10, 16, 3)} if options else {})}
        stored = written(array, 3, **options)
        decoded = []
        real = chunks.Pipeline.__call__
        monkeypatch.setattr(
            chunks.Pipeline, "__call__", lambda self, data: decoded.append(self.nbytes) or real(self, data)
        )
        part = Part(box=((4, 7), (5, 9), (1, 6)), channel=1)
        same(read_volume(stored, part=part), array[4:8, 5:10, 1:7, 1])
        assert decoded.count(4 * 5 * 8 * 4) == 1
        reduced = read_volume(stored, part=Part(reduce=2)).array
        expected = array[:10, :12, :16].astype("f8").reshape(5, 2, 6, 2, 8, 2, 3).mean(axis=(1, 3, 5))
        np.testing.assert_array_equal(reduced, expected.astype("f4"))

    @pytest.mark.parametrize("version", [2, 3])
    def test_inspecting_looks_at_no_chunk(self, version, monkeypatch):
        monkeypatch.setattr(chunks.Pipeline, "__call__", None)
        (entry,) = inspect_volume(zipped(written(SCAN, version, "scan.zarr/")))
        assert (entry.shape, entry.dtype.name, entry.kind) == (SCAN.shape, "uint16", f"Zarr {version}")

    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize(
        ("shape", "note"),
        [((5, 6), "a single plane, read as D = 1"), ((1, 3, 4, 5, 2), "the batch axis of 1 was dropped")],
    )
    def test_arrays_without_names_of_axes_as_numpys(self, version, shape, note):
        array = np.arange(np.prod(shape), dtype="<u2").reshape(shape)
        volume = read_volume(written(array, version, chunks=(1,) * (len(shape) - 2) + (2, 3)))
        np.testing.assert_array_equal(volume.array, array.reshape(volume.shape))
        assert volume.notes == (note,)

    @pytest.mark.parametrize("version", [2, 3])
    def test_missing_chunks_hold_the_fill_value_and_are_counted(self, version):
        store = {}
        made = zarr.create_array(
            zarr.storage.MemoryStore(store),
            shape=(4, 4, 4),
            chunks=(2, 2, 2),
            dtype="f4",
            fill_value=7.5,
            zarr_format=version,
        )
        made[:2] = SCAN[:2, :4, :4]
        volume = read_volume(files(store))
        same(volume, made[...])
        assert volume.notes == ("4 of its 8 chunks are missing and hold its fill value 7.5",)

    @pytest.mark.parametrize("fill", ["NaN", "Infinity", "-Infinity", "0x7fc00001"])
    def test_fill_values_that_json_cannot_write(self, fill):
        changes = {
            "data_type": "float32",
            "fill_value": fill,
            "shape": [4, 2, 2],
            "codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        }
        last = read_volume(version_3(np.zeros(8, "<f4").tobytes(), **changes)).array[-1, 0, 0, 0]
        expected = {"Infinity": np.inf, "-Infinity": -np.inf}.get(fill, np.nan)
        np.testing.assert_array_equal(last, np.float32(expected))

    def test_missing_chunks_in_a_shard(self):
        store = {}
        made = zarr.create_array(
            zarr.storage.MemoryStore(store),
            shape=(8, 8, 8),
            chunks=(2, 2, 2),
            shards=(4, 4, 4),
            dtype="u1",
            fill_value=9,
        )
        made[1, 1, 1] = 5
        same(read_volume(files(store)), made[...])


class TestDoor:
    @pytest.mark.parametrize("prefix", ["", "scan.zarr/", "data/2024/scan.zarr/"])
    @pytest.mark.parametrize("version", [2, 3])
    @pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
    def test_zips(self, prefix, version, method):
        volume = read_volume(zipped(written(SCAN, version, prefix), method), name="scan.zarr.zip")
        same(volume, SCAN)
        assert volume.notes == ()

    def test_the_librarys_own_zip(self, tmp_path):
        with zarr.storage.ZipStore(tmp_path / "a.zip", mode="w") as store:
            zarr.create_array(store, data=SCAN, chunks=(4, 5, 8))
        same(read_volume(tmp_path / "a.zip"), SCAN)

    @pytest.mark.parametrize("version", [2, 3])
    def test_folders_also_of_more_files_than_may_be_open(self, tmp_path, version):
        path = tmp_path / "scan.zarr"
        zarr.create_array(path, data=SCAN, chunks=(2, 2, 2), zarr_format=version)
        most, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            same(read_volume(path), SCAN)
            same(read_volume(tmp_path), SCAN)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))

    @pytest.mark.parametrize(
        "head",
        [gzip.compress(b"")[:8], b"PK\x05\x06abcd", b"\x93NUMPY\1\0", b"BZh91AY&", b"%PDF-1.7", b"\x89HDF\r\n\x1a\n"],
        ids=["gzip", "zip", "npy", "bzip2", "pdf", "hdf5"],
    )
    @pytest.mark.parametrize("make", [zipped, lambda source: source], ids=["zip", "files"])
    def test_chunks_that_look_like_other_formats_are_chunks(self, head, make):
        volume = read_volume(make(version_2(head)))
        assert volume.array.ravel().tolist() == list(head)
        assert volume.notes == ()

    def test_what_lies_beside_is_read_as_ever(self):
        npy = io.BytesIO()
        np.save(npy, np.ones((2, 3, 4)))
        entries = inspect_volume(zipped([*written(SCAN, 3, "scan.zarr/"), ("mask.npy", npy.getvalue())]))
        assert [(entry.kind, entry.shape) for entry in entries] == [("Zarr 3", SCAN.shape), ("NumPy .npy", (2, 3, 4))]

    def test_archives_do_not_mix(self):
        first, second = (zipped(version_2(bytes([value] * 8))) for value in (1, 2))
        source = [("a.zip", first), ("b.zip", second)]
        names = [entry.name for entry in inspect_volume(source)]
        assert [read_volume(source, member=name).array.max() for name in names] == [1, 2]

    def test_the_later_of_two_members_of_a_name_counts(self):
        with pytest.warns(UserWarning, match="Duplicate name"):
            data = zipped([*version_2(b"\1" * 8), *version_2(b"\2" * 8)])
        assert read_volume(data).array.min() == 2

    def test_arrays_of_groups_are_named_by_their_paths(self):
        store = {}
        group = zarr.create_group(zarr.storage.MemoryStore(store))
        for name in ("b/t10", "b/t2", "a"):
            group.create_array(name, data=SCAN, chunks=(4, 5, 8))
        group.create_array("times", data=np.arange(3))
        source = zipped(files(store, "run.zarr/"))
        assert [entry.name for entry in inspect_volume(source)] == ["a", "b/t2", "b/t10"]
        same(read_volume(source, member="b/t10"), SCAN)

    def test_xarrays_names_of_axes(self):
        array = SCAN[None]
        attributes = {"_ARRAY_DIMENSIONS": ["time", "x", "y", "z"]}
        two = read_volume(written(array, 2, chunks=(1, 4, 5, 8), attributes=attributes))
        three = read_volume(written(array, 3, chunks=(1, 4, 5, 8), dimension_names=["time", "x", "y", "z"]))
        assert two.source == "Zarr 2, uint16 (1, 11, 13, 17) time x y z -> D H W C = z y x time"
        same(two, array.transpose(3, 2, 1, 0))
        assert two.digest == three.digest


def pyramid(version, axes, shape, scales, translation=None, unit="micrometer", **more):
    """An OME-Zarr image of several levels as its specification has it; level n holds n everywhere but at its origin."""
    kinds = {"t": "time", "c": "channel"}
    described = [
        {
            "name": axis,
            "type": kinds.get(axis, "space"),
            **({} if axis in "tc" or unit is None else {"unit": unit}),
            **more.get(axis, {}),
        }
        for axis in axes
    ]
    datasets = []
    stored = []
    for level, scale in enumerate(scales):
        steps = [{"type": "scale", "scale": scale}]
        if translation:
            steps.append({"type": "translation", "translation": translation})
        datasets.append({"path": f"s{level}", "coordinateTransformations": steps})
        array = np.full(
            [max(1, size >> level) if axis in "zyx" else size for axis, size in zip(axes, shape, strict=True)],
            level,
            "<u2",
        )
        array[(0,) * len(shape)] = 100
        stored += written(
            array,
            2 if version == "0.4" else 3,
            f"image.zarr/s{level}/",
            chunks=tuple(min(4, size) for size in array.shape),
        )
    multiscales = [{"name": "image", "axes": described, "datasets": datasets, **more.get("image", {})}]
    if version == "0.4":
        multiscales[0]["version"] = "0.4"
        stored.append(("image.zarr/.zgroup", b'{"zarr_format": 2}'))
        stored.append(("image.zarr/.zattrs", json.dumps({"multiscales": multiscales}).encode()))
    else:
        attributes = {"ome": {"version": "0.5", "multiscales": multiscales}}
        stored.append(
            (
                "image.zarr/zarr.json",
                json.dumps({"zarr_format": 3, "node_type": "group", "attributes": attributes}).encode(),
            )
        )
    return stored


class TestOme:
    @pytest.mark.parametrize("version", ["0.4", "0.5"])
    def test_levels_axes_and_spacing(self, version):
        source = zipped(pyramid(version, "tczyx", (1, 2, 6, 8, 10), [[1, 1, 2, 0.5, 0.25], [1, 1, 4, 1, 0.5]]))
        full, half = inspect_volume(source)
        assert (full.name, half.name) == ("level 0 (full)", "level 1")
        assert full.source == (
            f"OME-Zarr {version} 'level 0 (full)', uint16 (1, 2, 6, 8, 10) t c z y x -> D H W = z y x, C = t x c"
        )
        assert (full.sizes, half.sizes) == ((6, 8, 10, 2), (3, 4, 5, 2))
        np.testing.assert_allclose(full.spacing_mm, (0.002, 0.0005, 0.00025))
        np.testing.assert_allclose(half.spacing_mm, (0.004, 0.001, 0.0005))
        # The full one is what is meant where nothing is chosen.
        volume = read_volume(source)
        assert volume.shape == (6, 8, 10, 2)
        assert volume.notes == ()
        assert read_volume(source, member="level 1").array[-1].max() == 1

    @pytest.mark.parametrize(
        ("unit", "factor"), [("nanometer", 1e-6), ("millimeter", 1), ("angstrom", 1e-7), ("inch", 25.4)]
    )
    def test_units(self, unit, factor):
        volume = read_volume(pyramid("0.5", "zyx", (4, 4, 4), [[3, 2, 1]], unit=unit))
        np.testing.assert_allclose(volume.spacing_mm, (3 * factor, 2 * factor, factor))
        assert volume.affine is None

    @pytest.mark.parametrize("unit", [None, "pixel"])
    def test_without_a_unit_there_is_no_spacing(self, unit):
        volume = read_volume(pyramid("0.4", "zyx", (4, 4, 4), [[3, 2, 1]], unit=unit))
        assert volume.spacing_mm is None
        named = unit or "none"
        assert volume.notes == (f"no spacing: its axes' units ({named}, {named}, {named}) or scale are not lengths",)

    def test_the_images_own_scale_comes_on_top(self):
        image = {"coordinateTransformations": [{"type": "scale", "scale": [10, 10, 10]}]}
        volume = read_volume(pyramid("0.4", "zyx", (4, 4, 4), [[3, 2, 1]], image=image))
        np.testing.assert_allclose(volume.spacing_mm, (0.03, 0.02, 0.01))

    def test_a_plane_over_time(self):
        volume = read_volume(pyramid("0.4", "tcyx", (3, 2, 4, 5), [[1, 1, 2, 2]]))
        assert volume.shape == (3, 4, 5, 2)
        assert "-> D H W C = t y x c" in volume.source

    def test_a_plane(self):
        volume = read_volume(pyramid("0.5", "cyx", (2, 4, 5), [[1, 2, 2]]))
        assert volume.shape == (1, 4, 5, 2)
        assert volume.notes[0] == "a single plane, read as D = 1"

    def test_axes_named_after_the_body_are_turned(self):
        """RFC 4: x runs to the right, y to the front, z upwards, as in the NIfTI files of most programs."""
        values = {"x": "left-to-right", "y": "posterior-to-anterior", "z": "inferior-to-superior"}
        more = {axis: {"orientation": {"type": "anatomical", "value": value}} for axis, value in values.items()}
        source = pyramid("0.4", "zyx", (4, 5, 6), [[3, 2, 1]], translation=[30, 20, 10], unit="millimeter", **more)
        volume = read_volume(source)
        assert volume.directions == "SPL"
        assert volume.spacing_mm == (3, 2, 1)
        assert volume.array[0, -1, -1, 0] == 100
        # The first voxel of the file lies where it says, to the right, front and top of the origin.
        np.testing.assert_allclose(volume.affine @ [0, 4, 5, 1], [10, 20, 30, 1])

    def test_labels_come_after_the_image(self):
        image = pyramid("0.4", "zyx", (4, 4, 4), [[1, 1, 1], [2, 2, 2]])
        labels = [(name.replace("image.zarr/", "image.zarr/labels/cells/"), data) for name, data in image]
        labels.append(("image.zarr/labels/.zgroup", b'{"zarr_format": 2}'))
        names = [entry.name for entry in inspect_volume(zipped(labels + image))]
        assert names == ["level 0 (full)", "level 1", "labels/cells/level 0 (full)", "labels/cells/level 1"]

    @pytest.mark.parametrize("axes", [None, ["t", "c", "z", "y", "x"]], ids=["0.1", "0.3"])
    def test_older_axes(self, axes):
        image = {"version": "0.3", "datasets": [{"path": "0"}], **({"axes": axes} if axes else {})}
        array = np.arange(24, dtype="<u2").reshape(1, 2, 3, 2, 2)
        stored = written(array, 2, "0/", chunks=(1, 1, 2, 2, 2))
        stored += [(".zgroup", b'{"zarr_format": 2}'), (".zattrs", json.dumps({"multiscales": [image]}).encode())]
        volume = read_volume(stored)
        np.testing.assert_array_equal(volume.array, array[0].transpose(1, 2, 3, 0))

    @pytest.mark.parametrize(
        "image",
        [
            {"axes": 3},
            {"axes": [None, 7, {}]},
            {"datasets": [{"path": "../../s0"}]},
            {"datasets": "s0"},
            {"datasets": [[]]},
            {"datasets": [{"path": "s0", "coordinateTransformations": [{"type": "scale", "scale": [1e999, "x", {}]}]}]},
            {"datasets": [{"path": "s0", "coordinateTransformations": [{"type": "scale", "scale": [0, -1, 1]}]}]},
            {"datasets": [{"path": "s0", "coordinateTransformations": [{"type": "affine", "path": "/etc/passwd"}]}]},
            {"datasets": [{"path": "s0"}] * 100},
        ],
        ids=str,
    )
    def test_nonsense_in_the_description_leaves_the_array(self, image):
        volume = read_volume(pyramid("0.4", "zyx", (4, 4, 4), [[3, 2, 1]], image=image))
        assert volume.shape == (4, 4, 4, 1)
        assert volume.spacing_mm is None


def blosc(nbytes, stored=None, body=b"\0" * 20):
    return struct.pack("<4B3I", 2, 1, 0, 1, nbytes, nbytes, 16 + len(body) if stored is None else stored) + body


def sharded(table, body=b"\7" * 16):
    """Files of 4 x 2 x 2 bytes in one shard of two chunks, with any table."""
    configuration = {
        "chunk_shape": [2, 2, 2],
        "codecs": [{"name": "bytes"}],
        "index_codecs": [{"name": "bytes", "configuration": {"endian": "little"}}],
        "index_location": "end",
    }
    return version_3(
        body + struct.pack("<4Q", *table),
        shape=[4, 2, 2],
        chunk_grid={"name": "regular", "configuration": {"chunk_shape": [4, 2, 2]}},
        codecs=[{"name": "sharding_indexed", "configuration": configuration}],
    )


BYTES = {"name": "bytes"}
HOSTILE = {
    "a pickle as a filter": (version_2(filters=[{"id": "pickle"}]), "codec 'pickle' is not read"),
    "a pickle as the compressor": (version_2(compressor={"id": "pickle"}), "codec 'pickle' is not read"),
    "json2": (version_2(filters=[{"id": "json2"}]), "codec 'json2' is not read"),
    "vlen": (version_2(filters=[{"id": "vlen-utf8"}]), "codec 'vlen-utf8' is not read"),
    "a pickle in version 3": (
        version_3(codecs=[BYTES, {"name": "numcodecs.pickle"}]),
        "codec 'numcodecs.pickle' is not",
    ),
    "objects": (version_2(dtype="|O"), "data type '|O' is not a plain number"),
    "fields": (version_2(dtype=[["a", "<i4"]]), "is not a plain number"),
    "text": (version_2(dtype="<U9999999"), "is not a plain number"),
    "complex numbers": (version_3(data_type="complex64"), "'complex64' is not a plain number"),
    "a type that is none": (version_2(dtype="<f1"), "'<f1' does not exist"),
    "a type with a configuration": (version_3(data_type={"name": "numpy.datetime64"}), "is not a plain number"),
    "a negative size": (version_2(shape=[2, 2, -2]), "holds no voxel"),
    "a size of text": (version_2(shape=["2", 2, 2]), "declares no shape"),
    "a true size": (version_2(shape=[True, 2, 2]), "declares no shape"),
    "a shape beyond everything": (version_2(shape=[2**40, 2**40, 2]), "larger than any volume"),
    "a thousand axes": (version_2(shape=[1] * 1000, chunks=[1] * 1000), "larger than any volume"),
    "a chunk of 4 GiB": (version_2(shape=[2**11] * 3, chunks=[2**11, 2**11, 2**10]), "need 4,096 MiB each"),
    "chunks of one voxel": (version_2(shape=[100] * 3, chunks=[1] * 3), "cut it into 1,000,000 pieces"),
    "chunks of none": (version_2(chunks=[0, 2, 2]), "holds no voxel"),
    "chunks of other axes": (version_2(chunks=[2, 2]), "do not fit an array"),
    "shards of other axes": (
        version_3(chunk_grid={"name": "regular", "configuration": {"chunk_shape": [2, 2]}}),
        "do not fit",
    ),
    "no chunk": (version_2()[:1], "none of its 1 chunks is there"),
    "no chunk of its grid": (
        [*version_2()[:1], ("0.0.1", b""), ("00.0.0", b""), ("-1.0.0", b"")],
        "none of its 1 chunks",
    ),
    "a chunk cut off": (version_2(b"\0" * 7), "holds 7 bytes, and 8 are declared"),
    "a chunk too long": (version_2(b"\0" * 9), "holds 9 bytes, and 8 are declared"),
    "a far too long chunk": (version_2(b"\0" * 10**6), "has 1,000,000 bytes, and 8 are to come"),
    "zlib: too much": (version_2(zlib.compress(bytes(10**7)), compressor={"id": "zlib"}), "holds 9 bytes, and 8"),
    "zlib: too little": (version_2(zlib.compress(bytes(7)), compressor={"id": "zlib"}), "holds 7 bytes, and 8"),
    "zlib: cut off": (version_2(zlib.compress(bytes(8))[:-2], compressor={"id": "zlib"}), "is cut off"),
    "gzip: a checksum": (version_2(gzip.compress(bytes(8))[:-8] + bytes(8), compressor={"id": "gzip"}), "is damaged"),
    "gzip: one behind another": (version_2(gzip.compress(bytes(4)) * 99, compressor={"id": "gzip"}), "holds 9 bytes"),
    "bz2: too much": (version_2(bz2.compress(bytes(10**7)), compressor={"id": "bz2"}), "holds 9 bytes, and 8"),
    "bz2: cut off": (version_2(bz2.compress(bytes(8))[:-4], compressor={"id": "bz2"}), "is cut off"),
    "lzma: too much": (version_2(lzma.compress(bytes(10**7)), compressor={"id": "lzma"}), "holds 9 bytes, and 8"),
    "lzma: too much memory": (
        version_2(
            lzma.compress(bytes(8), preset=None, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**29}]),
            compressor={"id": "lzma"},
        ),
        "is damaged .*[mM]emory",
    ),
    "blosc: another size": (version_2(blosc(2**31), compressor={"id": "blosc"}), "Blosc declares 2,147,483,648 bytes"),
    "blosc: reads behind its end": (version_2(blosc(8, 2**20), compressor={"id": "blosc"}), "8 bytes in 1,048,576"),
    "blosc: no header": (version_2(b"\2\1", compressor={"id": "blosc"}), "is cut off"),
    "blosc: nonsense": (version_2(blosc(8), compressor={"id": "blosc"}), "error during blosc decompression"),
    "zstd: another size": (
        version_2(numcodecs.Zstd().encode(bytes(10**6)), compressor={"id": "zstd"}),
        "Zstandard declares 1,000,000 bytes",
    ),
    "zstd: too much without a size": (
        version_2(b"\x28\xb5\x2f\xfd\0\x70" + b"\2\0\x10a" * 3 + b"\3\0\x10a", compressor={"id": "zstd"}),
        "is damaged .*too small",
    ),
    "zstd: none": (version_2(b"\0" * 20, compressor={"id": "zstd"}), "does not start as Zstandard data does"),
    "lz4: another size": (version_2(b"\xff\xff\xff\x7f\0", compressor={"id": "lz4"}), "LZ4 declares 2,147,483,647"),
    "lz4: nonsense": (version_2(b"\x08\0\0\0\xff\xff", compressor={"id": "lz4"}), "is damaged"),
    "two compressors": (version_2(filters=[{"id": "zlib"}], compressor={"id": "zlib"}), "'zlib' follows 'zlib'"),
    "many filters": (version_2(filters=[{"id": "shuffle", "elementsize": 1}] * 9), "go through 9 codecs"),
    "a filter that is none": (version_2(filters=[7]), "a codec that is none"),
    "delta of objects": (version_2(filters=[{"id": "delta", "dtype": "|O"}]), "is not a plain number"),
    "delta of another size": (
        version_2(filters=[{"id": "delta", "dtype": "<f8", "astype": "|O"}]),
        "is not a plain number",
    ),
    "a scale of 0": (
        version_2(filters=[{"id": "fixedscaleoffset", "dtype": "|u1", "scale": 0, "offset": 0}]),
        "has no scale",
    ),
    "a shuffle of 0": (version_2(filters=[{"id": "shuffle", "elementsize": 0}]), "does not fit its chunks"),
    "an unknown order": (version_2(order="Z"), "unknown order or separator"),
    "a path as a separator": (version_2(dimension_separator="/../"), "unknown order or separator"),
    "a path as a separator in version 3": (
        version_3(chunk_key_encoding={"name": "default", "configuration": {"separator": "/../"}}),
        "keys 'default' are not read",
    ),
    "a fill value that does not fit": (version_2(fill_value=300), "fill value 300 is no uint8"),
    "a fill value of text": (version_2(fill_value=base64.b64encode(b"x").decode()), "is no uint8"),
    "a fill value that is infinite": (version_2(fill_value=float("inf")), "fill value inf is no uint8"),
    "an unknown extension": (version_3(kerchunk={"url": "http://localhost"}), "uses 'kerchunk', which is not read"),
    "storage transformers": (version_3(storage_transformers=[{"name": "indirection"}]), "uses 'storage_transformers'"),
    "another grid": (version_3(chunk_grid={"name": "rectangular"}), "grid 'rectangular' is not read"),
    "no codecs": (version_3(codecs=[]), "codecs \\(none\\) are not read"),
    "no order of bytes": (version_3(data_type="uint16"), "does not name the order of bytes"),
    "axes that are not there": (
        version_3(codecs=[{"name": "transpose", "configuration": {"order": [0, 1, 3]}}, BYTES]),
        "not there",
    ),
    "a codec that is none": (version_3(codecs=[7]), "names no codec"),
    "a checksum": (version_3(b"\0" * 12, codecs=[BYTES, {"name": "crc32c"}]), "its checksum does not match"),
    "a checksum of nothing": (version_3(b"\0", codecs=[BYTES, {"name": "crc32c"}]), "its checksum does not match"),
    "a shard cut off": ([*sharded([0, 8, 8, 8])[:1], ("c/0/0/0", b"\0" * 31)], "shards is cut off"),
    "a shard's chunk behind its end": (sharded([0, 8, 41, 8]), "is cut off: its header declares 49 bytes and 48"),
    "a shard's chunk beyond everything": (sharded([0, 8, 2**64 - 8, 8]), "is cut off"),
    "a shard's chunk of another size": (sharded([0, 8, 8, 7]), "holds 7 bytes, and 8"),
    "damaged metadata": ([("scan/.zgroup", b'{"zarr_format": 2}'), ("scan/0/.zarray", b"{")], "declares no shape"),
    "deep metadata": (
        [("scan/.zgroup", b'{"zarr_format": 2}'), ("scan/0/.zarray", b'{"a":' * 10**5 + b"}" * 10**5)],
        "declares no shape",
    ),
    "large metadata": ([(".zgroup", b'{"zarr_format": 2}'), ("0/.zarray", b" " * 2**23)], "larger than 4 MiB"),
    "groups only": ([(".zgroup", b'{"zarr_format": 2}')], "no array of two or more axes"),
    "many groups": ([(f"{at}/.zgroup", b'{"zarr_format": 2}') for at in range(5000)], "5,000 groups and arrays"),
    "metadata far down": ([(40 * "a/" + ".zarray", version_2()[0][1])], "'scan' \\(text\\) is not a volume"),
}


class TestHostile:
    @pytest.mark.parametrize(("given_files", "message"), HOSTILE.values(), ids=HOSTILE.keys())
    def test_refusals(self, given_files, message):
        for source in (given_files, zipped(given_files, zipfile.ZIP_DEFLATED)):
            with pytest.raises(VolumeError, match=message):
                read_volume(source, name="scan")

    def test_a_refused_array_is_listed_beside_the_others(self):
        source = [(f"a/{name}", data) for name, data in version_2(dtype="|O")]
        source += [(f"b/{name}", data) for name, data in version_2(b"\3" * 8)]
        first, second = inspect_volume(source)
        assert (first.name, first.shape, second.refusal) == ("a", (2, 2, 2), None)
        assert "'|O' is not a plain number" in str(first.refusal)
        assert read_volume(source).array.min() == 3

    def test_a_good_shard_of_that_make_is_read(self):
        assert read_volume(sharded([8, 8, 2**64 - 1, 2**64 - 1])).array.ravel().tolist() == [7] * 8 + [0] * 8

    def test_kerchunk_references_are_not_followed(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_bytes(b"\5" * 8)
        refs = {".zarray": version_2()[0][1].decode(), "0.0.0": [str(secret), 0, 8]}
        with pytest.raises(VolumeError, match="is not a volume format"):
            read_volume(json.dumps({"version": 1, "refs": refs}).encode(), name="refs.json")

    def test_links_in_folders_are_not_followed(self, tmp_path):
        secret = tmp_path / "secret"
        secret.write_bytes(b"\5" * 8)
        folder = tmp_path / "scan.zarr"
        folder.mkdir()
        (folder / ".zarray").write_bytes(version_2()[0][1])
        (folder / "0.0.0").symlink_to(secret)
        with pytest.raises(VolumeError, match="none of its 1 chunks is there"):
            read_volume(folder)

    def test_chunks_are_not_decoded_for_hours(self):
        source = version_2(shape=[2**14] * 3, chunks=[2**9] * 3)
        with pytest.raises(VolumeError, match="4,096 GiB would have to be decoded; read a box"):
            read_volume(source, part=Part(reduce=2**7))

    @pytest.mark.parametrize(
        ("module", "options"),
        [
            ("numcodecs.blosc", {"compressors": zarr.codecs.BloscCodec()}),
            ("numcodecs.zstd", {"compressors": zarr.codecs.ZstdCodec()}),
        ],
    )
    def test_without_numcodecs_it_says_what_to_install(self, module, options, monkeypatch):
        stored = written(SCAN, 3, **options)
        monkeypatch.setitem(sys.modules, module, None)
        with pytest.raises(
            VolumeError, match=r"is read by numcodecs, which is not installed; pip install -r requirements-f"
        ):
            read_volume(stored)

    def test_plain_and_gzipped_chunks_need_no_library(self, monkeypatch):
        stored = written(SCAN, 3, compressors=zarr.codecs.GzipCodec())
        for module in ("zarr", "numcodecs", "numcodecs.blosc", "numcodecs.zstd", "google_crc32c"):
            monkeypatch.setitem(sys.modules, module, None)
        same(read_volume(stored), SCAN)

    def test_without_google_crc32c_it_says_what_to_install(self, monkeypatch):
        stored = written(SCAN, 3, compressors=zarr.codecs.Crc32cCodec())
        monkeypatch.setitem(sys.modules, "google_crc32c", None)
        with pytest.raises(VolumeError, match="checksums is read by google-crc32c, which is not installed"):
            read_volume(stored)

    @given(
        case=st.sampled_from(
            [
                written(SCAN[:4, :4, :4], 2, chunks=(2, 2, 4)),
                written(SCAN[:4, :4, :4], 2, compressors=numcodecs.Zlib(), filters=[numcodecs.Delta("<u2")]),
                written(SCAN[:4, :4, :4], 3, chunks=(2, 2, 2), shards=(4, 4, 4)),
                written(SCAN[:4, :4, :4], 3, compressors=zarr.codecs.BloscCodec()),
                pyramid("0.4", "zyx", (4, 4, 4), [[3, 2, 1], [6, 4, 2]]),
            ]
        ),
        data=st.data(),
    )
    def test_damage_gives_a_volume_or_a_volume_error(self, case, data):
        damaged = []
        for name, content in case:
            content = bytearray(content)
            for _ in range(data.draw(st.integers(0, 3))):
                content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
            damaged.append((name, bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))])))
        for source in (damaged, zipped(damaged)):
            try:
                for entry in inspect_volume(source):
                    read_volume(source, member=entry.name, part=Part(box=((0, 0), (0, 0), (0, 0))))
            except VolumeError:
                pass


def test_metadata_is_recognised_by_its_content():
    text = [("zarr.json", b'{"hello": "world"}'), (".zarray", b"[]")]
    with pytest.raises(VolumeError, match="none of the 2 files"):
        read_volume(text)
    assert zarr_files.FORMAT.gathers([]) == []
