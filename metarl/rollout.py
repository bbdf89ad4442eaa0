"""The sampler: one episode of fixed length as a scan, to be vmapped over episodes and tasks and jitted by the caller."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from metarl.types import Environment, Key, Task, Trajectory, Tree

# observation, key -> action, its log-probability, the parameters of the distribution it came from
Actor = Callable[[jax.Array, Key], tuple[jax.Array, jax.Array, Tree]]


def rollout(environment: Environment, actor: Actor, task: Task, key: Key, *, horizon: int, unroll: int = 5) -> Trajectory:
    """Play one episode of ``horizon`` steps. The state freezes at the episode's end and ``mask`` is zero from then on.

    Keys: (initial, first observation, steps) = split(key, 3); step t uses fold_in(steps, t), and from it fold_in(., i) with
    i = 0 for the action, 1 transition, 2 reward, 3 end, 4 observation. `envs.task_env` follows the same order, so that an
    episode stepped through Gymnasium with a seed equals this one with ``jax.random.key(seed)`` and the same actions.

    Args:
        environment: Gymnasium's functional vocabulary with the task as ``params``.
        actor: (observation, key) -> (action, log_prob, distribution parameters), parameters closed over.
        task: one task.
        key: typed key.
        horizon: T.
        unroll: time steps per iteration of the compiled loop; more pays on a GPU, whose kernels are launched one by one.

    Returns:
        Trajectory with leaves [T, ...].
    """
    key_initial, key_first, key_steps = jax.random.split(key, 3)

    def step(carry, t):
        state, observation, alive = carry
        key_step = jax.random.fold_in(key_steps, t)
        # Derived one by one, so that the compiler drops the keys a deterministic environment never reads.
        key_action, key_transition, key_reward, key_terminal, key_observation = (
            jax.random.fold_in(key_step, use) for use in range(5)
        )
        action, log_prob, distribution = actor(observation, key_action)
        next_state = environment.transition(state, action, key_transition, task)
        reward = jnp.asarray(environment.reward(state, action, next_state, key_reward, task), float)
        terminated = alive & environment.terminal(next_state, key_terminal, task)
        # After the end the state stands still, so that no dynamics run away to infinity.
        next_state = jax.tree.map(lambda new, old: jnp.where(alive, new, old), next_state, state)
        next_observation = environment.observation(next_state, key_observation, task)
        next_observation = jnp.where(alive, next_observation, observation)
        record = {
            "observation": observation,
            "action": action,
            "log_prob": jnp.where(alive, log_prob, 0.0),
            "distribution": distribution,
            "reward": jnp.where(alive, reward, 0.0),
            "mask": alive.astype(reward.dtype),
            "terminated": terminated,
        }
        return (next_state, next_observation, alive & ~terminated), record

    state = environment.initial(key_initial, task)
    start = (state, environment.observation(state, key_first, task), jnp.asarray(True))
    (_, last_observation, _), record = jax.lax.scan(step, start, jnp.arange(horizon), unroll=min(unroll, horizon))
    return Trajectory(**record, last_observation=last_observation)
