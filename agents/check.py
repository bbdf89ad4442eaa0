"""`check_agent`: what every agent must do, ours and a user's own. A test is one line of it."""

import threading
from collections.abc import Callable
from typing import Any, NamedTuple

import chex
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from agents.agent import Agent, Kind, check_declaration, hyperparameters
from agents.build import make, name_of
from agents.registration import find
from metarl.interfaces import MetaState

METRICS = ("meta/pre", "meta/post", "meta/gain", "meta/hurt", "inner/step_0", "outer/loss", "time/env_steps")
GROUPS = ("meta/", "inner/", "outer/", "policy/", "baseline/")  # and the agent's own, such as implicit/
ACTING = ("policy/entropy", "policy/kl", "baseline/explained_variance_pre", "baseline/explained_variance_post")
STEPS = (0, 1, 4)  # that an agent is adapted for
ITERATIONS = {"reinforcement": 80, "regression": 600}  # in which it must have learned the probe
SETTINGS: dict[Kind, dict[str, Any]] = {
    "reinforcement": {"num_tasks": 10, "num_episodes": 20, "gamma": 0.9, "hidden_sizes": (16,)},
    "regression": {"num_tasks": 5, "num_shots": 10, "hidden_sizes": (20,)},
}
OUTER_LR = {"reinforcement": 0.01, "regression": 0.003}
INNER_LR = {"reinforcement": 0.03, "regression": 0.01}


class Target(NamedTuple):
    """The task of `Guess`."""

    value: jax.Array


class Guess:
    """The probe in reinforcement learning: two steps, each an action that should equal a hidden number, +1 or -1.

    The reward is minus the squared error. Every step taken is counted on the host.
    """

    observation_space = Box(0.0, 1.0, (1,), np.float32)
    action_space = Box(-3.0, 3.0, (1,), np.float32)
    horizon = 2

    def __init__(self) -> None:
        """No step taken yet."""
        self.steps_taken, self.count = 0, True
        self._lock = threading.Lock()

    def sample_task(self, key: jax.Array) -> Target:
        """+1 or -1."""
        return Target(jnp.where(jax.random.bernoulli(key), 1.0, -1.0))

    def initial(self, rng: jax.Array, params: Target) -> jax.Array:
        """Steps taken: none."""
        return jnp.float32(0.0)

    def transition(self, state: jax.Array, action: jax.Array, rng: jax.Array, params: Target) -> jax.Array:
        """Count, here and on the host, which is called once for a whole batch of actions."""
        if not self.count:
            return state + 1.0
        return state + jax.pure_callback(
            self._count, jax.ShapeDtypeStruct((), jnp.float32), action, vmap_method="broadcast_all"
        )

    def observation(self, state: jax.Array, rng: jax.Array, params: Target) -> jax.Array:
        """Always the same."""
        return jnp.ones(1, jnp.float32)

    def reward(self, state: jax.Array, action: jax.Array, next_state: jax.Array, rng: jax.Array, params: Target) -> jax.Array:
        """Minus the squared error."""
        return -jnp.sum((action - params.value) ** 2)

    def terminal(self, state: jax.Array, rng: jax.Array, params: Target) -> jax.Array:
        """Never."""
        return state > 100

    def _count(self, action: np.ndarray) -> np.ndarray:
        one = np.ones(np.shape(action)[:-1], np.float32)
        with self._lock:
            self.steps_taken += one.size
        return one


class Slope(NamedTuple):
    """The task of `lines`."""

    value: jax.Array


class Lines(NamedTuple):
    """The probe in regression: lines through (0, 3), of a slope between 1 and 3 or its negative."""

    sample_task: Callable[[jax.Array], Slope]
    sample: Callable[[Slope, jax.Array, int], tuple[jax.Array, jax.Array]]


def lines() -> Lines:
    """Lines that share a point, which any training finds, and differ in slope; x is in [-2, 2]."""

    def sample_task(key):
        key_size, key_sign = jax.random.split(key)
        size = jax.random.uniform(key_size, minval=1.0, maxval=3.0)
        return Slope(jnp.where(jax.random.bernoulli(key_sign), size, -size))

    def sample(task, key, num_points):
        x = jax.random.uniform(key, (num_points, 1), minval=-2.0, maxval=2.0)
        return x, task.value * x + 3.0

    return Lines(sample_task, sample)


def check_agent(
    agent: str | Agent, kind: Kind | None = None, *, learns_by: float = 0.1, iterations: int | None = None, **settings: Any
) -> None:
    """Build an agent on a small probe and check all that commands and comparisons rely on.

    It is traced once; its state is a `MetaState` that keeps its shapes; metrics are finite scalars under the fixed names; it
    reports the environment steps that it really takes; training moves every parameter array; it adapts for 0, 1 and 4 steps,
    and says how much of the task it used; stopped and resumed it goes on as if nothing had been; and it learns the probe.

    Args:
        agent: a name, ``module:name``, or a declaration.
        kind: of world, "reinforcement" or "regression"; all that the agent serves if None.
        learns_by: how much better its score after adaptation must become, in units of the probe's score, of which an untrained
            agent has about -4 in reinforcement learning and -15 in regression.
        iterations: meta-iterations to learn it in; 80, and 600 in regression, if None.
        **settings: of the agent or the world, where the agent needs others than the check's.

    Raises:
        ValueError: one line that says what is wrong, with the agent and the value.

    >>> check_agent("maml", "regression", iterations=200)
    """
    declared = find(agent) if isinstance(agent, str) else agent
    check_declaration(name_of(agent), declared)
    for each in declared.serves if kind is None else (kind,):
        _Check(agent, declared, each, settings).run(learns_by, ITERATIONS[each] if iterations is None else iterations)


class _Check:
    """One agent in one kind of world."""

    def __init__(self, agent: str | Agent, declared: Agent, kind: Kind, settings: dict[str, Any]):
        self.name, self.declared, self.kind = f"{name_of(agent)} ({kind})", declared, kind
        own = hyperparameters(declared, kind)
        usual = SETTINGS[kind] | {"inner_lr": INNER_LR[kind], "outer_lr": OUTER_LR[kind]}
        if "inner_lr" not in own or own["inner_lr"].default != 0.1:  # it knows better
            del usual["inner_lr"]
        if "optimizer" not in declared.uses:
            del usual["outer_lr"]
        self.settings = usual | {"num_iterations": ITERATIONS[kind]} | settings
        self.family: Any = Guess() if kind == "reinforcement" else lines()
        self.learner = make(agent, self.family, **self.settings)
        self.key = jax.random.key(0)

    def run(self, learns_by: float, iterations: int) -> None:
        """All checks; cheap ones first."""
        start, states, metrics = self.three_iterations()
        self.metrics(metrics)
        self.parameters(start, states[-1])
        self.budget(metrics)
        self.resumes(states)
        self.adapts(states[-1])
        if self.declared.learns:
            self.learning(learns_by, iterations)

    def fail(self, what: str) -> None:
        """In one line."""
        raise ValueError(f"{self.name}: {what}")

    def three_iterations(self) -> tuple[MetaState, list[MetaState], list[dict[str, Any]]]:
        """The state at the start and after each iteration, and the metrics of each; compiled once."""
        chex.clear_trace_counter()
        self.step = jax.jit(chex.assert_max_traces(self.learner.step, n=1))
        start = state = jax.jit(self.learner.init)(self.key)
        if not isinstance(start, MetaState):
            self.fail(f"init gives a {type(start).__name__}, but a state must be a metarl MetaState.")
        states, metrics = [], []
        for i in range(3):
            try:
                state, found = self.step(state, jax.random.key(i))
            except AssertionError:
                self.fail("step is traced again for a state that it gave itself: shapes or types of its state change.")
            if jax.tree.structure(state) != jax.tree.structure(start):  # type: ignore[operator]
                self.fail("step gives a state of another structure than init.")
            states.append(state)
            metrics.append(found)
        return start, states, metrics

    def metrics(self, metrics: list[dict[str, Any]]) -> None:
        """Finite scalars under the fixed names."""
        needed = METRICS + (ACTING if self.kind == "reinforcement" else ())
        for found in metrics:
            missing = [name for name in needed if name not in found]
            if missing:
                self.fail(f"metrics lack {missing[0]!r}; there are {', '.join(sorted(found))}.")
            for name, value in found.items():
                if np.shape(value) != ():
                    self.fail(f"the metric {name!r} has shape {np.shape(value)}, but must be a scalar.")
                if not np.isfinite(value):
                    self.fail(f"the metric {name!r} is {value}.")
                if "/" not in name:
                    self.fail(f"the metric {name!r} has no group, such as outer/{name}.")
            gain = found["meta/post"] - found["meta/pre"]
            if not np.isclose(found["meta/gain"], gain, atol=1e-4):
                self.fail(f"meta/gain is {found['meta/gain']}, but meta/post - meta/pre is {gain}.")

    def parameters(self, start: MetaState, end: MetaState) -> None:
        """Training moves every array of theta; of an agent that does not learn, none."""
        moved = jax.tree.map(lambda a, b: float(np.abs(np.asarray(a) - np.asarray(b)).max()), start.theta, end.theta)
        for path, largest in jax.tree_util.tree_leaves_with_path(moved):
            if (largest > 0) != self.declared.learns:
                what = "does not move" if self.declared.learns else "moves, although the agent does not learn"
                self.fail(f"theta{jax.tree_util.keystr(path)} {what} in three iterations.")
        if int(end.iteration) != 3:
            self.fail(f"the state counts {int(end.iteration)} iterations after three.")

    def budget(self, metrics: list[dict[str, Any]]) -> None:
        """The environment steps it says are those it takes."""
        said = int(metrics[0]["time/env_steps"])
        if self.kind == "regression":
            if said <= 0:
                self.fail(f"time/env_steps is {said}, but examples were drawn.")
            return
        jax.block_until_ready(metrics)
        taken = self.family.steps_taken
        if taken != sum(int(found["time/env_steps"]) for found in metrics):
            self.fail(f"time/env_steps says {said} per iteration, but three iterations took {taken} steps.")

    def resumes(self, states: list[MetaState]) -> None:
        """What goes through NumPy arrays in the shapes that init has goes on as if it had not been stopped."""
        like = jax.eval_shape(self.learner.init, self.key)
        stored = jax.tree.map(lambda leaf, shape: np.asarray(leaf).reshape(shape.shape).astype(shape.dtype), states[1], like)
        again, _ = self.step(jax.tree.map(jnp.asarray, stored), jax.random.key(2))
        for path, (a, b) in _pairs(again, states[2]):
            if not np.array_equal(a, b):
                self.fail(f"resumed after two iterations, {path} is another after the third.")

    def adapts(self, state: MetaState) -> None:
        """For 0, 1 and 4 steps, with a curve of as many scores and of what was used by then."""
        task = self.family.sample_task(jax.random.key(5))
        adapt = jax.jit(self.learner.adapt, static_argnums=3)
        for num_steps in STEPS:
            curve = adapt(state, task, jax.random.key(6), num_steps)
            for name in ("score", "used"):
                found = np.asarray(getattr(curve, name))
                if found.shape != (num_steps + 1,) or not np.all(np.isfinite(found)):
                    self.fail(
                        f"adapted for {num_steps} steps, the curve's {name} is {found}, but must be {num_steps + 1} numbers."
                    )
            if self.kind == "reinforcement" and np.shape(curve.greedy_score) != (num_steps + 1,):
                self.fail(f"adapted for {num_steps} steps, greedy_score is {curve.greedy_score}.")
            used = np.asarray(curve.used)
            if used[0] != 0 or np.any(np.diff(used) < 0) or not np.issubdtype(used.dtype, np.integer):
                self.fail(
                    f"adapted for {num_steps} steps, used is {used}, but must be whole numbers from 0 on that do not fall."
                )
            if (self.declared.adapts_by == "nothing") != (used[-1] == 0) and num_steps:
                self.fail(f"it adapts by {self.declared.adapts_by}, but used is {used}.")
            for path, leaf in jax.tree_util.tree_leaves_with_path(curve.path):
                if leaf.shape[:1] != (num_steps + 1,):
                    self.fail(f"path{jax.tree_util.keystr(path)} has shape {leaf.shape}, but must have {num_steps + 1} rows.")

    def learning(self, learns_by: float, iterations: int) -> None:
        """Its score after adaptation rises on the probe."""
        # Counting on the host would take most of the time.
        if self.kind == "reinforcement":
            self.family.count = False

        def train(key):
            state = self.learner.init(key)
            _, metrics = jax.lax.scan(self.learner.step, state, jax.random.split(jax.random.key(1), iterations))
            return metrics["meta/post"]

        scores = np.asarray(jax.jit(train)(self.key))
        begin, end = float(np.mean(scores[:3])), float(np.mean(scores[-max(iterations // 10, 1) :]))
        if not end >= begin + learns_by:
            self.fail(f"after {iterations} iterations on the probe its score is {end:.3f}, at first it was {begin:.3f}.")


def _pairs(first: Any, second: Any) -> list[tuple[str, tuple[Any, Any]]]:
    leaves = jax.tree_util.tree_leaves_with_path(first)
    return [
        (jax.tree_util.keystr(path), (np.asarray(leaf), np.asarray(other)))
        for (path, leaf), other in zip(leaves, jax.tree.leaves(second), strict=True)
    ]
