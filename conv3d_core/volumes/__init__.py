"""Volumes: one value, one reader a format behind one door, bundled samples, and a way back out as NIfTI.

NumPy only; the libraries of a format are imported when a file of that format is read.
"""

from conv3d_core.volumes.bundled import BUNDLED, DEFAULT_SAMPLE, Sample, load_sample
from conv3d_core.volumes.door import read_volume
from conv3d_core.volumes.limits import MAX_VOLUME_BYTES
from conv3d_core.volumes.prepare import NORMALISATIONS, crop, normalise, reduce, remap, select_channel
from conv3d_core.volumes.volume import Volume
from conv3d_core.volumes.write import output_affine, write_nifti

__all__ = [
    "BUNDLED",
    "DEFAULT_SAMPLE",
    "MAX_VOLUME_BYTES",
    "NORMALISATIONS",
    "Sample",
    "Volume",
    "crop",
    "load_sample",
    "normalise",
    "output_affine",
    "read_volume",
    "reduce",
    "remap",
    "select_channel",
    "write_nifti",
]
