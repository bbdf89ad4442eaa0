"""brax and MuJoCo Playground as families: fields of the physical model are the task. `from_brax`, `from_playground`."""

import functools
import operator
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from envs.from_jax import suites
from envs.from_jax.family import JaxFamily, from_jax

ApplyTask = Callable[[Any, dict[str, Any]], Any]
BRAX_HORIZON = 1000  # brax's own episode_length


class Robot:
    """Reset and step of an environment whose model, an attribute, is replaced by the task's while its functions run."""

    def __init__(self, env: Any, attribute: str, apply_task: ApplyTask | None):
        self.env, self.attribute, self.apply_task = env, attribute, apply_task or with_task

    def reset(self, key, task):
        state = self._with(task, self.env.reset, key)
        return state, see(state)

    def step(self, key, state, action, task):
        del key  # the state has its own
        after = self._with(task, self.env.step, state, action)
        reward, done = jnp.asarray(after.reward, jnp.float32), jnp.asarray(after.done)  # some environments have Python numbers
        return suites.of_types(after, state), see(after), reward, done > 0

    def _with(self, task, function, *given):
        """As the suites' own wrappers for randomised models do it, which set the attribute, too."""
        world, model = self.env.unwrapped, getattr(self.env.unwrapped, self.attribute)
        setattr(world, self.attribute, self.apply_task(model, task))
        try:
            return function(*given)
        finally:
            setattr(world, self.attribute, model)


def see(state):
    """What the policy is to see: of several observations the one called "state"."""
    observation = state.obs
    return suites.flat(observation["state"] if isinstance(observation, Mapping) and "state" in observation else observation)


def with_task(model: Any, task: Mapping[str, Any]) -> Any:
    """A model with fields of a task: "opt.gravity" is a field of a field; a number for a field with axes multiplies it."""
    for path, value in task.items():
        *way, name = path.split(".")
        holders = [functools.reduce(getattr, way[:depth], model) for depth in range(len(way) + 1)]
        old = jnp.asarray(getattr(holders[-1], name))
        new = old * value if jnp.ndim(value) == 0 and old.ndim else jnp.broadcast_to(value, old.shape)
        changed: Any = new.astype(old.dtype)
        for holder, field in zip(reversed(holders), [name, *reversed(way)], strict=True):
            changed = holder.replace(**{field: changed})
        model = changed
    return model


def from_brax(
    id: str,
    task_space: Mapping[str, spaces.Space] | spaces.Dict,
    held_out_task_space: Mapping[str, spaces.Space] | spaces.Dict | None = None,
    *,
    apply_task: ApplyTask | None = None,
    horizon: int = BRAX_HORIZON,
    env_options: Mapping[str, Any] | None = None,
) -> JaxFamily:
    """An environment of brax as a family: the task is fields of its system.

    Args:
        id: such as "halfcheetah".
        task_space: field of the system -> Box or Discrete, drawn from uniformly. "opt.gravity" is a field of a field. A space
            of the field's shape has its values; one of shape () multiplies all numbers of a field with axes:
            ``{"dof.damping": Box(0.5, 2.0, ())}``.
        held_out_task_space: the distribution of evaluation tasks; ``task_space`` if None.
        apply_task: (system, task) -> system, in JAX, where fields are not what a task is; names in ``task_space`` are then
            free.
        horizon: steps per episode.
        env_options: of ``brax.envs.get_environment``, such as ``{"backend": "spring"}``.

    Raises:
        ValueError: one line; brax is missing, or an argument is wrong.
    """
    suites.suite("from_brax", "brax")
    module = suites.module("brax.envs")
    env = suites.made("from_brax", id, None, lambda: module.get_environment(id, **(env_options or {})))
    return _robot("from_brax", env, "sys", task_space, held_out_task_space, apply_task, horizon)


def from_playground(
    id: str,
    task_space: Mapping[str, spaces.Space] | spaces.Dict,
    held_out_task_space: Mapping[str, spaces.Space] | spaces.Dict | None = None,
    *,
    apply_task: ApplyTask | None = None,
    horizon: int | None = None,
    env_options: Mapping[str, Any] | None = None,
) -> JaxFamily:
    """An environment of MuJoCo Playground as a family: the task is fields of its model, see `from_brax`.

    Args:
        id: such as "CartpoleBalance".
        task_space: field of ``mujoco.mjx.Model`` -> space: ``{"body_mass": Box(0.5, 2.0, ())}`` multiplies all masses.
        held_out_task_space: see `from_brax`.
        apply_task: (model, task) -> model, see `from_brax`.
        horizon: steps per episode; ``episode_length`` of the environment's configuration if None.
        env_options: ``config_overrides`` of ``registry.load``. Physics in JAX is the default here: ``{"impl": "jax"}``.

    Raises:
        ValueError: one line; Playground is missing, or an argument is wrong.
    """
    suites.suite("from_playground", "playground")
    registry = suites.module("mujoco_playground").registry

    def make() -> tuple[Any, int]:
        config = registry.get_default_config(id)
        jax_physics = {"impl": "jax"} if "impl" in config else {}
        return registry.load(id, config_overrides=jax_physics | dict(env_options or {})), config.episode_length

    env, limit = suites.made("from_playground", id, registry.ALL_ENVS, make)
    return _robot(
        "from_playground", env, "_mjx_model", task_space, held_out_task_space, apply_task, limit if horizon is None else horizon
    )


def _robot(
    owner: str,
    env: Any,
    attribute: str,
    task_space: Any,
    held_out_task_space: Any,
    apply_task: ApplyTask | None,
    horizon: int,
) -> JaxFamily:
    if apply_task is not None and not callable(apply_task):
        raise ValueError(f"{owner}: apply_task is {apply_task!r}, but must be a function (model, task) -> model.")
    tasks = suites.uniform(owner, task_space, held_out_task_space)
    if apply_task is None:
        model = getattr(env.unwrapped, attribute)
        for path, space in tasks["task_space"].items():
            _check_field(owner, model, path, space)
    world = Robot(env, attribute, apply_task)
    task = jax.eval_shape(tasks["sample_task"], jax.eval_shape(lambda: jax.random.key(0)))
    return from_jax(
        world.reset,
        world.step,
        horizon=horizon,
        observation_space=suites.seen(world.reset, task),
        action_space=spaces.Box(-1.0, 1.0, (env.action_size,), np.float32),
        **tasks,
    )


def _check_field(owner: str, model: Any, path: str, space: spaces.Space) -> None:
    """The model has such a field, of numbers, and the space is of its shape or of one number."""
    try:
        value = operator.attrgetter(path)(model)
        shape = jnp.shape(value)
    except (AttributeError, TypeError) as error:
        raise ValueError(
            f"{owner}: task_space has {path!r}, but the model has no such field of numbers; see the fields of {type(model)}, "
            "or give apply_task."
        ) from error
    if space.shape not in ((), shape):
        raise ValueError(
            f"{owner}: task_space[{path!r}] has shape {space.shape}, but the field has {shape}; take that, or () for a factor."
        )
