"""The settings that give what is asked for: an output size, a receptive field, a memory limit, sizes that divide.

`output`, `field`, `memory` and `even` answer for layers as values, `cases` for a layer of a chain, `whole` for what a
whole chain holds. Every answer is
exact: integers, in closed form or searched over small ranges, and all of them make a layer that the input fits.
"""

from conv3d_core.solve.answer import PARAMETERS, Solution
from conv3d_core.solve.cases import even_sizes_in_case, field_in_case, settings_in_case
from conv3d_core.solve.even import EvenSizes, even_sizes
from conv3d_core.solve.field import settings_for_field
from conv3d_core.solve.memory import settings_for_memory
from conv3d_core.solve.output import half, same, settings_for_output
from conv3d_core.solve.whole import memory_in_case

__all__ = [
    "PARAMETERS",
    "EvenSizes",
    "Solution",
    "even_sizes",
    "even_sizes_in_case",
    "field_in_case",
    "half",
    "memory_in_case",
    "same",
    "settings_for_field",
    "settings_for_memory",
    "settings_for_output",
    "settings_in_case",
]
