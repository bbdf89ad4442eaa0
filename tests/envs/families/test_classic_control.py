"""The four classic control families against Gymnasium's own, step by step, at its constants and at others."""

import functools
import math
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import envs
from envs.families.classic_control.acrobot import AcrobotDynamics, Links
from envs.families.classic_control.cart_pole import Cart
from envs.families.classic_control.mountain_car import Hill
from envs.families.classic_control.pendulum import Rod

KEY = jax.random.key(0)


def pump(env, t, rng):
    """Mountain car: push the way the car rolls, which takes it to the goal."""
    return 2 if env.state[1] >= 0 else 0


def swing(env, t, rng):
    """Acrobot: turn the joint the way it turns, which takes the tip up."""
    return 2 if env.state[3] >= 0 else 0


def push(env, t, rng):
    """Cart-pole: against the pole's fall, but clumsily, so that it falls after a while."""
    return int(env.state[2] + 0.2 * env.state[3] > 0) if rng.random() < 0.3 else int(rng.integers(2))


def torques(env, t, rng):
    """Pendulum: with its turning, so that it goes over the top, and beyond the motor's strength too."""
    return np.array([rng.uniform(0, 4) * math.copysign(1, env.state[1])])


class Case(NamedTuple):
    """A family, Gymnasium's environment, actions that lead to an end, our constants as attributes of that environment."""

    id: str
    classic: str
    act: Any
    attributes: dict
    task: Any
    ends: bool = True
    scale: float | None = None  # of our actions, relative to Gymnasium's

    def scaled(self, action):
        return action if self.scale is None else self.scale * action


CASES = {
    "pendulum": Case(
        "metarl/PendulumDynamics-v0",
        "Pendulum-v1",
        torques,
        {"mass": ("m",), "length": ("l",), "gravity": ("g",)},
        Rod(1.0, 1.0, 10.0),
        ends=False,
        scale=0.5,
    ),
    "cart-pole": Case(
        "metarl/CartPoleDynamics-v0",
        "CartPole-v1",
        push,
        {
            "force": ("force_mag",),
            "length": ("length",),
            "pole_mass": ("masspole",),
            "cart_mass": ("masscart",),
            "gravity": ("gravity",),
        },
        Cart(10.0, 0.5, 0.1, 1.0, 9.8),
    ),
    "acrobot": Case(
        "metarl/AcrobotDynamics-v0",
        "Acrobot-v1",
        swing,
        {
            "mass": ("LINK_MASS_1", "LINK_MASS_2"),
            "length": ("LINK_LENGTH_1", "LINK_LENGTH_2"),
            "inertia": ("LINK_MOI",),
            "torque": (),  # a list there, see set_constants
        },
        Links(1.0, 1.0, 1.0, 1.0, 9.8),
    ),
    "mountain-car": Case(
        "metarl/MountainCarDynamics-v0",
        "MountainCar-v0",
        pump,
        {"force": ("force",), "gravity": ("gravity",)},
        Hill(0.001, 0.0025),
    ),
}
every_case = pytest.mark.parametrize("case", CASES.values(), ids=CASES)


def set_constants(env, case, task):
    """Give Gymnasium's environment the constants of a task, with all that follows from them."""
    for name, attributes in case.attributes.items():
        for attribute in attributes:
            setattr(env, attribute, getattr(task, name))
    if case.classic == "CartPole-v1":
        env.total_mass = env.masspole + env.masscart
        env.polemass_length = env.masspole * env.length
    if case.classic == "Acrobot-v1":
        env.LINK_COM_POS_1 = env.LINK_COM_POS_2 = task.length / 2
        env.AVAIL_TORQUE = [-task.torque, 0.0, task.torque]


@functools.cache
def stepper(id):
    """One compiled step of a family: next state, observation, reward, end."""
    family = envs.make(id)

    @jax.jit
    def step(state, action, task):
        after = family.transition(state, action, KEY, task)
        reward = family.reward(state, action, after, KEY, task)
        return after, family.observation(after, KEY, task), reward, family.terminal(after, KEY, task)

    return step


def compare(case, dtype, seed, *, task=None, synchronise, atol, most=None):
    """Play one episode in both; returns its length and whether it ended.

    Args:
        case: which family.
        dtype: of state and task.
        seed: of Gymnasium's start and of the actions.
        task: Gymnasium's constants if not given.
        synchronise: start every step from Gymnasium's state, not from our own.
        atol: how far apart observations, rewards and, if not synchronised, states may be.
        most: steps, fewer than the horizon.
    """
    task = case.task if task is None else task
    env, rng, step = gymnasium.make(case.classic).unwrapped, np.random.default_rng(seed), stepper(case.id)
    set_constants(env, case, task)
    env.reset(seed=seed)
    state = np.asarray(env.state, dtype)
    ours = jax.tree.map(lambda value: np.asarray(value, dtype), task)
    for t in range(most or envs.make(case.id).horizon):
        action = case.act(env, t, rng)
        if synchronise:
            state = np.asarray(env.state, dtype)
        state, observation, reward, ended = jax.device_get(step(state, case.scaled(action), ours))
        theirs = env.step(action)
        assert state.dtype == dtype and observation.dtype == reward.dtype == np.float32
        np.testing.assert_allclose(observation, theirs[0], atol=max(atol, 1e-6), rtol=1e-5 if synchronise else 1e-6)
        np.testing.assert_allclose(reward, theirs[1], atol=max(atol, 1e-6), rtol=1e-5 if synchronise else 1e-6)
        if not synchronise:
            np.testing.assert_allclose(state, np.asarray(env.state), atol=atol)
        assert bool(ended) == theirs[2]
        if ended:
            break
    return t + 1, bool(ended)


@every_case
def test_classic_constants_are_gymnasium_s(case):
    env, family = gymnasium.make(case.classic).unwrapped, envs.make(case.id)
    np.testing.assert_allclose(family.classic(), case.task)
    assert all(leaf.dtype == jnp.float32 and leaf.shape == () for leaf in family.classic())
    for name, attributes in case.attributes.items():
        for attribute in attributes:
            assert getattr(env, attribute) == getattr(case.task, name)
    assert family.horizon == gymnasium.spec(case.classic).max_episode_steps
    if case.scale is None:
        assert family.action_space == env.action_space
    else:
        np.testing.assert_allclose(family.action_space.high, case.scale * env.action_space.high)


@every_case
@pytest.mark.parametrize("seed", [1, 2])
def test_parity_step_by_step(case, seed):
    length, ended = compare(case, np.float32, seed, synchronise=True, atol=1e-5)
    assert ended == case.ends and length > 10


@every_case
def test_parity_of_whole_episodes(case, float64):
    _, ended = compare(case, np.float64, 3, synchronise=False, atol=1e-9)
    assert ended == case.ends


@every_case
def test_changed_constants_have_their_full_effect(case, float64):
    for name in case.attributes:
        task = case.task._replace(**{name: 2 * getattr(case.task, name)})
        compare(case, np.float64, 4, task=task, synchronise=False, atol=1e-9, most=30)


def test_what_follows_from_a_mass_must_follow(float64):
    """The comparison above would see a total mass that does not follow the pole's: one step of Gymnasium's shows it."""
    case = CASES["cart-pole"]
    env = gymnasium.make(case.classic).unwrapped
    env.reset(seed=0)
    env.masspole = 1.0  # and neither total_mass nor polemass_length
    state, *_ = stepper(case.id)(np.asarray(env.state), 1, case.task._replace(pole_mass=1.0))
    env.step(1)
    assert np.abs(state - env.state).max() > 0.1


@pytest.mark.parametrize("centre", ["halfway", "fixed"])
def test_acrobot_energy(centre, float64):
    """Energy changes by the motor's work alone: gravity and centres of mass, which Gymnasium's environment has as numbers."""
    family, rng = AcrobotDynamics(centre=centre), np.random.default_rng(0)

    def energy(state, task):
        angle_1, angle_2, speed_1, speed_2 = state
        m, length, inertia, _, g = task
        centre_ = length / 2 if centre == "halfway" else 0.5

        def points(angles):
            first, second = angles[0], angles[0] + angles[1]
            down = lambda angle: jnp.array([jnp.sin(angle), -jnp.cos(angle)])
            return jnp.stack([centre_ * down(first), length * down(first) + centre_ * down(second)])

        angles, speeds = jnp.array([angle_1, angle_2]), jnp.array([speed_1, speed_2])
        velocities = jax.jvp(points, (angles,), (speeds,))[1]
        turning = inertia / 2 * (speed_1**2 + (speed_1 + speed_2) ** 2)
        return m / 2 * jnp.sum(velocities**2) + turning + m * g * jnp.sum(points(angles)[:, 1])

    @jax.jit
    def power(state, torque, task):
        return jax.jvp(lambda s: energy(s, task), (state,), (family._rate(state, torque, task),))[1]

    for _ in range(5):
        state, torque, task = rng.normal(size=4), rng.normal(), Links(*rng.uniform(0.5, 2.0, 5))
        np.testing.assert_allclose(power(state, torque, task), torque * state[3], atol=1e-9)


@every_case
def test_starts_like_gymnasium_s(case):
    """The same box: extremes of many starts."""
    family, env = envs.make(case.id), gymnasium.make(case.classic).unwrapped
    ours = np.asarray(jax.vmap(lambda key: family.initial(key, family.classic()))(jax.random.split(KEY, 3000)))
    theirs = []
    for seed in range(300):
        env.reset(seed=seed)
        theirs.append(np.asarray(env.state))
    spread = ours.max(axis=0) - ours.min(axis=0)
    for ends in (np.min, np.max):
        np.testing.assert_allclose(ends(ours, axis=0), ends(theirs, axis=0), atol=0.03 * spread.max())


@every_case
def test_pictures_move_with_the_state(case):
    family = envs.make(case.id)
    task = family.classic()
    pictures = []
    for offset in (0.0, 0.5):
        state = np.asarray(family.initial(KEY, task)) + offset
        _, image = family.render_image(state, family.render_init(task), task)
        pictures.append(image)
    assert pictures[0].shape == (192, 192, 3) and pictures[0].dtype == np.uint8
    assert np.any(pictures[0] != pictures[1])


def test_picture_of_the_pendulum():
    """Upright is up, and a positive angle leans to the right."""
    family = envs.make("metarl/PendulumDynamics-v0")
    for angle, above, right in ((0.3, True, True), (np.pi - 0.3, False, True), (-0.3, True, False)):
        image = family.render_image(np.array([angle, 0.0]), None, family.classic())[1]
        rows, columns = np.nonzero((image[..., 2] > 150) & (image[..., 0] < 100))
        assert (rows.mean() < 96) == above and (columns.mean() > 96) == right
