"""Observations and rewards far from 1: measured, said, and normalised unless somebody decided otherwise."""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

import envs
from envs.families.navigation import Navigation2D
from envs.scales import bounded_near_one, far_from_one, root_mean_square, scales
from experiments.training import suggested
from tests.agents.probe import Guess
from tests.experiments.conftest import small_run

ANYWHERE = Box(-np.inf, np.inf, (2,), np.float32)
FACTOR = 1000.0


class Millimetres(Navigation2D):
    """Navigation whose positions and rewards are in millimetres."""

    observation_space = ANYWHERE

    def __init__(self, horizon=None, factor=FACTOR):
        super().__init__(horizon)
        self.observation_space, self.factor = ANYWHERE, float(factor)

    def observation(self, state, rng, params):
        return self.factor * super().observation(state, rng, params)

    def reward(self, state, action, next_state, rng, params):
        return self.factor * super().reward(state, action, next_state, rng, params)


class Decided(Millimetres):
    training_settings = {"any": {"normalize_observations": False}}  # noqa: RUF012


class Broken(Millimetres):
    def reward(self, state, action, next_state, rng, params):
        raise RuntimeError("no reward today")


for family in (Millimetres, Decided, Broken):
    envs.register(f"scales/{family.__name__}-v0", family)


class Fades(Guess):
    """Ends after its second step; what follows must not count."""

    observation_space = Box(-np.inf, np.inf, (2,), np.float32)
    horizon = 6
    initial = lambda self, rng, params: jnp.zeros(())
    transition = lambda self, state, action, rng, params: state + 1
    observation = lambda self, state, rng, params: jnp.stack([3.0 * state, jnp.where(state > 1, jnp.nan, 20.0)])
    reward = lambda self, state, action, next_state, rng, params: jnp.where(next_state > 2, 1e6, 4.0)
    terminal = lambda self, state, rng, params: state >= 2


def test_against_a_family_whose_numbers_are_known():
    """Observations (3, 20) and (6, nan), rewards 4 and 4, then the end."""
    found = scales(Fades())
    np.testing.assert_allclose(found.observation, 20.0, rtol=1e-6)
    np.testing.assert_allclose(found.reward, 4.0, rtol=1e-6)


def test_root_mean_square_against_numpy():
    x, mask = np.random.default_rng(0).normal(size=(4, 5)), np.random.default_rng(1).random((4, 5)) < 0.5
    np.testing.assert_allclose(root_mean_square(x, mask), np.sqrt(np.mean(x[mask] ** 2)))
    assert root_mean_square(x, 0 * mask) == 0


@pytest.mark.parametrize(("size", "far"), [(0.0, False), (0.005, True), (0.02, False), (9.0, False), (11.0, True)])
def test_what_is_far(size, far):
    assert far_from_one(size) is far


@pytest.mark.parametrize(("high", "near"), [(np.inf, False), (1e4, False), (5.0, True), (1e-3, False)])
def test_bounds_may_tell(high, near):
    assert bounded_near_one(Box(-high, high, (3,), np.float32)) is near


def settings(run):
    return json.loads((run / "config.json").read_text())["settings"]


@pytest.mark.parametrize(("agent", "what"), [("maml", ("observations",)), ("rl2", ("observations", "rewards"))])
def test_it_is_measured_said_and_on(tmp_path, capsys, agent, what):
    run = small_run(tmp_path / "run", "--env", "scales/Millimetres-v0", "--agent", agent, "--eval-tasks", "0")
    said = capsys.readouterr().out
    for name in what:
        assert settings(run)[f"normalize_{name}"] is True
        assert f"in size: --normalize-{name}; --no-normalize-{name} leaves them as they are." in said
    again = small_run(tmp_path / "run", "--resume", "--env", "scales/Millimetres-v0", "--agent", agent, "--eval-tasks", "0")
    assert settings(again)["normalize_observations"] is True and "in size" not in capsys.readouterr().out


@pytest.mark.parametrize(
    "flags",
    [
        ("--env", "scales/Millimetres-v0", "--no-normalize-observations"),
        ("--env", "scales/Decided-v0"),
        ("--env", "metarl/Navigation2D-v0"),
    ],
)
def test_what_somebody_decided_or_needs_nothing_stays(tmp_path, capsys, flags):
    run = small_run(tmp_path / "run", *flags, "--eval-tasks", "0")
    assert settings(run)["normalize_observations"] is False and "in size" not in capsys.readouterr().out


def test_options_of_the_family_count():
    given = {"env": "scales/Millimetres-v0", "horizon": "3"}
    assert suggested.measured(given, "maml", {}) == {"normalize_observations": True}
    assert suggested.measured(given | {"env_options": "factor=1"}, "maml", {}) == {}
    short, long = ({"env": "scales/Millimetres-v0", "env_options": "factor=100", "horizon": str(n)} for n in (2, 100))
    assert suggested.measured(short, "maml", {}) == {}, "begins at the origin"
    assert suggested.measured(long, "maml", {}) == {"normalize_observations": True}
    assert suggested.from_family(given | {"help": ""}, "maml") == {}, "help waits for nothing"
    assert suggested.measured(given | {"env_options": "nonsense"}, "maml", {}) == {}
    assert suggested.measured({"env": "scales/Broken-v0"}, "maml", {}) == {}, "told where the run begins"


def test_the_check_says_so():
    found = {finding.check: finding.note for finding in envs.check.findings(Millimetres(horizon=5)) if finding.note}
    assert "observations are about" in found["numbers are near one"] and "rewards are about" in found["numbers are near one"]
    assert "numbers are near one" not in {
        finding.check for finding in envs.check.findings(Navigation2D(horizon=5)) if finding.note
    }


@pytest.mark.slow
@pytest.mark.usefixtures("settings_of_families")
def test_it_helps(tmp_path):
    """In millimetres, maml's mean return after one step, in metres, with the normalisation and without."""
    flags = ("--env", "scales/Millimetres-v0", "--horizon", "50", "--num-tasks", "20", "--num-episodes", "20")
    flags += ("--num-iterations", "60", "--eval-tasks", "20", "--outer-lr", "5e-3", "--hidden-sizes", "32", "32")
    found = {}
    for name in ("", "no-"):
        run = small_run(tmp_path / f"run{name}", *flags, f"--{name}normalize-observations")
        found[name] = json.loads((run / "evaluation.json").read_text())["return_mean"][1] / FACTOR
    assert found[""] > found["no-"] + 2, found
