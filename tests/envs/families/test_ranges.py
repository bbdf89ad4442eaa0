"""The task distributions of the classic control families: published ranges, extremes and ranges of one's own."""

import jax
import numpy as np
import pytest

import envs
from envs.families.classic_control.ranges import Range, outside

KEY = jax.random.key(0)
# Table 1 of Packer et al. 2018: R, and the outer ends of E.
QUARTER = (0.75, 1.25, 0.5, 1.5)
PUBLISHED = {
    "Pendulum": {"mass": QUARTER, "length": QUARTER},
    "CartPole": {"force": (5, 15, 1, 20), "length": (0.25, 0.75, 0.05, 1), "pole_mass": (0.05, 0.5, 0.01, 1)},
    "Acrobot": {"mass": QUARTER, "length": QUARTER, "inertia": QUARTER},
    "MountainCar": {"force": (0.0005, 0.005, 0.0001, 0.01), "gravity": (0.001, 0.005, 0.0005, 0.01)},
}


@pytest.mark.parametrize("id", PUBLISHED)
def test_tasks_fill_the_published_ranges(id):
    family = envs.make(f"metarl/{id}Dynamics-v0")
    extreme = envs.make(f"metarl/{id}Dynamics-v0", held_out="extreme")
    keys = jax.random.split(KEY, 2000)
    trained, same, beyond = (
        jax.device_get(jax.vmap(f)(keys))
        for f in (family.sample_task, family.sample_held_out_task, extreme.sample_held_out_task)
    )
    for name in family.classic()._fields:
        if name not in PUBLISHED[id]:
            for tasks in (trained, same, beyond):
                np.testing.assert_allclose(getattr(tasks, name), getattr(family.classic(), name))
            continue
        low, high, lowest, highest = PUBLISHED[id][name]
        for tasks in (trained, same):
            values = getattr(tasks, name)
            assert low <= values.min() and values.max() <= high * (1 + 1e-6)
            np.testing.assert_allclose(np.histogram((values - low) / (high - low), 4, (0, 1))[0] / 500, 1.0, atol=0.2)
        values = getattr(beyond, name)
        assert lowest <= values.min() and values.max() <= highest * (1 + 1e-6)
        assert not np.any((low * (1 + 1e-6) < values) & (values < high * (1 - 1e-6)))
        share = (low - lowest) / (low - lowest + highest - high)
        np.testing.assert_allclose(np.mean(values <= low), share, atol=0.05)
    assert not np.any(trained[0] == same[0])
    assert np.abs(np.corrcoef(np.stack([getattr(trained, name) for name in PUBLISHED[id]]))[0, 1]) < 0.1


def test_extremes_are_uniform_on_both_sides():
    values = np.asarray(jax.vmap(lambda key: outside(Range(1.0, 2.0, 0.0, 4.0), key))(jax.random.split(KEY, 6000)))
    np.testing.assert_allclose(np.histogram(values, [0, 1, 2, 3, 4])[0] / 6000, [1 / 3, 0, 1 / 3, 1 / 3], atol=0.02)


def test_ranges_of_one_s_own():
    family = envs.make("metarl/PendulumDynamics-v0", ranges={"mass": [0.5, 2], "length": [1, 1], "gravity": [5, 15]})
    tasks = jax.vmap(family.sample_task)(jax.random.split(KEY, 500))
    assert tasks.mass.min() < 0.6 and tasks.mass.max() > 1.9
    assert tasks.gravity.min() < 6 and tasks.gravity.max() > 14
    np.testing.assert_array_equal(tasks.length, 1)


@pytest.mark.parametrize(
    ("id", "options", "message"),
    [
        ("Pendulum", {"held_out": "xtreme"}, "held_out is 'xtreme'; known: same, extreme"),
        ("CartPole", {"ranges": {"mass": [1, 2]}}, "ranges has 'mass'; known: force, length, pole_mass, cart_mass, gravity"),
        ("MountainCar", {"ranges": {"force": [2, 1]}}, "low <= high"),
        ("MountainCar", {"ranges": {"force": [1]}}, "low, high"),
        ("MountainCar", {"ranges": {"force": "12"}}, "low, high"),
        ("MountainCar", {"ranges": 3}, r'ranges is 3, but looks like {"force": \[low, high\]}'),
        ("Acrobot", {"ranges": {"mass": [1, 2]}, "held_out": "extreme"}, "leave one of them out"),
        ("Acrobot", {"centre": "half"}, "centre is 'half'; known: halfway, fixed"),
    ],
)
def test_bad_options(id, options, message):
    with pytest.raises(ValueError, match=message):
        envs.make(f"metarl/{id}Dynamics-v0", **options)
