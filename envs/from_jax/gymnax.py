"""gymnax (Lange 2022) as families: parameters of an environment are the task. `from_gymnax`."""

from collections.abc import Callable, Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from envs.from_jax import suites
from envs.from_jax.family import JaxFamily, from_jax

# What an environment stores beside the parameters that it follows from; a changed task leaves it behind otherwise.
DERIVED: dict[str, Callable[[Any], Any]] = {
    "CartPole-v1": lambda params: params.replace(
        total_mass=params.masscart + params.masspole, polemass_length=params.masspole * params.length
    )
}


class Gymnax:
    """Reset and step of an environment, without auto-reset; the task is its parameters."""

    def __init__(self, env: Any, id: str, params: Any, params_of: Callable[[Any], Any] | None):
        self.env, self.id, self.params, self.own = env, id, params, params_of

    def params_of(self, task):
        """The environment's parameters with those of the task, and what follows from them."""
        params = self.params.replace(**task)
        derived = self.own or DERIVED.get(self.id)
        return params if derived is None else derived(params)

    def reset(self, key, params):
        observation, state = self.env.reset_env(key, params)
        return state, suites.flat(observation)

    def step(self, key, state, action, params):
        observation, after, reward, terminated, _ = self.env.step_env(key, state, action, params)
        reward = jnp.reshape(jnp.asarray(reward, jnp.float32), ())
        return suites.of_types(after, state), suites.flat(observation), reward, jnp.asarray(terminated, bool).reshape(())


def from_gymnax(
    id: str,
    task_space: Mapping[str, spaces.Space] | spaces.Dict,
    held_out_task_space: Mapping[str, spaces.Space] | spaces.Dict | None = None,
    *,
    horizon: int | None = None,
    params_of: Callable[[Any], Any] | None = None,
) -> JaxFamily:
    """An environment of gymnax 1.0 or newer as a family: the task is some of its parameters.

    Its step without auto-reset is called. An episode ends where the environment says terminated; its time limit is the horizon.
    Observations are float32, of any size: the bounds that gymnax states are those of the default parameters.

    gymnax asks for a Gymnasium below 1.4. ``pip install seaborn``, which it imports, and ``pip install --no-deps gymnax``
    install it beside ours: nothing that is used here needs the older one.

    Args:
        id: such as "CartPole-v1".
        task_space: parameter -> Box or Discrete, drawn from uniformly: ``{"length": Box(0.25, 1.0, ())}``.
        held_out_task_space: the distribution of evaluation tasks; ``task_space`` if None.
        horizon: steps per episode; the environment's own limit if None.
        params_of: parameters with the task in them -> parameters with what follows from them computed anew. None: as this
            environment needs it where it is known to (`DERIVED`: CartPole-v1 stores masses added and multiplied).

    Raises:
        ValueError: one line; gymnax is missing, or an argument is wrong.
    """
    gymnax = suites.suite("from_gymnax", "gymnax")
    env, params = suites.made("from_gymnax", id, gymnax.registered_envs, lambda: gymnax.make(id))
    if not hasattr(env, "is_truncated"):
        raise ValueError(
            f"from_gymnax: this gymnax is older than 1.0 and counts time limits as terminations: {suites.BESIDE['gymnax']}"
        )
    if params_of is not None and not callable(params_of):
        raise ValueError(f"from_gymnax: params_of is {params_of!r}, but must be a function of the parameters.")
    tasks = suites.uniform("from_gymnax", task_space, held_out_task_space)
    suites.with_fields("from_gymnax", f"{id}'s parameters", tasks["task_space"], vars(params))
    world = Gymnax(env, id, params, params_of)
    default = {name: jnp.asarray(getattr(params, name)) for name in tasks["task_space"]}
    return from_jax(
        world.reset,
        world.step,
        horizon=params.max_steps_in_episode if horizon is None else horizon,
        observation_space=suites.seen(lambda key, task: world.reset(key, world.params_of(task)), default),
        action_space=_actions(id, env.action_space(params)),
        params_of=world.params_of,
        **tasks,
    )


def _actions(id: str, space: Any) -> spaces.Box | spaces.Discrete:
    if hasattr(space, "n"):
        return spaces.Discrete(int(space.n))
    if hasattr(space, "low"):
        low, high = (np.broadcast_to(np.asarray(bound, np.float32), space.shape) for bound in (space.low, space.high))
        return spaces.Box(low, high, dtype=np.float32)
    raise ValueError(f"from_gymnax: {id} has the action space {space}, but agents act in Discrete and Box spaces.")
