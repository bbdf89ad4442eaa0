"""Ordinary environments of a stranger, each odd in one way, and families of them."""

import os

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, Text
from gymnasium.wrappers import TimeLimit

import envs


class Corridor(gymnasium.Env):
    """Walk right from place 0 to ``length``, which ends the episode; the reward is the place times ``scale``.

    Observes how often it was reset (so that a leak of the next episode shows), the place, and random numbers.
    """

    observation_space = Dict(
        {
            "place": Discrete(4),
            "resets": Box(0, 99, (), np.int64),
            "dice": MultiBinary(2),
            "say": Text(5),
            "far": Dict({"say": Text(2)}),
        }
    )
    action_space = Discrete(2, start=1)
    render_mode = None

    def __init__(self, length=3, scale=1.0, render_mode=None):
        self.length, self.scale, self.resets, self.calls = length, scale, 0, 0

    def set_task(self, task):
        self.length, self.scale = task["length"], task["scale"]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if options:
            self.set_task(options)
        self.place, self.resets = 0, self.resets + 1
        return self.observe(), {}

    def observe(self):
        say = {"say": "a"}
        dice = self.np_random.integers(2, size=2).astype(np.int8)
        return {"place": self.place, "resets": np.asarray(self.resets), "dice": dice, "say": "hello", "far": say}

    def step(self, action):
        assert type(action) is int and action in (1, 2)
        self.calls += 1
        self.place += action - 1
        return self.observe(), self.place * self.scale, self.place >= self.length, False, {}


TASKS = Dict({"length": Discrete(3, start=1), "scale": Box(0.5, 2.0, ())})


def corridor(limit=None, **options):
    """At most 3 places; with a limit, truncated by the environment itself."""
    make = (lambda: TimeLimit(Corridor(), limit)) if limit else Corridor
    options = {"apply_task": "attributes", "horizon": 6, "drop": ("say", "far.say")} | options
    return envs.from_gymnasium(make, task_space=TASKS, **options)


class Odd(gymnasium.Env):
    """Fine for three steps, then not."""

    observation_space = Box(-10.0, 10.0, (2,), np.float32)
    action_space = Box(np.array([-2.0, -np.inf]), np.array([6.0, np.inf]), dtype=np.float64)
    how = 0

    def __init__(self, how="fine"):
        self.how = how

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.t += 1
        observation, reward = action.astype(np.float32), 0.0
        if self.t > 3 and self.how == "raise":
            raise RuntimeError("the motor\nis broken")
        if self.t > 3 and self.how == "die":
            os.kill(os.getpid(), 9)
        if self.t > 3 and self.how == "hang":
            import time

            time.sleep(60)
        if self.t > 3 and self.how == "nan":
            observation = np.array([0.0, np.nan])
        if self.t > 3 and self.how == "bad reward":
            reward = np.inf
        if self.how == "wild":
            observation = np.random.default_rng().normal(size=2)
        return observation, reward, False, False, {}


def odd(how="fine", **options):
    def make():
        return Odd(how)

    return envs.from_gymnasium(
        make, task_space={"x": Box(0.0, 1.0, ())}, apply_task=lambda env, task: None, **{"horizon": 6} | options
    )


class Misshapen(gymnasium.Env):
    """Gives ``given`` as all of what "step" or "reset" gives, or as the observation: of reset ("seen") or of step ("late")."""

    observation_space = Box(-10.0, 10.0, (3,), np.float32)
    action_space = Discrete(2)

    def __init__(self, where, given, space=observation_space):
        self.where, self.given, self.observation_space = where, given, space

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        good = np.zeros(3, np.float32)
        return {"reset": self.given, "seen": (self.given, {})}.get(self.where, (good, {}))

    def step(self, action):
        return self.given if self.where == "step" else (self.given, 0.0, False, False, {})


def misshapen(where, given, space=Misshapen.observation_space, **options):
    def make():
        return Misshapen(where, given, space)

    return envs.from_gymnasium(make, task_space={"x": Box(0.0, 1.0, ())}, apply_task=lambda e, t: None, horizon=6, **options)


class Slope(gymnasium.Env):
    """Sound in every way: drawn to ``x``, pushed by the action, paid for being near."""

    observation_space = Box(-100.0, 100.0, (1,), np.float32)
    action_space = Box(-1.0, 1.0, (1,), np.float32)
    x = 0.0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.place = self.np_random.uniform(-1.0, 1.0)
        return np.array([self.place], np.float32), {}

    def step(self, action):
        self.place += 0.1 * (self.x - self.place) + float(action[0])
        return np.array([self.place], np.float32), -abs(self.place - self.x), False, False, {}


envs.register("stranger/Odd-v0", odd)
envs.register("stranger/Corridor-v0", corridor)
