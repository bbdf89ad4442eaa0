"""No setting of an agent is accepted and ignored: each changes the programs that train it and adapt it."""

import dataclasses
import re
import typing

import jax
import numpy as np
import pytest

import agents
import envs
from agents.agent import RegressionSettings, ReinforcementSettings, hyperparameters
from agents.probes import Counter, sides
from tests.agents.probe import Guess

TABLE = [(name, kind) for name in agents.AGENTS for kind in agents.find(name).serves]
OF_WORLD = {
    "reinforcement": {
        "num_episodes": 3,
        "gamma": 0.5,
        "gae_lambda": 0.5,
        "hidden_sizes": (4,),
        "activation": "relu",
        "initial_std": 0.3,
        "action_scale": 3.0,
        "normalize_observations": True,
    },
    "regression": {"num_shots": 4, "hidden_sizes": (4,), "activation": "tanh"},
    "classification": {"num_shots": 4, "hidden_sizes": (4,), "activation": "tanh"},
}


def programs(name, kind, **settings):
    """Of init, a meta-iteration and adaptation, as text with their constants."""
    family = {"reinforcement": Guess, "regression": envs.sinusoid, "classification": lambda: sides(Counter())}[kind]()
    few = {"num_episodes": 4} if kind == "reinforcement" else {}
    learner = agents.make(name, family, num_tasks=2, num_iterations=10, **{"hidden_sizes": (3,)} | few | settings)
    key, task = jax.random.key(0), family.sample_task(jax.random.key(0))
    state = jax.tree.map(lambda x: np.ones(x.shape, x.dtype), jax.eval_shape(learner.init, key))
    calls = (learner.init, (key,)), (learner.step, (state, key)), (lambda *given: learner.adapt(*given, 2), (state, task, key))
    return [spelled(jax.make_jaxpr(call)(*given)) for call, given in calls]


def spelled(traced):
    numbers = [
        np.asarray(const).tobytes() for const in traced.consts if not jax.dtypes.issubdtype(const.dtype, jax.dtypes.extended)
    ]
    return re.sub("0x[0-9a-f]+", "", str(traced)), numbers


def others(parameter):
    """Values of a hyperparameter besides its default."""
    kind, default = parameter.type, parameter.default
    if typing.get_origin(kind) is typing.Literal:
        return [value for value in typing.get_args(kind) if value != default]
    if typing.get_origin(kind) is tuple:
        return [tuple(2 * value + 1 for value in default)]
    low, high = parameter.bounds or (-np.inf, np.inf)
    if kind is bool:
        return [not default]
    if kind is str:
        return [name for name in agents.MEMORIES if name != default]
    return [default + 1] if kind is int else [float(np.clip(default * 0.5 or 0.25, low, high))]


def test_every_setting_of_the_worlds_is_tried():
    for kind in OF_WORLD:
        settings = ReinforcementSettings if kind == "reinforcement" else RegressionSettings
        assert set(OF_WORLD[kind]) == {field.name for field in dataclasses.fields(settings)}


@pytest.mark.slow
@pytest.mark.parametrize(("name", "kind"), TABLE)
def test_every_setting_has_an_effect_or_is_refused(name, kind):
    usual = programs(name, kind)
    tried = [(own.name, value) for own in hyperparameters(agents.find(name), kind).values() for value in others(own)]
    for setting, value in [*tried, *OF_WORLD[kind].items()]:
        try:
            changed = programs(name, kind, **{setting: value})
        except ValueError:  # refused in words
            continue
        # "auto" is the linear baseline where observations are small
        assert changed != usual or (setting, value) == ("baseline", "linear"), f"{setting}={value!r} has no effect on {name}"


def test_the_step_scale_counts_in_cross_validation_too():
    recipe = {"recipe": "cross-validated"}
    plain, halved = (programs("pretrained", "regression", **recipe, test_step_scale=scale) for scale in ((1.0,), (1.0, 0.5)))
    assert plain[:2] == halved[:2] and plain[2] != halved[2]
