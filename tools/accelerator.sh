#!/bin/sh
# Prints which build of MLX fits this machine: metal, cuda13, cuda12 or cpu.
# A script and not a recipe, so that tests/test_accelerator.py can ask it about machines that we do not have.
#
# MLX needs an NVIDIA driver >= 580 for CUDA 13 or >= 550 for CUDA 12, and compute capability >= 7.5.

if [ "$(uname -s)" = Darwin ]; then
    echo metal
    exit
fi

# One line a GPU ("580.65.06, 9.0"); MLX computes on the first. An old nvidia-smi does not know compute_cap.
gpus=$(nvidia-smi --query-gpu=driver_version,compute_cap --format=csv,noheader 2>/dev/null) ||
    gpus=$(nvidia-smi --query-gpu=driver_version --format=csv,noheader 2>/dev/null) ||
    gpus=
printf '%s\n' "$gpus" | LC_ALL=C awk -F ', *' 'NR == 1 {
    driver = $1 + 0
    too_old = $2 ~ /^[0-9]/ && $2 + 0 < 7.5
    print too_old || driver < 550 ? "cpu" : driver < 580 ? "cuda12" : "cuda13"
}'
