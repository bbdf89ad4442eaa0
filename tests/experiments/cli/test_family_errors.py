"""What goes wrong inside a user's family while an agent trains on it: one line with the family, the function and the value."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from experiments import train
from experiments.cli.errors import UserError
from experiments.cli.family_errors import NotFinite, explained
from tests.agents.probe import Guess
from tests.experiments.conftest import SMALL


class NanReward(Guess):
    reward = lambda self, state, action, next_state, rng, params: jnp.where(state > 0, jnp.nan, params.value)


class Float64(Guess):
    observation = lambda self, state, rng, params: np.ones(1)


class Growing(Guess):
    transition = lambda self, state, action, rng, params: jnp.concatenate([jnp.atleast_1d(state), jnp.ones(1)])


class NoEnd(Guess):
    terminal = envs.TaskFamily.terminal


class Crashing(Guess):
    def reward(self, state, action, next_state, rng, params):
        def on_host(value):
            raise RuntimeError("the simulator is gone")

        return jax.pure_callback(on_host, jax.ShapeDtypeStruct((), jnp.float32), params.value, vmap_method="sequential")


class Picky(Guess):
    def __init__(self, horizon=None):
        self.spacing = 1 / 0


FAMILIES = (NanReward, Float64, Growing, NoEnd, Picky)
for family in FAMILIES:
    envs.register(f"broken/{family.__name__}-v0", family)
STATIC = {
    "Float64": "Float64.observation returns float64",
    "Growing": "Growing.transition returns float32[2], but initial returns float32[]",
    "NoEnd": "NoEnd has no terminal",
    "Picky": "ZeroDivisionError: division by zero (",
}


def id_of(name):
    return f"tests.experiments.cli.test_family_errors:broken/{name}-v0"


@pytest.mark.parametrize("name", STATIC)
def test_training_is_refused_in_one_line(name, tmp_path, error_of):
    assert STATIC[name] in error_of(train.main, "--env", id_of(name), "--run-dir", tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_training_that_meets_nan_names_the_function(tmp_path, error_of):
    flags = ["--env", id_of("NanReward"), "--agent", "fomaml", "--num-iterations", "1", "--eval-tasks", "0"]
    message = error_of(train.main, *flags, "--run-dir", tmp_path / "run", *SMALL[:-2])
    assert "iteration 1: non-finite" in message and "NanReward.reward gives nan on task Target" in message
    assert f"python -m envs.check {id_of('NanReward')}" in message


def test_a_sound_family_is_not_blamed():
    with pytest.raises(UserError, match=r"^too far$"), explained("probe/Guess-v0", Guess()):
        raise NotFinite("too far")


def test_an_exception_on_the_host_is_told_in_one_line():
    family = Crashing()
    with pytest.raises(UserError) as failure, explained("their/Env-v0", family):
        jax.block_until_ready(jax.jit(lambda task: family.reward(0, 0, 0, None, task))(family.default_params))
    assert str(failure.value).startswith("their/Env-v0 fails on the host: RuntimeError: the simulator is gone (")
    assert "test_family_errors.py:" in str(failure.value) and "\n" not in str(failure.value)


@pytest.mark.parametrize("name", STATIC)
def test_environments_are_not_made(name):
    for make in (envs.make, gymnasium.make, gymnasium.make_vec):
        with pytest.raises(ValueError) as failure:
            make(id_of(name))
        assert STATIC[name] in str(failure.value) and "\n" not in str(failure.value)


def test_ids_with_a_typo_name_the_closest():
    with pytest.raises(gymnasium.error.NameNotFound, match="Did you mean: `Navigation2D`"):
        gymnasium.make("metarl/Navigatoin2D-v0")
