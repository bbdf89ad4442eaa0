"""Any environment whose reset and step are functions in JAX as a task family: `from_jax`."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from gymnasium import spaces

from envs.family import TaskFamily
from envs.forks import refuse_fork
from envs.from_jax import arguments
from envs.keys import is_key
from envs.measures import read_measures

# reset(key, task) -> (state, observation)
Reset = Callable[[Any, Any], tuple[Any, Any]]
# step(key, state, action, task) -> (state, observation, reward, terminated), and info where something is measured
Step = Callable[[Any, Any, Any, Any], tuple[Any, ...]]


class JaxState(NamedTuple):
    """The environment's own state, and what its last step returned. ``info`` has what the family measures, name -> scalar."""

    inner: Any
    observation: jax.Array
    reward: jax.Array
    terminated: jax.Array
    info: dict[str, jax.Array]


class JaxFamily(TaskFamily):
    """A reset and a step in JAX behind the functions of a family; made by `from_jax`.

    Whoever has reset and step functions that are right may make one directly: nothing is checked here.
    """

    unit_actions = True
    written_as = {  # noqa: RUF012 - never changed
        "initial": "reset",
        "observation": "reset or step",
        **dict.fromkeys(("transition", "reward", "terminal"), "step"),
    }

    def __init__(
        self,
        reset: Reset,
        step: Step,
        draw: Callable[[Any], Any],
        horizon: int,
        observation_space: spaces.Box,
        action_space: spaces.Box | spaces.Discrete,
        params_of: Callable[[Any], Any] | None = None,
        task_space: Any = None,
        draw_held_out: Callable[[Any], Any] | None = None,
        measures: Mapping[str, str] | None = None,
    ):
        super().__init__(horizon)
        self.reset, self.step, self.params_of = reset, step, params_of
        self.draw, self.draw_held_out = draw, draw_held_out
        self.observation_space, self.action_space, self.task_space = observation_space, action_space, task_space
        self.measures = dict(measures or {})

    def sample_task(self, key):
        return self.draw(key)

    def sample_held_out_task(self, key):
        return super().sample_held_out_task(key) if self.draw_held_out is None else self.draw_held_out(key)

    def get_default_params(self, **kwargs):
        return self.sample_task(jax.random.key(0))  # starts not at its end: ends are only asked of states after a step

    def initial(self, rng, params):
        inner, observation = self.reset(rng, self._params(params))
        zero, no = jnp.zeros((), float), jnp.asarray(False)
        return JaxState(arrays(inner), arrays(observation), zero, no, {name: zero for name in self.measures})

    def transition(self, state, action, rng, params):
        inner, observation, reward, terminated, *more = self.step(rng, state.inner, action, self._params(params))
        info = {name: jnp.asarray(more[0][name], float) for name in self.measures}
        moved = JaxState(arrays(inner), arrays(observation), jnp.asarray(reward, float), jnp.asarray(terminated), info)
        stood = state._replace(reward=jnp.zeros((), float))
        return jax.tree.map(lambda old, new: jnp.where(state.terminated, old, new), stood, moved)

    def observation(self, state, rng, params):
        return state.observation

    def reward(self, state, action, next_state, rng, params):
        return next_state.reward

    def terminal(self, state, rng, params):
        return state.terminated

    def transition_info(self, state, action, next_state, params):
        return next_state.info

    def _params(self, task):
        return task if self.params_of is None else self.params_of(task)


def from_jax(
    reset: Reset,
    step: Step,
    sample_task: Callable[[Any], Any],
    horizon: int,
    observation_space: spaces.Box,
    action_space: spaces.Box | spaces.Discrete,
    task_space: Any = None,
    sample_held_out_task: Callable[[Any], Any] | None = None,
    *,
    params_of: Callable[[Any], Any] | None = None,
    measures: Mapping[str, str] | None = None,
) -> JaxFamily:
    """Make a task family of an environment written in JAX; it runs inside the compiled sampler, without a callback.

    ``reset`` and ``step`` are the environment's own functions, of one episode, with the task as last argument; `jax.vmap` and
    `jax.jit` are put around them. Give the step without auto-reset, where a suite has two: an episode's end is its end. After
    it the state stands still and pays nothing, whatever ``step`` would do. Do not end episodes at the horizon: that is a
    truncation, which the family adds.

    States and tasks are pytrees of arrays; random keys are welcome in both.

    Args:
        reset: (key, task) -> (state, observation).
        step: (key, state, action, task) -> (state, observation, reward, terminated); observations of the space's shape and
            dtype, a float and a bool. With ``measures`` a dict is the fifth.
        sample_task: key -> task, a pytree of arrays: the training distribution.
        horizon: steps per episode.
        observation_space: Box.
        action_space: Discrete, or Box of floats; actions are clipped to it. Policies have numbers from 0, or [-1, 1] in the
            place of each axis's finite range, as on `from_gymnasium`.
        task_space: the task with a gymnasium space in the place of each array; tasks outside it are refused. Any task if None.
        sample_held_out_task: key -> task, for evaluation; ``sample_task`` with other keys if None.
        params_of: task -> what ``reset`` and ``step`` get in the place of the task: an environment's parameters, with those
            that follow from the task computed anew, such as a mass times a length.
        measures: entries of the step's dict to report beside the return, and how an episode's number is made of its steps':
            ``{"success": "any"}``; see `TaskFamily`.

    Returns:
        A family as any other. It can be pickled if the functions can.

    The key of ``reset`` and those of ``step`` are what the first argument of `envs.stepping.first_step` and ``next_step`` gives
    for ``initial`` and ``transition``: the same key plays the same episode in the sampler, in `envs.TaskEnv` and by hand.

    Raises:
        ValueError: one line that names the argument, what it is or gives, and what to do.

    >>> import envs
    >>> def reset(key, goal):
    ...     return jnp.zeros(2), jnp.zeros(2)
    >>> def step(key, place, action, goal):
    ...     place = place + 0.1 * action
    ...     distance = jnp.linalg.norm(place - goal)
    ...     return place, place, -distance, distance < 0.05
    >>> def sample_task(key):
    ...     return jax.random.uniform(key, (2,), minval=-0.5, maxval=0.5)
    >>> plane, push = spaces.Box(-10.0, 10.0, (2,)), spaces.Box(-1.0, 1.0, (2,))
    >>> family = envs.from_jax(reset, step, sample_task, 50, plane, push)
    >>> env = envs.TaskEnv(family, task=jnp.array([0.1, 0.0]))
    >>> observation, _ = env.reset(seed=0)
    >>> observation, reward, terminated, truncated, _ = env.step([1.0, 0.0])
    >>> observation.tolist(), terminated
    ([0.10000000149011612, 0.0], True)
    """
    refuse_fork()
    measures = read_measures("from_jax", {} if measures is None else measures)
    arguments.check_functions(reset, step, sample_task, sample_held_out_task, params_of)
    arguments.check_values(horizon, observation_space, action_space)
    arguments.check_results(
        reset, step, sample_task, sample_held_out_task, params_of, observation_space, action_space, measures
    )
    family = JaxFamily(
        reset,
        step,
        sample_task,
        horizon,
        observation_space,
        action_space,
        params_of,
        task_space,
        sample_held_out_task,
        measures,
    )
    arguments.check_task_spaces(family)
    return family


def arrays(tree: Any) -> Any:
    """The same tree of arrays, whatever numbers it had; types that only lean to one, as Python's numbers do, are settled."""
    return jax.tree.map(lambda leaf: leaf if is_key(leaf) else jnp.asarray(leaf, jnp.result_type(leaf)), tree)
