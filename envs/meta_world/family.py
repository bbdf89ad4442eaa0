"""Meta-World (Yu et al. 2019; McLean et al. 2025) as task families: ML1, ML10 and ML45."""

import functools
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Discrete

from envs.families import training
from envs.from_gymnasium.family import HostFamily, from_gymnasium
from envs.from_gymnasium.pool import Pool
from envs.from_gymnasium.spaces import action_record
from envs.meta_world import benchmark
from envs.meta_world.environment import SEES, MetaWorldEnv
from envs.meta_world.rewards import REWARDS as BATCHED
from envs.meta_world.robots import Robots
from envs.options import one_of, whole_number
from envs.processors import num_processors
from envs.task_lists import with_tasks

HORIZON = 500  # of the benchmark, which plays no longer
REWARDS = ("v2", "v1")
MAX_SEED = 2**32 - 2  # of NumPy; ML1 draws its test tasks with the next one


def meta_world_ml1(
    name: str = "reach-v3",
    reward: str = "v2",
    seed: int = 0,
    horizon: int = HORIZON,
    sees: str = "all",
    vectorization: str | None = None,
    num_workers: int | None = None,
    timeout: float | None = None,
) -> HostFamily:
    """ML1 of Meta-World: one class of tasks, such as reach-v3 or pick-place-v3; 50 goals to train on, 50 others to test on.

    - Task: ``environment``, the number of its class among the package's 50, and ``vector`` [6], where the goal is, after where
      the object starts if that belongs to the task, then zeros. Training draws from the benchmark's training tasks and
      evaluation goes through its test tasks, one of every class in turn; no others can be played. ``family.class_of(task)``
      names the class, for which evaluations report success and return apart.
    - Observation: 39 numbers: hand, gripper and objects, now and one step ago, and zeros in the place of the goal. With
      ``sees="hand"`` 8 of them: hand and gripper, now and one step ago.
    - Action: where the hand is to go, [-1, 1] for 1 cm along each axis, and the gripper.
    - Reward: of the version asked for; "v2" lies between 0 and 10. No end before the horizon.
    - Measures: ``success``, at any step.
    - Source: Yu et al. 2019; McLean et al. 2025; the package ``metaworld`` itself plays, in worker processes.

    Args:
        name: the class, any of the 50.
        reward: the version of the reward functions, "v2" or "v1".
        seed: of the benchmark's tasks. Results of different seeds are those of different tasks.
        horizon: steps per episode, up to the benchmark's 500.
        sees: "all" as the benchmark, or "hand" for reaching, where the object has no part: yet its place differs from goal to
            goal, and tells a network the fifty goals it trains on, so that it need not learn to find one.
        vectorization: "threads", robots of one class together in this process, with rewards written anew for whole batches:
            reach-v3, push-v3 and pick-place-v3 with the reward "v2", for which it is what None means; "async", Meta-World's own
            environments in worker processes, what None means elsewhere; "sync", those in this process.
        num_workers: threads or processes; one per CPU if None.
        timeout: seconds for a step of a batch of "async"; see `envs.from_gymnasium`.
    """
    owner = meta_world_ml1.__name__
    benchmark.package(owner)
    one_of(owner, "name", name, benchmark.names())
    return _family(owner, "ML1", name, reward, seed, horizon, sees, vectorization, num_workers, timeout)


def meta_world_ml10(
    reward: str = "v2",
    seed: int = 0,
    horizon: int = HORIZON,
    vectorization: str | None = None,
    num_workers: int | None = None,
    timeout: float | None = None,
) -> HostFamily:
    """ML10 of Meta-World: ten classes of tasks to train on and five others to test on, 50 goals each; see `meta_world_ml1`."""
    return _family(meta_world_ml10.__name__, "ML10", None, reward, seed, horizon, "all", vectorization, num_workers, timeout)


def meta_world_ml45(
    reward: str = "v2",
    seed: int = 0,
    horizon: int = HORIZON,
    vectorization: str = "async",
    num_workers: int | None = None,
    timeout: float | None = None,
) -> HostFamily:
    """ML45 of Meta-World: 45 classes of tasks to train on and five others to test on, 50 goals each; see `meta_world_ml1`."""
    return _family(meta_world_ml45.__name__, "ML45", None, reward, seed, horizon, "all", vectorization, num_workers, timeout)


for _maker in (meta_world_ml1, meta_world_ml10, meta_world_ml45):  # who trains asks what is registered, before it is made
    setattr(_maker, "training_settings", training.META_WORLD)  # noqa: B010 - a function's, which mypy does not know


def _family(
    owner: str,
    which: str,
    name: str | None,
    reward: str,
    seed: int,
    horizon: int,
    sees: str,
    vectorization: str | None,
    num_workers: int | None,
    timeout: float | None,
) -> HostFamily:
    one_of(owner, "reward", reward, REWARDS)
    one_of(owner, "sees", sees, tuple(SEES))
    if whole_number(owner, "seed", seed, 0) > MAX_SEED:
        raise ValueError(f"{owner}: seed is {seed}, but must be at most {MAX_SEED}.")
    if whole_number(owner, "horizon", horizon, 1) > HORIZON:
        raise ValueError(f"{owner}: horizon is {horizon}, but Meta-World's episodes have at most {HORIZON} steps.")
    together = name in BATCHED and reward == "v2"
    vectorization = ("threads" if together else "async") if vectorization is None else vectorization
    in_threads = vectorization == "threads"
    if in_threads:
        if not together:
            raise ValueError(
                f"{owner}: vectorization is 'threads', but only {', '.join(BATCHED)} of ML1 with the reward 'v2' are written "
                "for it; take 'async'."
            )
        if timeout is not None:
            raise ValueError(f"{owner}: timeout is {timeout!r}, but 'threads' have none; leave it out.")
        threads = num_processors() if num_workers is None else whole_number(owner, "num_workers", num_workers, 1)
    benchmark.package(owner)
    train, test = benchmark.lists(which, name, seed)
    test = benchmark.in_turn(test)
    both = benchmark.Tasks(*(np.concatenate(pair) for pair in zip(train, test, strict=True)))
    low, high = (find(both.vector.astype(np.float32), axis=0) for find in (np.min, np.max))
    first, last = int(both.environment.min()), int(both.environment.max())
    to_train, held_out = _tasks(train), _tasks(test)
    family = from_gymnasium(
        MetaWorldEnv,
        task_space={"environment": Discrete(last - first + 1, start=first), "vector": Box(low, high)},
        apply_task="set_task",
        horizon=horizon,
        env_options={"names": benchmark.names(), "reward": reward, "tasks": both, "sees": sees},
        vectorization="sync" if in_threads else vectorization,
        num_workers=None if in_threads else num_workers,
        timeout=timeout,
        measures={"success": "any"},
        first_task=to_train[0],
    )
    if in_threads and name is not None:
        recipe, record = family.pool.recipe, action_record(family.action_space, horizon)
        family.pool = Pool(recipe, record, functools.partial(Robots, recipe, name, both, threads, sees))
    listed = with_tasks(family, to_train, held_out)
    listed.class_of = functools.partial(_class_of, benchmark.names())
    listed.training_settings = training.META_WORLD
    return listed


def _class_of(names: tuple[str, ...], task: Any) -> str:
    return names[int(task["environment"])]


def _tasks(tasks: benchmark.Tasks) -> list[dict[str, np.ndarray]]:
    rows = zip(tasks.environment, tasks.vector.astype(np.float32), strict=True)
    return [{"environment": environment, "vector": vector} for environment, vector in rows]
