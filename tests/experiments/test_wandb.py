"""The offline wandb run: no account, no prompt, no network, and the names that dashboards rely on."""

import os
import subprocess
import sys

from tests.experiments.conftest import SMALL


def test_a_first_run_is_offline_and_asks_nothing(tmp_path):
    env = {k: v for k, v in os.environ.items() if not k.startswith("WANDB")} | {"HOME": str(tmp_path / "home")}
    (tmp_path / "home").mkdir()
    command = [sys.executable, "-m", "experiments.train", "--run-dir", "run", "--num-iterations", "2", *SMALL]
    done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert done.returncode == 0, done.stderr
    assert "wandb" not in done.stdout and done.stderr == ""
    segments = sorted(path.name for path in (tmp_path / "run/wandb").glob("offline-run-*"))
    assert len(segments) == 2 and segments[1].endswith("-eval")
    written = [path.read_bytes() for path in sorted((tmp_path / "run/wandb").glob("offline-run-*/*.wandb"))]
    assert b"maml/metarl/Navigation2D-v0" in written[0], "the group"
    for name in (b"meta/pre", b"meta/post", b"outer/grad_norm", b"time/env_steps", b"dice_lambda"):
        assert name in written[0], name
    assert b"eval/step_3" in written[1]
