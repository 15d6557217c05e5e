"""Conv3D Explorer's library: what `mlx.nn.Conv3d` does to a volume, in numbers. Importing it never imports MLX."""

from conv3d_core.errors import Conv3dError, EngineError, ShapeError, SpecError, VolumeError
from conv3d_core.spec import ConvSpec

__all__ = ["Conv3dError", "ConvSpec", "EngineError", "ShapeError", "SpecError", "VolumeError"]
