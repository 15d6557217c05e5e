"""Makes the pictures of the gallery anew: `.venv/bin/python -m tools.thumbnails`."""

from __future__ import annotations

from conv3d_core.figures.thumbnail import thumbnail_png
from conv3d_core.volumes import BUNDLED, load_sample
from conv3d_core.volumes.bundled import THUMBNAILS

if __name__ == "__main__":
    THUMBNAILS.mkdir(exist_ok=True)
    for key in BUNDLED:
        volume = load_sample(key)
        (THUMBNAILS / f"{key}.png").write_bytes(thumbnail_png(volume.array, volume.spacing_mm))
