"""Whether the first meta-iteration is the same on the accelerator as on the processor beside it."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from experiments.benchmark import workloads
from experiments.benchmark.gpu.forms import NAVIGATION, cheetah
from experiments.benchmark.gpu.records import record, tried, while_there_is_time, within
from experiments.benchmark.precision import gradient_errors
from metarl.interfaces import MetaLearner

ALLOWED = 1e-4


def learners(quick: bool) -> dict[str, Callable[[], MetaLearner]]:
    """What is compared: each kind of outer step, regression and a robot."""
    size: dict[str, Any] = {"num_tasks": 2, "num_episodes": 3, "horizon": 6, "hidden_sizes": (8,)}
    if not quick:
        size = {"num_tasks": 20, "num_episodes": 20, "horizon": 100}
    size["devices"] = 1  # tasks that are spread over several accelerators stay there, wherever the rest is
    few: dict[str, Any] = {"num_tasks": 2, "hidden_sizes": (8,)} if quick else {}
    found: dict[str, Callable[[], MetaLearner]] = {
        agent: functools.partial(_of_agent, agent, size) for agent in ("maml", "promp", "maml-trpo", "rl2")
    }
    found["sinusoid"] = lambda: workloads.supervised("sinusoid", **few).learner
    found["half-cheetah"] = lambda: cheetah(quick, num_tasks=2, num_episodes=4, horizon=5, devices=1).learner
    return found


def _of_agent(agent: str, size: dict[str, Any]) -> MetaLearner:
    return workloads.of_agent(agent, NAVIGATION, agent, **size).learner


def agreement(out: Path, seconds: float, quick: bool) -> None:
    """Compare, with products in full float32, and write ``out``.

    Robots' steps grow rounding: theirs is compared over five steps.
    """
    deadline = within(seconds)
    device, reference = jax.devices()[0], jax.devices("cpu")[0]
    found: dict[str, Any] = {"device": device.device_kind, "reference": "cpu", "allowed": ALLOWED, "agents": {}}
    found["same_device"] = device.platform == "cpu"
    for name, make in while_there_is_time(learners(quick).items(), deadline, found):
        found["agents"][name] = tried(functools.partial(of_both, make, device, reference))
        record(out, found)
    sizes = (2, 3, 6, (8,)) if quick else (4, 20, 100, (100, 100))
    if deadline.left() > 0:
        found["meta_gradient_against_float64"] = gradient_errors(*sizes)
        record(out, found)


def of_both(make: Callable[[], MetaLearner], device: Any, reference: Any) -> dict[str, Any]:
    """`compared` after the first meta-iteration on each of two devices."""
    with jax.default_matmul_precision("highest"):
        learner = make()
        return compared(*(first_iteration(learner, place) for place in (device, reference)))


def first_iteration(learner: MetaLearner, device: Any) -> Any:
    """The state and the metrics after one meta-iteration on a device, from the same keys."""
    with jax.default_device(device):
        state = jax.jit(learner.init)(jax.random.key(0))
        return jax.device_get(jax.jit(learner.step)(state, jax.random.key(1)))


def compared(ours: Any, theirs: Any) -> dict[str, Any]:
    """The largest difference of a leaf, relative to its own size, of the state and of metrics, and whether it is small."""
    error = {
        part: max((_error(a, b) for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True)), default=0.0)
        for part, one, other in (("state", _numbers(ours[0]), _numbers(theirs[0])), ("metrics", ours[1], theirs[1]))
    }
    return error | {"kept": bool(max(error.values()) <= ALLOWED)}


def _numbers(state: Any) -> Any:
    """A state's leaves but its random keys."""
    return [leaf for leaf in jax.tree.leaves(state) if not jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key)]


def _error(ours: Any, theirs: Any) -> float:
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    if not np.array_equal(np.isfinite(ours), np.isfinite(theirs)):
        return float("inf")
    finite = np.isfinite(theirs)
    size = max(float(np.max(np.abs(theirs), where=finite, initial=0.0)), 1e-3)
    return float(np.max(np.abs(ours - theirs), where=finite, initial=0.0)) / size
