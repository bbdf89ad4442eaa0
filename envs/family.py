"""A task family: Gymnasium's functional environment whose ``params`` is the task, and a distribution over tasks."""

import functools
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from gymnasium import Space
from gymnasium.experimental.functional import FuncEnv

from envs.forks import refuse_fork
from envs.keys import as_key, is_key, numbers
from envs.measures import reduced
from envs.options import whole_number
from envs.task_spaces import first_outside

HELD_OUT_STREAM = 0x5EED  # folded into a key, so that held-out tasks never come from the stream that training draws from
DEFAULT_TASK_TRIES = 100

Task = Any
Key = jax.Array


class TaskFamily(FuncEnv):
    """Subclass this to describe a distribution over tasks that share observations and actions.

    Set ``observation_space``, ``action_space`` and ``horizon`` (class attributes will do) and write, in JAX, so that each
    can be jitted and vmapped over tasks and episodes. Spaces are Box, Discrete, MultiDiscrete and MultiBinary, and Dict and
    Tuple of these.

    - ``sample_task(key) -> task``: a pytree of arrays.
    - ``initial(rng, params) -> state``
    - ``transition(state, action, rng, params) -> state``; agents and Gymnasium environments clip actions to the space before.
    - ``observation(state, rng, params) -> observation``, of the space's shape and dtype; a dict or tuple for such a space.
    - ``reward(state, action, next_state, rng, params) -> scalar float32``
    - ``terminal(state, rng, params) -> scalar bool``: called with the state after each step, never with the initial one.

    ``params`` is always the task. Optional: ``sample_held_out_task``, ``render_image(state, render_state, params) ->
    (render_state, image)``, ``plane`` for the picture of paths, and ``task_space``: the task with a gymnasium space in the
    place of each array, such as ``Goal(position=Box(-0.5, 0.5, (2,)))``. Environments and trained agents refuse tasks outside
    it, held-out ones too; without it they take any task of the right shapes. `envs.task_spaces` has spaces for it.

    ``held_out_list``: all held-out tasks there are, leaves [L, ...], where they are a finite set. Evaluation then goes through
    them in order, each as often as the others, instead of drawing. An evaluation of fewer tasks takes the first of them, so
    `envs.family.shuffled` is for lists with an order. `envs.with_tasks` makes such a family of lists of tasks.

    ``train_list``: a `envs.task_lists.TaskList`, where training goes by a list; set by `envs.with_tasks`, as is
    ``list_hashes``, which tells these lists from others.

    ``measures`` names what else is reported of an episode beside its return: ``{"success": "any", "distance": "last"}``, names
    in ``transition_info(state, action, next_state, params) -> {name: scalar}``, and how an episode's number is made of its
    steps: "any" (1 if it was other than zero at some step, else 0), "end" (the same of the last step), "last", "mean", "sum",
    "max" or "min".

    ``training_settings`` says how agents learn here, for those who do not say it themselves: ``{"any": {"action_scale": 10.0},
    "memory": {"num_episodes": 1}, "promp": {"outer_lr": 2e-3}}``, for all agents, for those that adapt alike, for one. Keys
    inside are the flags of `experiments.train` that are about the policy, the agent, its tasks, episodes and iterations.

    ``observations`` [n, ...] and ``rewards`` (low, high): all observations that there are, where they are few, and the only two
    rewards, where there are no others. A decoder of rewards may then have a head for each.

    ``unit_actions``: policies have [-1, 1] in the place of the range of each axis of ``action_space`` with finite bounds. The
    family's functions, and environments made of it, take actions from ``action_space`` all the same.

    ``written_as``: what its author calls a function, where that is something else, such as {"transition": "step"}; for errors.

    ``checked``: whether `envs.make` has looked at what the functions give; agents look themselves otherwise.

    Two flags tell training where the family runs. ``calls_host``: a function leaves the compiled program, through
    `jax.pure_callback` or `jax.experimental.io_callback`; training then uses one device unless asked for more. ``on_host``:
    episodes live in this process, not in the states, so that one device is all there can be.
    """

    observation_space: Space
    action_space: Space
    horizon: int
    task_space: Any = None
    held_out_list: Any = None
    train_list: Any = None
    list_hashes: Mapping[str, str] = {}
    measures: Mapping[str, str] = {}
    training_settings: dict[str, dict[str, Any]] = {}  # noqa: RUF012 - replaced by subclasses, never changed
    observations: Any = None
    rewards: tuple[float, float] | None = None
    unit_actions: bool = False
    calls_host: bool = False
    on_host: bool = False
    written_as: Mapping[str, str] = {}
    checked: bool = False

    def __init__(self, horizon: int | None = None):
        """Set another ``horizon`` than the family's own, in steps; checked here, so call this before using it."""
        if horizon is not None:
            self.horizon = whole_number(type(self).__name__, "horizon", horizon, 1)

    @functools.cached_property
    def default_params(self) -> Task:
        """The task of an environment made without one; see `get_default_params`."""
        with jax.ensure_compile_time_eval():  # a constant, also when first asked for inside a traced function
            return self.get_default_params()

    def sample_task(self, key: Key) -> Task:
        """Draw a training task: a pytree of arrays."""
        raise NotImplementedError(f"{type(self).__name__} has no sample_task(key) -> task.")

    def sample_held_out_task(self, key: Key) -> Task:
        """Draw a task for evaluation: by default one of ``held_out_list``, or of the same distribution from other keys."""
        key = jax.random.fold_in(key, HELD_OUT_STREAM)
        return self.sample_task(key) if self.held_out_list is None else pick(self.held_out_list, key)

    def get_default_params(self, **kwargs: Any) -> Task:
        """The task of an environment made without one: the first of a fixed sequence whose initial state is not terminal."""
        del kwargs
        for index in range(DEFAULT_TASK_TRIES):
            key_task, key_state, key_terminal = jax.random.split(jax.random.key(index), 3)
            task = self.sample_task(key_task)
            if not bool(self.terminal(self.initial(key_state, task), key_terminal, task)):
                return task
        raise ValueError(
            f"{type(self).__name__}: {DEFAULT_TASK_TRIES} sampled tasks all start at their end; check terminal() and initial()."
        )

    @property
    def observed_space(self) -> Space:
        """What the numbers of an observation are of, before they were flattened; ``observation_space`` where they were not."""
        return self.observation_space

    def read_observation(self, observation: Any) -> np.ndarray:
        """What an ordinary environment shows, as agents read it: in the shape of ``observation_space``."""
        return np.asarray(observation)

    def render_init(self, params: Task, **kwargs: Any) -> Any:
        """What ``render_image`` carries from one picture of an episode to the next, at its start; None unless overridden."""
        del params, kwargs

    def episode_measures(self, info: Mapping[str, jax.Array], mask: jax.Array) -> dict[str, jax.Array]:
        """Name -> [...], the family's ``measures`` of episodes.

        Args:
            info: name -> [..., T], what `transition_info` gave at each step.
            mask: [..., T], 1.0 for steps of the episode.
        """
        return reduced(self.measures, info, mask)

    def class_of(self, task: Task) -> str | None:
        """The name of a task's class, where a family has several; evaluations then report each apart, too. None otherwise."""
        del task
        return None

    def plane(self, observation: np.ndarray, task: Task) -> tuple[np.ndarray, np.ndarray] | None:
        """Where to draw an agent: (positions [..., 2], goal [2]) of observations [..., O], or None if there is none."""
        del observation, task
        return None


def held_out_tasks(family: Any, num_tasks: int) -> Task:
    """The first ``num_tasks`` held-out tasks of a family: leaves [M, ...]. A constant of the family, whatever the seed.

    A finite set, see ``held_out_list``, is gone through in order, and from the beginning again: task i is number i mod L.

    >>> import envs
    >>> family = envs.make("metarl/Navigation2D-v0")
    >>> tasks = envs.held_out_tasks(family, 3)
    >>> tasks.position.shape
    (3, 2)
    >>> bool((tasks.position == envs.held_out_tasks(family, 5).position[:3]).all())
    True
    """
    refuse_fork()
    if family.held_out_list is not None:
        return jax.tree.map(lambda leaf: jax.numpy.asarray(leaf)[np.arange(num_tasks) % len(leaf)], family.held_out_list)
    keys = jax.vmap(jax.random.fold_in, (None, 0))(jax.random.key(HELD_OUT_STREAM), np.arange(num_tasks))
    return jax.vmap(family.sample_held_out_task)(keys)


def pick(tasks: Task, key: Key) -> Task:
    """One of L tasks, leaves [L, ...], uniformly."""
    index = jax.random.randint(key, (), 0, len(jax.tree.leaves(tasks)[0]))
    return jax.tree.map(lambda leaf: jax.numpy.asarray(leaf)[index], tasks)


def shuffled(tasks: Task) -> Task:
    """L tasks, leaves [L, ...], in a fixed random order: the first of them are like all of them.

    >>> shuffled(np.arange(6)).tolist() == shuffled(np.arange(6)).tolist() != [0, 1, 2, 3, 4, 5]
    True
    """
    with jax.ensure_compile_time_eval():
        order = jax.random.permutation(jax.random.key(HELD_OUT_STREAM), len(jax.tree.leaves(tasks)[0]))
        return jax.tree.map(lambda leaf: leaf[np.asarray(order)], tasks)


def told(family: TaskFamily, function: str) -> str:
    """A function of a family as its author knows it, for errors; see ``written_as``."""
    return f"{type(family).__name__}.{family.written_as.get(function, function)}"


def can_render(family: TaskFamily) -> bool:
    """Whether the family has a ``render_image`` of its own."""
    return type(family).render_image is not FuncEnv.render_image


def check_task(family: TaskFamily, task: Task, leading: tuple[int, ...] = ()) -> Task:
    """Return ``task`` as arrays of the family's own dtypes, or raise ValueError that says what does not fit.

    Args:
        family: whose ``default_params`` gives structure, shapes and dtypes.
        task: a pytree; lists and NumPy arrays are welcome as leaves of the right shape. Or a dict of the leaves by name, as
            `task_by_names` gives it.
        leading: axes expected in front of every leaf, such as (num_envs,).
    """
    refuse_fork()
    like = family.default_params
    name, structure = type(family).__name__, jax.tree.structure(like)
    leaves, converted = task_leaves(family, task), []
    for leaf, (path, expected) in zip(leaves, jax.tree_util.tree_leaves_with_path(like), strict=True):
        field = f"{name}: task{jax.tree_util.keystr(path)}"
        try:
            if is_key(expected):
                leaf = as_key(leaf, expected)
                if leaf.shape != leading + expected.shape:
                    raise ValueError
                converted.append(leaf)
                continue
            whole = _is_whole(leaf, expected.dtype)
            with np.errstate(over="ignore"):  # 1e39 becomes infinite, which a space refuses
                array = jax.numpy.asarray(leaf, expected.dtype) if whole else None
        except (TypeError, ValueError, OverflowError) as error:
            told = f"random keys ({expected.dtype})" if is_key(expected) else "numbers"
            raise ValueError(f"{field} is {_line(repr(leaf))}, but must be {told} of shape {expected.shape}.") from error
        if array is None:
            raise ValueError(f"{field} is {_line(leaf)}, but must be of whole numbers ({expected.dtype}).")
        if array.shape != leading + expected.shape:
            raise ValueError(f"{field} has shape {array.shape}, but must have {leading + expected.shape}.")
        converted.append(array)
    checked = jax.tree.unflatten(structure, converted)
    check_task_space(family, checked, len(leading))
    return checked


def task_leaves(family: TaskFamily, task: Task) -> list[Any]:
    """The parts of a task, in the order of its leaves, before they are arrays; see `check_task`.

    Raises:
        ValueError: it does not look like a task of the family.
    """
    like = family.default_params
    names = _names(like)
    if isinstance(task, Mapping) and set(task) == set(names) and len(names) == len(set(names)):
        return [task[field] for field in names]
    try:
        return jax.tree.structure(like).flatten_up_to(task)  # type: ignore[attr-defined]
    except (ValueError, TypeError) as error:
        raise ValueError(f"{type(family).__name__}: a task looks like {_line(like)}, but got {_line(task)}.") from error


def task_by_names(task: Task) -> dict[str, Any]:
    """A task as JSON can hold it: its leaves as lists and numbers, by name; "outer.inner" for one inside another.

    >>> from envs.families.navigation import Goal
    >>> task_by_names(Goal(jax.numpy.array([0.5, -0.25])))
    {'position': [0.5, -0.25]}
    """
    leaves = jax.tree.leaves(numbers(task))
    return {name: _plain(np.asarray(leaf)).tolist() for name, leaf in zip(_names(task), leaves, strict=True)}


def _plain(array: np.ndarray) -> np.ndarray:
    """An array of a type that NumPy has not, such as bfloat16, in the widest that it has."""
    if array.dtype.kind in "biufc":
        return array
    return array.astype(np.float64 if jax.numpy.issubdtype(array.dtype, np.floating) else np.int64)


def _names(task: Task) -> list[str]:
    paths = [path for path, _ in jax.tree_util.tree_leaves_with_path(task)]
    return [jax.tree_util.keystr(path, simple=True, separator=".") for path in paths]


def _is_whole(leaf: Any, dtype: Any) -> bool:
    """False for what an integer ``dtype`` would cut off or wrap around without a word."""
    if isinstance(leaf, jax.core.Tracer) or not jax.numpy.issubdtype(dtype, np.integer):
        return True
    values, bounds = np.asarray(leaf), jax.numpy.iinfo(dtype)
    return bool(np.all(np.isfinite(values) & (values >= bounds.min) & (values <= bounds.max) & (values == np.trunc(values))))


def _line(value: Any) -> str:
    return " ".join(str(value).split())


def check_task_space(family: TaskFamily, task: Task, num_leading: int = 0) -> None:
    """Refuse tasks, with ``num_leading`` axes in front of each leaf, outside the family's ``task_space`` if it has one."""
    if family.task_space is None:
        return
    name, structure = type(family).__name__, jax.tree.structure(task)
    try:
        spaces = structure.flatten_up_to(family.task_space)  # type: ignore[attr-defined]
    except (ValueError, TypeError) as error:
        raise ValueError(
            f"{name}.task_space is {family.task_space!r}; make it look like a task, with a space for each array."
        ) from error
    for (path, leaf), space in zip(jax.tree_util.tree_leaves_with_path(task), spaces, strict=True):
        # Inside a compiled function there is no value to look at, and any key will do.
        if isinstance(leaf, jax.core.Tracer) or is_key(leaf):
            continue
        for value in np.asarray(leaf).reshape(-1, *np.shape(leaf)[num_leading:]):
            if not _is_whole(value, space.dtype) or not space.contains(np.asarray(value, space.dtype)):
                index, shown = first_outside(space, value)
                raise ValueError(
                    f"{name}: task{jax.tree_util.keystr(path)}{index} is {_line(shown)}, but must lie in {space} "
                    f"({name}.task_space)."
                )
