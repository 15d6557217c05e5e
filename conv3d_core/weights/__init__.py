"""Weights of a network, out of a file and into one, in MLX's layout or in PyTorch's.

`read_checkpoint` reads .safetensors and .npz and nothing that could run code; `conv3d_layers` tells how its
convolutions lie; `convert` turns all of a chain's weights into the other framework's; `write_safetensors` and
`write_npz` give files that the printed programs of `conv3d_core.chain.writing` load.
"""

from conv3d_core.errors import WeightsError
from conv3d_core.weights.checkpoint import Checkpoint
from conv3d_core.weights.convert import convert
from conv3d_core.weights.found import Conv3dWeights, Reading, conv3d_layers
from conv3d_core.weights.read import read_checkpoint
from conv3d_core.weights.write import write_npz, write_safetensors

__all__ = [
    "Checkpoint",
    "Conv3dWeights",
    "Reading",
    "WeightsError",
    "conv3d_layers",
    "convert",
    "read_checkpoint",
    "write_npz",
    "write_safetensors",
]
