"""MLX in a supervised process of its own. Importing this never imports MLX; `layer` and `attempt` do, over there.

From the caller inwards: `client` is the face (NumPy in, NumPy out) and `operands` checks what goes in; `dispatcher`
makes work of it, with `memory` (what it needs and may have), `tiles` and `slabs` (how it is cut), `requests` (its
steps) and `blocks` (shared memory); `schedule` says which step is next; `supervisor` has `process` do it.
On the other side `worker` answers, `layer` computes, `attempt` asks MLX about layers without values, `phases` splits a
dilated layer, `blas` finds a faster product.
"""

from conv3d_core.engine.attempt import Attempt
from conv3d_core.engine.client import Engine, Memory, Planes
from conv3d_core.engine.dispatcher import Gradient
from conv3d_core.engine.jobs import Cancelled, Job
from conv3d_core.engine.journal import Event
from conv3d_core.engine.operands import DTYPES, Content
from conv3d_core.engine.supervisor import EngineInfo

__all__ = [
    "DTYPES",
    "Attempt",
    "Cancelled",
    "Content",
    "Engine",
    "EngineInfo",
    "Event",
    "Gradient",
    "Job",
    "Memory",
    "Planes",
]
