"""Volumes: one value, one reader a format behind one door, bundled samples, and a way back out as NIfTI.

NumPy only; the libraries of a format are imported when a file of that format is read.
"""

from conv3d_core.volumes.bundled import BUNDLED, DEFAULT_SAMPLE, Sample, load_sample, thumbnail_of
from conv3d_core.volumes.door import inspect_volume, read_volume
from conv3d_core.volumes.entry import Entry, Part
from conv3d_core.volumes.formats.raw import RawLayout
from conv3d_core.volumes.limits import MAX_VOLUME_BYTES
from conv3d_core.volumes.load import fitting_reduction
from conv3d_core.volumes.made import MADE_TO_SIZE, MAX_MADE_BYTES, MAX_MADE_SIZE, made_to_size, size_of
from conv3d_core.volumes.prepare import (
    NONFINITE,
    NORMALISATIONS,
    crop,
    normalise,
    reduce,
    remap,
    replace_nonfinite,
    select_channel,
)
from conv3d_core.volumes.volume import Volume
from conv3d_core.volumes.write import output_affine, write_nifti

__all__ = [
    "BUNDLED",
    "DEFAULT_SAMPLE",
    "MADE_TO_SIZE",
    "MAX_MADE_BYTES",
    "MAX_MADE_SIZE",
    "MAX_VOLUME_BYTES",
    "NONFINITE",
    "NORMALISATIONS",
    "Entry",
    "Part",
    "RawLayout",
    "Sample",
    "Volume",
    "crop",
    "fitting_reduction",
    "inspect_volume",
    "load_sample",
    "made_to_size",
    "normalise",
    "output_affine",
    "read_volume",
    "reduce",
    "remap",
    "replace_nonfinite",
    "select_channel",
    "size_of",
    "thumbnail_of",
    "write_nifti",
]
