"""Many copies of a family as one `gymnasium.vector.VectorEnv`, stepped in one compiled call, each with its own task."""

from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

from envs.family import TaskFamily, check_task, task_leaves
from envs.forks import refuse_fork
from envs.keys import is_key, numbers
from envs.options import whole_number
from envs.stepping import first_step, next_step
from envs.to_gymnasium.conventions import SPEC, check_render_mode, limited, read_action
from envs.to_gymnasium.task_env import MAX_SEED, plain_host_errors, read_options
from envs.values import in_numpy

NEXT_EPISODE = 3  # an episode's key is split in three (see `metarl.sampler`); its successor's key is the fourth


class Episode(NamedTuple):
    """Where a sub-environment is: the episode's key, steps taken, state, and whether it is over. Leaves [num_envs, ...]."""

    key: jax.Array
    t: jax.Array
    state: Any
    over: jax.Array


def _step_one(family: TaskFamily, episode: Episode, action, task):
    """Step one sub-environment, or begin its next episode if the last one is over (Gymnasium's NEXT_STEP autoreset)."""
    key, t, state, over = episode
    key_next = jax.random.fold_in(key, NEXT_EPISODE)
    fresh_state, fresh_observation = first_step(family, key_next, task)
    next_state, observation, reward, terminated, truncated = next_step(family, key, t, state, action, task)

    def choose(fresh, stepped):
        return jnp.where(over, fresh, stepped)

    observation = jax.tree.map(choose, fresh_observation, observation)
    terminated, truncated = terminated & ~over, truncated & ~over
    info = _told(over, family.state_info(fresh_state, task), family.transition_info(state, action, next_state, task))
    state = jax.tree.map(choose, fresh_state, next_state)
    episode = Episode(choose(key_next, key), choose(0, t + 1), state, terminated | truncated)
    return episode, (observation, choose(0.0, reward), terminated, truncated), info


def _told(begins: jax.Array, fresh: Any, stepped: Any) -> dict[str, Any]:
    """Info as Gymnasium's vector environments give it, of one of them: name -> value, "_name" -> whether it is told.

    ``fresh`` is told where an episode begins, ``stepped`` after a step.
    """
    info: dict[str, Any] = {}
    choose = lambda new, old: jnp.where(begins, new, old)
    for name in fresh | stepped:
        info[name] = jax.tree.map(choose, fresh.get(name, stepped.get(name)), stepped.get(name, fresh.get(name)))
        info[f"_{name}"] = jnp.where(begins, name in fresh, name in stepped)
    return info


class TaskVectorEnv(gymnasium.vector.VectorEnv):
    """``num_envs`` environments of one family. ``task`` is one task for all, or one each with a leading axis.

    ``max_episode_steps``, which `gymnasium.make_vec` hands on, is the horizon.

    Sub-environment i of ``reset(seed=s)`` plays the same first episode as ``TaskEnv.reset(seed=s + i)``. After `reset`,
    ``episode`` is the `Episode` of each.
    """

    metadata: dict[str, Any] = {  # noqa: RUF012 - as Gymnasium declares it
        "autoreset_mode": AutoresetMode.NEXT_STEP,
        "render_modes": ["rgb_array"],
        "render_fps": 20,
    }

    spec = SPEC

    def __init__(
        self,
        family: Any,
        num_envs: int = 1,
        task: Any = None,
        render_mode: str | None = None,
        max_episode_steps: int | None = None,
        **family_options: Any,
    ):
        self.family = limited(family, max_episode_steps, family_options)
        check_render_mode(self.family, render_mode)
        self.num_envs = whole_number(type(self.family).__name__, "num_envs", num_envs, 1)
        self.render_mode = render_mode
        self.single_observation_space = self.family.observation_space
        self.single_action_space = self.family.action_space
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.task = self._one_each(self.family.default_params if task is None else task)
        self._spec: EnvSpec | None = None
        self.episode: Any = None
        self._compile()

    def _compile(self) -> None:
        family = self.family

        def first(key, task):
            state, observation = first_step(family, key, task)
            return state, observation, _told(jnp.asarray(True), family.state_info(state, task), {})

        self._first = jax.jit(jax.vmap(first))
        self._next = jax.jit(jax.vmap(lambda episode, action, task: _step_one(family, episode, action, task)))

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is compiled; the episodes go on where it is read again."""
        return {name: value for name, value in vars(self).items() if name not in ("_first", "_next")}

    def __setstate__(self, stored: dict[str, Any]) -> None:
        """What `__getstate__` gave."""
        vars(self).update(stored)
        self._compile()

    def _one_each(self, task: Any) -> Any:
        parts, own = task_leaves(self.family, task), self.family.default_params
        keys_or_words = zip(parts, *map(jax.tree.leaves, (own, numbers(own))), strict=True)
        if all(np.ndim(part) == np.ndim(key if is_key(part) else words) for part, key, words in keys_or_words):
            task = check_task(self.family, task)
            return jax.tree.map(lambda x: jnp.broadcast_to(x, (self.num_envs, *x.shape)), task)
        return check_task(self.family, task, leading=(self.num_envs,))

    def reset(self, *, seed: int | list[int] | None = None, options: dict[str, Any] | None = None):
        """Begin an episode everywhere; tasks stay unless ``options["task"]`` gives one, or one each."""
        refuse_fork()
        given = read_options(options, ("task",)).get("task")
        if given is not None:
            self.task = self._one_each(given)
        if seed is None:
            seeds = self.np_random.integers(MAX_SEED, size=self.num_envs).tolist()
        else:
            seeds = [seed + i for i in range(self.num_envs)] if isinstance(seed, int) else list(seed)
            if len(seeds) != self.num_envs or None in seeds:
                raise ValueError(
                    f"reset: seed is {seed}, but must be one number, or one for each of {self.num_envs} environments."
                )
            super().reset(seed=seeds[0])
        keys = jax.vmap(jax.random.key)(jnp.asarray([seed % 2**32 for seed in seeds], jnp.uint32))
        with plain_host_errors():
            state, observation, info = self._first(keys, self.task)
        zeros = jnp.zeros(self.num_envs, jnp.int32)
        self.episode = Episode(keys, zeros, state, zeros.astype(bool))
        return in_numpy(self.single_observation_space, observation), jax.tree.map(np.asarray, info)

    def step(self, actions):
        """Step all; a sub-environment whose episode ended on the last call begins anew and ignores its action.

        Raises:
            ValueError: actions of another shape, or discrete ones that there are not.
        """
        if self.episode is None:
            raise gymnasium.error.ResetNeeded("step: call reset first, which begins an episode.")
        refuse_fork()
        actions = read_action(self.single_action_space, actions, (self.num_envs,))
        with plain_host_errors():
            self.episode, step, info = self._next(self.episode, actions, self.task)
        observation = in_numpy(self.single_observation_space, step[0])
        reward, terminated, truncated = map(np.asarray, step[1:])
        return observation, reward, terminated, truncated, jax.tree.map(np.asarray, info)

    def render(self):
        """One image per sub-environment, in mode "rgb_array"."""
        if self.render_mode is None:
            return None
        images = []
        for i in range(self.num_envs):
            state, task = jax.tree.map(lambda x, i=i: x[i], (self.episode.state, self.task))
            images.append(self.family.render_image(state, self.family.render_init(task), task)[1])
        return tuple(images)
