# make demo   meta-train on 2D navigation, evaluate on held-out goals, write runs/demo   (ARGS="--resume", "--overwrite", ...)
# make test   ruff, mypy and the default tests
# make test-slow   learning curves, published numbers, and what make test checks on a few, on all agents and families
# make test-lowest   the tests of the library and of training, with the lowest versions that pyproject.toml allows
# make test-suites   environments of other suites written in JAX, installed beside the pins into .venv-suites
# make test-sb3   Stable-Baselines3 on our environments, in .venv-sb3
# make test-metaworld   Meta-World, whose MuJoCo is older than the pins', with the lowest versions in .venv-metaworld
# make docs   the documentation into site/, every page and lesson run; docs-test   runs them all again, from nothing
# make wheel   dist/metarl_jax-*.whl
PYTHON ?= python3
VENV := .venv
LOWEST := tests/metarl tests/envs tests/agents tests/experiments/test_train.py
PIP_INSTALL := $(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable

.PHONY: demo test test-slow test-lowest test-suites test-sb3 test-metaworld docs docs-test wheel

demo: $(VENV)/.installed
	$(VENV)/bin/python -m experiments.train --run-dir runs/demo $(ARGS)

test: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/mypy
	$(VENV)/bin/pytest

test-slow: $(VENV)/.installed-dev
	XLA_FLAGS=--xla_cpu_multi_thread_eigen=false $(VENV)/bin/pytest -m slow -n 2 --durations=0  # at full speed, as a user runs them

test-lowest: .venv-lowest/.installed
	.venv-lowest/bin/python -m pytest -W default::DeprecationWarning $(LOWEST)  # what other packages say of one another

test-suites: .venv-suites/.installed
	.venv-suites/bin/python -m pytest -n 2 tests/envs/from_jax

test-sb3: .venv-sb3/.installed
	.venv-sb3/bin/python -m pytest -n 0 -m '' tests/envs/to_gymnasium/test_other_libraries.py

test-metaworld: .venv-metaworld/.installed
	.venv-metaworld/bin/python -m pytest -n 0 -m '' -W default::DeprecationWarning tests/envs/meta_world

docs: .venv-docs/.installed
	.venv-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet -b html -d .docs-cache/doctrees docs site
	@rm -rf jupyter_execute  # notebooks that the builder leaves
	@echo "site/index.html"

docs-test: .venv-docs/.installed
	rm -rf .docs-cache/pages
	.venv-docs/bin/python -m sphinx --fail-on-warning --keep-going --quiet -E -b html -d .docs-cache/doctrees-test docs .docs-cache/test/site
	.venv-docs/bin/python -m pytest -n 0 tests/docs tests/test_doctests.py

wheel:
	$(PYTHON) -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir dist .

.venv-lowest/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-lowest
	@echo "installing the lowest versions into .venv-lowest (a minute or two) ..."
	.venv-lowest/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-lowest.txt \
		--editable '.[mujoco,box2d,minigrid]' pytest pytest-xdist rlax
	@touch $@

.venv-metaworld/.installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv .venv-metaworld
	@echo "installing Meta-World into .venv-metaworld (a minute or two) ..."
	.venv-metaworld/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints-lowest.txt \
		--editable '.[metaworld]' pytest pytest-xdist rlax
	@touch $@

.venv-sb3/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-sb3
	@echo "installing Stable-Baselines3 and PyTorch into .venv-sb3 (some minutes) ..."
	.venv-sb3/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[mujoco]' stable-baselines3==2.9.2 pytest pytest-xdist rlax
	@touch $@

.venv-docs/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-docs
	@echo "installing what builds the documentation into .venv-docs (some minutes) ..."
	.venv-docs/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[docs]'
	@touch $@

.venv-suites/.installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv .venv-suites
	@echo "installing the suites into .venv-suites (some minutes) ..."
	.venv-suites/bin/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt \
		--editable '.[mujoco,xland,brax,playground,navix,jumanji]' seaborn pytest pytest-xdist rlax
	.venv-suites/bin/python -m pip install --quiet --disable-pip-version-check --no-deps gymnax==1.0.1 craftax==1.6.1
	@touch $@

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
