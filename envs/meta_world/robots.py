"""Robots of one class stepped in threads of this process: MuJoCo without the interpreter, the rest over the whole batch.

Observations are those of Meta-World itself, bit for bit, and rewards but for rounding. NumPy only, no jax.
"""

import importlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import numpy as np

from envs.from_gymnasium.worker import HostError, Recipe
from envs.meta_world.benchmark import Tasks
from envs.meta_world.environment import SEES, key_of, unknown
from envs.meta_world.rewards import REWARDS, Begun, Seen

LYING = ("push-v3",)  # object and goal are as high as the object lies, whatever the task's vector says
OBJECT_AT = 9  # of qpos and qvel: the object's free joint


class Kind(NamedTuple):
    """What all robots of a class share.

    Attributes:
        model: the MjModel.
        ready: MuJoCo's state once the hand is where it begins.
        hand: [3], where it is put.
        tcp: [3], between the fingers then, as the package notes it.
        height: of object and goal, where tasks do not say it; None where they do.
        low: [39], observations are clipped to it.
        high: [39].
        mocap_low: [3], of where the hand may be sent.
        mocap_high: [3].
        reward: see `envs.meta_world.rewards`.
    """

    model: Any
    ready: np.ndarray
    hand: np.ndarray
    tcp: np.ndarray
    height: float | None
    low: np.ndarray
    high: np.ndarray
    mocap_low: np.ndarray
    mocap_high: np.ndarray
    reward: Callable[[Seen, Begun, np.ndarray], tuple[np.ndarray, np.ndarray]]


class Robots:
    """What `envs.from_gymnasium.worker.Environments` does, for tasks of one class that `REWARDS` knows.

    Args:
        recipe: of the environments; its name is for messages.
        name: the class.
        tasks: the only ones that can be set.
        num_threads: of MuJoCo.
        sees: a key of `SEES`, whose D numbers are observed.
    """

    def __init__(self, recipe: Recipe, name: str, tasks: Tasks, num_threads: int, sees: str = "all"):
        self.recipe, self.num_threads = recipe, num_threads
        self.sees = list(SEES[sees])
        self.kind = _kind(name)
        self.place = {what: _numbers(self.kind.model, what) for what in ("body", "site", "geom")}
        rows = zip(tasks.environment.tolist(), tasks.vector, strict=True)
        self.known = {key_of(environment, vector): vector for environment, vector in rows}
        self.data: list[Any] = []  # by slot, as all below
        self.mocap = self.object = self.target = np.empty((0, 3))
        self.before = np.empty((0, 18))
        self.threads = ThreadPoolExecutor(num_threads)

    def reset(self, slots: list[int], seeds: np.ndarray, tasks: dict[str, np.ndarray]) -> np.ndarray:
        """Begin an episode in each slot: observations [B, D]. Nothing in it is left to chance."""
        del seeds
        vectors = []
        for environment, vector in zip(tasks["environment"], tasks["vector"], strict=True):
            found = self.known.get(key_of(environment, vector))
            if found is None:
                raise HostError(f"{self.recipe.name}: {unknown(environment, vector)}")
            vectors.append(found)
        self._grow(max(slots) + 1)
        start, target = np.split(np.asarray(vectors), 2, axis=1)
        if self.kind.height is not None:
            start[:, 2] = target[:, 2] = self.kind.height
        self.object[slots], self.target[slots], self.mocap[slots] = start, target, self.kind.hand
        self._in_threads(self._begin, slots)
        now, _ = self._see(slots)
        self.before[slots] = now
        return _observations(now, now)[:, self.sees].astype(np.float32)

    def step(self, slots: list[int], actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Step each slot: observation [B, D], reward [B], terminated [B], truncated [B], and success [B, 1]."""
        actions = np.asarray(actions, np.float32)
        aim = self.mocap[slots] + np.clip(actions[:, :3], -1, 1) * np.float32(0.01)
        self.mocap[slots] = np.clip(aim, self.kind.mocap_low, self.kind.mocap_high)
        for slot, grip in zip(slots, actions[:, 3].tolist(), strict=True):
            self.data[slot].ctrl[:] = grip, -grip
        self._in_threads(self._play, slots)
        now, seen = self._see(slots)
        observation = np.clip(_observations(now, self.before[slots]), self.kind.low, self.kind.high)
        self.before[slots] = now
        seen = seen._replace(opened=observation[:, 3], object=observation[:, 4:7])
        like = np.broadcast_to
        begun = Begun(
            like(self.kind.hand, seen.tcp.shape), like(self.kind.tcp, seen.tcp.shape), self.object[slots], self.target[slots]
        )
        reward, success = self.kind.reward(seen, begun, actions)
        no = np.zeros(len(slots), bool)
        observation = observation[:, self.sees].astype(np.float32)
        return observation, reward.astype(np.float32), no, no, success.astype(np.float32)[:, None]

    def close(self) -> None:
        """End the threads."""
        self.threads.shutdown()
        self.data.clear()

    def _grow(self, size: int) -> None:
        mujoco = importlib.import_module("mujoco")
        more = size - len(self.data)
        if more > 0:
            self.data += [mujoco.MjData(self.kind.model) for _ in range(more)]
            self.mocap, self.object, self.target = (
                np.pad(x, ((0, more), (0, 0))) for x in (self.mocap, self.object, self.target)
            )
            self.before = np.pad(self.before, ((0, more), (0, 0)))

    def _in_threads(self, work: Callable[[list[int]], None], slots: list[int]) -> None:
        shares = [slots[i :: self.num_threads] for i in range(min(self.num_threads, len(slots)))]
        list(self.threads.map(work, shares))

    def _begin(self, slots: list[int]) -> None:
        mujoco = importlib.import_module("mujoco")
        model = self.kind.model
        for slot in slots:
            data = self.data[slot]
            mujoco.mj_resetData(model, data)
            mujoco.mj_setState(model, data, self.kind.ready, mujoco.mjtState.mjSTATE_INTEGRATION)
            data.qpos[OBJECT_AT : OBJECT_AT + 3] = self.object[slot]
            data.qvel[OBJECT_AT : OBJECT_AT + 6] = 0
            mujoco.mj_forward(model, data)

    def _play(self, slots: list[int]) -> None:
        mujoco = importlib.import_module("mujoco")
        model = self.kind.model
        for slot in slots:
            data = self.data[slot]
            data.mocap_pos[0] = self.mocap[slot]
            mujoco.mj_step(model, data, 5)
            mujoco.mj_forward(model, data)

    def _see(self, slots: list[int]) -> tuple[np.ndarray, Seen]:
        """The first 18 numbers of observations [B, 18], and what rewards need."""
        robots = [self.data[slot] for slot in slots]
        body, site, geom = (self.place[what] for what in ("body", "site", "geom"))
        bodies, sites = np.array([data.xpos for data in robots]), np.array([data.site_xpos for data in robots])
        at = lambda name: bodies[:, body[name]]
        apart = np.linalg.norm(at("rightclaw") - at("leftclaw"), axis=-1)
        opened = np.clip(apart / 0.1, 0.0, 1.0)
        tcp = (sites[:, site["rightEndEffector"]] + sites[:, site["leftEndEffector"]]) / 2.0
        turned = np.array([data.geom_xmat[geom["objGeom"]] for data in robots]).reshape(-1, 3, 3)
        now = np.zeros((len(robots), 18))
        now[:, :3], now[:, 3], now[:, 4:7], now[:, 7:11] = at("hand"), opened, at("obj"), _quaternions(turned)
        return now, Seen(tcp, opened, at("leftpad"), at("rightpad"), at("obj"))


def _observations(now: np.ndarray, before: np.ndarray) -> np.ndarray:
    """[B, 39]: now, a step before, and zeros in the place of the goal."""
    return np.concatenate([now, before, np.zeros((len(now), 3))], axis=1)


def _kind(name: str) -> Kind:
    mujoco = importlib.import_module("mujoco")
    robot = importlib.import_module("metaworld.env_dict").ALL_V3_ENVIRONMENTS[name]()
    mujoco.mj_resetData(robot.model, robot.data)
    robot._reset_hand()
    what = mujoco.mjtState.mjSTATE_INTEGRATION
    ready = np.empty(mujoco.mj_stateSize(robot.model, what))
    mujoco.mj_getState(robot.model, robot.data, ready, what)
    height = float(robot.get_body_com("obj")[2]) if name in LYING else None
    space = robot.sawyer_observation_space
    return Kind(
        robot.model,
        ready,
        robot.hand_init_pos.copy(),
        robot.init_tcp.copy(),
        height,
        space.low,
        space.high,
        robot.mocap_low,
        robot.mocap_high,
        REWARDS[name],
    )


def _numbers(model: Any, what: str) -> dict[str, int]:
    count = {"body": model.nbody, "site": model.nsite, "geom": model.ngeom}[what]
    return {getattr(model, what)(i).name: i for i in range(count)}


def _quaternions(rotations: np.ndarray) -> np.ndarray:
    """x, y, z, w [B, 4] of rotations [B, 3, 3], as the package takes them."""
    return importlib.import_module("scipy.spatial.transform").Rotation.from_matrix(rotations).as_quat()
