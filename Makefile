# `make demo` and `make test` do all set-up on a fresh machine: a virtual environment in .venv, made once, and for the
# annotation server, which needs older packages, one in .venv-label.
# Another Python: make test PYTHON=python3.12 LABEL_PYTHON=python3.11. More processes for the tests: make test JOBS=8.

# The first Python on the PATH that the package supports (3.10 to 3.13).
SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 14))
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.10 python; do \
	"$$p" -c '$(SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
# The first Python that MONAI Label runs with (3.10 to 3.12); none: the tests of the annotation server are left out.
LABEL_SUPPORTED := import sys; sys.exit(not (3, 10) <= sys.version_info[:2] < (3, 13))
LABEL_PYTHON ?= $(shell for p in python3.11 python3.12 python3.10 python3 python; do \
	"$$p" -c '$(LABEL_SUPPORTED)' 2>/dev/null && echo "$$p" && break; done)
JOBS ?= 2
VENV := .venv
BIN := $(VENV)/bin
LABEL_VENV := .venv-label
LABEL_BIN := $(LABEL_VENV)/bin
# What runs there: the app, and how MONAI Label's own tasks run bundles.
LABEL_TESTS := tests/apps tests/bundle/test_seams.py tests/bundle/monai_clients/test_label_training.py
DOCS_VENV := .venv-docs
CLIENT_PACKAGES := orthanc orthanc-dicomweb chromium iproute2

.PHONY: help demo test test-core test-label test-clients lint format docs clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    the whole way on synthetic brains: data, bundle, training, prediction, report (about 10 minutes)"
	@echo "make test    lint, types, tests and documentation site; the annotation server in an environment of its own"
	@echo "make test-core, make test-label    one half of the tests"
	@echo "make test-clients    the server with OHIF in a browser and a PACS, and fuzzed; installs Debian packages, needs root"
	@echo "make lint    lint and types only"
	@echo "make format  rewrite the sources in the project's style"
	@echo "make docs    the documentation site, into build/site; an environment of its own, without PyTorch"
	@echo "make clean   remove the virtual environments, caches and the demo's results"

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 to 3.13 on the PATH; install one, or name it: make PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -c '$(SUPPORTED)' || { echo "error: $(PYTHON) is not Python 3.10 to 3.13" >&2; exit 2; }
	$(PYTHON) -m venv $(VENV) || { rm -rf $(VENV); echo "error: python -m venv failed; on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }

# After pip's own words, which may be many: what most often was the reason.
TOO_FULL = { echo "error: installing failed; PyTorch with CUDA takes 8 GB of disk in each environment, $$(df -Ph . | awk 'END {print $$4}') are free here" >&2; exit 2; }

# A stamp for each set of extras, so that installing is done once and again when pyproject.toml changes. `dev` includes `demo`.
$(VENV)/.dev: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): PyTorch with CUDA is a few GB, this takes minutes, once."
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[dev]' || $(TOO_FULL)
	@touch $(VENV)/.demo $@

$(VENV)/.demo: pyproject.toml | $(BIN)/python
	@echo "Installing into $(VENV): PyTorch with CUDA is a few GB, this takes minutes, once."
	$(BIN)/python -m pip install --disable-pip-version-check -q -e '.[demo]' || $(TOO_FULL)
	@touch $@

# Starts anew each time; `.venv/bin/auto_config demo FOLDER` keeps what it made.
demo: $(VENV)/.demo
	rm -rf demo_run
	$(BIN)/auto_config demo

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

# One after the other, also with make -j: each takes the whole machine.
# The environment of the documentation first: where it is, a test builds the site strictly.
test: $(DOCS_VENV)/.docs test-core
	$(MAKE) --no-print-directory test-label

# One thread for each process: two processes on two cores are quicker than one process with two threads.
# loadfile keeps a file's tests, and the bundles and servers that they share, in one process. Files begin in the order in
# which they are collected, the longest first (tests/conftest.py).
test-core: lint
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder

ifeq ($(strip $(LABEL_PYTHON)),)
test-label test-clients:
	@echo "No Python 3.10 to 3.12 on the PATH, which MONAI Label needs: the tests of the annotation server are left out."
else
$(LABEL_BIN)/python:
	$(LABEL_PYTHON) -c '$(LABEL_SUPPORTED)' || { echo "error: $(LABEL_PYTHON) is not Python 3.10 to 3.12" >&2; exit 2; }
	$(LABEL_PYTHON) -m venv $(LABEL_VENV) || { rm -rf $(LABEL_VENV); echo "error: python -m venv failed; on Debian or Ubuntu: apt install python3-venv" >&2; exit 2; }

$(LABEL_VENV)/.label $(LABEL_VENV)/.clients: pyproject.toml | $(LABEL_BIN)/python
	@echo "Installing into $(LABEL_VENV): MONAI Label and PyTorch with CUDA are 8 GB, this takes minutes, once."
	$(LABEL_BIN)/python -m pip install --disable-pip-version-check -q -e '.[$(if $(findstring clients,$@),clients,label)-test]' || $(TOO_FULL)
	@touch $@

# MONAI Label starts tools of its environment, such as torchrun, by their names.
test-label: $(LABEL_VENV)/.label
	PATH="$(CURDIR)/$(LABEL_BIN):$$PATH" OMP_NUM_THREADS=1 $(LABEL_BIN)/python -m pytest -n $(JOBS) --dist loadfile --no-loadscope-reorder $(LABEL_TESTS)

test-clients: $(LABEL_VENV)/.clients
	@dpkg -s $(CLIENT_PACKAGES) >/dev/null 2>&1 || { test "$$(id -u)" = 0 && command -v apt-get >/dev/null; } || \
		{ echo "error: needs the Debian packages $(CLIENT_PACKAGES); as root: apt-get install $(CLIENT_PACKAGES)" >&2; exit 2; }
	@dpkg -s $(CLIENT_PACKAGES) >/dev/null 2>&1 || { apt-get update -q && apt-get install -q -y --no-install-recommends $(CLIENT_PACKAGES); }
	PATH="$(CURDIR)/$(LABEL_BIN):$$PATH" OMP_NUM_THREADS=1 $(LABEL_BIN)/python -m pytest tests/clients
endif

format: $(VENV)/.dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

# The extra `docs` alone: with the package itself pip would install PyTorch, and the pages are made from its sources.
DOCS_LIST := import sys; toml = __import__("tomllib" if sys.version_info > (3, 11) else "pip._vendor.tomli", fromlist=["load"]); print(*toml.load(open("pyproject.toml", "rb"))["project"]["optional-dependencies"]["docs"], sep="\n")
$(DOCS_VENV)/.docs: pyproject.toml
	@test -n "$(PYTHON)" || { echo "error: no Python 3.10 to 3.13 on the PATH; name one: make docs PYTHON=/path/to/python3.12" >&2; exit 2; }
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_VENV)/bin/python -c '$(DOCS_LIST)' > $(DOCS_VENV)/docs.txt
	$(DOCS_VENV)/bin/python -m pip install --disable-pip-version-check -q -r $(DOCS_VENV)/docs.txt
	@touch $@

# Strict: a broken link, a missing picture or a docstring that cannot be read ends it. The theme announces the end of its life
# (May 2027; its successor reads mkdocs.yml) at each build, which the variable leaves out.
docs: $(DOCS_VENV)/.docs
	NO_MKDOCS_2_WARNING=1 $(DOCS_VENV)/bin/mkdocs build --strict
	@echo "python3 -m http.server -d build/site shows it, search included; build/site/index.html without search"

clean:
	rm -rf $(VENV) $(LABEL_VENV) $(DOCS_VENV) build *.egg-info .mypy_cache .pytest_cache .ruff_cache .hypothesis demo_run
