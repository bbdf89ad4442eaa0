# make demo   meta-train on 2D navigation, evaluate on held-out goals, write runs/demo   (ARGS="--resume", "--overwrite", ...)
# make test   ruff, mypy and the default tests
# make test-slow   learning curves and published numbers
PYTHON ?= python3
VENV := .venv
PIP_INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test test-slow

demo: $(VENV)/.installed
	$(VENV)/bin/python -m experiments.train --run-dir runs/demo --initial-std 0.7 --outer-lr 2e-3 --test-step-scale 1 0.5 $(ARGS)

test: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest

test-slow: $(VENV)/.installed-dev
	XLA_FLAGS=--xla_cpu_multi_thread_eigen=false $(VENV)/bin/pytest -m slow -n 2 --durations=0  # at full speed, as a user runs them

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("error: metarl needs Python 3.11 or newer, this is " + sys.version.split()[0] + "; name another one: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing pinned dependencies into $(VENV) (a minute or two) ..."
	$(PIP_INSTALL) .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(VENV)/bin/python
	@echo "installing pinned dependencies and development tools into $(VENV) (a minute or two) ..."
	$(PIP_INSTALL) '.[dev]'
	@touch $(VENV)/.installed $@
