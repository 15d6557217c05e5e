"""What is wrong with layers in a row and their input, why, and the smallest changes that would work.

`diagnose` asks for all of it. `errors` explains what a trace ends with: `arguments`, `sizes`, `ranks` (numbers of axes)
and `channels`, each told of a `failure`. What raises nothing: `inputs` finds axes in another order; `silent` what one
layer does, which `unread` and `padded` explain; `returns`, `gaps` and `biases` what several do together; `memory` what
does not fit. Each gives drafts: a finding and changes that may do, thought of with `values` and `fitting`. `ranking`
tries the changes by `edits` on the layers, and makes the best few in the text.
"""

from conv3d_core.diagnosis.diagnose import diagnose
from conv3d_core.diagnosis.finding import Diagnosis, Finding, Fix, Severity

__all__ = ["Diagnosis", "Finding", "Fix", "Severity", "diagnose"]
