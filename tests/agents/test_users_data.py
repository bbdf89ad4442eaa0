"""Data and problems of a user's own: shapes are checked where they come in, and missing parts are asked for by name."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import agents
import envs
from agents.agent import RegressionSettings, ReinforcementSettings, Training
from agents.parts.problems import mean_squared_error
from agents.parts.world import classification_world, policy_gradient_world, regression_world
from envs.families.regression import RegressionFamily
from tests.agents.probe import Guess, GuessDiscrete
from tests.few import few

NUM_SHOTS = 5
TABLE = [(name, kind) for name in agents.AGENTS for kind in agents.find(name).serves]
REGRESSION = [name for name, kind in TABLE if kind == "regression"]


def machines(x_of=lambda x: x, y_of=lambda y: y, outputs=2):
    """Rows of twelve machines, as read from a file: three inputs, some targets, linear with a machine's own coefficients."""
    key_x, key_w = jax.random.split(jax.random.key(1))
    x, weights = jax.random.uniform(key_x, (12, 40, 3), minval=-1.0), jax.random.normal(key_w, (12, 3, outputs))
    y = jnp.einsum("mni,mio->mno", x, weights)

    def sample(task, key, num_points):
        rows = jax.random.choice(key, 40, (num_points,), replace=False)
        return x_of(x[task][rows]), y_of(y[task][rows])

    return RegressionFamily(
        lambda key: jax.random.randint(key, (), 0, 10),
        lambda key: jax.random.randint(key, (), 10, 12),
        sample,
        None,
        (-1.0, 1.0),
    )


@pytest.mark.parametrize("name", few(REGRESSION, "maml", "imaml", "cavia", "mann", "oracle"))
def test_every_agent_takes_several_inputs_and_outputs(name):
    """What it predicts has the targets' shape, and its score is minus the mean squared error of that, computed by NumPy."""
    learner = agents.make(name, machines(), num_shots=NUM_SHOTS, hidden_sizes=(8,), num_tasks=2, num_iterations=5)
    task = jnp.int32(11)

    @jax.jit
    def trained_and_adapted(key):
        state, metrics = learner.step(learner.init(key), key)
        return metrics, learner.adapt(state, task, key, 2)

    metrics, curve = trained_and_adapted(jax.random.key(0))
    x, y = (np.asarray(part) for part in curve.experience.query)
    predicted = np.asarray(learner.predict(curve.path, task, x[:, :3]))
    assert predicted.shape == (3, NUM_SHOTS, 2) and y.shape == (NUM_SHOTS, 2) and np.isfinite(metrics["outer/loss"])
    np.testing.assert_allclose(curve.score, -((predicted - y) ** 2).mean(axis=(1, 2)), rtol=1e-4)


WRONG = {
    "y without its axis": ({"y_of": lambda y: y[:, 0]}, r"y of shape \(5,\), but it must be \[N = 5, O\]; y\[:, None\] adds"),
    "x without its axis": ({"x_of": lambda x: x[:, 0]}, r"x of shape \(5,\), but it must be \[N = 5, F\]; x\[:, None\] adds"),
    "one number": ({"y_of": lambda y: y.mean()}, r"y of shape \(\), but"),
    "images": ({"x_of": lambda x: x[:, :, None]}, r"x of shape \(5, 3, 1\), but"),
    "fewer rows": ({"y_of": lambda y: y[1:]}, r"y of shape \(4, 2\), but it must be \[N = 5, O\]\."),
    "no columns": ({"x_of": lambda x: x[:, :0]}, r"x of shape \(5, 0\), but"),
    "truth values": ({"y_of": lambda y: y > 0}, r"y of bool, but it must hold real numbers"),
    "a dict": ({"x_of": lambda x: {"a": x}}, r"x as dict, but it must be an array \[N, F\]"),
}


@pytest.mark.parametrize("name", WRONG)
def test_points_of_other_shapes_are_refused_in_one_line(name):
    changes, message = WRONG[name]
    with pytest.raises(ValueError, match=f"^sample gives {message}[^\n]*$"):
        agents.make("maml", machines(**changes), num_shots=NUM_SHOTS)


def test_what_fails_or_does_not_belong_together_is_refused():
    plain = machines()
    settings = RegressionSettings(num_shots=NUM_SHOTS)
    with pytest.raises(ValueError, match=r"^sample fails: TypeError: .* positional argument[^\n]*$"):
        agents.make("maml", plain._replace(sample=lambda task: task))
    with pytest.raises(ValueError, match=r"^sample gives \w+, but must give a pair \(x, y\)\.$"):
        agents.make("maml", plain._replace(sample=lambda task, key, n: jnp.zeros((n, 1))))
    with pytest.raises(ValueError, match=r"^sample_query draws Points\(inputs=3, outputs=1\), but sample draws"):
        regression_world(plain, settings, sample_query=lambda task, key: machines(outputs=1).sample(task, key, 7))
    with pytest.raises(ValueError, match=r"^sample_held_out_task gives .*float32.*, but sample_task .*int32"):
        agents.make("maml", plain._replace(sample_held_out_task=lambda key: jax.random.uniform(key)))


def test_an_error_of_shapes_that_would_broadcast_is_none():
    with pytest.raises(ValueError, match=r"^predictions have shape \(5, 1\), but y has shape \(5,\); they must agree\.$"):
        mean_squared_error(jnp.zeros((5, 1)), jnp.zeros(5))
    assert mean_squared_error(jnp.ones((5, 2)), jnp.zeros((5, 2))) == 1.0


OPTIONAL = (
    "sample_query",
    "step_losses",
    "divergence",
    "evaluate",
    "reveal",
    "rollouts",
    "embed",
)  # of a problem, and of a world
NEEDS = {
    ("maml++", "step_losses"),
    ("promp", "divergence"),
    ("maml-trpo", "divergence"),
    ("oracle", "reveal"),
    ("protonet", "embed"),
}
OF_WORLD = ("reveal", "rollouts", "embed")
NEEDS |= {(name, "rollouts") for name in ("e-maml", "rl2", "varibad", "pearl", "oracle", "multitask", "task-embedding")}


def world_without(kind, parts):
    """A world as a user may write it, whose problem or self lacks optional parts."""
    if kind != "reinforcement":
        of_kind = {"regression": regression_world, "classification": classification_world}[kind]
        world = of_kind(machines(), RegressionSettings(num_shots=NUM_SHOTS, hidden_sizes=(8,)))
    else:
        world = policy_gradient_world(Guess(), ReinforcementSettings(num_episodes=3, hidden_sizes=(8,)))
    whole = world.make_problem
    of_problem = {part: None for part in parts if part not in OF_WORLD}
    of_world = {part: None for part in parts if part in OF_WORLD}
    return world._replace(make_problem=lambda *args, **changes: whole(*args, **changes)._replace(**of_problem), **of_world)


def training():
    return Training(num_tasks=2, outer_lr=1e-3, num_iterations=5)


ASKING = [(name, kind) for name, kind in TABLE if any(name == needs for needs, _ in NEEDS)] + [("maml", "regression")]


@pytest.mark.parametrize(("name", "kind"), few(TABLE, *ASKING))
def test_missing_parts_are_asked_for_by_name_when_the_agent_is_built(name, kind):
    """Or are not missed: with all those gone that it did not ask for, it trains and adapts."""
    asked = set()
    for part in OPTIONAL:
        try:
            agents.build(name, world_without(kind, [part]), training())
        except ValueError as error:
            assert name in str(error) and part in str(error) and "\n" not in str(error)
            asked.add(part)
    assert all((name, part) in NEEDS for part in asked)
    learner = agents.build(name, world_without(kind, [part for part in OPTIONAL if part not in asked]), training())
    state = jax.eval_shape(learner.init, jax.random.key(0))
    jax.eval_shape(learner.step, state, jax.random.key(0))
    task = Guess().default_params if kind == "reinforcement" else jnp.int32(11)
    assert jax.eval_shape(lambda state: learner.adapt(state, task, jax.random.key(0), 2), state).score.shape == (3,)


def test_an_outer_loss_without_a_score_is_told():
    world = world_without("regression", [])
    silent = world._replace(
        make_problem=lambda network: world.make_problem(network)._replace(outer_loss=lambda *_: (jnp.zeros(()), {}))
    )
    learner = agents.build("maml", silent, training())
    with pytest.raises(ValueError, match="outer_loss gives no 'score' among its metrics"):
        jax.eval_shape(learner.step, jax.eval_shape(learner.init, jax.random.key(0)), jax.random.key(0))


TABLE_OF_NUMPY = np.ones((12, 5, 1), np.float32)


def test_numpy_under_a_trace_is_told_what_to_do():
    plain = machines()
    with pytest.raises(ValueError, match=r"^sample fails: TracerArrayConversionError; .* jnp\.asarray[^\n]*$"):
        agents.make("maml", plain._replace(sample=lambda task, key, n: (TABLE_OF_NUMPY[task], TABLE_OF_NUMPY[task])))


WRONG_FAMILIES = {
    "a reward for every axis": (
        {"reward": lambda self, s, a, n, rng, p: -((a - p.value) ** 2)},
        r"\.reward returns float32\[1\]",
    ),
    "an end for every axis": ({"terminal": lambda self, s, rng, p: jnp.zeros(1, bool)}, r"\.terminal returns bool\[1\]"),
    "an end in floats": (
        {"terminal": lambda self, s, rng, p: 0.0 * s},
        r"\.terminal returns float32\[\], but must return one bool",
    ),
    "an observation with an axis more": (
        {"observation": lambda self, s, rng, p: jnp.ones((1, 1))},
        r"\.observation has shape \(1, 1\), but observation_space has \(1,\); make them agree",
    ),
    "parts of an observation": ({"observation": lambda self, s, rng, p: {"x": jnp.ones(1)}}, r"\.observation returns \{'x'"),
    "a state that grows": ({"transition": lambda self, s, a, rng, p: s + a}, r"\.transition returns float32\[1\], but initial"),
    "no horizon": ({"horizon": 0}, "horizon is 0, but must be a whole number"),
    "half a step": ({"horizon": 2.5}, "horizon is 2.5, but must be a whole number"),
    "a measure that nobody gives": ({"measures": {"near": "last"}}, r"measures has 'near', but transition_info gives \{\}"),
    "a measure of every axis": (
        {"measures": {"near": "last"}, "transition_info": lambda self, s, a, n, p: {"near": a}},
        r"transition_info, 'near', returns float32\[1\], but must return one number or bool",
    ),
    "a failure": ({"initial": lambda self, rng, p: p.nothing}, r"\.initial fails: AttributeError: "),
    "a value of Python": ({"reward": lambda self, s, a, n, rng, p: float(a[0])}, r"\.reward fails: Concretization.*jax\.numpy"),
}


@pytest.mark.parametrize("name", WRONG_FAMILIES)
@pytest.mark.parametrize("agent", ["maml", "rl2"])
def test_a_family_that_nobody_checked_is_refused_in_one_line(name, agent):
    """`envs.make` checks those it makes; this one comes straight from a user's program."""
    changes, message = WRONG_FAMILIES[name]
    with pytest.raises(ValueError, match=f"^Wrong[^\n]*{message}[^\n]*$"):
        agents.make(agent, type("Wrong", (Guess,), changes)())


@pytest.mark.parametrize("family", [Guess, GuessDiscrete])
def test_a_family_that_is_sound_is_asked_once(family):
    """Of one that `envs.make` has made nothing is traced again."""
    made, calls = family(), []
    count = lambda *args: calls.append(args) or type(made).reward(made, *args)
    made.reward = count
    agents.make("maml", made)
    assert len(calls) == 1
    made.checked = True
    agents.make("maml", made)
    assert len(calls) == 1 and envs.make("probe/Guess-v0").checked
