"""A small environment in JAX, written as suites write theirs: a state with a random key in it, and derived parameters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

import envs

HORIZON = 12
OBSERVATIONS = Box(-100.0, 100.0, (2,), np.float32)
ACTIONS = Box(-2.0, 2.0, (1,), np.float32)
TASK_SPACE = {"mass": Box(0.5, 4.0, (), np.float32), "length": Box(0.5, 2.0, (), np.float32), "key": Box(0, 1, ())}


class State(NamedTuple):
    place: jax.Array
    key: jax.Array
    steps: jax.Array


def sample_task(key):
    key_mass, key_length, key_wind = jax.random.split(key, 3)
    mass = jax.random.uniform(key_mass, (), minval=0.5, maxval=2.0)
    return {"mass": mass, "length": jax.random.uniform(key_length, (), minval=0.5, maxval=1.0), "key": key_wind}


def heavy_task(key):
    return sample_task(key) | {"mass": 2.0 + jax.random.uniform(key)}


def params_of(task):
    return task | {"inertia": task["mass"] * task["length"]}


def see(state, params):
    return jnp.stack([state.place, params["length"]])


def reset(key, params):
    key_place, key = jax.random.split(key)
    state = State(0.1 * jax.random.normal(key_place), key, 0)
    return state, see(state, params)


def step(key, state, action, params):
    kept, key_wind = jax.random.split(state.key)
    wind = jax.random.normal(key_wind) + jax.random.normal(params["key"]) + jax.random.uniform(key)
    place = state.place + (action[0] + 0.2 * wind) / params["inertia"]
    state = State(place, kept, state.steps + 1)
    return state, see(state, params), -jnp.abs(place), jnp.abs(place) > 2.0


def step_with_info(key, state, action, params):
    return *step(key, state, action, params), {"far": jnp.abs(state.place) > 1.0, "unused": None}


def drift(horizon=HORIZON, **changes):
    given = {
        "reset": reset,
        "step": step,
        "sample_task": sample_task,
        "horizon": horizon,
        "observation_space": OBSERVATIONS,
        "action_space": ACTIONS,
        "task_space": TASK_SPACE,
        "sample_held_out_task": heavy_task,
        "params_of": params_of,
    }
    return envs.from_jax(**given | changes)


envs.register("by_hand/Drift-v0", drift)
