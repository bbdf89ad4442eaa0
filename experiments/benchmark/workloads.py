"""What the benchmark measures: meta-iterations built as the commands build them, and the sampler inside them on its own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from agents.parts.networks import policy
from agents.parts.world import suited_unroll
from experiments import sinusoid
from experiments.training.config import TrainConfig, build, family_of, resolve, train_config
from experiments.training.devices import choose_batch, choose_devices, everywhere, place, spread
from metarl.interfaces import MetaLearner
from metarl.sampler import rollout
from metarl.tasks import ONE_BATCH, TaskMap

NOWHERE = Path("benchmark")  # settings of a run need a folder; nothing is written there


class Workload(NamedTuple):
    """A meta-iteration to be measured.

    Attributes:
        name: in tables.
        shape: the numbers that say how large it is.
        learner: its `step` is the meta-iteration.
        task_map: how the tasks are spread, as `experiments.train` spreads them.
        sampler: () -> (step of (carry, key), first carry): the rollouts of one meta-iteration without any gradient, and the
            environment steps they took as the carry's last leaf; None in regression.
    """

    name: str
    shape: dict[str, Any]
    learner: MetaLearner
    task_map: TaskMap = ONE_BATCH
    sampler: Callable[[], tuple[Callable, Any]] | None = None


def settings(env: str, *, hidden_sizes: tuple[int, ...] = (100, 100), run_dir: Path = NOWHERE, **flags: Any) -> TrainConfig:
    """Those of ``python -m experiments.train``: MAML with a tanh policy, by default the 2 x 100 of published experiments."""
    return resolve(train_config(run_dir=run_dir, env=env, hidden_sizes=hidden_sizes, **flags))


def reinforcement(
    name: str, env: str, *, num_inner_steps: int = 1, hidden_sizes: tuple[int, ...] = (100, 100), **flags: Any
) -> Workload:
    """MAML under `settings` as a workload, its tasks spread as the command would; ``flags`` are `of_agent`'s."""
    return of_agent(name, env, "maml", num_inner_steps=num_inner_steps, hidden_sizes=hidden_sizes, **flags)


def of_agent(
    name: str,
    env: str,
    agent: str,
    *,
    num_tasks: int,
    num_episodes: int,
    horizon: int,
    hidden_sizes: tuple[int, ...] = (100, 100),
    env_options: tuple[str, ...] = (),
    devices: int | None = None,
    **own: Any,
) -> Workload:
    """The same with any agent, and ``own`` settings of it; ``devices`` as of the command."""
    shape: dict[str, Any] = {
        "num_tasks": num_tasks,
        "num_episodes": num_episodes,
        "horizon": horizon,
        **own,
        "hidden_sizes": hidden_sizes,
    }
    config = settings(env, agent=agent, env_options=env_options, **shape)
    family = family_of(config)
    task_map = spread(choose_devices(devices, num_tasks, family), choose_batch(None, family))
    shape |= {"env": env, "devices": devices_of(task_map), "task_batch": task_map.batch_size}
    learner = build(config, task_map=task_map).learner
    adapts = hasattr(config.own, "num_inner_steps")
    return Workload(name, shape, learner, task_map, (lambda: _sampler(config, task_map)) if adapts else None)


def supervised(name: str, *, hidden_sizes: tuple[int, ...] = (40, 40), num_tasks: int = 25, num_shots: int = 10) -> Workload:
    """MAML on sinusoids, protocol maml: 25 tasks, 10 points, one inner step, 2 x 40 relu."""
    config = sinusoid.resolve(sinusoid.sinusoid_config(run_dir=NOWHERE, num_tasks=num_tasks, hidden_sizes=hidden_sizes))
    shape = {"num_tasks": num_tasks, "num_shots": num_shots, "num_inner_steps": 1, "hidden_sizes": hidden_sizes, "devices": 1}
    return Workload(name, shape, sinusoid.build(config, num_shots).learner)


def devices_of(task_map: TaskMap) -> int:
    """How many devices work on the tasks."""
    return 1 if task_map.mesh is None else task_map.mesh.size


def _sampler(config: TrainConfig, task_map: TaskMap) -> tuple[Callable, Any]:
    """The rollouts of one meta-iteration: one batch by a shared start, and one per inner step by a policy of each task."""
    family, num_steps = family_of(config), config.own.num_inner_steps
    options: dict[str, Any] = {
        "hidden_sizes": config.hidden_sizes,
        "activation": config.activation,
        "initial_std": config.initial_std,
    }
    actor_of = policy(family.observation_space, family.action_space, **options)
    unroll = suited_unroll(family.horizon)

    def play(params, task, key):
        def actor(observation, key_action):
            parameters = actor_of.network.apply(params, observation)
            action, log_prob = actor_of.distribution(parameters).sample_and_log_prob(seed=key_action)
            return action, log_prob, parameters

        def episode(key_episode):
            return rollout(family, actor, task, key_episode, horizon=family.horizon, unroll=unroll)

        return jax.vmap(episode)(jax.random.split(key, config.num_episodes))

    def of_task(params, source):
        adapted, key = source
        key_task, *keys = jax.random.split(key, num_steps + 2)
        task = family.sample_task(key_task)
        batches = [play(adapted if i else params, task, key_data) for i, key_data in enumerate(keys)]
        # Everything recorded is read once, so that the compiler leaves nothing out.
        read = sum(jnp.sum(leaf.astype(float)) for leaf in jax.tree.leaves(batches))
        return read, sum(jnp.sum(batch.mask) for batch in batches)

    def sample(carry, key):
        params, adapted, *_ = carry
        keys = jax.vmap(jax.random.fold_in, (None, 0))(key, jnp.arange(config.num_tasks))
        read, steps = task_map(of_task)(params, (adapted, keys))
        return params, adapted, jnp.sum(read), jnp.sum(steps)

    params = actor_of.network.init(jax.random.key(0))
    adapted = jax.tree.map(lambda x: jnp.broadcast_to(x, (config.num_tasks, *x.shape)), params)
    return sample, (params, adapted, jnp.zeros(()), jnp.zeros(()))


def repeated(step: Callable[[Any, jax.Array], Any]) -> Callable[[], Callable]:
    """() -> ``(carry, first, count) -> carry``: ``count`` steps in one program, as the runner trains; keys as there."""

    def make():
        def many(carry, first, count):
            key = jax.random.key(0)
            return jax.lax.fori_loop(first, first + count, lambda i, carry: step(carry, jax.random.fold_in(key, i)), carry)

        return many

    return make


def meta_iterations(learner: MetaLearner) -> tuple[Callable[[], Callable], Any]:
    """`repeated` of the learner's step, and the first carry: a state, and the metrics of the last iteration."""

    def step(carry, key):
        return learner.step(carry[0], key)

    state = jax.jit(learner.init)(jax.random.key(0))
    like = jax.eval_shape(learner.step, state, jax.random.key(0))[1]
    return repeated(step), (state, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), like))


def sampled(workload: Workload) -> tuple[Callable[[], Callable], Any]:
    """`repeated` of its rollouts alone, and the first carry, whose last leaf is the environment steps taken."""
    if workload.sampler is None:
        raise ValueError(f"{workload.name} has no rollouts that could be timed alone.")
    sample, carry = workload.sampler()
    return repeated(sample), carry


def compiled(make: Callable[[], Callable], carry: Any, task_map: TaskMap) -> Any:
    """The program of `repeated`, compiled for the devices of ``task_map``."""
    return lowered(make, carry, task_map).compile()


def lowered(make: Callable[[], Callable], carry: Any, task_map: TaskMap) -> Any:
    """`compiled`, traced only."""
    where = everywhere(task_map)
    count = jax.ShapeDtypeStruct((), jnp.int32, sharding=where)
    like = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where), carry)
    return jax.jit(make(), out_shardings=where).lower(like, count, count)


def runner_of(program: Callable, carry: Any, task_map: TaskMap) -> Callable[[int], Any]:
    """``run(count)``: that many steps in one call, each time on from where the last call ended; returns the carry."""
    carry, done = place(carry, task_map), 0

    def run(count: int) -> Any:
        nonlocal carry, done
        numbers = place((np.int32(done), np.int32(count)), task_map)
        carry = jax.block_until_ready(program(carry, *numbers))
        done += count
        return carry

    return run


def start(workload: Workload) -> Callable[[int], Any]:
    """``run(count)`` of its meta-iterations, compiled."""
    make, carry = meta_iterations(workload.learner)
    return runner_of(compiled(make, carry, workload.task_map), carry, workload.task_map)
