"""A family whose states and tasks hold typed random keys, and arrays of types that NumPy alone does not have."""

from typing import NamedTuple

import jax
import jax.numpy as jnp

import envs
from envs.families.navigation import Navigation2D


class Wind(NamedTuple):
    """The task: where to go, and what blows there."""

    position: jax.Array
    wind: jax.Array
    strength: jax.Array
    turned: jax.Array
    on: jax.Array


class State(NamedTuple):
    position: jax.Array
    rng: jax.Array
    phase: jax.Array
    heat: jax.Array


class Windy(Navigation2D):
    """Navigation with a wind drawn from the task's key, and a state that splits a key of its own, as XLand-MiniGrid's does."""

    task_space = None

    def sample_task(self, key):
        key_position, key_wind = jax.random.split(key)
        strength = jax.random.uniform(key, (), jnp.bfloat16, 0.001, 0.01)
        position = super().sample_task(key_position).position
        return Wind(position, key_wind, strength, jax.random.randint(key, (), -8, 8).astype(jnp.int4), jnp.asarray(True))

    def initial(self, rng, params):
        rng, inner = jax.random.split(rng)
        return State(super().initial(rng, params), inner, jnp.exp(0j).astype(jnp.complex64), jnp.zeros((), jnp.bfloat16))

    def transition(self, state, action, rng, params):
        key, kept = jax.random.split(state.rng)
        gust = params.strength.astype(jnp.float32) * jax.random.normal(params.wind, (2,)) * jax.random.uniform(key)
        gust = jnp.where(params.on, gust, 0.0)
        place = super().transition(state.position, action, rng, params) + 0.01 * jnp.clip(gust, -0.01, 0.01)
        return State(
            place, kept, state.phase * jnp.exp(1j * params.turned.astype(jnp.float32)).astype(jnp.complex64), state.heat + 1
        )

    def observation(self, state, rng, params):
        return state.position

    def reward(self, state, action, next_state, rng, params):
        return super().reward(state.position, action, next_state.position, rng, params)

    def terminal(self, state, rng, params):
        return super().terminal(state.position, rng, params)

    def render_image(self, state, render_state, params):
        return super().render_image(state.position, render_state, params)


envs.register("keyed/Windy-v0", Windy)
