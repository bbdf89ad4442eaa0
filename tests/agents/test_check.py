"""`check_agent` passes a small sound agent and refuses it, in one line, once anything about it is broken."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
from agents.agent import Agent, NoHyperparameters
from agents.check import check_agent
from metarl.interfaces import AdaptationCurve, Experience, MetaLearner, MetaState

RATE, HEAD = 0.05, {"w": jnp.float32(0.0), "b": jnp.float32(0.0)}


def sound(world, training, own):
    """Straight lines: trained on all tasks at once, then some steps on one batch."""
    problem, num_tasks = world.make_problem(world.make_network(0)), training.num_tasks

    def loss(theta, batch):
        return jnp.mean((theta["w"] * batch[0] + theta["b"] - batch[1]) ** 2)

    def moved(theta, batch):
        return jax.tree.map(lambda p, g: p - RATE * g, theta, jax.grad(loss)(theta, batch))

    def init(key):
        return MetaState(HEAD, (), jnp.zeros((), jnp.int32))

    def step(state, key):
        tasks = jax.vmap(world.sample_task)(jax.random.split(key, num_tasks))
        x, y = jax.vmap(problem.sample_batch, (None, 0, 0))((), tasks, jax.random.split(key, num_tasks))
        losses = jax.vmap(loss, (None, 0))(state.theta, (x, y))
        score = -jnp.mean(losses)
        metrics = {name: score for name in ("meta/pre", "meta/post", "inner/step_0")}
        metrics |= {"meta/gain": jnp.zeros(()), "meta/hurt": jnp.zeros(()), "outer/loss": -score}
        metrics["time/env_steps"] = jnp.asarray(x.shape[0] * x.shape[1])
        theta = moved(state.theta, (x.reshape(-1, 1), y.reshape(-1, 1)))
        return MetaState(theta, (), state.iteration + 1), metrics

    def adapt(state, task, key, num_steps):
        support, query = (problem.sample_batch((), task, k) for k in jax.random.split(key))
        path = [state.theta]
        for _ in range(num_steps):
            path.append(moved(path[-1], support))
        path = jax.tree.map(lambda *x: jnp.stack(x), *path)
        repeated = jax.tree.map(lambda x: jnp.broadcast_to(x, (num_steps, *x.shape)), support)
        used = jnp.minimum(jnp.arange(num_steps + 1), 1) * support[0].shape[0]
        return AdaptationCurve(-jax.vmap(loss, (0, None))(path, query), path, Experience(repeated, query), used)

    def predict(path, task, x):
        return path["w"][:, None, None] * x + path["b"][:, None, None]

    return MetaLearner(init, step, adapt, predict)


SOUND = Agent(sound, NoHyperparameters, serves=("regression",), adapts_by="one batch", uses=())


def broken(change, **declared):
    """The sound agent, its learner changed and its declaration too."""

    def make(world, training, own):
        return change(sound(world, training, own))

    return SOUND._replace(make=make, **declared)


def in_step(change):
    """(state, metrics, state before, key) -> (state, metrics), after every step."""
    return lambda learner: learner._replace(step=lambda state, key: change(*learner.step(state, key), state, key))


def in_metrics(change):
    return in_step(lambda after, metrics, before, key: (after, change(metrics)))


def in_curve(change):
    return lambda learner: learner._replace(adapt=lambda *given: change(learner.adapt(*given)))


def in_init(change):
    return lambda learner: learner._replace(init=lambda key: change(learner.init(key)))


def host_state():
    """Parameters move by a number that the host counts up at every step."""
    count = itertools.count()
    drift = lambda _: np.float32(0.001 * next(count))

    def change(after, metrics, before, key):
        moved = jax.pure_callback(drift, jax.ShapeDtypeStruct((), jnp.float32), before.iteration)
        return after._replace(theta=after.theta | {"b": after.theta["b"] + moved}), metrics

    return in_step(change)


def drawn_when_made():
    """Every learner has numbers of its own that no key gives."""
    offsets = itertools.count()

    def change(learner):
        offset = next(offsets)
        return in_init(lambda state: state._replace(theta=state.theta | {"w": state.theta["w"] + offset}))(learner)

    return change


def jittered(after, metrics, before, key):
    """Parameters that go nowhere."""
    noise = 1e-5 * jax.random.normal(key, (2,))
    return after._replace(theta={"w": before.theta["w"] + noise[0], "b": before.theta["b"] + noise[1]}), metrics


def hidden(learner):
    """Parameters elsewhere than in theta."""

    def step(state, key):
        after, metrics = learner.step(state._replace(theta=state.opt_state, opt_state=()), key)
        return after._replace(theta={}, opt_state=after.theta), metrics

    return in_init(lambda state: state._replace(theta={}, opt_state=state.theta))(learner)._replace(step=step)


BROKEN = {
    "no learner": (lambda learner: 3, "made a int, but must make a metarl MetaLearner"),
    "no MetaState": (in_init(tuple), "init gives a tuple, but a state must be a metarl MetaState"),
    "count": (in_init(lambda s: s._replace(iteration=jnp.zeros(()))), r"init counts float32\[\] iterations, 0.0, but must"),
    "no pair": (lambda learner: learner._replace(step=lambda *given: learner.step(*given)[0]), "step gives a MetaState"),
    "shape": (
        in_step(lambda s, m, *_: (s._replace(theta=s.theta | {"b": jnp.stack([s.theta["b"]] * 2)}), m)),
        r"state.theta\['b'\] is float32\[\] after init, but float32\[2\] after a step",
    ),
    "type": (in_step(lambda s, m, *_: (s._replace(iteration=s.iteration + 1.0), m)), r"iteration is int32\[\] after init, but"),
    "structure": (in_step(lambda s, m, *_: (s._replace(opt_state=s.iteration), m)), "another structure than init"),
    "missing metric": (in_metrics(lambda m: {k: v for k, v in m.items() if k != "meta/hurt"}), "metrics lack 'meta/hurt'"),
    "vector": (in_metrics(lambda m: m | {"outer/x": jnp.zeros(2)}), r"'outer/x' has shape \(2,\), but must be a scalar"),
    "nan": (in_metrics(lambda m: m | {"outer/x": jnp.nan * m["meta/pre"]}), "the metric 'outer/x' is nan"),
    "no group": (in_metrics(lambda m: m | {"x": m["meta/pre"]}), "the metric 'x' has no group, such as outer/x"),
    "gain": (in_metrics(lambda m: m | {"meta/gain": jnp.ones(())}), "meta/gain is 1.0, but must be meta/post - meta/pre: 0.0"),
    "first step": (in_metrics(lambda m: m | {"inner/step_0": jnp.ones(())}), "inner/step_0 is 1.0, but must be meta/pre: -"),
    "share": (in_metrics(lambda m: m | {"meta/hurt": jnp.float32(3)}), "meta/hurt is 3.0, but must be a share of tasks: 1.0"),
    "unmoved": (
        in_step(lambda s, m, before, _: (s._replace(theta=s.theta | {"w": before.theta["w"]}), m)),
        r"theta\['w'\] does not move in three iterations",
    ),
    "infinite": (
        in_step(lambda s, m, *_: (s._replace(theta=s.theta | {"w": s.theta["w"] / (3 - s.iteration)}), m)),
        r"theta\['w'\] is no longer finite",
    ),
    "empty": (hidden, "theta has no arrays, so there is nothing to train"),
    "stands still": (in_step(lambda s, m, before, _: (s._replace(iteration=before.iteration), m)), "counts 0 iterations"),
    "steps": (
        in_metrics(lambda m: m | {"time/env_steps": m["time/env_steps"] + 1}),
        r"time/env_steps says 51 \+ 51 \+ 51, but three iterations drew 150 examples",
    ),
    "rounded": (
        in_metrics(lambda m: m | {"time/env_steps": jnp.float32(50)}),
        "time/env_steps is float32, but must be",
    ),
    "host state": (host_state(), r"resumed after two iterations, state.theta\['b'\] is another after the third"),
    "no curve": (in_curve(tuple), "adapt gives a tuple, but must give a metarl AdaptationCurve"),
    "score": (in_curve(lambda c: c._replace(score=c.score[1:])), r"0 steps, score has shape \(0,\), but must be 1 numbers"),
    "path": (
        in_curve(lambda c: c._replace(path=jax.tree.map(lambda x: x[:1], c.path))),
        r"1 steps, path\['b'\] has shape \(1,\), but must have 2 rows",
    ),
    "support": (
        in_curve(lambda c: c._replace(experience=Experience(c.experience.query, c.experience.query))),
        r"0 steps, support\[0\] has shape \(10, 1\), but must have 0 rows",
    ),
    "prediction": (
        lambda learner: learner._replace(predict=lambda path, task, x: x),
        r"prediction has shape \(3, 1\)",
    ),
    "infinite curve": (in_curve(lambda c: c._replace(score=c.score / 0)), "4 steps, the curve's score is .*inf"),
    "used falls": (in_curve(lambda c: c._replace(used=c.used[::-1])), r"used is \[10 10 10 10 0\], but must be whole"),
    "used from the start": (in_curve(lambda c: c._replace(used=c.used + 1)), r"used is \[ 1 11 11 11 11\], but must be"),
    "part of an example": (in_curve(lambda c: c._replace(used=c.used / 2)), r"used is \[0. 5. 5. 5. 5.\], but must be whole"),
    "uses more": (
        in_curve(lambda c: c._replace(used=10 * jnp.arange(c.used.size))),
        r"used is \[ 0 10 20 30 40\], but it is declared to adapt by one batch",
    ),
    "uses nothing": (in_curve(lambda c: c._replace(used=0 * c.used)), r"used is \[0 0 0 0 0\], but it is declared to adapt by"),
    "random when made": (drawn_when_made(), r"made anew, it scores \[.*\] in its first iterations, not \["),
    "does not learn": (in_step(jittered), r"in 60 iterations on the probe its score rises by -?0.0.*, but must by 0.1"),
}


def test_a_sound_agent_passes():
    check_agent(SOUND, iterations=60)


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_agent_is_refused_in_one_line(what):
    change, message = BROKEN[what]
    with pytest.raises(ValueError, match=message) as refusal:
        check_agent(broken(change), iterations=60)
    assert str(refusal.value).startswith("make (regression): ") and "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"learns": False}, r"theta\['b'\] moves, although the agent is declared not to learn"),
        ({"uses": ("optimizer",)}, "declared to use optimizer, but asks nothing of a given one"),
        ({"uses": ("inner_rule",)}, "declared to use inner_rule, but asks nothing of a given one"),
        ({"adapts_by": "nothing"}, "declared to adapt by nothing"),
        ({"adapts_by": "memory"}, "declared to adapt by memory"),
        ({"adapts_by": "magic"}, "adapts_by is 'magic'; known: gradient, one batch"),
    ],
)
def test_a_declaration_that_is_not_kept_is_refused(declared, message):
    with pytest.raises(ValueError, match=message):
        check_agent(broken(lambda learner: learner, **declared), iterations=60)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            in_metrics(lambda m: m | {"time/env_steps": jnp.int32(10 * 20 * 2 * 2)}),
            r"says 800 \+ 800 \+ 800, but three iterations drew 2[123]\d\d environment steps",
        ),
        (in_curve(lambda c: c._replace(greedy_score=None)), r"greedy_score has shape \(\), but must be 1 numbers"),
        (
            in_curve(lambda c: c._replace(experience=c.experience._replace(query=c.score))),
            "the query batch of its curve has NoneType as trajectory, but must have the metarl Trajectory",
        ),
    ],
    ids=["steps after the end", "no greedy score", "another batch"],
)
def test_a_broken_agent_that_acts_is_refused(change, message):
    declared = agents.find("random")

    def acting(world, training, own):
        return change(declared.make(world, training, own))

    with pytest.raises(ValueError, match=message):
        check_agent(declared._replace(make=acting, uses=()), "reinforcement")


def test_keys_of_any_kind_of_generator_will_do():
    """Recorded keys have as many words as the generator wants, here 4 in episodes of 2 steps."""
    with jax.default_prng_impl("rbg"):
        check_agent("random", "reinforcement")


def test_other_kinds_are_refused():
    with pytest.raises(ValueError, match="kind is 'sorting'; known: reinforcement, regression"):
        check_agent(SOUND, "sorting")
    with pytest.raises(ValueError, match="sound serves regression only"):
        check_agent(SOUND, "reinforcement")
    with pytest.raises(ValueError, match=r"agent is int 3, but must be an agents.Agent"):
        check_agent(3)


def test_own_settings_replace_those_of_the_check():
    with pytest.raises(ValueError, match=r"drew 42 examples"):
        check_agent(broken(BROKEN["steps"][0]), num_tasks=2, num_shots=7)
    with pytest.raises(ValueError, match=r"rises by .*, but must by 100"):
        check_agent(SOUND, iterations=60, learns_by=100)
