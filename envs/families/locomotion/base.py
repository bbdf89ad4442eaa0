"""What the legged families have in common: a robot, how it starts, what it observes."""

import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box

from envs.families import training
from envs.families.locomotion import drawing
from envs.family import TaskFamily
from envs.mujoco.backends import make_physics
from envs.mujoco.physics import Body, Robot

HORIZON = 200  # of Finn et al. 2017 and CAVIA; pytorch-maml-rl and ProMP's half-cheetah have 100


class Locomotion(TaskFamily):
    """A robot from Gymnasium's v5 MuJoCo models. Families add tasks, ``reward`` and, where episodes end, ``healthy``.

    - Observation: positions (without those that would tell how far it has come) and velocities, float32, as in Gymnasium's v5
      environments without contact forces and inertia terms, which the physics does not hand out.
    - Action: in [-1, 1], clipped, times the actuators' range.
    - State: a `envs.mujoco.physics.Body`.
    """

    robot: Robot
    horizon = HORIZON
    training_settings = training.LOCOMOTION

    def __init__(self, horizon: int | None = None, backend: str = "auto", iterations: int = 4, threads: int | None = None):
        """See `envs.mujoco.physics.make_physics` for ``backend``, ``iterations`` and ``threads``."""
        super().__init__(horizon)
        self._made_with = backend, iterations, threads
        self.physics = make_physics(type(self).__name__, self.robot, *self._made_with)
        self.calls_host = self.physics.calls_host
        model = self.physics.model
        self.start = jnp.asarray(model.qpos0, jnp.float32)
        self.actuators = jnp.asarray(model.actuator_ctrlrange, jnp.float32)
        self.action_space = Box(-1.0, 1.0, (model.nu,), np.float32)
        size = model.nq - self.robot.unobserved + model.nv
        self.observation_space = Box(-np.inf, np.inf, (size,), np.float32)

    def __getstate__(self):
        """Everything but the physics, which holds threads and the model: it is made anew where this is read again."""
        return {name: value for name, value in vars(self).items() if name != "physics"}

    def __setstate__(self, stored):
        """What `__getstate__` gave."""
        vars(self).update(stored)
        self.physics = make_physics(type(self).__name__, self.robot, *self._made_with)

    def __copy__(self):
        """One that shares the physics."""
        copied = object.__new__(type(self))
        vars(copied).update(vars(self))
        return copied

    def change(self, params):
        """How the task changes the model; None if it does not."""
        return None

    def healthy(self, body: Body):
        """Whether the episode goes on."""
        return jnp.asarray(True)

    def initial(self, rng, params):
        moved, speed = self.robot.start_noise(rng, self.physics.model.nq, self.physics.model.nv)
        return self.physics.start(self.start + moved, speed, self.change(params))

    def transition(self, state, action, rng, params):
        low, high = self.actuators.T
        ctrl = low + (clip(action) + 1.0) / 2.0 * (high - low)
        return self.physics.step(state, ctrl, self.change(params))

    def observation(self, state, rng, params):
        velocity = jnp.clip(state.qvel, -self.robot.max_velocity, self.robot.max_velocity)
        return jnp.concatenate([state.qpos[self.robot.unobserved :], velocity])

    def terminal(self, state, rng, params):
        return ~self.healthy(state)

    def render_image(self, state, render_state, params):
        return render_state, drawing.draw(self.physics.model, np.asarray(state.qpos), self.robot.view)

    def render_init(self, params, **kwargs):
        return None


def clip(action: jax.Array) -> jax.Array:
    """The action that is taken."""
    return jnp.clip(action, -1.0, 1.0).astype(jnp.float32)


def effort(action: jax.Array) -> jax.Array:
    """Sum of squares of the action that is taken."""
    return jnp.sum(clip(action) ** 2)


def uniform_noise(size: float):
    """Positions and velocities uniform in [-size, size] around the start."""

    def noise(key, nq, nv):
        key_qpos, key_qvel = jax.random.split(key)
        qpos = jax.random.uniform(key_qpos, (nq,), jnp.float32, -size, size)
        return qpos, jax.random.uniform(key_qvel, (nv,), jnp.float32, -size, size)

    return noise


def normal_noise(size: float):
    """Positions uniform in [-size, size] around the start, velocities normal with that standard deviation."""

    def noise(key, nq, nv):
        key_qpos, key_qvel = jax.random.split(key)
        qpos = jax.random.uniform(key_qpos, (nq,), jnp.float32, -size, size)
        return qpos, size * jax.random.normal(key_qvel, (nv,), jnp.float32)

    return noise
