"""navix, jumanji and craftax as families: a level is the task. `from_navix`, `from_jumanji`, `from_craftax`."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from envs.from_jax import suites
from envs.from_jax.family import JaxFamily, from_jax
from envs.from_jax.suites import World

MOST_ACTIONS = 10_000  # of several discrete ones taken together
CRAFTAX_IDS = tuple(f"Craftax-{kind}-v1" for kind in ("Symbolic", "Pixels", "Classic-Symbolic", "Classic-Pixels"))


class Navix:
    """Reset and step of a navix environment; its time step is the state."""

    def __init__(self, env: Any, end: Any, see: Callable[[Any], jax.Array] = suites.flat):
        self.env, self.end, self.see = env, end, see

    def reset(self, key, world):
        timestep = self.env.reset(world.key)
        timestep = timestep.replace(state=timestep.state.replace(key=key))
        return timestep, self.see(timestep.observation)

    def step(self, key, timestep, action, world):
        del key, world  # the state has both
        after = self.env._step(timestep, action)  # step itself begins the next episode
        reward = jnp.asarray(after.reward, jnp.float32)
        return suites.of_types(after, timestep), self.see(after.observation), reward, after.step_type == self.end


class Jumanji:
    """Reset and step of a jumanji environment; ``sizes`` of several discrete actions, which are taken as one."""

    def __init__(self, env: Any, sizes: tuple[int, ...] | None):
        self.env, self.sizes = env, sizes

    def reset(self, key, world):
        state, timestep = self.env.reset(world.key)
        replace = getattr(state, "replace", None) or state._replace
        return replace(key=key), suites.flat(timestep.observation)

    def step(self, key, state, action, world):
        del key, world  # the state has both
        action = action if self.sizes is None else jnp.stack(jnp.unravel_index(action, self.sizes)).astype(jnp.int32)
        after, timestep = self.env.step(state, action)
        reward = jnp.asarray(timestep.reward, jnp.float32)
        over = timestep.last() & (timestep.discount == 0.0)
        return suites.of_types(after, state), suites.flat(timestep.observation), reward, over


class Craftax:
    """Reset and step of a craftax environment without auto-reset."""

    def __init__(self, env: Any, params: Any):
        self.env, self.params = env, params

    def reset(self, key, world):
        del key
        observation, state = self.env.reset_env(world.key, self.params)
        return state, suites.flat(observation)

    def step(self, key, state, action, world):
        del world
        observation, after, reward, over, _ = self.env.step_env(key, state, action, self.params)
        return (
            suites.of_types(after, state),
            suites.flat(observation),
            jnp.asarray(reward, jnp.float32),
            jnp.asarray(over, bool),
        )


def from_navix(id: str, *, horizon: int = 100, env_options: Mapping[str, Any] | None = None, images: bool = False) -> JaxFamily:
    """An environment of navix as a family: the task is a level, as the key that the suite's reset builds it from.

    All episodes of a task begin in the same level; what happens by chance after that differs. Observations are the suite's, as
    float32. The suite's step without auto-reset is called, and its time limit is the horizon.

    Args:
        id: such as "Navix-DoorKey-8x8-v0".
        horizon: steps per episode.
        env_options: of ``navix.make``, such as another ``observation_fn``.
        images: show the suite's picture of the grid, ``navix.observations.rgb`` unless ``env_options`` has another, as bytes
            [height, width, 3], which agents read by convolutions.

    Raises:
        ValueError: one line; navix is missing, or an argument is wrong.
    """
    navix = suites.suite("from_navix", "navix")
    known = suites.module("navix.environments.registry").registry()
    options: dict[str, Any] = {"max_steps": horizon}
    options |= {"observation_fn": navix.observations.rgb} if images else {}
    options |= dict(env_options or {})
    env = suites.made("from_navix", id, known, lambda: navix.make(id, **options))
    environment = suites.module("navix.environments.environment")
    level = Navix(env, environment.StepType.TERMINATION, suites.picture if images else suites.flat)
    return _levels(level, horizon, spaces.Discrete(int(env.action_space.n)))


def from_jumanji(id: str, *, horizon: int | None = None, env_options: Mapping[str, Any] | None = None) -> JaxFamily:
    """An environment of jumanji as a family: the task is an instance, as the key that the suite's reset builds it from.

    All episodes of a task begin in the same instance; what happens by chance after that differs. An observation is all numbers
    of the suite's, in the order of its fields, as float32. Several discrete actions, such as row, column and digit, are one
    from 0, the last counting fastest, where there are up to 10,000 combinations, and a MultiDiscrete where there are more.
    Environments of several agents have several rewards and are refused.

    Args:
        id: such as "Maze-v0".
        horizon: steps per episode; the environment's ``time_limit`` if None and it has one. Where the suite ends an episode
            with discount 0, at its own time limit too in many environments, it ends here.
        env_options: of ``jumanji.make``.

    Raises:
        ValueError: one line; jumanji is missing, or an argument is wrong.
    """
    jumanji = suites.suite("from_jumanji", "jumanji")
    known = jumanji.registered_environments()
    env = suites.made("from_jumanji", id, known, lambda: jumanji.make(id, **(env_options or {})))
    limit = getattr(env, "time_limit", None) if horizon is None else horizon
    if limit is None:
        raise ValueError(f"from_jumanji: {id} has no time_limit; give horizon, the steps of an episode.")
    spec, sizes = env.action_spec, None
    if hasattr(spec, "num_values"):
        several = np.asarray(spec.num_values)
        count = math.prod(several.ravel().tolist())
        together = several.ndim <= 1 and count <= MOST_ACTIONS
        sizes = tuple(several.tolist()) if together and several.ndim else None
        actions: spaces.Space = spaces.Discrete(count) if together else spaces.MultiDiscrete(several)
    else:
        low, high = (np.broadcast_to(np.asarray(bound, np.float32), spec.shape) for bound in (spec.minimum, spec.maximum))
        actions = spaces.Box(low, high, dtype=np.float32)
    return _levels(Jumanji(env, sizes), limit if horizon is not None else int(limit), actions)


def from_craftax(id: str = "Craftax-Classic-Symbolic-v1", *, horizon: int | None = None) -> JaxFamily:
    """Craftax as a family: the task is a world, as the key that the suite's reset generates it from.

    All episodes of a task begin in the same world; what happens there by chance differs. The suite's environment without
    auto-reset is taken.

    craftax asks for pygame, for playing by hand, which overwrites the pygame-ce that other families draw with.
    ``pip install --no-deps craftax`` leaves it out: nothing that is used here needs it.

    Args:
        id: "Craftax-Symbolic-v1", "Craftax-Pixels-v1", or the same with Craftax-Classic.
        horizon: steps per episode; the suite's ``max_timesteps`` if None.

    Raises:
        ValueError: one line; craftax is missing, or an argument is wrong.
    """
    suites.suite("from_craftax", "craftax")
    module = suites.module("craftax.craftax_env")
    env = suites.made("from_craftax", id, CRAFTAX_IDS, lambda: module.make_craftax_env_from_name(id, auto_reset=False))
    params = env.default_params
    limit = int(params.max_timesteps) if horizon is None else horizon
    return _levels(Craftax(env, params), limit, spaces.Discrete(int(env.action_space(params).n)))


def _levels(level: Any, horizon: int, actions: spaces.Space) -> JaxFamily:
    seen = suites.seen(level.reset, World(jax.eval_shape(lambda: jax.random.key(0))))
    return from_jax(level.reset, level.step, suites.world, horizon, seen, actions)
