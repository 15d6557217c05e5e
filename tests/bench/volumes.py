"""How fast volumes are read: beside the bare library of each format, on the same 256^3 file, in one run.

The bare library ends where ours does: a C-contiguous float32 (D, H, W) array, turned the same way. "here" is
`read_volume` in this process; "apart" is `isolated.read`, with its process started and the bytes handed over. Each time
is the median of some calls. The peak is what the reading process had at most above what it began with, held against
the array's size.
"""

from __future__ import annotations

import argparse
import io
import json
import platform
import statistics
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from conv3d_core.volumes import read_volume
from conv3d_core.volumes.isolated import Upload, read

REPEATS = 5
SIZE = 256
MIB = 2**20
Floats = NDArray[np.float32]
PEAK = """
import resource, sys
from pathlib import Path
from conv3d_core.volumes import read_volume
import nibabel.nifti1, nibabel.orientations, tifffile, pydicom, PIL.Image, h5py, numcodecs
data = Path(sys.argv[1]).read_bytes()
def status(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))
before = status("VmRSS")
Path("/proc/self/clear_refs").write_text("5")
volume = read_volume(data, "x")
print((status("VmHWM") - before) * 1024)
"""


@dataclass
class Row:
    """One format; milliseconds, and bytes above what the process began with (None where the system does not say)."""

    format: str
    file_bytes: int
    bare_ms: float
    here_ms: float
    apart_ms: float
    peak_bytes: int | None


def scan(size: int) -> NDArray[np.int16]:
    """Like a scan: smooth, with noise inside and zeros around."""
    rng = np.random.default_rng(0)
    d, h, w = np.indices((size, size, size), np.float32) / size - 0.5
    inside = d**2 + h**2 + w**2 < 0.16
    values = 600 + 300 * np.sin(9 * d) * np.cos(7 * h) + 40 * rng.standard_normal((size, size, size), np.float32)
    return np.where(inside, values, 0).astype(np.int16)


def floats(array: Any) -> Floats:
    """What a bare library's array still needs to be a layer's input."""
    return np.ascontiguousarray(array, dtype=np.float32)


class Files:
    """One file of each format, and how its own library reads it."""

    def __init__(self, folder: Path, array: NDArray[np.int16]) -> None:
        self.folder = folder
        self.array = array
        self.rows: list[tuple[str, Path, Callable[[Path], Floats]]] = []
        formats = (
            self.numpy,
            self.nifti,
            self.tiff,
            self.nrrd,
            self.metaimage,
            self.mrc,
            self.dicom,
            self.hdf5,
            self.zarr,
        )
        for make in formats:
            make()

    def add(self, name: str, path: Path, bare: Callable[[Path], Floats]) -> None:
        self.rows.append((name, path, bare))

    def numpy(self) -> None:
        np.save(self.folder / "a.npy", self.array)
        np.savez_compressed(self.folder / "a.npz", a=self.array)
        self.add(".npy", self.folder / "a.npy", lambda path: floats(np.load(path)))
        self.add(".npz", self.folder / "a.npz", lambda path: floats(np.load(path)["a"]))

    def nifti(self) -> None:
        import nibabel

        image = nibabel.Nifti1Image(self.array.transpose(2, 1, 0), np.eye(4))

        def bare(path: Path) -> Floats:
            values = nibabel.load(path).get_fdata(dtype=np.float32, caching="unchanged")
            return floats(values[::-1, ::-1].transpose(2, 1, 0))

        for ending in (".nii", ".nii.gz"):
            nibabel.save(image, self.folder / f"a{ending}")
            self.add(ending, self.folder / f"a{ending}", bare)

    def tiff(self) -> None:
        import tifffile

        for name, compression in (("TIFF", None), ("TIFF, deflate", "zlib")):
            path = self.folder / f"a{compression}.tif"
            tifffile.imwrite(path, self.array, photometric="minisblack", compression=compression)
            self.add(name, path, lambda path: floats(tifffile.imread(path)))

    def nrrd(self) -> None:
        import nrrd

        path = self.folder / "a.nrrd"
        nrrd.write(str(path), self.array, index_order="C")
        self.add("NRRD, gzip", path, lambda path: floats(nrrd.read(str(path), index_order="C")[0]))

    def metaimage(self) -> None:
        import SimpleITK

        path = self.folder / "a.mha"
        SimpleITK.WriteImage(SimpleITK.GetImageFromArray(self.array), path, useCompression=True)
        self.add("MetaImage, zlib", path, lambda path: floats(SimpleITK.GetArrayFromImage(SimpleITK.ReadImage(path))))

    def mrc(self) -> None:
        import mrcfile

        path = self.folder / "a.mrc"
        with mrcfile.new(path) as file:
            file.set_data(self.array)
            file.set_volume()

        def bare(path: Path) -> Floats:
            with mrcfile.open(path) as file:
                return floats(file.data)

        self.add("MRC", path, bare)

    def dicom(self) -> None:
        from pydicom import dcmread
        from pydicom.dataset import Dataset, FileMetaDataset
        from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

        path, series = self.folder / "series.zip", generate_uid()
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive:
            for number, plane in enumerate(self.array):
                data = Dataset()
                data.file_meta = FileMetaDataset()
                data.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
                data.SOPClassUID = data.file_meta.MediaStorageSOPClassUID = MRImageStorage
                data.SOPInstanceUID = data.file_meta.MediaStorageSOPInstanceUID = generate_uid()
                data.SeriesInstanceUID, data.Modality, data.InstanceNumber = series, "MR", number
                data.ImagePositionPatient, data.ImageOrientationPatient = [0, 0, number], [1, 0, 0, 0, 1, 0]
                data.PixelSpacing, data.Rows, data.Columns = [1, 1], *plane.shape
                data.SamplesPerPixel, data.PhotometricInterpretation = 1, "MONOCHROME2"
                data.BitsAllocated = data.BitsStored = 16
                data.HighBit, data.PixelRepresentation = 15, 1
                data.PixelData = plane.tobytes()
                stream = io.BytesIO()
                data.save_as(stream, enforce_file_format=True)
                archive.writestr(f"{number}.dcm", stream.getvalue())

        def bare(path: Path) -> Floats:
            with zipfile.ZipFile(path) as archive:
                files = [dcmread(io.BytesIO(archive.read(name))) for name in archive.namelist()]
            files.sort(key=lambda file: float(file.ImagePositionPatient[2]))
            return np.stack([file.pixel_array.astype(np.float32) for file in files])

        self.add("DICOM series, zip", path, bare)

    def hdf5(self) -> None:
        import h5py

        path = self.folder / "a.h5"
        with h5py.File(path, "w") as file:
            file.create_dataset("a", data=self.array, compression="gzip", compression_opts=4)

        def bare(path: Path) -> Floats:
            with h5py.File(path) as file:
                return floats(file["a"][...])

        self.add("HDF5, gzip", path, bare)

    def zarr(self) -> None:
        import zarr

        path = self.folder / "a.zarr.zip"
        with zarr.storage.ZipStore(path, mode="w") as store:
            zarr.create_array(store, data=self.array, zarr_format=2, chunks=(64, 64, 64))

        def bare(path: Path) -> Floats:
            with zarr.storage.ZipStore(path, mode="r") as store:
                return floats(zarr.open_array(store, mode="r")[...])

        self.add("Zarr, zip", path, bare)


def median_ms(call: Callable[[], object], repeats: int) -> float:
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        call()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[1:])


def measure(name: str, path: Path, bare: Callable[[Path], Floats], repeats: int) -> Row:
    data = path.read_bytes()
    outcome = read(Upload(((path.name, data),)), path.name)
    assert outcome.volume is not None, outcome.error
    np.testing.assert_array_equal(outcome.volume.array[..., 0], bare(path))
    del outcome
    return Row(
        name,
        len(data),
        median_ms(lambda: bare(path), repeats),
        median_ms(lambda: read_volume(data, path.name), repeats),
        median_ms(lambda: read(Upload(((path.name, data),)), path.name), repeats),
        peak_bytes(path),
    )


def peak_bytes(path: Path) -> int | None:
    if not Path("/proc/self/clear_refs").exists():
        return None
    done = subprocess.run([sys.executable, "-c", PEAK, str(path)], capture_output=True, text=True, check=True)
    return int(done.stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=SIZE, help="voxels along each axis")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--json", type=Path, default=Path("bench-volumes.json"))
    asked = parser.parse_args()
    array = scan(asked.size)
    nbytes = 4 * array.size
    print(f"Reading {asked.size}^3 int16, median of {asked.repeats}, ms; {nbytes / MIB:.0f} MiB as float32")
    titles = ("file MiB", "bare", "here", "apart", "here/bare", "apart/bare", "peak/array")
    print(f"{'format':20}" + "".join(f"{title:>11}" for title in titles))
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for name, path, bare in Files(Path(folder), array).rows:
            row = measure(name, path, bare, asked.repeats)
            rows.append(row)
            peak = f"{row.peak_bytes / nbytes:11.2f}" if row.peak_bytes is not None else ""
            times = (row.file_bytes / MIB, row.bare_ms, row.here_ms, row.apart_ms)
            ratios = (row.here_ms / row.bare_ms, row.apart_ms / row.bare_ms)
            cells = "".join(f"{cell:11.0f}" for cell in times) + "".join(f"{cell:11.2f}" for cell in ratios)
            print(f"{row.format:20}{cells}{peak}", flush=True)
    facts = {"date": date.today().isoformat(), "machine": platform.platform(), "size": asked.size}
    asked.json.write_text(json.dumps(facts | {"rows": [asdict(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
