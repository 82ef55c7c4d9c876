# `make demo` and `make test` do all set-up on a fresh machine: a virtual environment in .venv, made once.
# Another Python: make test PYTHON=python3.12. More processes for the tests: make test JOBS=8.

# The first Python on the PATH that the package supports (3.10 to 3.13).
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin

.PHONY: help demo test lint format clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    the whole way on synthetic brains: data, bundle, training, prediction, report (about 10 minutes)"
	@echo "make test    lint, types and tests"
	@echo "make lint    lint and types only"
	@echo "make format  rewrite the sources in the project's style"
	@echo "make clean   remove the virtual environment, caches and the demo's results"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 to 3.13 on the PATH; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -c '$(SUPPORTED)' || { echo "error: $(PYTHON) is not Python 3.10 to 3.13" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: python -m venv failed; on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }

# A stamp for each set of extras, so that installing is done once and again when pyproject.toml changes. `dev` includes `demo`.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): PyTorch with CUDA is a few GB, this takes minutes, once."
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[dev]'
	@touch $(VENV)/.demo $@

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): PyTorch with CUDA is a few GB, this takes minutes, once."
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[demo]'
	@touch $@

# Starts anew each time; `.venv/bin/auto_config demo FOLDER` keeps what it made.
demo: $(VENV)/.demo
	rm -rf demo_run
	$(BIN)/auto_config demo

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One thread for each process: two processes on two cores are quicker than one process with two threads.
# loadfile keeps a file's tests, and the bundles that they share, in one process.
test: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:
	rm -rf $(VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis demo_run
