"""A faster BLAS in the place of MLX's own, on the CPU, where the system has one.

MLX's wheel for Linux multiplies matrices with the reference BLAS, at 4-6 GFLOP/s. A library that is loaded first and
for all (RTLD_GLOBAL) and has a plain ``cblas_sgemm`` is found by the dynamic linker before MLX's. It is the same layer
with another order of additions: equal to float32 rounding, no longer bit for bit.
"""

from __future__ import annotations

import ctypes
import os
import sys

VARIABLE = "CONV3D_BLAS"
OFF = "off"
# Debian, Ubuntu and Arch; Fedora with threads, with OpenMP. Of NumPy's and SciPy's own copies the names are prefixed.
NAMES = ("libopenblas.so.0", "libopenblasp.so.0", "libopenblaso.so.0")
HINT = "apt-get install libopenblas0-pthread makes it faster"


def preload() -> str:
    """Load one, before MLX, and say which one multiplies now, in words.

    CONV3D_BLAS names another library, or is "off".
    """
    wanted = os.environ.get(VARIABLE, "").strip()
    if wanted == OFF:
        return f"MLX's own, {VARIABLE}={OFF}"
    if sys.platform != "linux":
        return "MLX's own"
    for name in [wanted] if wanted else NAMES:
        try:
            library = ctypes.CDLL(name, ctypes.RTLD_GLOBAL)
        except OSError:
            continue
        if hasattr(library, "cblas_sgemm"):
            return _description(library, name)
    missing = f"{wanted} has no cblas_sgemm or cannot be loaded" if wanted else f"no OpenBLAS found, {HINT}"
    return f"MLX's own, {missing}"


def _description(library: ctypes.CDLL, name: str) -> str:
    try:
        configuration = library.openblas_get_config
    except AttributeError:
        return name
    configuration.restype = ctypes.c_char_p
    # "OpenBLAS 0.3.21 NO_LAPACKE DYNAMIC_ARCH ..."
    words = (configuration() or b"").decode(errors="replace").split()
    return f"{' '.join(words[:2])}, in the place of MLX's own" if words else name
