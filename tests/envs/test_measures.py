"""What families measure beside the return: each reduction by a loop, in JAX and from the info of ordinary environments."""

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium.spaces import Box

import envs
from envs.families.navigation import Navigation2D
from envs.measures import REDUCTIONS, reduced
from envs.registration import build_family
from metarl.sampler import rollout

BY_HAND = {
    "any": lambda steps: float(any(steps)),
    "end": lambda steps: float(steps[-1] != 0),
    "last": lambda steps: steps[-1],
    "mean": lambda steps: sum(steps) / len(steps),
    "sum": sum,
    "max": max,
    "min": min,
}


class Measured(Navigation2D):
    """Says how far it is from the goal, and whether it is near."""

    measures = {"distance": "last", "near": "any"}  # noqa: RUF012

    def transition_info(self, state, action, next_state, params):
        distance = jnp.linalg.norm(next_state - params.position)
        return {"distance": distance, "near": distance < 0.1, "unasked": action[0]}


class Reach(gymnasium.Env):
    """Says the same of a point that moves by its action and ends at a tenth from the goal."""

    observation_space = Box(-2.0, 2.0, (2,), np.float32)
    action_space = Box(-0.1, 0.1, (2,), np.float32)
    goal = np.array([0.3, 0.3])

    def __init__(self, gives="all"):
        self.gives = gives

    def reset(self, seed=None, options=None):
        super().reset(seed=seed)
        self.place = np.zeros(2)
        return self.place.astype(np.float32), {"success": 0.0}

    def step(self, action):
        self.place = np.clip(self.place + np.asarray(action), -2, 2)
        distance = float(np.linalg.norm(self.place - self.goal))
        info = {"success": distance < 0.1, "distance": distance, "energy": np.float64(np.sum(action**2)), "words": "near"}
        info |= {"nan": {"distance": np.nan}, "none": {}}.get(self.gives, {})
        return self.place.astype(np.float32), -distance, distance < 0.1, False, info


def reach(gives="all", **options):
    def make():
        return Reach(gives)

    task_space = {"goal": Box(-0.5, 0.5, (2,))}
    return envs.from_gymnasium(make, task_space=task_space, apply_task="attributes", **{"horizon": 12} | options)


def towards(task):
    """Straight to the goal of a task of `Reach`, in units of [-1, 1]."""
    return lambda observation, key: (20 * (task["goal"] - observation), jnp.zeros(()), {})


def test_every_reduction_has_one_by_hand():
    assert set(REDUCTIONS) == set(BY_HAND)


@pytest.mark.parametrize("name", REDUCTIONS)
@pytest.mark.parametrize("scale", [0.0, 1.0, -1.0])
def test_reductions(name, scale):
    """Over the steps of each episode alone, whatever stands behind its end."""
    rng = np.random.default_rng(0)
    value = scale * rng.uniform(0.5, 2.0, (3, 4, 6))
    lengths = rng.integers(1, 7, (3, 4))
    mask = (np.arange(6) < lengths[..., None]).astype(float)
    found = reduced({"it": name}, {"it": jnp.asarray(np.where(mask, value, 0.0))}, jnp.asarray(mask))["it"]
    expected = [[BY_HAND[name](value[i, j, : lengths[i, j]].tolist()) for j in range(4)] for i in range(3)]
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_flag_that_is_nan_is_no_success():
    value, mask = jnp.array([[0.0, jnp.nan, 1.0], [0.0, 0.0, 0.0]]), jnp.ones((2, 3))
    found = REDUCTIONS["any"](value, mask)
    assert np.isnan(found[0]) and found[1] == 0.0
    assert np.isnan(REDUCTIONS["end"](value, jnp.array([[1.0, 1.0, 0.0]] * 2))[0])
    np.testing.assert_array_equal(REDUCTIONS["end"](value, mask), [1.0, 0.0])


def test_the_sampler_records_what_is_measured_and_nothing_else():
    family = Measured(20)
    task = family.default_params
    actor = lambda observation, key: (10 * (task.position - observation), jnp.zeros(()), ())
    found = rollout(family, actor, task, jax.random.key(0), horizon=20)
    assert set(found.info) == {"distance", "near"}
    steps = int(found.mask.sum())
    places = np.concatenate([found.observation[1:], found.last_observation[None]])
    distance = np.linalg.norm(places - np.asarray(task.position), axis=1)[:steps]
    assert steps < 20, "it arrives"
    np.testing.assert_allclose(found.info["distance"][:steps], distance, rtol=1e-5)
    assert not np.any(found.info["distance"][steps:])
    measures = family.episode_measures(found.info, found.mask)
    np.testing.assert_allclose(measures["distance"], distance[-1], rtol=1e-5)
    assert measures["near"] == 1.0


def test_a_family_that_measures_nothing_pays_nothing():
    """Not even the function is called: the program is the same, word for word."""

    class Silent(Navigation2D):
        def transition_info(self, state, action, next_state, params):
            raise AssertionError("nobody asked")

    def program(family):
        actor = lambda observation, key: (observation, jnp.zeros(()), ())
        play = lambda key: rollout(family, actor, family.default_params, key, horizon=5)
        assert jax.eval_shape(play, jax.random.key(0)).info == {}
        return str(jax.make_jaxpr(play)(jax.random.key(0)))

    assert program(Silent(5)) == program(Navigation2D(5))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"measures": {"sucess": "any"}}, "measures has 'sucess', but transition_info gives distance, near, unasked"),
        ({"measures": {"near": "ever"}}, "measures\\['near'\\] is 'ever'; known: any, end, last, mean, sum, max, min"),
        ({"measures": ["near"]}, "measures is \\['near'\\], but must be a dict"),
        ({"measures": {"": "any"}}, "measures has the key ''"),
        ({"transition_info": lambda *_: {"near": jnp.zeros(2)}}, "gives 'near' of shape \\(2,\\)"),
        ({"transition_info": lambda *_: jnp.zeros(2)}, "transition_info returns a .*, but must return a dict"),
    ],
)
def test_what_cannot_be_measured_is_refused(changes, words):
    family = type("Changed", (Measured,), {"measures": {"near": "any"}} | changes)
    with pytest.raises(ValueError, match=words) as error:
        build_family(family)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("vectorization", ["sync", "async"])
def test_info_of_an_ordinary_environment(vectorization):
    """The same numbers as stepping by hand, episodes of different lengths side by side."""
    measures = {"success": "any", "distance": "last", "energy": "sum"}
    workers = {"num_workers": 2} if vectorization == "async" else {}
    family = reach(measures=measures, vectorization=vectorization, horizon=4, **workers)
    tasks = {"goal": jnp.array([[0.3, 0.15], [0.05, 0.0], [-0.5, 0.5]])}
    play = lambda task, key: rollout(family, towards(task), task, key, horizon=4, unroll=1)
    found = jax.jit(jax.vmap(play))(tasks, jax.random.split(jax.random.key(0), 3))
    episodes = family.episode_measures(found.info, found.mask)
    family.close()
    env = Reach()
    for i in range(3):
        env.goal = np.asarray(tasks["goal"][i])
        env.reset(seed=0)
        steps = []
        for action in np.asarray(found.action[i])[: int(found.mask[i].sum())]:
            steps.append(env.step(np.clip(0.1 * action, -0.1, 0.1).astype(np.float32))[-1])
        expected = {name: BY_HAND[way]([float(info[name]) for info in steps]) for name, way in measures.items()}
        for name, value in expected.items():
            np.testing.assert_allclose(episodes[name][i], value, rtol=1e-5, atol=1e-6)
    assert episodes["success"].tolist() == [1.0, 1.0, 0.0] and found.mask.sum(axis=1).tolist() == [3.0, 1.0, 4.0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"measures": {"sucess": "any"}}, "no info\\['sucess'\\].* it has success, distance, energy, words"),
        ({"measures": {"words": "any"}}, "'near' as info\\['words'\\], which measures expects to be one number"),
        ({"measures": {"success": "first"}}, "from_gymnasium: measures\\['success'\\] is 'first'; known: any"),
        ({"measures": "success"}, "from_gymnasium: measures is 'success', but must be a dict"),
    ],
)
def test_info_that_is_not_there_is_refused(options, words):
    with pytest.raises(ValueError, match=words) as error:
        reach(**options)
    assert "\n" not in str(error.value)


def test_info_that_is_not_finite_is_named():
    """It goes on into the program, like rewards; the family knows whose it was."""
    family = reach("nan", measures={"distance": "last"})
    task = family.default_params
    found = rollout(family, towards(task), task, jax.random.key(0), horizon=3)
    assert np.isnan(family.episode_measures(found.info, found.mask)["distance"])
    assert "gives nan as info['distance']" in family.not_finite()


def test_what_a_family_tells_without_measuring_it_is_nobodys_business():
    """Names are no arrays; a family that nobody asks for them is built and trained."""

    class Named(Navigation2D):
        def transition_info(self, state, action, next_state, params):
            return {"name": "plane"}

    assert build_family(Named).measures == {}


class Begun(Measured):
    """Tells something at the beginning of an episode, too."""

    def state_info(self, state, params):
        return {"distance": jnp.float32(-1.0), "place": state}


def test_a_new_episode_of_many_tells_what_reset_tells():
    many = envs.TaskVectorEnv(Begun(2), 2)
    _, begun = many.reset(seed=0)
    assert begun["_distance"].all() and set(begun) == {"distance", "_distance", "place", "_place"}
    many.step(np.zeros((2, 2)))
    *_, truncated, info = many.step(np.zeros((2, 2)))
    assert truncated.all() and info["_distance"].all() and not info["_place"].any()
    observation, *_, info = many.step(np.zeros((2, 2)))
    assert info["distance"].tolist() == [-1.0, -1.0] and not info["_near"].any() and info["_place"].all()
    np.testing.assert_array_equal(info["place"], observation)
    one = envs.TaskEnv(Begun(2))
    assert set(one.reset(seed=0)[1]) == {"distance", "place"}
    assert set(one.step(np.zeros(2))[4]) == {"distance", "near", "unasked"}


def test_environments_tell_what_the_family_tells():
    """`gymnasium` environments of a family give its `transition_info`, single and vectorised, as Gymnasium's own do."""
    family = Measured(20)
    one, many = envs.TaskEnv(family), envs.TaskVectorEnv(family, 2)
    one.reset(seed=3)
    many.reset(seed=3)
    action = np.array([0.1, -0.05], np.float32)
    place, *_, info = one.step(action)
    assert type(info["near"]) is bool and type(info["distance"]) is float
    np.testing.assert_allclose(info["distance"], np.linalg.norm(place - np.asarray(one.task.position)), rtol=1e-5)
    *_, infos = many.step(np.stack([action, action]))
    np.testing.assert_allclose(infos["distance"][0], info["distance"], rtol=1e-6)
    assert infos["near"].dtype == bool and infos["_distance"].tolist() == [True, True]
