"""What the presets share: modules that may be missing, spaces, tasks drawn from spaces, and tasks that are worlds."""

import importlib
import warnings
from collections.abc import Callable, Mapping
from types import ModuleType
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium import spaces

from envs.from_gymnasium.arguments import check_held_out
from envs.from_gymnasium.family import sample_from
from envs.from_gymnasium.spaces import read_task_space
from envs.optional import require

# Suites whose requirements exclude what we have, and so are no extras: how each is installed beside it all the same.
BESIDE = {
    "gymnax": "pip install seaborn && pip install --no-deps 'gymnax>=1.0.1'",
    "craftax": "pip install --no-deps 'craftax>=1.6.1'",
}


class World(NamedTuple):
    """The task where a suite's levels are its worlds: the key that ``reset`` builds the level from."""

    key: jax.Array


class Uniform:
    """Tasks drawn uniformly from spaces: a dict of arrays. Called with a key it draws one."""

    def __init__(self, space: spaces.Dict):
        self.space = space

    def __call__(self, key: jax.Array) -> dict[str, jax.Array]:
        return sample_from(self.space, key)


def suite(owner: str, name: str) -> ModuleType:
    """The module of a suite.

    Raises:
        ValueError: one line with the command that installs it.
    """
    try:
        return module(name) if name in BESIDE else _quietly(lambda: require(name))
    except ImportError as error:
        told = f"{error.name} is not installed: {BESIDE[name]}" if name in BESIDE else str(error)
        raise ValueError(f"{owner}: {told}") from error


def module(name: str) -> ModuleType:
    """A module of a suite that is there."""
    return _quietly(lambda: importlib.import_module(name))


def _quietly(imported: Callable[[], ModuleType]) -> ModuleType:
    """Import without what suites' own packages say of one another, such as brax's JAXopt, which is no longer kept."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return imported()


def made(owner: str, id: Any, known: Any, make: Callable[[], Any]) -> Any:
    """What a suite makes of an id; ValueError in one line if it does not know it, or fails."""
    if known is not None and id not in known:
        raise ValueError(f"{owner}: {id!r} is not among its environments: {', '.join(sorted(known))}.")
    try:
        return make()
    except Exception as error:  # whatever a suite raises becomes one line
        raise ValueError(f"{owner}: making {id!r} fails: {type(error).__name__}: {' '.join(str(error).split())}") from error


def world(key: jax.Array) -> World:
    """Draw a world."""
    return World(key)


def uniform(owner: str, task_space: Any, held_out_task_space: Any) -> dict[str, Any]:
    """The arguments of `from_jax` that are about tasks: drawn uniformly from spaces, and refused outside of both."""
    tasks = read_task_space("task_space", task_space, owner)
    given: dict[str, Any] = {"sample_task": Uniform(tasks), "task_space": dict(tasks.spaces)}
    if held_out_task_space is not None:
        held_out = read_task_space("held_out_task_space", held_out_task_space, owner)
        check_held_out(held_out, tasks, owner)
        given["sample_held_out_task"] = Uniform(held_out)
        given["task_space"] = {name: _around(part, held_out[name]) for name, part in tasks.spaces.items()}
    return given


def _around(one: spaces.Space, other: spaces.Space) -> spaces.Space:
    """The smallest space that holds two."""
    if isinstance(one, spaces.Box) and isinstance(other, spaces.Box):
        low, high = np.asarray(np.minimum(one.low, other.low)), np.asarray(np.maximum(one.high, other.high))
        return spaces.Box(low, high, one.shape, one.dtype.type)
    assert isinstance(one, spaces.Discrete) and isinstance(other, spaces.Discrete)
    start = min(one.start, other.start)
    return spaces.Discrete(max(one.start + one.n, other.start + other.n) - start, start=start)


def flat(observation: Any) -> jax.Array:
    """All numbers of an observation as float32 [O]; an observation of one array keeps its shape.

    >>> flat({"grid": jnp.zeros((2, 2), jnp.uint8), "time": jnp.asarray(3)}).tolist()
    [0.0, 0.0, 0.0, 0.0, 3.0]
    """
    leaves = jax.tree.leaves(observation)
    if len(leaves) == 1 and jnp.ndim(leaves[0]) > 0:
        return jnp.asarray(leaves[0], jnp.float32)
    return jnp.concatenate([jnp.ravel(leaf).astype(jnp.float32) for leaf in map(jnp.asarray, leaves)])


def picture(observation: Any) -> Any:
    """An observation that is an image, as the suite draws it: bytes [height, width, channels].

    Raises:
        ValueError: it is another array.
    """
    if getattr(observation, "dtype", None) != jnp.uint8 or observation.ndim != 3:
        found = jax.tree.map(lambda leaf: f"{leaf.dtype}{list(leaf.shape)}", observation)
        raise ValueError(f"images is True, but observations are {found}, not bytes [height, width, channels]; leave it out.")
    return observation


def seen(reset: Callable[..., Any], task: Any) -> spaces.Box:
    """The space of what ``reset`` shows: any numbers, since bounds that a suite states are often those of its default task.

    Those of images are known: bytes.
    """
    _, observation = jax.eval_shape(reset, jax.eval_shape(lambda: jax.random.key(0)), task)
    if observation.dtype == np.uint8:
        return spaces.Box(0, 255, observation.shape, np.uint8)
    return spaces.Box(-np.inf, np.inf, observation.shape, np.float32)


def of_types(new: Any, old: Any) -> Any:
    """A state with the types of another: some suites begin with a type that the first step changes."""
    return jax.tree.map(lambda new, old: jnp.asarray(new, jnp.result_type(old)) if _number(new) else new, new, old)


def _number(leaf: Any) -> bool:
    return not (hasattr(leaf, "dtype") and jnp.issubdtype(leaf.dtype, jax.dtypes.extended))


def with_fields(owner: str, of: str, fields: Mapping[str, Any], known: Any) -> None:
    """Refuse task fields that there are not."""
    for name in fields:
        if name not in known:
            raise ValueError(f"{owner}: task_space has {name!r}, but {of} has {', '.join(sorted(known))}.")
