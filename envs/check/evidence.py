"""What the checks look at: sampled tasks, and random episodes of a few of them, compiled once for all checks."""

import functools
from typing import Any, NamedTuple

import jax
import jax.extend.core
import jax.numpy as jnp
import numpy as np

from envs.contract import explain
from envs.family import Task, TaskFamily, can_render
from envs.forks import refuse_fork
from envs.keys import is_key, numbers
from envs.mujoco import compiled
from envs.to_gymnasium.task_env import TaskEnv
from envs.to_gymnasium.task_vector_env import TaskVectorEnv
from envs.values import row_of, stacked

NUM_SAMPLES = 32  # tasks drawn, training and held out
NUM_TASKS = 4  # of them played, different ones
SEEDS = (0, 1)  # episodes of each task; the seeds and the actions are those of every task
MAX_STEPS = 50  # longer horizons are not played out
# Primitives; jax.debug.print may be left in. Our own calls of MuJoCo use the host's threads too.
HOST_CALLS = {"pure_callback", "io_callback", *(f"ffi_call {target}" for target in (compiled.STEP, compiled.CENTRE))}


class Episodes(NamedTuple):
    """Random steps of M tasks under S seeds, from vectorised environments; an episode that ends begins anew.

    Attributes:
        observation: [T+1, M, S, ...]; its numbers in a row, where it is no Box.
        native: the same as the family gives it, leaves [T+1, M, S, ...].
        action: leaves [T, S, ...], the same for every task.
        reward: [T, M, S].
        terminated, truncated: [T, M, S] bool.
        info: name -> [T, M, S], of each step what the family measures.
        state: the last one, leaves [M, S, ...].
        ends: (state, task) of some of the steps that terminated.
    """

    observation: np.ndarray
    native: Any
    action: Any
    reward: np.ndarray
    terminated: np.ndarray
    truncated: np.ndarray
    info: dict[str, np.ndarray]
    state: Any
    ends: list[tuple[Any, Task]]

    def fresh(self) -> np.ndarray:
        """[T+1, M, S]: whether an observation is an episode's first, met by a step whose action is not used."""
        over = self.terminated | self.truncated
        return np.concatenate([np.ones_like(over[:1]), np.zeros_like(over[:1]), over[:-1]])


class Evidence:
    """Samples and episodes of one family, each computed when a check first needs it."""

    def __init__(self, family: TaskFamily):
        refuse_fork()
        self.family = family
        self.name = type(family).__name__

    @functools.cached_property
    def keys(self) -> jax.Array:
        """[NUM_SAMPLES] keys of sampled tasks."""
        return jax.vmap(jax.random.key)(np.arange(NUM_SAMPLES))

    @functools.cached_property
    def host_calls(self) -> list[str]:
        """Names of the family's functions that leave the compiled program."""
        family, key = self.family, jax.random.key(0)
        task = family.sample_task(key)
        state, action = family.initial(key, task), family.action_space.sample()
        calls: dict[str, tuple[Any, ...]] = {
            "sample_task": (key,),
            "sample_held_out_task": (key,),
            "initial": (key, task),
            "transition": (state, action, key, task),
            "observation": (state, key, task),
            "reward": (state, action, state, key, task),
            "terminal": (state, key, task),
        }
        return [name for name, given in calls.items() if HOST_CALLS & primitives(jax.make_jaxpr(getattr(family, name))(*given))]

    @functools.cached_property
    def samples(self) -> tuple[Task, Task]:
        """Training and held-out tasks of the same keys, drawn under jit and vmap: leaves [NUM_SAMPLES, ...]."""
        draw = lambda key: (self.family.sample_task(key), self.family.sample_held_out_task(key))
        try:
            return on_host(jax.jit(jax.vmap(draw))(self.keys))
        except Exception as error:  # whatever a user's function raises becomes one line
            raise ValueError(f"{self.name}.sample_task or sample_held_out_task fails under vmap: {explain(error)}") from error

    @functools.cached_property
    def chosen(self) -> list[int]:
        """Indices of up to NUM_TASKS sampled tasks that differ from one another."""
        rows = as_rows(self.samples[0])
        _, first = np.unique(rows, axis=0, return_index=True)
        return sorted(first.tolist())[:NUM_TASKS]

    @functools.cached_property
    def tasks(self) -> Task:
        """The chosen tasks: leaves [M, ...]."""
        return jax.tree.map(lambda leaf: leaf[np.array(self.chosen)], self.samples[0])

    def task(self, index: int) -> Task:
        """One of the chosen tasks."""
        return jax.tree.map(lambda leaf: leaf[index], self.tasks)

    @functools.cached_property
    def vector(self) -> TaskVectorEnv:
        """Every chosen task under every seed."""
        each = repeated(self.tasks)
        return TaskVectorEnv(self.family, len(self.chosen) * len(SEEDS), task=each)

    @functools.cached_property
    def env(self) -> TaskEnv:
        """One environment, of the first chosen task; it draws if the family can."""
        return TaskEnv(self.family, task=self.task(0), render_mode="rgb_array" if can_render(self.family) else None)

    @functools.cached_property
    def episodes(self) -> Episodes:
        """The first random episodes."""
        try:
            return self.play(0)
        except Exception as error:  # whatever a user's function raises becomes one line
            raise ValueError(f"{self.name} fails in a random episode under jit and vmap: {explain(error)}") from error

    def play(self, first_seed: int) -> Episodes:
        """Random episodes under other seeds; compiled the first time."""
        num_steps, num_tasks, num_seeds = min(self.family.horizon + 2, MAX_STEPS), len(self.chosen), len(SEEDS)
        actions = random_actions(self.family, num_steps, first_seed)
        grid = lambda array: array.reshape(num_tasks, num_seeds, *array.shape[1:])
        observation, _ = self.vector.reset(seed=[first_seed + seed for seed in SEEDS] * num_tasks)
        shape = functools.partial(jax.tree.map, grid)
        observations, steps, infos = [shape(observation)], [], []
        ends: list[tuple[Any, Task]] = []
        for t in range(num_steps):
            each = jax.tree.map(lambda x, t=t: np.concatenate([x[t]] * num_tasks), actions)
            observation, *step, told = self.vector.step(each)
            observations.append(shape(observation))
            steps.append([grid(array) for array in step])
            infos.append({name: grid(told[name]) for name in self.family.measures})
            for i in np.flatnonzero(step[1])[: 3 - len(ends)]:
                ends.append(jax.tree.map(lambda leaf, i=i: leaf[i], (self.vector.episode.state, self.vector.task)))
        reward, terminated, truncated = (np.stack(series) for series in zip(*steps, strict=True))
        state = jax.tree.map(grid, self.vector.episode.state)
        info = {name: np.stack([told[name] for told in infos]) for name in self.family.measures}
        native = jax.tree.map(lambda *each: np.stack(each), *observations)
        row = np.asarray(row_of(self.family.observation_space, native, 3))
        return Episodes(row, native, actions, reward, terminated, truncated, info, state, ends)

    def play_alone(self, index: int, seed: int, actions: list[Any]) -> tuple[list[np.ndarray], list[tuple[float, bool, bool]]]:
        """The same episode of one task step by step, without vmap: observations [T+1], and reward and ends of each step."""
        observation, _ = self.env.reset(seed=seed, options={"task": self.task(index)})
        numbers_of = lambda seen: np.asarray(row_of(self.family.observation_space, seen))
        observations, steps = [numbers_of(observation)], []
        for action in actions:
            observation, reward, terminated, truncated, _ = self.env.step(action)
            observations.append(numbers_of(observation))
            steps.append((reward, terminated, truncated))
            if terminated or truncated:
                break
        return observations, steps


def repeated(tasks: Task) -> Task:
    """Leaves [M, ...] -> [M * S, ...], each task under every seed."""
    return jax.tree.map(lambda leaf: leaf[np.repeat(np.arange(leaf.shape[0]), len(SEEDS))], tasks)


def random_actions(family: TaskFamily, num_steps: int, seed: int) -> Any:
    """Leaves [T, S, ...], actions from the family's space."""
    space = family.action_space
    space.seed(seed)
    return stacked(space, [stacked(space, [space.sample() for _ in SEEDS]) for _ in range(num_steps)])


def entry(tree: Any, *index: int) -> Any:
    """The entry of every leaf."""
    return jax.tree.map(lambda leaf: leaf[index], tree)


def primitives(jaxpr: Any) -> set[str]:
    """Names of all primitives of a traced function, at any depth; a custom call's with what it calls."""
    inner = getattr(jaxpr, "jaxpr", jaxpr)
    named = [(equation.primitive.name, equation.params) for equation in inner.eqns]
    found = {f"{name} {params['target_name']}" if name == "ffi_call" else name for name, params in named}
    for equation in inner.eqns:
        for value in jax.tree.leaves(equation.params, is_leaf=is_jaxpr):
            found |= primitives(value) if is_jaxpr(value) else set()
    return found


def is_jaxpr(value: Any) -> bool:
    """Whether ``value`` is a traced function, open or closed."""
    return isinstance(value, jax.extend.core.Jaxpr | jax.extend.core.ClosedJaxpr)


def on_host(tree: Any) -> Any:
    """The same tree with NumPy arrays, but for typed keys, which NumPy does not know."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else jax.device_get(leaf), tree)


def as_rows(tasks: Task) -> np.ndarray:
    """Tasks as a matrix of bytes, to compare them whatever types JAX has for them: [tasks, bytes]."""
    leaves = [np.asarray(jnp.asarray(leaf)) for leaf in jax.tree.leaves(numbers(tasks))]
    wide = [leaf.astype(np.complex128 if np.iscomplexobj(leaf) else np.float64) + 0.0 for leaf in leaves]  # no -0.0
    return np.concatenate([leaf.reshape(len(leaf), -1).view(np.uint8) for leaf in wide], axis=1)


def same(a: Any, b: Any, tolerance: float) -> bool:
    """Whether two trees of one structure hold the same numbers, and the same keys."""

    def alike(x: Any, y: Any) -> bool:
        if jnp.issubdtype(jnp.result_type(x), jnp.inexact):
            return bool(jnp.allclose(x, y, rtol=tolerance, atol=tolerance, equal_nan=True))
        return np.array_equal(x, y)

    return all(map(alike, *map(jax.tree.leaves, (numbers(a), numbers(b)))))
