"""Task + family -> an ordinary `gymnasium.Env`. `TaskEnv.reset` never changes the task unless ``options`` says so."""

import contextlib
from collections.abc import Iterator
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.envs.registration import EnvSpec

from envs.family import can_render, check_task
from envs.forks import refuse_fork
from envs.from_gymnasium.family import host_error
from envs.stepping import first_step, next_step
from envs.to_gymnasium.conventions import (
    SPEC,
    check_render_mode,
    checked_action,
    clip_action,
    limit_of_make,
    limited,
    read_info,
)
from envs.to_gymnasium.packed import pack, packing_of, spread, unpack
from envs.values import in_numpy

MAX_SEED = 2**31 - 1
NOT_PICKLED = ("_first", "_next", "_look", "_task_row", "_kept", "_last", "_render_state")


@contextlib.contextmanager
def plain_host_errors() -> Iterator[None]:
    """Raise what an ordinary environment failed with as itself, not as JAX's account of a failed callback."""
    try:
        yield
    except (ValueError, RuntimeError) as error:
        refuse_host_error(error)
        raise


def refuse_host_error(error: Exception) -> None:
    """Raise RuntimeError in an ordinary environment's own words, where ``error`` is JAX's account of its failure."""
    message = host_error(error)
    if message is not None:
        raise RuntimeError(message) from None


def _moment(key: jax.Array, t: Any) -> jax.Array:
    """An episode's key and the steps taken, in one array."""
    return jnp.append(jax.random.key_data(key).ravel(), jnp.asarray(t, jnp.uint32))


def read_options(options: dict[str, Any] | None, known: tuple[str, ...]) -> dict[str, Any]:
    """Refuse option names that would otherwise be ignored in silence."""
    unknown = set(options or {}) - set(known)
    if unknown:
        raise ValueError(f"reset: unknown option {sorted(unknown)[0]!r}; known: {', '.join(known)}.")
    return options or {}


class TaskEnv(gymnasium.Env):
    """One task of a family as an ordinary environment. Observations are NumPy, rewards float, ends bool.

    The episode so far is in ``key`` (what `reset` made of the seed; None before it), ``t`` (steps taken) and ``state``.

    Args:
        family: a `TaskFamily`, or what makes one (a class, a function, or "module:name").
        task: the task; without it the family's fixed default task.
        render_mode: None or "rgb_array".
        **family_options: passed to the family's constructor, such as ``horizon``. ``max_episode_steps`` of `gymnasium.make` is
            the horizon, too.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 20}  # noqa: RUF012 - as Gymnasium declares it

    spec = SPEC

    def __init__(self, family: Any, task: Any = None, render_mode: str | None = None, **family_options: Any):
        self.family = limited(family, limit_of_make(self), family_options)
        if not can_render(self.family):
            self.metadata = {**self.metadata, "render_modes": []}
        check_render_mode(self.family, render_mode)
        self.render_mode = render_mode
        self.observation_space = self.family.observation_space
        self.action_space = self.family.action_space
        self._task = self.family.default_params if task is None else check_task(self.family, task)
        self._spec: EnvSpec | None = None
        self._compile()
        self.key: Any = None

    def _compile(self) -> None:
        family, look = self.family, {}

        def first(key, task):
            state, observation = first_step(family, key, task)
            kept, told = (_moment(key, 0), state), (observation, family.state_info(state, task))
            look["kept"], look["first"] = packing_of(kept), packing_of(told)
            return pack(kept), pack(told)

        def following(kept, action, task):
            (moment, state), task = spread(look["kept"], kept), spread(look["task"], task)
            action = clip_action(jnp, family.action_space, action)
            key, t = jax.random.wrap_key_data(moment[:-1]), moment[-1].astype(int)
            next_state, *step = next_step(family, key, t, state, action, task)
            kept, told = (_moment(key, t + 1), next_state), (*step, family.transition_info(state, action, next_state, task))
            look["next"] = packing_of(told)
            return pack(kept), pack(told)

        # Few arrays go in and out, since each takes microseconds: what stays is one row and stays there, what is read another.
        # A state keeps its look: `build_family` has refused others.
        self._first, self._next, self._look = jax.jit(first), jax.jit(following), look
        self.task = self._task

    @property
    def task(self) -> Any:
        """The task; set it to go on with another, also within an episode."""
        return self._task

    @task.setter
    def task(self, task: Any) -> None:
        packing = packing_of(task)
        self._task, self._task_row = task, pack(task)
        if packing != self._look.setdefault("task", packing):  # arrays of other types, as `jax.enable_x64` makes them
            state = None if self.key is None else self.state
            self._compile()
            if state is not None:
                self._keep(state)

    def __getstate__(self) -> dict[str, Any]:
        """Everything but what is compiled and a picture that is being drawn.

        The episode goes on where it is read again, but for a family of ordinary environments, which stay here: reset it there.
        """
        stored = {name: value for name, value in vars(self).items() if name not in NOT_PICKLED}
        return stored if self.key is None else stored | {"episode": (self.state, self._seen())}

    def __setstate__(self, stored: dict[str, Any]) -> None:
        """What `__getstate__` gave."""
        vars(self).update({name: value for name, value in stored.items() if name != "episode"})
        self._compile()
        if self.key is not None:
            state, observation = stored["episode"]
            self._keep(state)
            self._last = packing_of([observation]), np.asarray(pack([observation]))
            if self.render_mode is not None:
                self._render_state = self.family.render_init(self.task)

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None):
        """Begin an episode of the current task, or of ``options["task"]``, which then stays until another is given."""
        super().reset(seed=seed)
        refuse_fork()
        given = read_options(options, ("task",)).get("task")
        if given is not None:
            self.task = check_task(self.family, given)
        self.begin(jax.random.key(int(self.np_random.integers(MAX_SEED)) if seed is None else seed % 2**32))
        if self.render_mode is not None:
            self._render_state = self.family.render_init(self.task)
        return self._seen(), dict(self._info)

    @property
    def t(self) -> int:
        """Steps taken in this episode; set it to go on as if they had been so many."""
        return self._t

    @t.setter
    def t(self, steps: int) -> None:
        state, self._t = self.state, steps
        self._keep(state)

    def _keep(self, state: Any) -> None:
        kept = _moment(self.key, self._t), state
        self._look["kept"], self._kept = packing_of(kept), pack(kept)

    @property
    def state(self) -> Any:
        """The family's state."""
        return spread(self._look["kept"], self._kept)[1]

    def begin(self, key: jax.Array) -> None:
        """Begin the episode of a key of `metarl.sampler`'s; `reset` makes one of the seed."""
        with plain_host_errors():
            self._kept, row = self._first(key, self.task)
        self.key, self._t, self._over = key, 0, (False, False)
        self._last = self._look["first"], np.asarray(row)
        self._info = read_info(unpack(*self._last)[1])

    def step(self, action):
        """Take one step; truncated at the horizon, unless the episode ended there by itself. Then nothing moves or pays.

        Raises:
            ValueError: an action of another shape, or a discrete one that there is not.
        """
        if self.key is None:
            raise gymnasium.error.ResetNeeded("step: call reset first, which begins an episode.")
        refuse_fork()
        action = checked_action(self.action_space, action)
        if any(self._over):
            return self._seen(), 0.0, *self._over, dict(self._info)
        try:  # as `plain_host_errors` does, which takes microseconds
            self._kept, row = self._next(self._kept, action, self._task_row)
        except (ValueError, RuntimeError) as error:
            refuse_host_error(error)
            raise
        self._last = self._look["next"], np.asarray(row)
        observation, reward, terminated, truncated, told = unpack(*self._last)
        self._t, self._over = self._t + 1, (bool(terminated), bool(truncated))
        self._info = read_info(told)
        return in_numpy(self.observation_space, observation), float(reward), *self._over, dict(self._info)

    def _seen(self) -> Any:
        return in_numpy(self.observation_space, unpack(*self._last)[0])

    def render(self):
        """The current state as an image [height, width, 3] of uint8, in mode "rgb_array"."""
        if self.render_mode is None:
            return None
        self._render_state, image = self.family.render_image(self.state, self._render_state, self.task)
        return image
