"""The volumes that come with the app: real ones from assets/volumes, and synthetic ones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from conv3d_core.errors import VolumeError
from conv3d_core.volumes import synthetic
from conv3d_core.volumes.door import read_volume
from conv3d_core.volumes.entry import Part
from conv3d_core.volumes.volume import Float32, Volume

FOLDER = Path(__file__).resolve().parents[2] / "assets" / "volumes"
THUMBNAILS = FOLDER.parent / "thumbnails"
DEFAULT_SAMPLE = "mni152_t1_2mm"


@dataclass(frozen=True, slots=True)
class Sample:
    """One bundled volume, before it is loaded.

    Attributes:
        title: a few words for a list.
        description: one sentence: what is in it, and what it is good for.
        channels: what C is.
        licence: short; assets/SOURCES.md has it in full.
        kind: "real" or "synthetic".
        file: its name in assets/volumes.
        reduce: the factor by which it is reduced when loaded.
        make: the function that computes it.
    """

    title: str
    description: str
    channels: str
    licence: str
    kind: str = "real"
    file: str | None = None
    reduce: int = 1
    make: Callable[[], Float32] | None = None


def _synthetic(title: str, description: str, make: Callable[[], Float32]) -> Sample:
    return Sample(title, description, "C is 1", "none needed", "synthetic", make=make)


_MNI = "mri_mni152_t1_1mm.nii.gz"
_MNI_LICENCE = "MNI permissive notice"
BUNDLED: dict[str, Sample] = {
    "mni152_t1_2mm": Sample(
        "Brain, MRI, 2 mm",
        "The average of 152 brains (MNI152, T1-weighted, skull removed), each voxel the mean of 2x2x2.",
        "C is 1, T1-weighted signal",
        _MNI_LICENCE,
        file=_MNI,
        reduce=2,
    ),
    "mni152_t1_1mm": Sample(
        "Brain, MRI, 1 mm",
        "The average of 152 brains (MNI152, T1-weighted, skull removed) in its full resolution.",
        "C is 1, T1-weighted signal",
        _MNI_LICENCE,
        file=_MNI,
    ),
    "epi_4d": Sample(
        "Brain, functional MRI",
        "Two time points of an echo-planar scan with 24 thick, tilted planes: small, noisy and anisotropic.",
        "C is time (2 points)",
        "MIT (nibabel)",
        file="mri_nibabel_example4d.nii.gz",
    ),
    "mr_series": Sample(
        "Brain, MR series with gaps",
        "20 DICOM files with planes 7 mm apart and 0.86 mm in plane: a kernel reaches eight times as far along D.",
        "C is 1, proton density signal",
        "BSD-3 (RII-UTHSCSA)",
        file="dicom_mr_brain_anon_20slices.zip",
    ),
    "nuclei_3d": Sample(
        "Cell nuclei, fluorescence",
        "A small stack of fluorescent nuclei: bright blobs that touch, as in StarDist's example.",
        "C is 1, fluorescence",
        "BSD-3 (StarDist)",
        file="micro_stardist_nuclei3d.tif",
    ),
    "dti_v1": Sample(
        "Brain, nerve fibre direction",
        "The main direction of water diffusion in each voxel, a unit vector with positive and negative parts.",
        "C is x, y, z of the principal direction",
        "BSD-3 (RII-UTHSCSA)",
        file="mri_papaya_dti_V1.nii.gz",
    ),
    "indian_pines": Sample(
        "Fields from the air, hyperspectral",
        "64 x 64 points of farmland in Indiana seen in 200 bands of light: depth is wavelength here.",
        "C is 1, radiance; D is the spectral band",
        "CC BY 3.0 (Purdue University)",
        file="hyperspectral_indian_pines_64x64x200.npz",
    ),
    "impulse": _synthetic(
        "Impulse", "A single 1 in the centre of zeros: the output shows the kernel itself, mirrored.", synthetic.impulse
    ),
    "sphere_bar_step": _synthetic(
        "Ball, bar and step",
        "One curved, one long and one flat edge, to see which of them a kernel answers to.",
        synthetic.sphere_bar_step,
    ),
    "checkerboard": _synthetic(
        "Checkerboard",
        "+1 and -1 in turn along every axis: a box of even size gives 0, and a stride of 2 sees one colour only.",
        synthetic.checkerboard,
    ),
    "gyroid": _synthetic(
        "Gyroid",
        "A smooth surface that repeats every 24 voxels along each axis, with edges in every direction.",
        synthetic.gyroid,
    ),
    "ramp": _synthetic(
        "Ramp",
        "The value is 4 d + 2 h + w: a difference of neighbours says along which axis it was taken.",
        synthetic.ramp,
    ),
}


def load_sample(key: str) -> Volume:
    """The bundled volume of that key in `BUNDLED`.

    Raises:
        VolumeError: no such key, or its file is not there.

    >>> load_sample("impulse").shape
    (17, 17, 17, 1)
    """
    sample = BUNDLED.get(key)
    if sample is None:
        raise VolumeError("volume", f"{key!r} is not bundled", f"use one of {', '.join(BUNDLED)}", value=key)
    if sample.make is not None:
        array = sample.make()
        array.flags.writeable = False
        return Volume(array, sample.title, source=f"computed: conv3d_core.volumes.synthetic.{sample.make.__name__}()")
    return read_volume(FOLDER / str(sample.file), sample.title, part=Part(reduce=sample.reduce))


def thumbnail_of(key: str) -> bytes:
    """A picture of that bundled volume, as PNG; `tools/thumbnails.py` makes them."""
    return (THUMBNAILS / f"{key}.png").read_bytes()
