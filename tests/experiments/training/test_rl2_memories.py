"""Every memory of `rl2` through the commands: train, several seeds, devices, resume, evaluate, compare, load, act, export."""

import json
import sys

import jax
import jax.export
import numpy as np
import pytest

import agents
from experiments import compare, evaluate, train
from experiments.evaluation import export, load
from tests.experiments.conftest import read_lines, small_run

FLAGS = ["--agent", "rl2", "--memory-size", "8", "--eval-steps", "1", "--num-iterations", "2"]
MINE = """
import jax.numpy as jnp
from flax import linen as nn
import agents

class Fading(nn.Module):
    size: int

    @nn.nowrap
    def start(self):
        return jnp.zeros(self.size)

    @nn.compact
    def act(self, memory, x):
        memory = 0.8 * memory + 0.2 * jnp.tanh(nn.Dense(self.size)(x))
        return memory, memory

agents.register_memory("mine/fading", Fading)
"""
OTHERS = {
    "lstm": ["--memory", "lstm"],
    "lru": ["--memory", "lru"],
    "transformer": ["--memory", "transformer", "--memory-chunk", "5"],
    "hypernetwork": ["--hypernetwork"],
    "own": ["--memory", "rl2_memory_of_a_user:mine/fading"],
}


@pytest.fixture
def user(tmp_path, monkeypatch):
    """A user's folder with a memory in it."""
    (tmp_path / "rl2_memory_of_a_user.py").write_text(MINE)
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    sys.modules.pop("rl2_memory_of_a_user", None)


@pytest.mark.slow  # the same commands run with a GRU by default, and what each memory does in tests/agents/test_memories.py
@pytest.mark.parametrize("name", OTHERS)
def test_every_command_takes_every_memory(name, user):
    pytest.importorskip("flatbuffers")
    parent = small_run(user / name, *FLAGS, "--seeds", "2", "--devices", "2", *OTHERS[name])
    run = parent / "seed-0"
    train.main(["--run-dir", str(parent), "--resume", "--num-iterations", "3"])
    assert [row["iteration"] for row in read_lines(run)] == [1, 2, 3]
    settings = json.loads((run / "config.json").read_text())["settings"]
    assert settings["hypernetwork"] == (name == "hypernetwork") and settings["memory_size"] == 8
    evaluate.main(["--run-dir", str(run), "--num-tasks", "3", "--num-steps", "2"])
    assert len(json.loads((run / "evaluation.json").read_text())["return_mean"]) == 3
    evaluate.main(["--run-dir", str(parent), "--num-tasks", "3", "--num-steps", "2"])
    compare.main([str(parent), "--out", str(user / "both")])
    assert "| rl2" in (user / "both/table.md").read_text()
    agent = load(run)
    curve = agent.adapt(agent.family.default_params)
    actor, start = agent.actor(curve, 1), agent.actor()
    program = jax.export.deserialize(bytearray(export(agent, user / "p", after=curve, step=1, format="stablehlo").read_bytes()))
    *memory, _, noise, _, _, _ = (np.zeros(like.shape, like.dtype) for like in program.in_avals)
    reward, observations, differ = np.float32(0), np.random.default_rng(0).normal(size=(4, 2)).astype(np.float32), 0.0
    for i, observation in enumerate(observations):
        if i in (0, 3):
            actor.reset()
            start.reset()
        memory, action, _ = program.call(memory, observation, noise, reward, np.bool_(i == 3), np.int32({0: 2, 3: 1}.get(i, 0)))
        theirs = actor.act(observation)
        np.testing.assert_allclose(action, theirs, rtol=1e-5, atol=1e-5)
        differ += np.abs(theirs - start.act(observation)).max()
        reward = np.float32(i)
        actor.observe(reward, i == 2)
        start.observe(reward, i == 2)
    assert differ > 0 or name == "hypernetwork", "an episode on the task was remembered"


def test_a_memory_that_does_not_fit_is_one_line_and_no_folder(user, error_of):
    for flags, message in (
        (["--memory", "lsmt"], "No memory 'lsmt'. Did you mean 'lstm'?"),
        (["--memory", "transformer", "--memory-context", "7"], "a trial has 12 steps (2 episodes of 6)"),
        (["--memory", "transformer", "--memory-heads", "3"], "8 is no multiple of twice the 3 heads"),
        (["--memory", "rl2_memory_of_a_user:mine/faint"], "No memory 'mine/faint'. Did you mean 'mine/fading'"),
        (["--memory-chunk", "12"], "a trial has 12 steps: it cuts nothing"),
    ):
        small = ["--num-tasks", "2", "--num-episodes", "3", "--horizon", "6", "--memory-size", "8"]
        assert message in error_of(train.main, "--run-dir", user / "run", "--agent", "rl2", *small, *flags)
        assert not (user / "run").exists()


def test_a_run_goes_on_with_its_own_memory_only(user, error_of):
    run = small_run(user / "run", "--agent", "rl2", "--memory-size", "8", "--eval-tasks", "0", "--num-iterations", "1")
    message = error_of(train.main, "--run-dir", run, "--resume", "--memory", "lstm", "--num-iterations", "2")
    assert "--memory gru, not lstm; leave the flag out to resume" in message
    message = error_of(train.main, "--run-dir", user / "new", "--start-from", run, "--memory", "lstm")
    assert "does not fit" in message and not (user / "new").exists()
    assert agents.find("rl2").hyperparameters().memory == "gru"
