"""MLX in a supervised process of its own. Importing this never imports MLX; only `worker` does, over there.

`client` is the face (NumPy in, NumPy out), `supervisor` starts, times and replaces the process,
`operands` checks what goes in, `slabs` cuts what a box of outputs reads, `memory` knows the budget.
"""

from conv3d_core.engine.client import Engine
from conv3d_core.engine.supervisor import EngineInfo

__all__ = ["Engine", "EngineInfo"]
