"""Small sound files of every format and of most ways in which each of them stores its numbers, to be damaged."""

from __future__ import annotations

import bz2
import io
import json
import struct
import zlib
from collections.abc import Callable
from functools import cache
from typing import Any

import nibabel
import numpy as np

from tests.core.hostile import dicom_files, small, zarr_files
from tests.core.hostile.case import Files
from tests.core.hostile.packed import gzipped, zipped
from tests.core.hostile.small import values


def _tiff(**options: Any) -> bytes:
    return small.tiff(values("<u2", (2, 16, 16)), **options)


def _dicom(syntax: str, **changed: tuple[bytes, bytes]) -> bytes:
    """As pydicom packs it."""
    from pydicom import dcmread, dcmwrite
    from pydicom.uid import UID

    eight = {"_00280100": dicom_files.short(8), "_00280101": dicom_files.short(8), "_00280102": dicom_files.short(7)}
    data = dicom_files.file(dicom_files.data_set(bytes(range(20)), **{**eight, **changed}))
    data_set = dcmread(io.BytesIO(data))
    data_set["PixelData"].VR = "OB"
    uid = UID(f"1.2.840.10008.1.2{syntax}")
    file = io.BytesIO()
    if uid.is_compressed and not uid.is_deflated:
        data_set.compress(uid, generate_instance_uid=False)
    else:
        data_set.file_meta.TransferSyntaxUID = uid
    dcmwrite(file, data_set, enforce_file_format=False)
    return file.getvalue()


def _encapsulated(syntax: bytes, picture: bytes) -> bytes:
    eight = {"_00280100": dicom_files.short(8), "_00280101": dicom_files.short(8), "_00280102": dicom_files.short(7)}
    return dicom_files.file(dicom_files.data_set(b"", dicom_files.fragments(picture), **eight), syntax)


def _multi_frame() -> bytes:
    return dicom_files.file(dicom_files.data_set(bytes(range(120)), _00280008=(b"IS", b"3")))


def _picture(kind: str, shape: tuple[int, ...] = (8, 9), frames: int = 1, **options: Any) -> bytes:
    from PIL import Image

    images = [Image.fromarray(np.roll(values("u1", shape), frame, axis=0)) for frame in range(frames)]
    more = {"save_all": True, "append_images": images[1:]} if frames > 1 else {}
    file = io.BytesIO()
    images[0].save(file, kind, **more, **options)
    return file.getvalue()


def _zarr_2(compressor: dict[str, Any] | None, **changed: Any) -> Files:
    import numcodecs

    data = values("<i2").tobytes()
    packed = bytes(numcodecs.get_codec(compressor).encode(data)) if compressor else data
    return [("a.zarr/.zarray", zarr_files.array_2(compressor=compressor, **changed)), ("a.zarr/0.0.0", packed)]


def _zarr_3_sharded() -> Files:
    table = struct.pack("<6Q", 0, 40, 40, 40, 80, 40)
    shard = values("<i2").tobytes() + table
    return [
        ("zarr.json", zarr_files.array_3(codecs=[zarr_files.sharding([1, 4, 5], checksum=False)])),
        ("c/0/0/0", shard),
    ]


def _ome_zarr() -> Files:
    axes = [{"name": name, "type": "space", "unit": "micrometer"} for name in "zyx"]
    datasets = [{"path": "0", "coordinateTransformations": [{"type": "scale", "scale": [3.0, 2.0, 1.0]}]}]
    attributes = {"multiscales": [{"version": "0.4", "axes": axes, "datasets": datasets}]}
    array = [(f"0/{name.partition('/')[2]}", content) for name, content in _zarr_2({"id": "zlib", "level": 1})]
    return [(".zgroup", b'{"zarr_format": 2}'), (".zattrs", json.dumps(attributes).encode()), *array]


def _hdf5(**options: Any) -> bytes:
    import h5py

    content = io.BytesIO()
    libver = options.pop("libver", None)
    with h5py.File(content, "w", libver=libver) as file:
        dataset = file.create_dataset("group/volume", data=values(shape=(6, 5, 4)), **options)
        dataset.attrs["element_size_um"] = [3.0, 2.0, 1.0]
        dataset.attrs["DIMENSION_LABELS"] = np.array(["z", "y", "x"], "O")
    return content.getvalue()


def _ome_tiff() -> bytes:
    metadata = {"axes": "ZYX", "PhysicalSizeX": 1.0, "PhysicalSizeY": 1.0, "PhysicalSizeZ": 2.0}
    return _tiff(ome=True, metadata=metadata)


def _pair() -> Files:
    whole = small.nifti(magic=b"ni1\0", vox_offset=0)
    return [("a.hdr", whole[:348]), ("a.img", whole[352:])]


def _nifti_1() -> bytes:
    affine = np.diag([2.0, -1.5, 3.0, 1.0])
    return nibabel.Nifti1Image(values(shape=(5, 4, 3)), affine).to_bytes()


def _safetensors() -> bytes:
    first = small.tensor()[:-1]
    second = small.tensor("[2, 2, 2]", '"BF16"', "[120, 136]", "b")[1:]
    return small.safetensors(f"{first}, {second}", values().tobytes() + bytes(16))


MAKERS: dict[str, Callable[[], bytes | Files]] = {
    "npy": small.npy,
    "npy, last axis slowest": lambda: small.npy(np.asfortranarray(values(">f4"))),
    "NIfTI-1": _nifti_1,
    "NIfTI-2": lambda: nibabel.Nifti2Image(values(shape=(5, 4, 3)), np.eye(4)).to_bytes(),
    "NIfTI pair": _pair,
    "NRRD": lambda: small.nrrd(values().tobytes(), space="lps", space_directions="(1,0,0) (0,2,0) (0,0,3)"),
    "NRRD gzip": lambda: small.nrrd(gzipped(values().tobytes()), encoding="gzip", spacings="1 2 3"),
    "NRRD text": lambda: small.nrrd(b" ".join(b"%d" % n for n in range(60)), encoding="text"),
    "NRRD bzip2": lambda: small.nrrd(bz2.compress(values().tobytes()), encoding="bzip2"),
    "NRRD hex": lambda: small.nrrd(values().tobytes().hex(" ").encode(), encoding="hex"),
    "NRRD with its data": lambda: [("a.nhdr", small.nrrd(b"", data_file="a.raw")), ("a.raw", values().tobytes())],
    "MetaImage": lambda: small.mha(
        values().tobytes(), ElementSpacing="1 2 3", Offset="0 0 0", TransformMatrix="0 1 0 1 0 0 0 0 1"
    ),
    "MetaImage zlib": lambda: small.mha(zlib.compress(values().tobytes()), CompressedData="True"),
    "MetaImage text": lambda: small.mha(b" ".join(b"%d" % n for n in range(60)), BinaryData="False"),
    "MRC": lambda: small.mrc(values().tobytes()),
    "safetensors": _safetensors,
    "TIFF": lambda: _tiff(),
    "TIFF deflate": lambda: _tiff(compression="zlib", rowsperstrip=5),
    "TIFF LZW, predictor": lambda: _tiff(compression="lzw", predictor=True),
    "TIFF JPEG": lambda: small.tiff(values("u1", (1, 16, 16)), compression="jpeg"),
    "TIFF JPEG 2000": lambda: _tiff(compression="jpeg2000"),
    "TIFF tiles": lambda: _tiff(tile=(16, 16), compression="packbits"),
    "TIFF Zstandard": lambda: _tiff(compression="zstd"),
    "TIFF ImageJ": lambda: _tiff(
        imagej=True, metadata={"axes": "ZYX", "spacing": 2.0, "unit": "um"}, resolution=(1, 1)
    ),
    "TIFF OME": _ome_tiff,
    "BigTIFF": lambda: _tiff(bigtiff=True, byteorder=">"),
    "TIFF palette": lambda: small.tiff(
        values("u1", (12, 12)), photometric="palette", colormap=np.arange(768, dtype="u2").reshape(3, 256)
    ),
    "DICOM": lambda: dicom_files.file(dicom_files.data_set()),
    "DICOM implicit": lambda: _dicom(""),
    "DICOM deflated": lambda: _dicom(".1.99"),
    "DICOM RLE": lambda: _dicom(".5"),
    "DICOM JPEG-LS": lambda: _dicom(".4.80"),
    "DICOM JPEG": lambda: _encapsulated(dicom_files.JPEG, _picture("JPEG", (4, 5))),
    "DICOM JPEG 2000": lambda: _encapsulated(dicom_files.J2K, _picture("JPEG2000", (4, 5), no_jp2=True)),
    "DICOM frames": _multi_frame,
    "DICOM series": lambda: [(f"{number}.dcm", dicom_files.plane(number)) for number in range(3)],
    "PNG": lambda: _picture("PNG"),
    "PNG colours": lambda: _picture("PNG", (8, 9, 4)),
    "PNG animation": lambda: _picture("PNG", frames=3),
    "JPEG": lambda: _picture("JPEG", (16, 17)),
    "JPEG progressive": lambda: _picture("JPEG", (16, 17, 3), progressive=True),
    "GIF": lambda: _picture("GIF", frames=3),
    "WebP": lambda: _picture("WEBP", (8, 9, 3), lossless=True),
    "WebP animation": lambda: _picture("WEBP", (8, 9, 3), frames=3),
    "BMP": lambda: _picture("BMP"),
    "pictures": lambda: [(f"{number}.png", _picture("PNG")) for number in range(3)],
    "Zarr 2": lambda: _zarr_2(None),
    "Zarr 2 Blosc": lambda: _zarr_2({"id": "blosc"}),
    "Zarr 2 Zstandard": lambda: _zarr_2({"id": "zstd", "level": 1}),
    "Zarr 2 LZ4": lambda: _zarr_2({"id": "lz4", "acceleration": 1}),
    "Zarr 3": lambda: [("zarr.json", zarr_files.array_3()), ("c/0/0/0", values("<i2").tobytes())],
    "Zarr 3 shards": _zarr_3_sharded,
    "OME-Zarr": _ome_zarr,
    "HDF5": lambda: _hdf5(),
    "HDF5 gzip": lambda: _hdf5(chunks=(3, 5, 4), compression="gzip", shuffle=True, fletcher32=True),
    "HDF5 LZF": lambda: _hdf5(chunks=(3, 5, 4), compression="lzf"),
    "HDF5 szip": lambda: _hdf5(chunks=(3, 5, 4), compression="szip"),
    "HDF5 of today": lambda: _hdf5(libver="latest", chunks=(2, 5, 4), maxshape=(None, 5, 4)),
    "zip": lambda: zipped(("a.npy", small.npy()), ("b.nii.gz", gzipped(small.nifti()))),
}


@cache
def seed(name: str) -> tuple[tuple[str, bytes], ...]:
    """The files of that name."""
    made = MAKERS[name]()
    return (("file", made),) if isinstance(made, bytes) else tuple(made)
