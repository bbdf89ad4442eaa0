"""What the benchmark measures: meta-iterations built as the commands build them, and the sampler inside them on its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from agents.networks import policy
from experiments import sinusoid
from experiments.config import TrainConfig, build, family_of, resolve
from metarl.rollout import rollout
from metarl.types import MetaLearner

NOWHERE = Path("benchmark")  # settings of a run need a folder; nothing is written there


class Workload(NamedTuple):
    """A meta-iteration to be measured.

    Attributes:
        name: in tables.
        shape: the numbers that say how large it is.
        learner: its `step` is the meta-iteration.
        sampler: () -> (function of (carry, key), its first carry): the rollouts of one meta-iteration without any gradient;
            None in regression.
    """

    name: str
    shape: dict[str, Any]
    learner: MetaLearner
    sampler: Callable[[], tuple[Callable, Any]] | None = None


def reinforcement(
    name: str,
    env: str,
    *,
    num_tasks: int,
    num_episodes: int,
    horizon: int,
    num_inner_steps: int = 1,
    hidden_sizes: tuple[int, ...] = (100, 100),
    env_options: tuple[str, ...] = (),
) -> Workload:
    """MAML with a tanh policy, by default the 2 x 100 of the published experiments."""
    shape: dict[str, Any] = {
        "num_tasks": num_tasks,
        "num_episodes": num_episodes,
        "horizon": horizon,
        "num_inner_steps": num_inner_steps,
        "hidden_sizes": hidden_sizes,
    }
    config = resolve(TrainConfig(NOWHERE, env=env, env_options=env_options, **shape))
    return Workload(name, shape | {"env": env}, build(config).learner, lambda: _sampler(config))


def supervised(name: str, *, hidden_sizes: tuple[int, ...] = (40, 40), num_tasks: int = 25, num_shots: int = 10) -> Workload:
    """MAML on sinusoids, protocol maml: 25 tasks, 10 points, one inner step, 2 x 40 relu."""
    config = sinusoid.resolve(sinusoid.SinusoidConfig(NOWHERE, num_tasks=num_tasks, hidden_sizes=hidden_sizes))
    shape = {"num_tasks": num_tasks, "num_shots": num_shots, "num_inner_steps": 1, "hidden_sizes": hidden_sizes}
    return Workload(name, shape, sinusoid.build(config, num_shots).learner)


def _sampler(config: TrainConfig) -> tuple[Callable, Any]:
    """The rollouts of one meta-iteration: one batch by a shared start, and one per inner step by policies of each task."""
    family = family_of(config)
    options: dict[str, Any] = {
        "hidden_sizes": config.hidden_sizes,
        "activation": config.activation,
        "initial_std": config.initial_std,
    }
    actor_of = policy(family.observation_space, family.action_space, **options)
    unroll = 5 if jax.default_backend() == "cpu" else 20  # as in experiments.config.build

    def play(params, task, key):
        def actor(observation, key_action):
            parameters = actor_of.network.apply(params, observation)
            action, log_prob = actor_of.distribution(parameters).sample_and_log_prob(seed=key_action)
            return action, log_prob, parameters

        def episode(key_episode):
            return rollout(family, actor, task, key_episode, horizon=family.horizon, unroll=unroll)

        return jax.vmap(episode)(jax.random.split(key, config.num_episodes))

    def sample(carry, key):
        params, adapted, _, _ = carry
        key_task, *keys = jax.random.split(key, 2 + (config.num_inner_steps or 0) + 1)
        tasks = jax.vmap(family.sample_task)(jax.random.split(key_task, config.num_tasks))
        steps = jnp.zeros(())
        for i in range((config.num_inner_steps or 0) + 1):
            shared = i == 0
            batch = jax.vmap(play, (None if shared else 0, 0, 0))
            played = batch(params if shared else adapted, tasks, jax.random.split(keys[i], config.num_tasks))
            steps = steps + jnp.sum(played.mask)
        return params, adapted, played, steps  # a trajectory in the carry is one that the compiler cannot leave out

    params = actor_of.network.init(jax.random.key(0))
    adapted = jax.tree.map(lambda x: jnp.broadcast_to(x, (config.num_tasks, *x.shape)), params)
    like = jax.eval_shape(sample, (params, adapted, None, None), jax.random.key(0))
    empty = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like[2:])
    return sample, (params, adapted, *empty)


def repeated(step: Callable[[Any, jax.Array], Any]) -> Callable[[], Callable]:
    """() -> ``(carry, first, count) -> carry``: ``count`` steps in one program, as the runner trains; keys as there."""

    def make():
        def many(carry, first, count):
            key = jax.random.key(0)
            return jax.lax.fori_loop(first, first + count, lambda i, carry: step(carry, jax.random.fold_in(key, i)), carry)

        return many

    return make


def meta_iterations(learner: MetaLearner) -> tuple[Callable[[], Callable], Any]:
    """`repeated` of the learner's step, metrics left out of the carry but not of the work; and the first carry."""

    def step(carry, key):
        return learner.step(carry[0], key)

    state = jax.jit(learner.init)(jax.random.key(0))
    like = jax.eval_shape(learner.step, state, jax.random.key(0))[1]
    return repeated(step), (state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like))


def runner_of(compiled: Callable, carry: Any) -> Callable[[int], Any]:
    """``run(count)``: that many steps in one call, each time on from where the last call ended."""
    done = 0

    def run(count: int) -> Any:
        nonlocal carry, done
        carry = jax.block_until_ready(compiled(carry, done, count))
        done += count
        return carry

    return run
