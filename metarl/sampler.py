"""The sampler: one episode of fixed length as a scan, to be vmapped over episodes and tasks and jitted by the caller."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl.interfaces import Environment, Key, Task, Trajectory, Tree

# observation, key -> action, its log-probability, the parameters of the distribution it came from
Actor = Callable[[jax.Array, Key], tuple[jax.Array, jax.Array, Tree]]
# memory, observation, key -> memory, and what an Actor gives
Act = Callable[[Tree, jax.Array, Key], tuple[Tree, jax.Array, jax.Array, Tree]]
# memory as Act left it, action, reward, terminated -> memory
Remember = Callable[[Tree, jax.Array, jax.Array, jax.Array], Tree]


def rollout(environment: Environment, actor: Actor, task: Task, key: Key, *, horizon: int, unroll: int = 5) -> Trajectory:
    """Play one episode of ``horizon`` steps. The state freezes at the episode's end and ``mask`` is zero from then on.

    Keys: (initial, first observation, steps) = split(key, 3); step t uses fold_in(steps, t), and from it fold_in(., i) with
    i = 0 for the action, 1 transition, 2 reward, 3 end, 4 observation. `envs.to_gymnasium.task_env` follows the same order, so
    that an episode stepped through Gymnasium with a seed equals this one with ``jax.random.key(seed)`` and the same actions.

    Args:
        environment: Gymnasium's functional vocabulary with the task as ``params``.
        actor: (observation, key) -> (action, log_prob, distribution parameters), parameters closed over.
        task: one task.
        key: typed key.
        horizon: T.
        unroll: time steps per iteration of the compiled loop, at most the horizon; more pays on a GPU, whose kernels are
            launched one by one, and takes longer to compile.

    Returns:
        Trajectory with leaves [T, ...].

    >>> import envs
    >>> family = envs.make("metarl/Navigation2D-v0")
    >>> task = family.default_params
    >>> towards_goal = lambda observation, key: (10 * (task.position - observation), jnp.zeros(()), ())
    >>> trajectory = rollout(family, towards_goal, task, jax.random.key(0), horizon=20)
    >>> trajectory.observation.shape, bool(trajectory.terminated.any())
    ((20, 2), True)
    """

    def act(memory, observation, key_action):
        return memory, *actor(observation, key_action)

    _, trajectory = rollout_with_memory(
        environment, act, lambda memory, *_: memory, (), task, key, horizon=horizon, unroll=unroll
    )
    return trajectory


def rollout_with_memory(
    environment: Environment,
    act: Act,
    remember: Remember,
    memory: Tree,
    task: Task,
    key: Key,
    *,
    horizon: int,
    unroll: int = 5,
) -> tuple[Tree, Trajectory]:
    """`rollout` for an actor that carries something from step to step. After the end memory stands still, like the state.

    Args:
        environment: see `rollout`.
        act: (memory, observation, key) -> (memory, action, log_prob, distribution parameters).
        remember: (memory as ``act`` left it, action, reward, terminated) -> memory, asked after each step.
        memory: at the first step.
        task: one task.
        key: typed key.
        horizon: T.
        unroll: see `rollout`.

    Returns:
        The memory after the episode's last step, and the trajectory with leaves [T, ...].
    """
    key_initial, key_first, key_steps = jax.random.split(key, 3)
    measured = tuple(getattr(environment, "measures", ()))

    def step(carry, t):
        state, observation, alive, memory = carry
        key_step = jax.random.fold_in(key_steps, t)
        # Derived one by one, so that the compiler drops the keys a deterministic environment never reads.
        key_action, key_transition, key_reward, key_terminal, key_observation = (
            jax.random.fold_in(key_step, use) for use in range(5)
        )
        next_memory, action, log_prob, distribution = act(memory, observation, key_action)
        next_state = environment.transition(state, action, key_transition, task)
        reward = jnp.asarray(environment.reward(state, action, next_state, key_reward, task), float)
        terminated = alive & environment.terminal(next_state, key_terminal, task)
        info = environment.transition_info(state, action, next_state, task) if measured else {}  # type: ignore[attr-defined]
        next_memory = remember(next_memory, action, reward, terminated)
        # After the end the state stands still, so that no dynamics run away to infinity.
        next_state, next_memory = jax.tree.map(
            lambda new, old: jnp.where(alive, new, old), (next_state, next_memory), (state, memory)
        )
        next_observation = environment.observation(next_state, key_observation, task)
        next_observation = jax.tree.map(lambda new, old: jnp.where(alive, new, old), next_observation, observation)
        record = {
            "observation": observation,
            "action": action,
            "log_prob": jnp.where(alive, log_prob, 0.0),
            "distribution": distribution,
            "reward": jnp.where(alive, reward, 0.0),
            "mask": alive.astype(reward.dtype),
            "terminated": terminated,
            "info": {name: jnp.where(alive, jnp.asarray(info[name], reward.dtype), 0.0) for name in measured},
        }
        return (next_state, next_observation, alive & ~terminated, next_memory), record

    state = environment.initial(key_initial, task)
    start = (state, environment.observation(state, key_first, task), jnp.asarray(True), memory)
    (_, last_observation, _, memory), record = jax.lax.scan(
        step, start, jnp.arange(horizon), unroll=max(1, min(unroll, horizon))
    )
    return memory, Trajectory(**record, last_observation=last_observation, key=jax.random.key_data(key))
