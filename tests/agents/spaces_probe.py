"""Small families, one for each kind of Gymnasium space, whose rewards depend on every number of an action."""

import copy
import functools

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from envs.family import TaskFamily
from envs.values import arrays_of, mapped
from tests.agents.probe import Target

LINE = Box(-1.0, 1.0, (2,), np.float32)
NESTED = Dict(word=Discrete(3, start=1), inner=Tuple([MultiBinary(2), Box(-1.0, 1.0, (2, 2), np.float32)]))
ANY_BOUNDS = Box(
    np.array([[-1.0, 0.0], [-np.inf, -np.inf]], np.float32),
    np.array([[1.0, np.inf], [2.0, np.inf]], np.float32),
    dtype=np.float32,
)
# name -> observation space, action space
SPACES = {
    "several discrete": (Discrete(4), MultiDiscrete([2, 4, 3], start=[1, 0, -1])),
    "table of discrete": (MultiDiscrete([3, 2]), MultiDiscrete([[2, 3], [4, 2]])),
    "bits": (MultiBinary(3), MultiBinary((2, 2))),
    "any bounds": (Box(-1.0, 1.0, (2, 3), np.float32), ANY_BOUNDS),
    "one number": (Box(-1.0, 1.0, (), np.float32), Box(-1.0, 1.0, (), np.float32)),
    "image": (Box(0, 255, (9, 8, 3), np.uint8), Discrete(2, start=3)),
    "tuple": (Tuple([LINE, Discrete(2)]), Tuple([Discrete(3, start=1), MultiBinary(2)])),
    "nested": (NESTED, Dict(go=ANY_BOUNDS, hand=Tuple([Discrete(3, start=1), MultiDiscrete([2, 3])]), keys=MultiBinary(2))),
}


class Anything(TaskFamily):
    """Observes an arbitrary value of its space; the reward is the sum of an action's numbers, towards the task's target."""

    horizon = 2

    def __init__(self, observation_space, action_space):
        super().__init__()
        self.observation_space, self.action_space = copy.deepcopy(observation_space), copy.deepcopy(action_space)
        self.observation_space.seed(0)
        self.shown = [self.observation_space.sample() for _ in range(4)]

    def sample_task(self, key):
        return Target(jnp.where(jax.random.bernoulli(key), 1.0, -1.0))

    def initial(self, rng, params):
        return jax.random.randint(rng, (), 0, 2)

    def transition(self, state, action, rng, params):
        return state + 1

    def observation(self, state, rng, params):
        one_of = lambda _, *values: jnp.stack([jnp.asarray(value) for value in values])[state]
        return mapped(one_of, self.observation_space, *self.shown)

    def reward(self, state, action, next_state, rng, params):
        total = sum(jnp.sum(jnp.asarray(part, float)) for part in arrays_of(self.action_space, action))
        return -((total - params.value) ** 2) + 0.1 * state

    def terminal(self, state, rng, params):
        return state > 100


@functools.cache
def family(name):
    return Anything(*SPACES[name])


class Demanding(gymnasium.Env):
    """An ordinary environment that refuses actions outside its space."""

    def __init__(self, observation_space, action_space):
        self.observation_space, self.action_space = copy.deepcopy(observation_space), copy.deepcopy(action_space)
        self.pull, self.taken = 0.0, []

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.observation_space.seed(seed)
        return self.observation_space.sample(), {}

    def step(self, action):
        assert self.action_space.contains(action), action
        numbers = gymnasium.spaces.utils.flatten(self.action_space, action)
        return self.observation_space.sample(), float(np.sum(numbers) * self.pull), False, False, {}
