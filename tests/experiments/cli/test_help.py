"""``--help`` is quick: libraries that take long to import wait until they are needed."""

import subprocess
import sys

from experiments.cli.later import Later

PROGRAM = """
import contextlib, io, sys
from experiments.cli import main

for name in main.COMMANDS:
    with contextlib.redirect_stdout(io.StringIO()) as said, contextlib.suppress(SystemExit):
        main.main([name, "--help"])
    assert "usage:" in said.getvalue(), name
    found = {"matplotlib", "wandb", "orbax", "mujoco", "distrax", "tensorflow_probability", "scipy.stats"} & set(sys.modules)
    assert not found, f"{name} imports {found}"
"""


def test_no_help_imports_what_takes_long():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-1000:]


def test_what_comes_before_an_import_comes_once():
    """A backend that a notebook chose after the first picture stays."""
    said = []
    later = Later("math", lambda: said.append("prepared"))
    assert later.sqrt(4.0) == 2.0 and later.pi > 3 and said == ["prepared"]
