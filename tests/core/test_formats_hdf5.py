"""HDF5 against h5py as the writer, MINC against nibabel as another reader; nothing outside of the file is looked at."""

import io
import json
import os
import random
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import Part, chunks, inspect_volume, read_volume
from conv3d_core.volumes.formats import hdf5_storage

SCAN = np.random.default_rng(0).integers(0, 1000, (11, 13, 17)).astype(np.uint16)
szip = pytest.mark.skipif(not h5py.h5z.filter_avail(h5py.h5z.FILTER_SZIP), reason="h5py was built without szip")


def written(fill, **options):
    """The bytes of a file that a function fills."""
    file = io.BytesIO()
    with h5py.File(file, "w", **options) as root:
        fill(root)
    return file.getvalue()


def dataset(array, attributes=(), libver=None, **options):
    """A file of one dataset "scan"."""

    def fill(root):
        made = root.create_dataset("scan", data=array, **options)
        made.attrs.update(attributes)

    return written(fill, libver=libver)


def low_level(dtype, array, change=lambda properties: None, kind=None):
    """A dataset with properties that h5py's own functions do not offer."""

    def fill(root):
        properties = h5py.h5p.create(h5py.h5p.DATASET_CREATE)
        change(properties)
        space = h5py.h5s.create_simple(array.shape)
        made = h5py.h5d.create(root.id, b"scan", kind or h5py.h5t.py_create(np.dtype(dtype)), space, properties)
        made.write(h5py.h5s.ALL, h5py.h5s.ALL, array)

    return written(fill)


def same(volume, array):
    np.testing.assert_array_equal(volume.array, array.astype(np.float32).reshape(*array.shape[:3], -1))


FILTERS = {
    "none": {},
    "gzip": {"compression": "gzip"},
    "shuffle": {"compression": "gzip", "shuffle": True},
    "fletcher32": {"fletcher32": True},
    "all": {"compression": "gzip", "shuffle": True, "fletcher32": True},
    "lzf": {"compression": "lzf", "shuffle": True},
    "lzf and fletcher32": {"compression": "lzf", "fletcher32": True},
}


class TestAgainstH5py:
    @pytest.mark.parametrize("dtype", ["?", "i1", "<u2", ">u2", ">i4", "<i8", "<f2", ">f4", "<f8"])
    @pytest.mark.parametrize(
        "options", [{}, {"chunks": (4, 5, 8), "compression": "gzip", "shuffle": True}], ids=["plain", "chunks"]
    )
    def test_every_dtype(self, dtype, options):
        array = (SCAN % 100).astype(dtype)
        volume = read_volume(dataset(array, **options))
        same(volume, array)
        assert volume.dtype == array.dtype.newbyteorder("=").name
        assert volume.notes == ()

    @pytest.mark.parametrize("options", FILTERS.values(), ids=FILTERS.keys())
    @pytest.mark.parametrize("libver", [None, "latest"])
    @pytest.mark.parametrize("growing", [False, True])
    @pytest.mark.parametrize("array", [SCAN, np.cumsum(SCAN, axis=2, dtype="<i8") // 50], ids=["noise", "smooth"])
    def test_filters_in_every_kind_of_index(self, options, libver, growing, array):
        grown = {"maxshape": (None, 20, None)} if growing else {}
        same(read_volume(dataset(array, libver=libver, chunks=(4, 5, 8), **options, **grown)), array)

    @szip
    @pytest.mark.parametrize("more", [{}, {"shuffle": True}, {"fletcher32": True}])
    def test_szip(self, more):
        source = dataset(SCAN, chunks=(4, 5, 8), compression="szip", **more)
        same(read_volume(source), SCAN)
        same(read_volume(source, part=Part(box=((3, 5), (4, 6), (7, 9)))), SCAN[3:6, 4:7, 7:10])

    def test_a_chunk_whose_filters_were_left_out(self):
        def fill(root):
            made = root.create_dataset(
                "scan", shape=(4, 2, 2), chunks=(2, 2, 2), dtype="u1", compression="gzip", shuffle=True
            )
            made.id.write_direct_chunk((0, 0, 0), bytes(range(8)), filter_mask=3)
            made.id.write_direct_chunk((2, 0, 0), zlib.compress(bytes(range(8, 16))), filter_mask=1)

        assert read_volume(written(fill)).array.ravel().tolist() == list(range(16))

    def test_compact_and_bit_fields(self):
        compact = low_level(
            "<i4", SCAN[:3, :3, :3].astype("<i4"), lambda properties: properties.set_layout(h5py.h5d.COMPACT)
        )
        same(read_volume(compact), SCAN[:3, :3, :3])
        bits = low_level("u1", SCAN.astype("u1"), kind=h5py.h5t.STD_B8LE)
        same(read_volume(bits), SCAN.astype("u1"))

    @given(
        shape=st.tuples(*[st.integers(1, 9)] * 3),
        chunk=st.tuples(*[st.integers(1, 9)] * 3),
        data=st.data(),
    )
    def test_any_box_of_any_grid(self, shape, chunk, data):
        array = np.arange(np.prod(shape), dtype="<i4").reshape(shape)
        chunk = tuple(min(pair) for pair in zip(shape, chunk, strict=True))
        box = tuple(
            tuple(sorted(data.draw(st.tuples(st.integers(0, size - 1), st.integers(0, size - 1))))) for size in shape
        )
        volume = read_volume(dataset(array, chunks=chunk), part=Part(box=box))
        same(volume, array[tuple(slice(first, last + 1) for first, last in box)])

    def test_a_part_equals_the_part_of_the_whole_and_decodes_no_more(self, monkeypatch):
        array = np.random.default_rng(1).random((11, 13, 17, 3)).astype("f4")
        source = dataset(array, chunks=(4, 5, 8, 1), compression="gzip")
        decoded = []
        real = chunks.Pipeline.__call__
        monkeypatch.setattr(chunks.Pipeline, "__call__", lambda self, data: decoded.append(1) or real(self, data))
        part = Part(box=((4, 7), (5, 9), (1, 6)), channel=1)
        same(read_volume(source, part=part), array[4:8, 5:10, 1:7, 1])
        assert len(decoded) == 1
        reduced = read_volume(source, part=Part(reduce=2)).array
        expected = array[:10, :12, :16].astype("f8").reshape(5, 2, 6, 2, 8, 2, 3).mean(axis=(1, 3, 5))
        np.testing.assert_array_equal(reduced, expected.astype("f4"))

    def test_inspecting_decodes_nothing(self, monkeypatch):
        monkeypatch.setattr(chunks.Pipeline, "__call__", None)
        (entry,) = inspect_volume(dataset(SCAN, chunks=(4, 5, 8), compression="gzip"))
        assert (entry.shape, entry.dtype.name, entry.kind) == (SCAN.shape, "uint16", "HDF5")

    def test_missing_chunks_hold_the_fill_value_and_are_counted(self):
        def fill(root):
            made = root.create_dataset("scan", shape=(4, 4, 4), chunks=(2, 2, 2), dtype="f4", fillvalue=7.5)
            made[:2] = SCAN[:2, :4, :4]

        volume = read_volume(written(fill))
        same(volume, np.concatenate([SCAN[:2, :4, :4], np.full((2, 4, 4), 7.5)]))
        assert volume.notes == ("4 of its 8 chunks are missing and hold its fill value 7.5",)

    def test_chunks_outside_of_a_shrunk_dataset_do_not_count(self):
        def fill(root):
            made = root.create_dataset("scan", data=SCAN, chunks=(4, 5, 8), maxshape=(None,) * 3)
            made.resize((5, 13, 17))

        volume = read_volume(written(fill))
        same(volume, SCAN[:5])
        assert volume.notes == ()

    @pytest.mark.parametrize(
        ("shape", "note"),
        [((5, 6), "a single plane, read as D = 1"), ((1, 3, 4, 5, 2), "the batch axis of 1 was dropped")],
    )
    @pytest.mark.parametrize("chunked", [False, True])
    def test_arrays_without_names_of_axes_as_numpys(self, shape, note, chunked):
        array = np.arange(np.prod(shape), dtype="<u2").reshape(shape)
        volume = read_volume(dataset(array, chunks=(1,) * (len(shape) - 2) + (2, 2) if chunked else None))
        np.testing.assert_array_equal(volume.array, array.reshape(volume.shape))
        assert volume.notes == (note,)

    @pytest.mark.parametrize("start", [0, 512])
    def test_in_a_zip_and_behind_bytes_of_a_user(self, start):
        data = written(lambda root: root.create_dataset("scan", data=SCAN, chunks=(4, 5, 8)), userblock_size=start)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("scan.h5", data)
        same(read_volume(data), SCAN)
        same(read_volume(file.getvalue()), SCAN)


class TestChoice:
    def test_every_dataset_of_two_or_more_axes_is_named_by_its_path(self):
        def fill(root):
            root["raw"] = SCAN
            root["a/b/labels"] = SCAN.astype("u1")
            root["a/loop"] = root["/"]
            root["a/again"] = root["raw"]
            root["times"] = np.arange(3)
            root["note"] = "text"
            root["names"] = [["a", "b"]]
            root["complex"] = np.ones((2, 2), "c8")

        source = written(fill)
        entries = {entry.name: entry for entry in inspect_volume(source)}
        assert list(entries) == ["complex", "names", "raw", "a/b/labels"]
        assert "records or complex numbers" in str(entries["complex"].refusal)
        assert "its values are text" in str(entries["names"].refusal)
        same(read_volume(source, member="raw"), SCAN)
        same(read_volume(source, member="a/b/labels"), SCAN.astype("u1"))
        with pytest.raises(VolumeError, match="member: 2 of its 4 arrays could be the volume"):
            read_volume(source)


class TestAxes:
    @pytest.mark.parametrize("libver", [None, "latest"])
    @pytest.mark.parametrize("fixed", [False, True], ids=["any length", "fixed length"])
    def test_axistags_of_ilastik(self, libver, fixed):
        text = json.dumps(
            {"axes": [{"key": key, "typeFlags": 2, "resolution": 0, "description": ""} for key in "czyx"]}
        )
        array = SCAN[:, :12].reshape(11, 3, 4, 17)
        volume = read_volume(dataset(array, {"axistags": np.bytes_(text) if fixed else text}, libver))
        same(volume, array.transpose(1, 2, 3, 0))
        assert "c z y x -> D H W C = z y x c" in volume.source

    @pytest.mark.parametrize("libver", [None, "latest"])
    def test_dimension_labels(self, libver):
        def fill(root):
            root["scan"] = SCAN
            for dimension, label in zip(root["scan"].dims, "xyz", strict=True):
                dimension.label = label

        same(read_volume(written(fill, libver=libver)), SCAN.transpose(2, 1, 0))

    @pytest.mark.parametrize("libver", [None, "latest"])
    def test_dimension_scales_of_netcdf(self, libver):
        def fill(root):
            root["scan"] = SCAN
            for dimension, label in zip(root["scan"].dims, ("time", "lat", "lon"), strict=True):
                root[label] = np.arange(3.0)
                root[label].make_scale(label)
                dimension.attach_scale(root[label])

        volume = read_volume(written(fill, libver=libver))
        assert volume.source == "HDF5, uint16 (11, 13, 17) time lat lon -> D H W = time lat lon"

    def test_element_size(self):
        for shape in ((4, 5, 6), (4, 5, 6, 2), (5, 6)):
            volume = read_volume(dataset(np.ones(shape), {"element_size_um": [3.0, 2.0, 0.5]}))
            assert volume.spacing_mm == (0.003, 0.002, 0.0005)
        assert read_volume(dataset(SCAN, {"element_size_um": [1.0, 2.0]})).spacing_mm is None
        assert read_volume(dataset(SCAN, {"element_size_um": [0.0, 1.0, np.nan]})).spacing_mm is None

    @pytest.mark.parametrize(
        "attributes",
        [
            {"axistags": "[" * 10**4},
            {"axistags": "{}"},
            {"axistags": '{"axes": [1, 2, 3]}'},
            {"axistags": "x" * 65_000},
            {"DIMENSION_LABELS": np.arange(3)},
            {"DIMENSION_LABELS": ["z"] * 3},
            {"DIMENSION_LIST": "text"},
            {"element_size_um": "text"},
            {"element_size_um": ["a", "b", "c"]},
            {"dimorder": "zspace,yspace"},
        ],
        ids=str,
    )
    def test_nonsense_leaves_the_axes_unnamed(self, attributes):
        volume = read_volume(dataset(SCAN, attributes))
        same(volume, SCAN)
        assert volume.spacing_mm is None

    @pytest.mark.parametrize("shape", [(4, 5), (4, 5, 6), (4, 5, 6, 2)])
    def test_matlab_counts_rows_columns_and_pages(self, shape):
        """MATLAB stores its first index fastest: in HDF5 its axes are turned round."""
        array = np.arange(np.prod(shape), dtype="f8").reshape(shape)

        def fill(root):
            root["A"] = array.T
            root["A"].attrs["MATLAB_class"] = np.bytes_("double")
            root["name"] = np.array([[72], [105]], "u2")
            root["name"].attrs["MATLAB_class"] = np.bytes_("char")
            root["#refs#/a"] = SCAN

        data = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(512) + written(fill, userblock_size=512)[512:]
        volume = read_volume(data)
        page = np.moveaxis(array.reshape(*shape, *(1,) * (4 - len(shape))), 2, 0)
        np.testing.assert_array_equal(volume.array, page)
        assert volume.source.startswith("MATLAB 7.3 'A', float64")
        entries = {entry.name: entry for entry in inspect_volume(data)}
        assert list(entries) == ["A", "name"]
        assert "its values are text" in str(entries["name"].refusal)


class TestMinc:
    def fill(self, root, shape=(4, 5, 6), per_slice=(), **attributes):
        image = root.create_dataset(
            "minc-2.0/image/0/image", data=SCAN[: shape[0], : shape[1], : shape[2]], chunks=(2, 5, 4)
        )
        image.attrs["dimorder"] = np.bytes_("zspace,yspace,xspace")
        image.attrs["valid_range"] = [0.0, 800.0]
        rng = np.random.default_rng(2)
        for name, start in (("image-min", -3), ("image-max", 50)):
            made = root.create_dataset(f"minc-2.0/image/0/{name}", data=start + rng.random(per_slice))
            if per_slice:
                made.attrs["dimorder"] = np.bytes_(",".join(["zspace", "yspace"][: len(per_slice)]))
        tilt = np.deg2rad(20)
        cosines = {"x": [np.cos(tilt), np.sin(tilt), 0], "y": [-np.sin(tilt), np.cos(tilt), 0], "z": [0, 0, 1]}
        for axis, step, start in zip("xyz", (0.5, -2.0, 3.0), (10.0, 20.0, -30.0), strict=True):
            made = root.create_dataset(f"minc-2.0/dimensions/{axis}space", data=0)
            made.attrs.update({"step": step, "start": start, "direction_cosines": cosines[axis]})

    @pytest.mark.parametrize("per_slice", [(), (4,), (4, 5)])
    def test_values_and_places_as_nibabel_has_them(self, per_slice, tmp_path):
        from nibabel.minc2 import Minc2Image

        path = tmp_path / "scan.mnc"
        path.write_bytes(written(lambda root: self.fill(root, per_slice=per_slice)))
        # nibabel knows MINC's axes by their order alone: its affine takes (z, y, x), as the image is stored.
        image = Minc2Image.from_filename(path)
        values = np.asarray(image.dataobj)
        volume = read_volume(path)
        assert "uint16 (4, 5, 6) zspace yspace xspace -> D H W = zspace yspace -xspace, LPS" in volume.source
        assert volume.source.startswith("MINC 2")
        assert volume.directions == "SPL"
        inverse = np.linalg.inv(image.affine)
        for index in np.ndindex(volume.shape[:3]):
            place = inverse @ volume.affine @ [*index, 1]
            np.testing.assert_allclose(place, np.rint(place), atol=1e-9)
            at = tuple(np.rint(place[:3]).astype(int))
            np.testing.assert_allclose(volume.array[index][0], values[at], rtol=1e-6)
        np.testing.assert_allclose(volume.spacing_mm, (3, 2, 0.5))

    def test_a_scale_that_does_not_fit_is_said(self):
        volume = read_volume(written(lambda root: self.fill(root, per_slice=(3,))))
        assert "its values are as stored" in volume.notes[-1]


class TestOutside:
    """What lies in other files is refused, and not opened."""

    @pytest.fixture
    def secret(self, tmp_path):
        path = tmp_path / "secret.h5"
        path.write_bytes(dataset(SCAN))
        return path

    def test_links_are_not_followed(self, secret):
        def fill(root):
            root["soft"] = h5py.SoftLink("/scan")
            root["out"] = h5py.ExternalLink(str(secret), "/scan")
            root["group/out"] = h5py.ExternalLink(str(secret), "/")

        with pytest.raises(VolumeError, match="holds no dataset of two or more axes"):
            read_volume(written(fill))

    @pytest.mark.parametrize("growing", [False, True])
    def test_virtual_datasets(self, secret, growing):
        def fill(root):
            most = {"maxshape": (None, 13, 17)} if growing else {}
            layout = h5py.VirtualLayout(shape=SCAN.shape, dtype="u2", **most)
            source = h5py.VirtualSource(str(secret), "scan", shape=SCAN.shape, **most)
            end = h5py.h5s.UNLIMITED if growing else 11
            layout[0:end:1] = source[0:end:1]
            root.create_virtual_dataset("scan", layout)

        with pytest.raises(VolumeError, match="its values are in other files, which are not looked at"):
            read_volume(written(fill))

    def test_external_storage(self, tmp_path):
        path = tmp_path / "secret.bin"
        path.write_bytes(b"\5" * 8)
        source = written(lambda root: root.create_dataset("scan", (2, 2, 2), "u1", external=[(str(path), 0, 8)]))
        with pytest.raises(VolumeError, match="its values are in other files"):
            read_volume(source)

    @pytest.mark.parametrize("code", [32001, 32015, 40000])
    def test_filters_that_would_be_loaded(self, code):
        def change(properties):
            properties.set_chunk((2, 2, 2))
            properties.set_filter(code, h5py.h5z.FLAG_OPTIONAL, (0,) * 20)

        with pytest.raises(VolumeError, match=f"its filter {code} is not read here; save it with gzip"):
            read_volume(low_level("u1", np.ones((2, 2, 2), "u1"), change))

    def test_other_filters(self):
        with pytest.raises(VolumeError, match="its filter 6 is not read here"):
            read_volume(dataset(SCAN, chunks=(4, 5, 8), scaleoffset=0))


def patched(data, old, new):
    assert data.count(old) == 1
    return data.replace(old, new)


def direct(chunk, mask=0, shape=(2, 2, 2), **options):
    """A file of one chunk, with any bytes in it."""

    def fill(root):
        made = root.create_dataset("scan", shape=shape, chunks=shape, dtype="u1", **options)
        made.id.write_direct_chunk((0, 0, 0), chunk, filter_mask=mask)

    return written(fill)


def of_type(kind, shape=(2, 2)):
    return written(lambda root: root.create_dataset("scan", shape, kind))


def twelve_bits():
    kind = h5py.h5t.STD_U16LE.copy()
    kind.set_precision(12)
    return low_level("u2", SCAN, kind=kind)


def many(count):
    def fill(root):
        for at in range(count):
            root.create_dataset(f"d{at}", data=np.ones((1, 1), "u1"))

    return written(fill)


HOSTILE = {
    "a cut-off file": (lambda: dataset(SCAN)[:3000], "HDF5 structure is damaged"),
    "the signature only": (lambda: dataset(SCAN)[:8], "HDF5 structure is damaged"),
    "an empty file": (lambda: written(lambda root: None), "no dataset of two or more axes"),
    "never written": (lambda: of_type("f4", (2**10, 2**10, 2**10)), "none of its values was ever written"),
    "never written, in chunks": (
        lambda: written(lambda root: root.create_dataset("scan", (2**10,) * 3, "f4", chunks=(64, 64, 64))),
        "none of its values was ever written",
    ),
    "a size of 0": (lambda: of_type("f4", (0, 2, 2)), "holds no voxel"),
    "records": (lambda: of_type([("a", "i4")]), "records or complex numbers"),
    "references": (lambda: of_type(h5py.ref_dtype), "its values are references"),
    "lists": (lambda: of_type(h5py.vlen_dtype("i4")), "its values are lists"),
    "blobs": (lambda: of_type("V9"), "of another kind"),
    "enumerations": (lambda: of_type(h5py.enum_dtype({"A": 1})), "an enumeration"),
    "long doubles": (lambda: of_type(np.longdouble), "are not plain numbers|packed in an unusual way"),
    "12 of 16 bits": (twelve_bits, "packed in an unusual way"),
    "chunks of 1 GiB": (
        lambda: written(lambda root: root.create_dataset("scan", (2**10,) * 3, "u1", chunks=(2**10,) * 3)),
        "need 1,024 MiB each",
    ),
    "chunks of one voxel": (
        lambda: written(lambda root: root.create_dataset("scan", (100,) * 3, "u1", chunks=(1, 1, 1))),
        "cut it into 1,000,000 pieces",
    ),
    "gzip: too much": (lambda: direct(zlib.compress(bytes(10**7)), compression="gzip"), "holds 9 bytes, and 8"),
    "gzip: too little": (lambda: direct(zlib.compress(bytes(7)), compression="gzip"), "holds 7 bytes, and 8"),
    "gzip: cut off": (lambda: direct(zlib.compress(bytes(8))[:-2], compression="gzip"), "is cut off"),
    "gzip: nonsense": (lambda: direct(b"nonsense", compression="gzip"), "one of its chunks is damaged"),
    "a far too long chunk": (lambda: direct(bytes(10**6)), "has 1,000,000 bytes, and 8"),
    "a checksum": (lambda: direct(bytes(8) + b"abcd", fletcher32=True), "its checksum does not match"),
    "a checksum of nothing": (lambda: direct(b"a", fletcher32=True), "is cut off"),
    "lzf: too much": (lambda: direct(b"\0a" + b"\xe0\xff\0" * 9, compression="lzf"), "holds 265 bytes, and 8"),
    "lzf: before its start": (lambda: direct(b"\0a\x20\5", compression="lzf"), "points before its start"),
    "lzf: cut off": (lambda: direct(b"\7abc", compression="lzf"), "is cut off"),
    "lzf: nothing": (lambda: direct(b"\x20", compression="lzf"), "points before its start"),
    "a thousand groups, each in the one before": (
        lambda: written(lambda root: root.create_group("/".join("a" * 1000)).create_dataset("scan", data=SCAN)),
        "no dataset of two or more axes",
    ),
    "many datasets": (lambda: many(2_100), "has more than 2,000 datasets"),
}


class TestHostile:
    @pytest.mark.parametrize(("make", "message"), HOSTILE.values(), ids=HOSTILE.keys())
    def test_refusals(self, make, message):
        with pytest.raises(VolumeError, match=message):
            read_volume(make(), name="scan.h5")

    @szip
    def test_szip_that_declares_more(self):
        def fill(root):
            made = root.create_dataset("scan", shape=(2, 2, 8), chunks=(2, 2, 8), dtype="u1", compression="szip")
            made.id.write_direct_chunk((0, 0, 0), b"\xff\xff\xff\x7f" + bytes(20))

        with pytest.raises(VolumeError, match="declares 2,147,483,647 bytes, and 32 are to come out"):
            read_volume(written(fill))

    def test_a_chunk_behind_the_end(self):
        data = dataset(SCAN, chunks=SCAN.shape, compression="gzip")
        with h5py.File(io.BytesIO(data)) as root:
            info = root["scan"].id.get_chunk_info(0)
        moved = patched(data, info.byte_offset.to_bytes(8, "little"), (10**9).to_bytes(8, "little"))
        with pytest.raises(VolumeError, match=r"is cut off: its header declares 1,000,0.*|is damaged"):
            read_volume(moved)

    def test_all_datasets_together_have_so_many_chunks(self, monkeypatch):
        def fill(root):
            for name in "abc":
                root.create_dataset(name, data=SCAN, chunks=(4, 5, 8))

        monkeypatch.setattr(hdf5_storage, "MAX_ALL_CHUNKS", 60)
        refused = [bool(entry.refusal) for entry in inspect_volume(written(fill))]
        assert refused == [False, False, True]

    def test_without_h5py_it_says_what_to_install(self, monkeypatch):
        source = dataset(SCAN)
        monkeypatch.setitem(sys.modules, "h5py", None)
        with pytest.raises(
            VolumeError,
            match=r"file: an HDF5 file is read by h5py, which is not installed; pip install -r requirements-form",
        ):
            read_volume(source)

    def test_lists_that_declare_more_than_there_is(self):
        """The library would make room for 4 GiB, or go round in a circle: such attributes are read without it."""
        data = dataset(SCAN, {"axistags": json.dumps({"axes": [{"key": key} for key in "xyz"]})})
        assert "D H W = z y x" in read_volume(data).source
        start = data.index(b"GCOL")
        reference = data.index(start.to_bytes(8, "little") + b"\1\0\0\0")
        larger = data[: reference - 4] + b"\xff\xff\xff\xff" + data[reference:]
        circle = data[: start + 16] + b"\7\0\0\0\0\0\0\0" + (2**64 - 16).to_bytes(8, "little") + data[start + 32 :]
        for damaged in (larger, circle):
            assert "D H W = 0 1 2" in read_volume(damaged).source

    def test_damage_gives_a_volume_or_a_volume_error(self):
        """In another process, since the library may not survive it."""
        root = str(Path(__file__).parents[2])
        run = [sys.executable, "-W", "ignore", __file__]
        found = subprocess.run(run, env={**os.environ, "PYTHONPATH": root}, timeout=100, capture_output=True, text=True)
        assert (found.returncode, found.stderr) == (0, "")
        read, refused = map(int, found.stdout.split())
        assert read > 20
        assert refused > 20


def test_fletchers_checksum_is_the_librarys():
    for size in (1, 2, 7, 1000, 5 * 2**20 + 1):
        array = np.random.default_rng(size).integers(0, 256, size).astype("u1")
        source = written(
            lambda root, array=array: root.create_dataset("a", data=array, chunks=array.shape, fletcher32=True)
        )
        with h5py.File(io.BytesIO(source)) as root:
            _, stored = root["a"].id.read_direct_chunk((0,))
        assert hdf5_storage.fletcher32(stored[:-4]) == int.from_bytes(stored[-4:], "little")


def damage():
    """Read files with a few bytes changed; says how many datasets were read and how many refused."""

    def fill(root):
        array = SCAN[:4, :5, :6]
        made = root.create_dataset("c", data=array)
        made.attrs["axistags"] = json.dumps({"axes": [{"key": key} for key in "zyx"]})
        made.attrs["element_size_um"] = [3.0, 2.0, 1.0]
        root.create_dataset("g/k", data=array, chunks=(2, 2, 3), compression="gzip", shuffle=True, fletcher32=True)
        root.create_dataset("g/l", data=array, chunks=(4, 5, 6), compression="lzf")
        root["z"] = np.arange(4.0)
        root["z"].make_scale()
        root["g/k"].dims[0].attach_scale(root["z"])

    chance = random.Random(0)
    good = [written(fill), written(fill, libver="latest")]
    read = refused = 0
    for _ in range(200):
        data = bytearray(chance.choice(good))
        for _ in range(chance.choice([1, 1, 2, 5, 20])):
            data[chance.randrange(len(data))] = chance.randrange(256)
        data = bytes(data[: chance.choice([len(data)] * 9 + [chance.randrange(len(data))])])
        try:
            entries = inspect_volume(data)
        except VolumeError:
            refused += 1
            continue
        for entry in entries:
            try:
                read_volume(data, member=entry.name)
                read += 1
            except VolumeError:
                refused += 1
    print(read, refused)


if __name__ == "__main__":
    damage()
