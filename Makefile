# make run     make the environment once, then open the app      PORT=8501  ACCEL=cpu|cuda12|cuda13
# make test    everything that CI runs                           JOBS=2     CHROME=/path/to/chromium
# make check   the part of it that runs nothing: format, lint, types, import rules
# make formats what reads the heavy and rare formats: HDF5, Zarr, LZW in TIFF, JPEG lossless in DICOM
# make fuzz    damaged files against the readers  SECONDS=600
# make bench   how fast it is, beside MLX's own layer and, where it is installed, PyTorch: tables, and JSON
# Kept to what GNU Make 3.81 knows, which is the one on a Mac.

VENV := .venv
BIN  := $(VENV)/bin
PORT ?= 8501
JOBS ?= 2
SECONDS ?= 600
# Which build of MLX: the one that fits this machine, unless told otherwise.
ifndef ACCEL
ACCEL := $(shell sh tools/accelerator.sh)
endif

ifeq ($(filter $(ACCEL),metal cpu cuda12 cuda13),)
$(error ACCEL=$(ACCEL) is not a build of MLX; use cpu, cuda12 or cuda13)
endif
# As pip names it: mlx-metal comes with mlx itself, the others are an extra (mlx[cuda12] brings mlx-cuda-12).
MLX         := $(if $(filter metal,$(ACCEL)),mlx,mlx[$(ACCEL)])
MLX_BACKEND := mlx-$(patsubst cuda%,cuda-%,$(ACCEL))

# What is installed is told by empty files, so that a second `make run` starts at once and needs no network.
APP := $(VENV)/app-$(ACCEL)
DEV := $(VENV)/dev-$(ACCEL)

.DELETE_ON_ERROR:
.PHONY: run test check format formats fuzz bench browser openblas clean

APT_INSTALL = as_root=; [ "$$(id -u)" = 0 ] || as_root="sudo -n"; \
    $$as_root apt-get update && $$as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y

run: $(APP)
	$(BIN)/streamlit run app.py --server.port=$(PORT)

test: check browser openblas
	$(BIN)/python -m pytest -n $(JOBS) --no-loadscope-reorder --require-browser

check: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(DEV)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# Playwright cannot download a browser everywhere, so the tests use the one of the system.
browser: $(DEV)
	@if $(BIN)/python tests/browser/driver.py >/dev/null 2>&1; then exit 0; fi; \
	if [ -z "$$CHROME" ] && command -v apt-get >/dev/null; then $(APT_INSTALL) chromium; fi; \
	$(BIN)/python tests/browser/driver.py

# A faster product for MLX's CPU build. It is optional, and so is this: without one its tests are skipped.
openblas: $(DEV)
	@if $(BIN)/python -c 'import sys; from conv3d_core.engine import blas; sys.exit("no OpenBLAS" in blas.preload())' || \
	    ! command -v apt-get >/dev/null; then exit 0; fi; \
	$(APT_INSTALL) libopenblas0-pthread || true

formats: $(APP)
	$(BIN)/python -m pip install -r requirements-formats.txt

fuzz: $(DEV)
	$(BIN)/python -m tests.core.fuzz --seconds $(SECONDS)

bench: browser openblas
	$(BIN)/python -m tests.bench.engine
	$(BIN)/python -m tests.bench.volumes
	$(BIN)/python -m tests.bench.browser

clean:
	rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .hypothesis .import_linter_cache tests/browser/shots
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(VENV)/pyvenv.cfg:
	@for python in python3.13 python3.12 python3.11 python3.14 python3; do \
	    $$python -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 || continue; \
	    echo "$$($$python --version) makes $(VENV)"; \
	    $$python -m venv --clear $(VENV) && exit; \
	    rm -rf $(VENV); \
	    echo >&2 "$$python cannot make an environment; on Debian and Ubuntu: apt-get install python3-venv"; \
	    exit 1; \
	done; \
	echo >&2 "Python 3.11 or newer is needed and was not found; see https://www.python.org/downloads/"; \
	exit 1

# The builds of MLX overwrite each other's files: another one that is there goes first.
$(APP): requirements.txt $(VENV)/pyvenv.cfg
	@rm -f $(VENV)/app-* $(VENV)/dev-*
	@others=$$($(BIN)/python -m pip list --format=freeze | sed -n 's/==.*//; /^mlx-/p' | grep -vx $(MLX_BACKEND)); \
	if [ -n "$$others" ]; then $(BIN)/python -m pip uninstall -y mlx $$others; fi
	$(BIN)/python -m pip install -r requirements.txt "$(MLX)"
	@touch $@

$(DEV): requirements-dev.txt requirements-formats.txt requirements-torch.txt $(APP)
	$(BIN)/python -m pip install -r requirements-dev.txt
	$(BIN)/python -m pip install -r requirements-torch.txt || echo "without PyTorch: the tests beside it are skipped"
	@touch $@
