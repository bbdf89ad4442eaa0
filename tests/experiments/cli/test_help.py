"""``--help`` is quick: libraries that take long to import wait until they are needed."""

import subprocess
import sys

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
