"""A sensor that gives NaN now and then, in a family written in JAX and in an ordinary environment: training and evaluation."""

import json
from typing import NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

import envs
from envs.check.watched import watched
from experiments import evaluate, train
from experiments.training.seeds import batch_seeds, changes_of
from metarl.interfaces import MetaLearner, MetaState
from tests.experiments.conftest import SMALL, read_lines
from tests.few import few

RARELY = 1 / 400  # of a step; about one in eight meta-iterations of two tasks, six episodes and six steps each
HERE = "tests.experiments.training.test_not_finite"


class Target(NamedTuple):
    target: jax.Array


class Flaky(envs.TaskFamily):
    """The share of rewards that are NaN depends on a uniform number of the step."""

    observation_space = Box(-5.0, 5.0, (1,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)
    horizon = 6

    def __init__(self, horizon=None, rarely=RARELY):
        super().__init__(horizon)
        self.rarely = rarely

    def sample_task(self, key):
        return Target(jax.random.uniform(key, minval=-1.0, maxval=1.0))

    def initial(self, rng, params):
        return jnp.float32(0.0)

    def transition(self, state, action, rng, params):
        return jnp.clip(state + 0.2 * action[0], -5.0, 5.0)

    def observation(self, state, rng, params):
        return state[None]

    def reward(self, state, action, next_state, rng, params):
        good = -jnp.abs(next_state - params.target)
        return jnp.where(jax.random.uniform(rng) < self.rarely, jnp.nan, good)

    def terminal(self, state, rng, params):
        return False


class FlakyEnv(gymnasium.Env):
    observation_space, action_space, target = Flaky.observation_space, Flaky.action_space, 0.0

    def __init__(self, rarely=RARELY):
        self.rarely = rarely

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.x = 0.0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.x = float(np.clip(self.x + 0.2 * float(action[0]), -5, 5))
        reward = -abs(self.x - self.target)
        return np.array([self.x], np.float32), np.nan if self.np_random.random() < self.rarely else reward, False, False, {}


def of_gymnasium(horizon=6, **options):
    tasks = {"target": Box(-1.0, 1.0, ())}
    return envs.from_gymnasium(FlakyEnv, task_space=tasks, apply_task="attributes", horizon=horizon, env_options=options)


envs.register("flaky/Jax-v0", Flaky)
envs.register("flaky/Gymnasium-v0", of_gymnasium)
BOTH = ["Jax", "Gymnasium"]
SAID = {"Jax": "Flaky.reward gives nan on task", "Gymnasium": "FlakyEnv: step"}


def flags(kind, run, *more):
    small = [*SMALL[:2], *SMALL[6:]]
    return [
        "--env",
        f"{HERE}:flaky/{kind}-v0",
        "--agent",
        "fomaml",
        "--num-episodes",
        "3",
        "--run-dir",
        str(run),
        *small,
        *more,
    ]


@pytest.mark.parametrize("kind", few(BOTH, "Jax"))
def test_skip_drops_the_update_and_evaluation_leaves_out_the_task(kind, tmp_path, capsys):
    run = tmp_path / "run"
    train.main(flags(kind, run, "--num-iterations", "40", "--on-nonfinite", "skip", "--eval-tasks", "20"))
    skipped = sum(line.get("outer/skipped", 0) for line in read_lines(run))
    assert 1 <= skipped <= 20
    evaluate.main(["--run-dir", str(run), "--num-tasks", "20", "--num-steps", "2", "--num-episodes", "6"])
    found = json.loads((run / "evaluation.json").read_text())
    left_out = found["not_finite"]
    assert 1 <= len(left_out) < 20 and found["num_tasks"] == len(found["returns"]) == 20 - len(left_out)
    assert np.isfinite(found["returns"]).all() and np.isfinite(found["greedy_returns"]).all()
    assert f"warning: {len(left_out)} of 20 held-out tasks gave returns that are not finite" in capsys.readouterr().err


@pytest.mark.parametrize("kind", BOTH)
def test_a_stop_says_whose_number_it_was_and_can_be_got_past(kind, tmp_path, error_of):
    run = tmp_path / "run"
    message = error_of(train.main, *flags(kind, run, "--num-iterations", "100", "--eval-tasks", "0"))
    (stopped,) = json.loads((run / "config.json").read_text())["rekeyed"]
    assert SAID[kind] in message and "target" in message and "--inner-lr" not in message
    assert f"iteration {stopped + 1}: non-finite" in message and "--resume tries again" in message
    before = (run / "metrics.jsonl").read_bytes()
    train.main(["--run-dir", str(run), "--resume", "--num-iterations", str(stopped + 1)])
    assert (run / "metrics.jsonl").read_bytes().startswith(before)
    assert [line["iteration"] for line in read_lines(run)] == list(range(1, stopped + 2))


def test_the_learning_rate_is_blamed_where_all_that_was_drawn_is_finite(tmp_path, error_of):
    more = ["--num-iterations", "3", "--eval-tasks", "0", "--env-options", "rarely=0", "--outer-lr", "1e38"]
    message = error_of(train.main, *flags("Jax", tmp_path / "run", *more))
    assert "try a smaller --inner-lr" in message and "Flaky." not in message


def test_evaluation_of_which_nothing_is_left_names_the_function(tmp_path, error_of):
    more = ["--num-iterations", "1", "--eval-tasks", "3", "--env-options", "rarely=2", "--on-nonfinite", "skip"]
    message = error_of(train.main, *flags("Jax", tmp_path / "run", *more))
    assert "all 3 held-out tasks" in message and "Flaky.reward gives nan on task Target" in message


WRONG = {
    "initial": {"initial": lambda self, rng, params: jnp.float32(jnp.nan)},
    "transition": {"transition": lambda self, state, action, rng, params: state * jnp.inf},
    "observation": {"observation": lambda self, state, rng, params: state[None] + jnp.where(state > 0.3, jnp.inf, 0.0)},
    "reward": {"reward": lambda self, state, action, next_state, rng, params: jnp.where(state > 0.3, -jnp.inf, 0.0)},
    "transition_info, 'near',": {
        "measures": {"near": "any"},
        "transition_info": lambda self, state, action, next_state, params: {"near": jnp.where(state > 0.3, jnp.nan, 0.0)},
    },
}


def play(family, action):
    """Four steps of three tasks."""

    def one(key):
        task = family.sample_task(key)
        state = family.initial(key, task)
        seen = [family.observation(state, key, task)]
        for _ in range(4):
            following = family.transition(state, jnp.full(1, action), key, task)
            seen += [family.observation(following, key, task), family.reward(state, action, following, key, task)[None]]
            seen += [value[None] for value in family.transition_info(state, action, following, task).values()]
            state = following
        return seen

    return jax.block_until_ready(jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(0), 3)))


@pytest.mark.parametrize("name", WRONG)
def test_the_function_to_blame(name):
    family, notes = watched(type("Broken", (Flaky,), WRONG[name])(rarely=0.0))
    play(family, 1.0)
    assert len(notes) == 1 and notes[0].startswith(f"Broken.{name} gives") and "on task Target(target=" in notes[0]


@pytest.mark.parametrize("dtype", [jnp.bfloat16, jnp.float16, jnp.complex64])
def test_states_of_nan_in_any_type_are_seen(dtype):
    """So a reward that is NaN because the state was is not the reward's fault."""
    change = {
        "initial": lambda self, rng, params: jnp.zeros((), dtype),
        "transition": lambda self, state, action, rng, params: state * jnp.nan,
        "observation": lambda self, state, rng, params: jnp.zeros(1),
        "reward": lambda self, state, action, next_state, rng, params: jnp.real(next_state).astype(jnp.float32),
    }
    family, notes = watched(type("Broken", (Flaky,), change)())
    play(family, 1.0)
    assert len(notes) == 1 and notes[0].startswith("Broken.transition gives a state with nan")


@pytest.mark.parametrize("part", ["inner", "observation", "reward"])
def test_the_part_of_a_state_to_blame(part):
    """A step in JAX gives all of them at once, and each is a part of the family's state."""

    def step(key, place, action, task):
        moved = place + 0.2 * action[0]
        given = {"inner": moved, "observation": moved, "reward": moved} | {part: jnp.where(place > 0.3, jnp.nan, moved)}
        return given["inner"], given["observation"][None], given["reward"], False

    reset = lambda key, task: (jnp.float32(0.0), jnp.zeros(1))
    draw = lambda key: Target(jax.random.uniform(key))
    made = envs.from_jax(reset, step, draw, 4, Flaky.observation_space, Flaky.action_space)
    family, notes = watched(made)
    play(family, 1.0)
    assert len(notes) == 1 and notes[0].startswith(f"JaxFamily.step gives a state with nan in its .{part} on task Target(")


@pytest.mark.parametrize("action", [1.0, jnp.nan])
def test_a_policy_that_diverged_and_a_sound_family_blame_nobody(action):
    family, notes = watched(Flaky(rarely=0.0))
    played = play(family, action)
    assert not notes
    for a, b in zip(played, play(Flaky(rarely=0.0), action), strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_streams_begin_where_they_should():
    """Keys as numbers: those of each seed's own stream before its change, all different after it."""
    learner = MetaLearner(
        lambda key: MetaState(jnp.zeros(2, jnp.uint32), (), jnp.int32(0)),
        lambda state, key: (MetaState(jax.random.key_data(key), (), state.iteration + 1), {"x": jnp.zeros(())}),
        None,
        None,
    )

    def drawn(seeds, rekeyed):
        both = batch_seeds(learner, seeds, changes_of(rekeyed))
        return np.asarray([both.step(both.streams, both.init(), i)[0].theta for i in range(6)])

    plain, changed = drawn((3, 4), [(), ()]), drawn((3, 4), [(), (2, 4)])
    np.testing.assert_array_equal(changed[:, 0], plain[:, 0])
    np.testing.assert_array_equal(changed[:2, 1], plain[:2, 1])
    assert len({*map(tuple, plain[:, 1]), *map(tuple, changed[:, 1])}) == 6 + 4
    np.testing.assert_array_equal(drawn((4,), [(2, 4)])[:, 0], changed[:, 1])  # alone as among others
