"""Every example in a docstring gives what it says. Only modules that have one are imported."""

import doctest
import importlib
from pathlib import Path

import pytest

HOME = Path(__file__).parent.parent
ROOMS = ("metarl", "envs", "agents", "experiments")


def module_name(path):
    parts = path.relative_to(HOME).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = [module_name(path) for room in ROOMS for path in sorted((HOME / room).rglob("*.py")) if ">>> " in path.read_text()]


def test_there_are_examples():
    assert {"metarl.rules", "metarl.meta", "metarl.surrogates", "metarl.inner_loop", "envs.registration"} <= set(MODULES)


@pytest.mark.parametrize("name", MODULES)
def test_examples(name):
    found = doctest.testmod(importlib.import_module(name))
    assert found.attempted > 0 and found.failed == 0
