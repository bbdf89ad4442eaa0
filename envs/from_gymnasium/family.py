"""Any ordinary Gymnasium environment as a task family: `from_gymnasium`."""

import contextlib
import copy
import functools
import logging
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from envs import task_lists
from envs.family import TaskFamily, shuffled
from envs.forks import refuse_fork
from envs.from_gymnasium import arguments
from envs.from_gymnasium import source as sources
from envs.from_gymnasium import spaces as layouts
from envs.from_gymnasium.pool import Pool
from envs.from_gymnasium.processes import Processes
from envs.from_gymnasium.worker import Environments, HostError, Recipe, task_of
from envs.measures import read_measures
from envs.processors import num_processors
from envs.values import stacked

TIMEOUT = 60.0  # seconds
TRIED = 3  # steps played twice by `HostFamily.unrepeatable`


class HostState(NamedTuple):
    """What the last step returned, and the number by which the host finds the episode's environment.

    ``info`` holds what the family measures, name -> scalar; nothing if it measures nothing.
    """

    episode: jax.Array
    t: jax.Array
    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    truncated: jax.Array
    info: dict[str, jax.Array]


class HostFamily(TaskFamily):
    """An ordinary, stateful Gymnasium environment behind the functions of a family; made by `from_gymnasium`.

    - Task: a dict of arrays, uniform in ``task_space``; held-out tasks uniform in ``held_out_task_space``, if there is one.
      Where all their fields are whole numbers, up to 1,000 tasks in all, evaluation goes through the held-out tasks one by one.
    - Observation: the environment's, flattened to float32; whole numbers become floats, Discrete fields one-hot. With
      ``images`` it keeps shape and type.
    - Action: the environment's: Discrete, Box, MultiDiscrete, MultiBinary, or Dict and Tuple of these; what lies outside a Box
      is clipped. Policies have numbers from 0, or [-1, 1] in the
      place of each axis's finite range; axes without finite bounds take the policy's action as it is.
    - Reward: the environment's. End: terminated, or truncated by the environment itself before the horizon.
    - Measures: of the environment's ``info`` after each step, what ``measures`` names; `transition_info` gives it.
    - Horizon: the time limit of the environment's registration, or the one given, which then replaces it.

    An episode's randomness comes from `seed_of` its first key alone: ``env.reset(seed=seed_of(key))``. States are plain arrays
    and may be kept, batched and stepped again; going back replays the recorded actions, so it costs what it costs, and the
    environment must follow from its seed. One callback steps all episodes of a batch; ended ones cost nothing more.

    Numbers that are not finite are passed on, as those of any family; `not_finite` tells where the first of them came from.
    """

    unit_actions = True
    calls_host = True
    on_host = True  # all episodes live in one pool of this process, which programs over several devices cannot share

    def __init__(
        self,
        pool: Pool,
        task_space: spaces.Dict,
        held_out_task_space: spaces.Dict | None,
        observation_space: spaces.Box,
        action_space: spaces.Space,
        horizon: int,
        measures: Mapping[str, str],
    ):
        super().__init__(horizon)
        self.measures = measures
        self.train_task_space, self.held_out_task_space = task_space, held_out_task_space
        self.task_space = dict(task_space.spaces) if held_out_task_space is None else None  # _refuse_outside knows both
        listed = task_lists.all_of(held_out_task_space or task_space)
        self.held_out_list = None if listed is None else shuffled(listed)
        self.observation_space, self.action_space = observation_space, action_space
        self.pool = pool

    def sample_task(self, key):
        return sample_from(self.train_task_space, key)

    def sample_held_out_task(self, key):
        if self.held_out_task_space is None:
            return super().sample_held_out_task(key)
        return sample_from(self.held_out_task_space, key)

    def get_default_params(self, **kwargs):
        return self.sample_task(jax.random.key(0))  # starts not at its end: ends are only asked of states after a step

    def initial(self, rng, params):
        number, observation = jax.pure_callback(
            self._reset,
            (_like(None, jnp.int32), _like(self.pool.recipe.observed.size, jnp.float32)),
            seed_of(rng),
            dict(params),
            vmap_method="broadcast_all",
        )
        zero, no = jnp.zeros((), jnp.float32), jnp.asarray(False)
        return HostState(number, jnp.zeros((), jnp.int32), observation, zero, no, no, {name: zero for name in self.measures})

    def transition(self, state, action, rng, params):
        ended = state.terminated | state.truncated | (state.t >= self.horizon)
        number, flag = _like(None, jnp.float32), _like(None, bool)
        seen, info = _like(self.pool.recipe.observed.size, jnp.float32), {name: number for name in self.measures}
        shapes = _like(None, jnp.int32), seen, number, flag, flag, info
        answer = jax.pure_callback(
            self._step, shapes, state.episode, state.t, ended, jax.tree.map(jnp.asarray, action), vmap_method="broadcast_all"
        )
        number, *rest = answer
        stood = state._replace(reward=jnp.zeros((), jnp.float32))
        moved = HostState(number, state.t + 1, *rest)
        return jax.tree.map(lambda old, new: jnp.where(ended, old, new), stood, moved)

    def observation(self, state, rng, params):
        space, seen = self.observation_space, state.observation
        return seen if seen.shape == space.shape else seen.reshape(space.shape).astype(space.dtype)

    def reward(self, state, action, next_state, rng, params):
        return next_state.reward

    def terminal(self, state, rng, params):
        return state.terminated | state.truncated

    def not_finite(self) -> str | None:
        """First observation, reward or measure that was not finite since this was last asked, with task and seed, or None."""
        return self.pool.not_finite()

    def unrepeatable(self) -> str | None:
        """What differs where the first steps of an episode are played twice, in a line for a warning; None if nothing.

        Episodes must follow from seed, task and actions, and not from what was played before them.
        """
        for first, second in zip(*self._twice(), strict=False):
            other = ~np.isclose(first, second, rtol=1e-4, atol=1e-4, equal_nan=True)
            if other.any():
                break
        else:
            return None
        before, after = first[other][0], second[other][0]
        return (
            f"{self.pool.recipe.name}: the same seed, task and actions give {before:.6g} first and {after:.6g} again; use no "
            "random numbers but the environment's np_random, and nothing that outlives an episode, such as running statistics."
        )

    def _twice(self) -> list[list[np.ndarray]]:
        """Observations and rewards of the same `TRIED` steps, begun twice."""
        environments, rows = Environments(self.pool.recipe), layouts.action_record(self.action_space, TRIED)
        task = {name: np.asarray(leaf)[None] for name, leaf in jax.device_get(self.default_params).items()}
        space = copy.deepcopy(self.action_space)
        space.seed(0)
        sampled = [space.sample() for _ in range(TRIED)]
        actions = layouts.action_rows(self.action_space, stacked(space, sampled), TRIED).astype(rows.dtype)
        found = []
        with contextlib.closing(environments):
            for _ in range(2):
                seen = [environments.reset([0], np.zeros(1, np.int64), task)]
                for action in actions:
                    observation, reward, terminated, truncated, _ = environments.step([0], action[None])
                    seen += [observation, reward]
                    if terminated[0] or truncated[0]:
                        break
                found.append(seen)
        return found

    @property
    def observed_space(self):
        return self.pool.recipe.observed.space

    def read_observation(self, observation):
        flat = isinstance(observation, np.ndarray) and observation.shape == self.observation_space.shape
        return observation if flat else self.pool.recipe.observed(observation)

    def transition_info(self, state, action, next_state, params):
        return next_state.info

    def close(self) -> None:
        """End the environments and worker processes; they begin anew when needed."""
        self.pool.close()

    def _reset(self, seeds, tasks):
        tasks = {
            name: np.asarray(tasks[name]).reshape(-1, *(space.shape or ()))
            for name, space in self.train_task_space.spaces.items()
        }
        self._refuse_outside(tasks)
        return _shaped(np.shape(seeds), self.pool.reset(np.asarray(seeds).reshape(-1), tasks))

    def _step(self, numbers, t, ended, actions):
        batch = np.shape(numbers)
        actions = layouts.action_rows(self.action_space, actions, int(np.prod(batch)))
        numbers, t, ended = (np.asarray(x).reshape(-1) for x in (numbers, t, ended))
        *answer, info = _shaped(batch, self.pool.step(numbers, t, ended, actions))
        return *answer, {name: info[..., i] for i, name in enumerate(self.measures)}

    def _refuse_outside(self, tasks: dict[str, np.ndarray]) -> None:
        wrong = dict(layouts.outside(self.train_task_space, tasks))
        bad = np.any(list(wrong.values()), axis=0)
        if self.held_out_task_space is not None:
            bad &= np.any([out for _, out in layouts.outside(self.held_out_task_space, tasks)], axis=0)
        if bad.any():
            i = int(np.flatnonzero(bad)[0])
            name = next(name for name, out in wrong.items() if out[i])
            value = task_of(tasks, i)[name]
            raise HostError(
                f"{self.pool.recipe.name}: initial got task[{name!r}] = {value}, "
                f"outside its space {self.train_task_space[name]}."
            )


class DrawnHostFamily(HostFamily):
    """`HostFamily` of an environment that can render: a second environment replays the episode and renders it."""

    def render_init(self, params, **kwargs):
        return None

    def render_image(self, state, render_state, params):
        return render_state, self.pool.render(int(state.episode), int(state.t))


def from_gymnasium(
    env: str | Callable[..., gymnasium.Env],
    *,
    task_space: spaces.Dict | Mapping[str, spaces.Space],
    apply_task: str | Callable[[gymnasium.Env, dict[str, Any]], None],
    held_out_task_space: spaces.Dict | Mapping[str, spaces.Space] | None = None,
    horizon: int | None = None,
    env_options: Mapping[str, Any] | None = None,
    vectorization: str = "sync",
    num_workers: int | None = None,
    timeout: float | None = None,
    drop: str | Sequence[str] = (),
    measures: Mapping[str, str] | None = None,
    images: bool = False,
    first_task: Mapping[str, Any] | None = None,
) -> HostFamily:
    """Wrap an ordinary Gymnasium environment as a task family that every agent can train on.

    Args:
        env: an id, ``module:id``, or a function that makes one (with an argument ``render_mode``, if it can render).
        task_space: the distribution of training tasks, uniform in each field: Box and Discrete spaces; ``Box(5.0, 15.0, ())``
            is a scalar.
        apply_task: how the task, a dict of Python numbers and arrays, is applied to an environment before each episode: a
            function ``(env, task) -> None``; "attributes", set on the unwrapped environment under the fields' names;
            "set_task", the environment's method of that name; or "options", passed to ``reset``.
        held_out_task_space: the distribution of evaluation tasks; ``task_space`` if None.
        horizon: steps per episode; the environment's own time limit if None.
        env_options: keyword arguments of the environment's constructor.
        vectorization: "sync", all environments in this process, or "async", in worker processes: faster where CPUs are free.
        num_workers: number of worker processes of "async"; one per CPU if None.
        timeout: of "async": seconds for one step of a batch, ten times that for a reset, before the workers count as hanging;
            60 if None. With "sync" an environment that hangs is not noticed.
        drop: field or fields of a Dict observation that agents are not to see, such as "desired_goal"; "camera.left" is a field
            of a field, "pair.0" an item of a Tuple. Fields that cannot be flattened to numbers are left out anyway, with a
            warning where not named here.
        measures: entries of ``info`` to report beside the return, and how an episode's number is made of its steps':
            ``{"success": "any", "distance": "last"}``; see `TaskFamily`. Every step's info must have them.
        images: leave observations, a Box of several axes, in their shape and type, so that agents read them by convolutions;
            they are flattened to float32 otherwise.
        first_task: the task that is tried before anything compiles, where not every one of ``task_space`` can be played; one
            from there if None.

    Raises:
        ValueError: one line that names the environment and what to change.
    """
    refuse_fork()
    tasks = layouts.read_task_space("task_space", task_space)
    held_out = None
    if held_out_task_space is not None:
        held_out = layouts.read_task_space("held_out_task_space", held_out_task_space)
        arguments.check_held_out(held_out, tasks)
    arguments.check_apply_task(apply_task)
    arguments.check_env_options(env_options)
    arguments.check_workers(vectorization, num_workers, timeout)
    arguments.check_images(images)
    drop = arguments.read_drop(drop)
    measures = read_measures("from_gymnasium", {} if measures is None else measures)

    source = sources.find(env)
    name = env if isinstance(env, str) else getattr(env, "__name__", type(env).__name__)
    options = dict(env_options or {})
    tried: Mapping[str, Any] = sample_from(tasks, jax.random.key(0))
    tried = tried if first_task is None else arguments.read_first_task(first_task, tasks, held_out)
    tried = {field: np.asarray(value)[None] for field, value in tried.items()}
    one = sources.try_out(name, source, options, apply_task, task_of(tried, 0))
    with contextlib.closing(one):
        horizon = sources.horizon_of(name, source, one) if horizon is None else horizon
        arguments.check_horizon(horizon)
        observed = layouts.observed(name, one.observation_space, drop)
        seen_space = layouts.flat_space(observed) if not images else layouts.image_space(name, observed)
        sources.warn_dropped(name, observed.dropped, drop)
        sources.try_measures(name, one, tuple(measures))
        action_space = layouts.suitable_actions(name, one.action_space)
        family = DrawnHostFamily if sources.can_draw(source, one) else HostFamily
    make = functools.partial(sources.make, source, options)
    recipe = Recipe(name, make, apply_task, observed, one.action_space, tuple(measures))
    opened: Callable[[], Any] = functools.partial(Environments, recipe)
    if vectorization == "async":
        seconds = TIMEOUT if timeout is None else timeout
        opened = functools.partial(Processes, recipe, num_processors() if num_workers is None else num_workers, seconds)
    record = layouts.action_record(action_space, horizon)
    return family(Pool(recipe, record, opened), tasks, held_out, seen_space, action_space, horizon, measures)


def seed_of(key: jax.Array) -> jax.Array:
    """The seed that ``env.reset`` is given for an episode whose `TaskFamily.initial` gets ``key``: 0 to 2^31 - 1."""
    return jax.random.bits(key, (), jnp.uint32) >> 1


def sample_from(space: spaces.Dict, key: jax.Array) -> dict[str, jax.Array]:
    """A task: each field uniform in its space."""
    task = {}
    for (name, part), key_part in zip(space.spaces.items(), jax.random.split(key, len(space.spaces)), strict=True):
        if isinstance(part, spaces.Discrete):
            task[name] = jax.random.randint(key_part, (), int(part.start), int(part.start + part.n), jnp.int32)
            continue
        assert isinstance(part, spaces.Box)
        if np.issubdtype(part.dtype, np.integer):
            low, high = (jnp.asarray(bound, jnp.int32) for bound in (part.low, part.high))
            task[name] = jax.random.randint(key_part, part.shape, low, high + 1, jnp.int32)
        else:
            low, high = (jnp.asarray(bound, jnp.float32) for bound in (part.low, part.high))
            task[name] = jax.random.uniform(key_part, part.shape, jnp.float32, low, high)
    return task


def host_error(error: BaseException) -> str | None:
    """The message of an environment's failure within JAX's error about a callback; None if ``error`` is another one.

    A KeyboardInterrupt that arrived during a callback is raised again as itself.
    """
    last = (str(error).strip().splitlines() or [""])[-1]
    if "calling callback" in str(error) and last.startswith("KeyboardInterrupt"):
        raise KeyboardInterrupt from error
    found = re.match(r"(?:[\w.]+\.)?HostError: (.*)", f"HostError: {error}" if isinstance(error, HostError) else last)
    return found[1] if found else None


def _like(size: int | None, dtype: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(() if size is None else (size,), dtype)


def _shaped(batch: tuple[int, ...], arrays: tuple[np.ndarray, ...]) -> tuple[np.ndarray, ...]:
    return tuple(array.reshape((*batch, *array.shape[1:])) for array in arrays)


def _ours(record: logging.LogRecord) -> bool:
    # JAX logs the traceback of whatever a callback raises; these two are reported in one line by whoever catches them.
    return not (record.exc_info and record.exc_info[0] and issubclass(record.exc_info[0], HostError | KeyboardInterrupt))


logging.getLogger("jax._src.callback").addFilter(_ours)
