"""Which build of MLX `make run` picks, asked with a made-up `nvidia-smi` and `uname`."""

import os
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[1] / "tools" / "accelerator.sh"


def choice(folder: Path, *, system: str = "Linux", nvidia_smi: str | None = None) -> str:
    """What the script prints on a machine whose commands answer like this."""
    programs = {"uname": f"echo {system}"}
    if nvidia_smi is not None:
        programs["nvidia-smi"] = nvidia_smi
    for name, body in programs.items():
        program = folder / name
        program.write_text(f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
    path = f"{folder}{os.pathsep}{os.defpath}"
    done = subprocess.run(["sh", SCRIPT], env={"PATH": path}, capture_output=True, text=True, timeout=20, check=True)
    return done.stdout


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("580.65.06, 9.0", "cuda13"),
        ("591.10, 7.5", "cuda13"),
        ("579.99, 8.6", "cuda12"),
        ("550.54.14, 8.0", "cuda12"),
        ("549.1, 8.0", "cpu"),
        ("580.65.06, 7.0", "cpu"),
        ("580.65.06, 12.0", "cuda13"),
        ("580.65.06, [N/A]", "cuda13"),
        ("580.65.06, 9.0\n580.65.06, 6.1", "cuda13"),
        ("", "cpu"),
    ],
)
def test_the_driver_and_the_capability_of_the_first_gpu_decide(tmp_path: Path, answer: str, expected: str) -> None:
    assert choice(tmp_path, nvidia_smi=f"printf '%s\\n' '{answer}'") == f"{expected}\n"


def test_an_old_nvidia_smi_that_cannot_tell_the_capability_is_asked_for_the_driver_alone(tmp_path: Path) -> None:
    answer = 'case "$*" in *compute_cap*) echo \'Field "compute_cap" is not valid\'; exit 2;; esac; echo 560.35.03'
    assert choice(tmp_path, nvidia_smi=answer) == "cuda12\n"


def test_a_driver_that_does_not_answer_means_the_cpu(tmp_path: Path) -> None:
    assert choice(tmp_path, nvidia_smi="echo NVIDIA-SMI has failed; exit 9") == "cpu\n"


def test_without_nvidia_smi_it_is_the_cpu(tmp_path: Path) -> None:
    assert choice(tmp_path) == "cpu\n"


def test_a_mac_uses_metal(tmp_path: Path) -> None:
    assert choice(tmp_path, system="Darwin", nvidia_smi="echo 580.1, 9.0") == "metal\n"
