"""`check_agent`: what every agent must do, ours and a user's own. A test is one line of it."""

import itertools
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
import numpy as np
import optax

from agents.agent import KINDS, Agent, Kind, hyperparameters
from agents.build import declaration, make, name_of
from agents.probes import Counter, Guess, lines, sides
from metarl import rules
from metarl.interfaces import Acting, AdaptationCurve, MetaLearner, MetaState, Trajectory
from metarl.surrogates import loaded_dice

METRICS = ("meta/pre", "meta/post", "meta/gain", "meta/hurt", "inner/step_0", "outer/loss", "time/env_steps")
ACTING = ("policy/entropy", "policy/kl", "baseline/explained_variance_pre", "baseline/explained_variance_post")
STEPS = 4  # that an agent is adapted for; fewer are looked at, but not computed
# In which it must have learned the probe.
ITERATIONS: dict[Kind, int] = {"reinforcement": 80, "regression": 600, "classification": 600}
SETTINGS: dict[Kind, dict[str, Any]] = {
    "reinforcement": {"num_tasks": 10, "num_episodes": 20, "gamma": 0.9, "hidden_sizes": (16,)},
    "regression": {"num_tasks": 5, "num_shots": 10, "hidden_sizes": (20,)},
    "classification": {"num_tasks": 5, "num_shots": 10, "hidden_sizes": (20,)},
}
OUTER_LR: dict[Kind, float] = {"reinforcement": 0.01, "regression": 0.003, "classification": 0.01}
INNER_LR: dict[Kind, float] = {"reinforcement": 0.03, "regression": 0.01, "classification": 0.3}
PROBES: dict[Kind, Callable[[Counter], Any]] = {"reinforcement": Guess, "regression": lines, "classification": sides}


def check_agent(
    agent: str | Agent, kind: Kind | None = None, *, learns_by: float = 0.1, iterations: int | None = None, **settings: Any
) -> None:
    """Build an agent on a small probe and check all that commands and comparisons rely on.

    Its declaration is sound, and the parts that it says it uses are used. Its state is a `MetaState` that keeps its shapes and
    holds all there is to remember, so that training resumes exactly. Metrics are finite scalars under the fixed names, and
    ``time/env_steps`` counts what was really drawn. Training moves every array of theta. It adapts for 0, 1 and 4 steps and
    says how much of the task it used by then. Stepped by hand it acts as it did in the sampler. And it learns the probe: its
    score after adaptation rises, on the same tasks.

    Args:
        agent: a name, ``module:name``, or a declaration.
        kind: of world, "reinforcement", "regression" or "classification"; all that the agent serves if None.
        learns_by: by how much the score must rise, in units of the probe's score: an untrained agent has about -4 in
            reinforcement learning, -15 in regression and -1.1 in classification.
        iterations: meta-iterations to learn it in; 80, and 600 in supervised learning, if None.
        **settings: of `agents.make`, where the agent needs others than the check's.

    Raises:
        ValueError: in one line, the agent and what is wrong with it.

    >>> check_agent("maml", "regression", iterations=200)
    """
    declared = declaration(agent)
    if kind is not None and kind not in KINDS:
        raise ValueError(f"check_agent: kind is {kind!r}; known: {', '.join(KINDS)}.")
    for each in declared.serves if kind is None else (kind,):
        Check(agent, each, ITERATIONS[each] if iterations is None else iterations, settings).run(learns_by)


class Check:
    """`check_agent` in one kind of world, for who wants to look at what was seen.

    Attributes:
        learner: the agent on the probe.
        end: its state after three iterations.
        found: the metrics of each of them.
        scores: after adaptation, in every iteration in which it was to learn the probe; the last ones repeat the first tasks.
    """

    end: MetaState
    found: list[dict[str, Any]]
    scores: np.ndarray

    def __init__(self, agent: str | Agent, kind: Kind, iterations: int, settings: dict[str, Any]):
        """Build it."""
        self.agent, self.declared, self.kind, self.iterations = agent, declaration(agent), kind, iterations
        self.name = f"{name_of(agent)} ({kind})"
        own = hyperparameters(self.declared, kind)
        usual = SETTINGS[kind] | {"inner_lr": INNER_LR[kind], "outer_lr": OUTER_LR[kind]}
        if "inner_lr" not in own or own["inner_lr"].default != 0.1 or "inner_rule" in settings:  # it knows better
            del usual["inner_lr"]
        if "optimizer" not in self.declared.uses or "optimizer" in settings:
            del usual["outer_lr"]
        self.settings = usual | {"num_iterations": iterations} | settings
        self.counter = Counter()
        self.family: Any = PROBES[kind](self.counter)
        self.learner = make(agent, self.family, **self.settings)
        if not isinstance(self.learner, MetaLearner):
            self.fail(f"it made a {type(self.learner).__name__}, but must make a metarl MetaLearner.")
        self.key, self.keys = jax.random.key(0), jax.random.split(jax.random.key(1), iterations + 3)

    def run(self, learns_by: float) -> None:
        """All checks; cheap ones first."""
        self.uses()
        start, states, self.found = self.three_iterations()
        self.end = states[-1]
        self.metrics(self.found)
        self.parameters(start, self.end)
        self.budget(self.found)
        self.resumes(states)
        self.counter.counting = False  # which takes time
        self.acts(self.end, self.adapts(self.end))
        if self.declared.learns:
            self.learning(learns_by, [float(metrics["meta/post"]) for metrics in self.found])

    def fail(self, what: str) -> NoReturn:
        """In one line."""
        raise ValueError(f"{self.name}: {' '.join(what.split())}")

    def uses(self) -> None:
        """Parts of training that it says it uses are asked for something, in ``init`` or to adapt. Nothing is computed."""
        asked: set[str] = set()

        def noted(part, function):
            def note(*args):
                asked.add(part)
                return function(*args)

            return note

        rule, adam = rules.sgd(INNER_LR[self.kind]), optax.adam(OUTER_LR[self.kind])
        parts: dict[str, Any] = {
            "optimizer": optax.GradientTransformation(noted("optimizer", adam.init), adam.update),
            "inner_rule": rule._replace(step=noted("inner_rule", rule.step)),
            "inner_surrogate": noted("inner_surrogate", loaded_dice()),
        }
        # What cannot be seen: remat changes no value; regression has no surrogate.
        seen = {part for part in self.declared.uses if part in parts} - ({"inner_surrogate"} - {self._surrogate()})
        replaced = {"optimizer": "outer_lr", "inner_rule": "inner_lr", "inner_surrogate": "dice_lambda"}
        settings = {name: value for name, value in self.settings.items() if name not in {replaced[part] for part in seen}}
        learner = make(self.agent, self.family, **settings | {part: parts[part] for part in seen})
        state = jax.eval_shape(learner.init, self.key)
        if seen - {"optimizer"}:
            task = self.family.sample_task(self.key)
            jax.eval_shape(lambda state: learner.adapt(state, task, self.key, 1), state)
        for part in sorted(seen - asked):
            self.fail(f"it is declared to use {part}, but asks nothing of a given one; leave it out of uses.")

    def _surrogate(self) -> str:
        return "inner_surrogate" if self.kind == "reinforcement" else ""

    def three_iterations(self) -> tuple[MetaState, list[MetaState], list[dict[str, Any]]]:
        """The state at the start and after each iteration, and the metrics of each; compiled once."""
        self.step = jax.jit(self.learner.step)
        start = state = jax.jit(self.learner.init)(self.key)
        if not isinstance(start, MetaState):
            self.fail(f"init gives a {type(start).__name__}, but a state must be a metarl MetaState.")
        if (np.shape(start.iteration), start.iteration.dtype) != ((), np.int32) or start.iteration != 0:
            self.fail(f"init counts {_shown(start.iteration)} iterations, {start.iteration}, but must begin with an int32 0.")
        self.counter.total = 0
        states, metrics = [], []
        for i in range(3):
            result = self.step(state, self.keys[i])
            if not (isinstance(result, tuple) and len(result) == 2 and isinstance(result[1], dict)):
                self.fail(f"step gives a {type(result).__name__}, but must give a state and a dictionary of metrics.")
            state, found = result
            if jax.tree.structure(state) != jax.tree.structure(start):  # type: ignore[operator]
                self.fail("step gives a state of another structure than init, so that training cannot go on from it.")
            for path, (before, after) in _pairs(start, state):
                if _shown(before) != _shown(after):
                    self.fail(f"state{path} is {_shown(before)} after init, but {_shown(after)} after a step.")
            states.append(state)
            metrics.append(found)
        jax.block_until_ready(metrics)
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
            before, after = found["meta/pre"], found["meta/post"]
            for name, expected, of in (
                ("meta/gain", after - before, "meta/post - meta/pre"),
                ("inner/step_0", before, "meta/pre"),
                ("meta/hurt", np.clip(found["meta/hurt"], 0, 1), "a share of tasks"),
            ):
                if not np.isclose(found[name], expected, rtol=1e-4, atol=1e-4):
                    self.fail(f"{name} is {found[name]}, but must be {of}: {expected}.")

    def parameters(self, start: MetaState, end: MetaState) -> None:
        """Training moves every array of theta, and of an agent that does not learn none."""
        if not jax.tree.leaves(start.theta):
            self.fail("theta has no arrays, so there is nothing to train.")
        for path, (before, after) in _pairs(start.theta, end.theta):
            if not np.all(np.isfinite(after)):
                self.fail(f"theta{path} is no longer finite after three iterations.")
            if np.any(before != after) != self.declared.learns:
                what = "does not move" if self.declared.learns else "moves, although the agent is declared not to learn,"
                self.fail(f"theta{path} {what} in three iterations.")
        if int(end.iteration) != 3:
            self.fail(f"the state counts {int(end.iteration)} iterations after three.")

    def budget(self, metrics: list[dict[str, Any]]) -> None:
        """The steps, or examples, that it says it draws are those that it draws."""
        said = [found["time/env_steps"] for found in metrics]
        if not np.issubdtype(said[0].dtype, np.integer):
            self.fail(f"time/env_steps is {said[0].dtype}, but must be a whole number, as large ones are rounded.")
        if sum(map(int, said)) != self.counter.total:
            what = "environment steps" if self.kind == "reinforcement" else "examples"
            taken = f"three iterations drew {self.counter.total} {what}"
            self.fail(f"time/env_steps says {' + '.join(str(int(one)) for one in said)}, but {taken}.")

    def resumes(self, states: list[MetaState]) -> None:
        """What goes through NumPy arrays in the shapes that init has goes on as if it had not been stopped."""
        like = jax.eval_shape(self.learner.init, self.key)
        stored = jax.tree.map(lambda leaf, shape: np.asarray(leaf).reshape(shape.shape).astype(shape.dtype), states[1], like)
        again, _ = self.step(jax.tree.map(jnp.asarray, stored), self.keys[2])
        for path, (one, other) in _pairs(states[2], again):
            if not np.array_equal(one, other):
                self.fail(f"resumed after two iterations, state{path} is another after the third; keep all in the state.")

    def adapts(self, state: MetaState) -> AdaptationCurve:
        """For 4 steps, and for fewer, of which it suffices to know the shapes."""
        task, key = self.family.sample_task(jax.random.key(5)), jax.random.key(6)
        for num_steps in (0, 1):
            self.shapes(jax.eval_shape(partial(self._adapt, num_steps), state, task, key), task, num_steps)
        curve = jax.jit(partial(self._adapt, STEPS))(state, task, key)
        self.shapes(curve, task, STEPS)
        for name in ("score", "used", "greedy_score"):
            found = getattr(curve, name)
            if found is not None and not np.all(np.isfinite(found)):
                self.fail(f"adapted for {STEPS} steps, the curve's {name} is {found}.")
        used, by = np.asarray(curve.used), self.declared.adapts_by
        if used[0] != 0 or np.any(np.diff(used) < 0) or not np.issubdtype(used.dtype, np.integer):
            self.fail(f"used is {used}, but must be whole numbers from 0 on that do not fall.")
        fresh = by == "memory" or (by == "gradient" and self.kind == "reinforcement")
        expected = {True: by != "nothing", False: fresh}  # whether the first, or a later, step uses more
        if any((after > before) != expected[k == 0] for k, (before, after) in enumerate(itertools.pairwise(used))):
            self.fail(f"used is {used}, but it is declared to adapt by {by}.")
        return curve

    def acts(self, state: MetaState, curve: AdaptationCurve) -> None:
        """One step at a time it does what it did in the first episode after its last adaptation step."""
        if self.kind != "reinforcement":
            return
        acting, trajectory = self.learner.acting, getattr(curve.experience.query, "trajectory", None)
        if not isinstance(trajectory, Trajectory):
            self.fail(
                f"the query batch of its curve has {type(trajectory).__name__} as trajectory, but must have the metarl "
                "Trajectory [N, T, ...] that it played."
            )
        if not isinstance(acting, Acting):
            self.fail(f"its acting is {acting!r}, but must be a metarl Acting; agents.parts.acting makes one.")
        remembers = self.declared.adapts_by == "memory"
        if acting.remembers != remembers or (acting.learn is None) != (self.declared.adapts_by == "nothing"):
            self.fail(
                f"it is declared to adapt by {self.declared.adapts_by}, but its acting.remembers or .learn says otherwise."
            )

        def step(params, memory, recorded):
            memory, parameters = acting.respond(params, memory, recorded.observation)
            return acting.observe(memory, recorded.action, recorded.reward, recorded.terminated), parameters

        @jax.jit
        def replay(path, episode):
            params, memory = acting.after(path, jnp.asarray(STEPS))
            steps = episode._replace(last_observation=episode.mask, key=None)  # which have no time axis
            return jax.lax.scan(partial(step, params), acting.reset(memory), steps)[1]

        episode = jax.tree.map(lambda leaf: leaf[0], trajectory)
        for path, (before, after) in _pairs(episode.distribution, replay(curve.path, episode)):
            mask = episode.mask.reshape(-1, *[1] * (before.ndim - 1))
            if not np.allclose(mask * before, mask * after, rtol=1e-4, atol=1e-4):
                self.fail(
                    f"stepped by hand, the distribution{path} is {after[0]}, where it was {before[0]} when it was adapted."
                )

    def _adapt(self, num_steps: int, state: MetaState, task: Any, key: jax.Array) -> Any:
        return self.learner.adapt(state, task, key, num_steps)

    def shapes(self, curve: Any, task: Any, num_steps: int) -> None:
        """A curve has as many scores, parameters and predictions as there were steps, and the start."""
        when, count = f"adapted for {num_steps} steps,", num_steps + 1
        if not isinstance(curve, AdaptationCurve):
            self.fail(f"adapt gives a {type(curve).__name__}, but must give a metarl AdaptationCurve.")
        for name in ("score", "used", "greedy_score") if self.kind == "reinforcement" else ("score", "used"):
            if np.shape(getattr(curve, name)) != (count,):
                self.fail(f"{when} {name} has shape {np.shape(getattr(curve, name))}, but must be {count} numbers.")
        num_inputs = 2 if self.kind == "classification" else 1
        predicted = jax.eval_shape(self.learner.predict, curve.path, task, jnp.ones((3, num_inputs)))
        rows = (
            ("path", curve.path, count),
            ("the prediction", predicted, count),
            ("support", curve.experience.support, num_steps),
        )
        for what, tree, number in rows:
            for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
                if leaf.shape[:1] != (number,):
                    self.fail(f"{when} {what}{jax.tree_util.keystr(path)} has shape {leaf.shape}, but must have {number} rows.")

    def learning(self, learns_by: float, known: list[float]) -> None:
        """Its score after adaptation rises on the probe: compared on the same tasks, which the last iterations draw again.

        The agent is made anew; so it must do at first what it did before.
        """
        learner = make(self.agent, self.family, **self.settings)
        some = max(self.iterations // 10, 1)
        keys = jnp.concatenate([self.keys[: self.iterations], self.keys[:some]])

        def train(key):
            _, metrics = jax.lax.scan(learner.step, learner.init(key), keys)
            return metrics["meta/post"]

        self.scores = scores = np.asarray(jax.jit(train)(self.key))
        same = slice(min(len(known), self.iterations))
        if not np.allclose(scores[same], known[same], rtol=0.02, atol=0.02):
            now, then = np.round(scores[same], 3), np.round(np.array(known)[same], 3)
            self.fail(f"made anew, it scores {now} in its first iterations, not {then} as before.")
        # The median, since adaptation may blow up on a batch now and then.
        rise = float(np.median(scores[-some:] - scores[:some]))
        if not rise >= learns_by:
            trained = f"in {self.iterations} iterations on the probe its score rises by {rise:.3f}"
            self.fail(f"{trained}, from {np.median(scores[:some]):.3f}, but must by {learns_by}.")


def _pairs(first: Any, second: Any) -> list[tuple[str, tuple[Any, Any]]]:
    """Leaves of two trees of one structure, by where they are."""
    leaves = jax.tree_util.tree_leaves_with_path(first)
    return [
        (jax.tree_util.keystr(path), (leaf, other)) for (path, leaf), other in zip(leaves, jax.tree.leaves(second), strict=True)
    ]


def _shown(leaf: Any) -> str:
    """Type and shape, as far as a compiled program depends on them."""
    return f"{'weak ' if leaf.weak_type else ''}{leaf.dtype}[{','.join(map(str, leaf.shape))}]"
