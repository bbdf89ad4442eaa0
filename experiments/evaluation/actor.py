"""Stepping a trained agent by hand: `Actor`, what it has played, and the compiled functions under it."""

import copy
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents.parts.trials import act_by_sampling, act_greedily
from envs.forks import refuse_fork
from envs.to_gymnasium.task_vector_env import NEXT_EPISODE
from experiments.cli.errors import UserError
from metarl.interfaces import Acting, MetaLearner, MetaState, Trajectory, unchanged


class Episode(NamedTuple):
    """An episode as an `Actor` played it, in NumPy arrays: what ``Trained.adapt_from`` learns from. T is its own length.

    Attributes:
        observation: [T, ...], what the network read before each step.
        action: [T, ...], as the policy gave it: in its units, neither scaled nor clipped; a tuple where actions have parts.
        log_prob: [T], of ``action``.
        distribution: parameters of the action distribution, leaves [T, ...]; see `metarl.interfaces.Acting`.
        reward: [T].
        terminated: [T] bool, True where the episode ended before the horizon of training.
        num_steps: adaptation steps that the policy had taken.
        over: whether the episode ended or was cut off; False for the one that is being played.
    """

    observation: np.ndarray
    action: Any
    log_prob: np.ndarray
    distribution: Any
    reward: np.ndarray
    terminated: np.ndarray
    num_steps: int
    over: bool


class Step(NamedTuple):
    """What an agent decided: the action for the environment, and what `Episode` records of it."""

    taken: Any
    action: Any
    log_prob: jax.Array
    distribution: Any


class Compiled(NamedTuple):
    """The functions of an agent, compiled. The first three for one episode, the next three for a batch of them.

    Attributes:
        act: (params, memory, observation, key, t, greedy) -> (memory, Step); ``greedy`` is a Python bool.
        observe: (memory, action, reward, terminated) -> memory.
        reset: memory -> memory.
        begin: (state, task) -> (params, memory).
        after: (path, k) -> (params, memory).
        learn: (state, batches) -> (params, memory); None where nothing adapts.
        act_at: (path, k, observation) -> greedy action after k steps.
        read: observation as the environment gives it -> as the network reads it; None where that is the same.
    """

    act: Callable[..., Any]
    observe: Callable[..., Any]
    reset: Callable[..., Any]
    act_all: Callable[..., Any]
    observe_all: Callable[..., Any]
    reset_all: Callable[..., Any]
    begin: Callable[..., Any]
    after: Callable[..., Any]
    learn: Callable[..., Any] | None
    act_at: Callable[..., Any]
    read: Callable[..., Any] | None


@functools.lru_cache(maxsize=4)
def compiled(learner: MetaLearner) -> Compiled:
    """The functions of an agent that acts; compiled when first called, once for all who ask.

    Raises:
        UserError: it says not how it acts.
    """
    acting = learner.acting
    if acting is None:
        raise UserError("this agent does not say how it acts: give its MetaLearner an `acting`, see metarl.Acting.")
    respond, choose_from, to_action = acting.respond, acting.distribution, learner.to_action

    def act(params, memory, observation, key, t, greedy):
        memory, parameters = respond(params, memory, observation)
        # The keys of `metarl.sampler.rollout`: with the same ones, and the same world, the same episode.
        key_action = jax.random.fold_in(jax.random.fold_in(jax.random.split(key, 3)[2], t), 0)
        action, log_prob = (act_greedily if greedy else act_by_sampling)(choose_from(parameters), key_action)
        return memory, Step(to_action(action), action, log_prob, parameters)

    def act_at(path, k, observation):
        params, memory = acting.after(path, k)
        _, parameters = respond(params, memory, observation)
        return to_action(choose_from(parameters).mode())

    def act_all(params, memory, observation, key, t, greedy):
        one = lambda memory, observation, key, t: act(params, memory, observation, key, t, greedy)
        return jax.vmap(one)(memory, observation, key, t)

    return Compiled(
        act=jax.jit(act, static_argnums=5),
        observe=jax.jit(acting.observe),
        reset=jax.jit(acting.reset),
        act_all=jax.jit(act_all, static_argnums=5),
        observe_all=jax.jit(jax.vmap(acting.observe)),
        reset_all=jax.jit(jax.vmap(acting.reset)),
        begin=jax.jit(acting.begin),
        after=jax.jit(acting.after),
        learn=None if acting.learn is None else jax.jit(acting.learn),
        act_at=jax.jit(act_at),
        read=None if learner.read is unchanged else jax.jit(learner.read),
    )


class Standing(NamedTuple):
    """Where an agent stands on a task: what it acts with, how many adaptation steps it has taken, and whether on a curve."""

    params: Any
    memory: Any
    num_steps: int
    on_curve: bool = False


class Actor:
    """An agent in an environment that you step, such as one of `gymnasium.make`; made by ``Trained.actor``.

    For every episode call `reset` once, and then `act` and `observe` in turn::

        observation, info = env.reset()
        actor.reset()
        while not over:
            observation, reward, terminated, truncated, info = env.step(actor.act(observation))
            actor.observe(reward, terminated, truncated)
            over = terminated or truncated

    Agents with memory adapt as they go, from episode to episode; others act alike in all episodes.

    A batch steps B copies of a task, each with a memory and random numbers of its own: every argument and answer has a leading
    axis [B]. After an episode's end the next step of that copy is taken for the one with which Gymnasium's vector environments
    begin anew (autoreset NEXT_STEP): its action counts for nothing. Environments that begin anew at once (SAME_STEP) need
    ``reset(where=ended)`` after `observe`.

    Attributes:
        num_steps: adaptation steps that had been taken at its start.
    """

    def __init__(
        self,
        family: envs.TaskFamily,
        functions: Compiled,
        acting: Acting,
        start: Standing,
        *,
        greedy: bool,
        seed: int,
        batch: int | None,
        record: bool,
    ):
        if batch is not None and (isinstance(batch, bool) or not isinstance(batch, int | np.integer) or batch < 1):
            raise UserError(f"batch is {batch!r}, but must be a whole number, at least 1, or None.")
        for name, value in (("greedy", greedy), ("record", record)):
            if not isinstance(value, bool | np.bool_):
                raise UserError(f"{name} is {_short(value)}, but must be True or False.")
        if record and greedy:
            raise UserError("record is True, but greedy too: agents adapt to sampled actions; give greedy=False.")
        self.num_steps = start.num_steps
        self._family, self._functions, self._remembers = family, functions, acting.remembers
        self._greedy, self._seed, self._batch, self._record = greedy, seed, batch, record
        self._params, self._memory = start.params, self._each(start.memory)
        # A memory that draws goes on as its curve did; elsewhere by this seed, and copies of a batch apart from one another.
        if acting.seeded is not None and not (start.on_curve and batch is None):
            seeded = acting.seeded if batch is None else jax.vmap(acting.seeded)
            self._memory = seeded(self._memory, keys_of(seed, batch))
        lead = () if batch is None else (batch,)
        self._over = np.zeros(lead, bool)
        self._t = self._asked = np.zeros(lead, np.int32)
        self._key: Any = None
        self._decided: tuple[Any, Step, np.ndarray] | None = None
        self._played: list[list[tuple[Any, ...]]] = [[] for _ in range(batch or 1)]  # of running episodes, their steps
        self._finished: list[Episode] = []

    def reset(self, *, seed: int | jax.Array | None = None, where: Any = None) -> None:
        """Say that an episode begins.

        Args:
            seed: of the random numbers for its actions, or a typed key; the next ones of the actor's own if None. An episode of
                `envs.TaskEnv` that was reset with the same seed is that of the compiled sampler with ``jax.random.key(seed)``.
                Copy i of a batch has seed + i.
            where: [B] bool, in which copies of a batch; in all if None.
        """
        if where is not None and self._batch is None:
            raise UserError("where is given, but this actor plays in a single environment; leave it out.")
        refuse_fork()
        begins = np.ones(self._over.shape, bool) if where is None else np.asarray(where)
        if begins.shape != self._over.shape or begins.dtype != bool:
            raise UserError(f"where is {where}, but must be {self._batch} truth values.")
        if self._key is None and not begins.all():
            raise UserError("some copies never began an episode; call reset for all first.")
        self._decided = None
        self._finish(begins)
        self._begin(begins, seed)

    def act(self, observation: Any) -> Any:
        """The action for an observation of the environment: NumPy, in ``env.action_space``. An int for discrete actions, a
        dict or tuple for those with parts.

        Asked again before `observe`, it draws anew: the earlier action counts as not taken.

        Raises:
            UserError: no episode has begun, or the observation does not fit.
        """
        if self._key is None or (self._batch is None and self._over):
            raise UserError(
                f"act: {'the episode is over' if self._key is not None else 'no episode'}; call reset to begin one."
            )
        refuse_fork()
        functions = self._functions
        seen = read_observation(self._family, observation, self._over.shape, functions.read)
        act = functions.act if self._batch is None else functions.act_all
        memory, step = act(self._params, self._memory, seen, self._key, self._asked, self._greedy)
        self._asked = self._asked + np.int32(1)
        self._decided = memory, step, seen
        return in_space(self._family.action_space, step.taken)

    def observe(self, reward: Any, terminated: Any, truncated: Any = False) -> None:
        """Say what came of the action: the reward, and whether the episode ended by itself or was cut off.

        An agent with memory takes an episode cut off before the horizon of training for one that ended, as it learned to.

        Raises:
            UserError: no action has been asked for, or what came of it is not of its type, or no finite reward.
        """
        refuse_fork()
        if self._decided is None:
            raise UserError("observe: there is no action that this came of; call act first.")
        memory, step, seen = self._decided
        shape, before = self._over.shape, self._over
        try:
            rewards = np.broadcast_to(np.asarray(reward, np.float32), shape)
        except (TypeError, ValueError) as error:
            wanted = f"{self._batch} numbers" if self._batch else "one number"
            raise UserError(f"observe: reward is {_short(reward)}, but must be {wanted}.") from error
        if not np.isfinite(rewards[~before]).all():
            raise UserError(f"observe: reward is {_short(reward)}, which is not finite; the agent would learn from it.")
        terminated, truncated = (self._ends(name, end) for name, end in (("terminated", terminated), ("truncated", truncated)))
        self._decided = None
        self._t = self._t + np.int32(1)
        ended = terminated | (truncated & (self._t < self._family.horizon))
        if self._remembers:
            observe = self._functions.observe if self._batch is None else self._functions.observe_all
            memory = observe(memory, step.action, rewards, ended)
            self._memory = memory if not before.any() else _where(before, self._memory, memory)
        if self._record:
            self._note(seen, step, rewards, ended, ~before)
        self._over = (terminated | truncated) & ~before
        if before.any():  # these copies have just begun anew by themselves
            self._finish(before)
            self._begin(before, None)

    def episodes(self) -> list[Episode]:
        """What was played, with ``record=True``, in the order of ends; running ones, as far as they are, last."""
        if not self._record:
            raise UserError("nothing is recorded; make the actor with record=True.")
        running = [self._episode(steps, bool(over)) for steps, over in zip(self._played, np.ravel(self._over), strict=True)]
        return self._finished + [episode for episode in running if len(episode.reward)]

    def _ends(self, name: str, end: Any) -> np.ndarray:
        """Whether episodes ended so, as truth values; 0 and 1 will do."""
        given = np.asarray(end)
        if given.dtype.kind not in "biuf" or not np.isin(given, (0, 1)).all() or given.shape not in ((), self._over.shape):
            wanted = f"{self._batch} truth values" if self._batch else "True or False"
            raise UserError(f"observe: {name} is {_short(end)}, but must be {wanted}.")
        return np.broadcast_to(given.astype(bool), self._over.shape)

    def _each(self, memory: Any) -> Any:
        if self._batch is None:
            return memory
        return jax.tree.map(lambda x: jnp.broadcast_to(x, (self._batch, *x.shape)), memory)

    def _begin(self, begins: np.ndarray, seed: Any) -> None:
        if seed is not None or self._key is None:
            key = keys_of(self._seed if seed is None else seed, self._batch)
        else:
            fold = functools.partial(jax.random.fold_in, data=NEXT_EPISODE)
            key = fold(self._key) if self._batch is None else jax.vmap(fold)(self._key)
        self._key = key if begins.all() else jnp.where(begins, key, self._key)
        self._over = self._over & ~begins
        self._t, self._asked = (np.where(begins, np.int32(0), count) for count in (self._t, self._asked))
        if self._remembers:
            reset = self._functions.reset if self._batch is None else self._functions.reset_all
            memory = reset(self._memory)
            self._memory = memory if begins.all() else _where(begins, memory, self._memory)

    def _note(self, seen: np.ndarray, step: Step, reward: np.ndarray, terminated: np.ndarray, live: np.ndarray) -> None:
        parts = jax.device_get((seen, step.action, step.log_prob, step.distribution, reward, terminated))
        if self._batch is None:
            self._played[0].append(parts)
            return
        for i in np.flatnonzero(live):
            self._played[i].append(jax.tree.map(lambda x, i=i: x[i], parts))

    def _finish(self, which: np.ndarray) -> None:
        """What was played there becomes an episode."""
        for i in np.flatnonzero(which):
            if self._played[i]:
                self._finished.append(self._episode(self._played[i], over=True))
                self._played[i] = []

    def _episode(self, steps: Sequence[tuple[Any, ...]], over: bool) -> Episode:
        if not steps:
            nothing = np.zeros(0)
            return Episode(nothing, nothing, nothing, {}, nothing, np.zeros(0, bool), self.num_steps, over)
        observation, action, log_prob, distribution, reward, terminated = jax.tree.map(lambda *rows: np.stack(rows), *steps)
        return Episode(observation, action, log_prob, distribution, reward, terminated, self.num_steps, over)


def keys_of(seed: int | jax.Array, batch: int | None) -> jax.Array:
    """A typed key, or one for each of a batch: of seed + i, or parts of a given key."""
    if isinstance(seed, jax.Array) and jax.dtypes.issubdtype(seed.dtype, jax.dtypes.prng_key):
        return seed if batch is None or seed.ndim else jax.random.split(seed, batch)
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise UserError(f"seed is {seed!r}, but must be a whole number, at least 0, or a key of jax.random.key.")
    if batch is None:
        return jax.random.key(int(seed) % 2**32)
    return jax.vmap(jax.random.key)(np.arange(int(seed), int(seed) + batch).astype(np.uint32))


def read_observation(
    family: envs.TaskFamily, observation: Any, lead: tuple[int, ...] = (), read: Callable[[Any], Any] | None = None
) -> np.ndarray:
    """An environment's observation as the network reads it, [*lead, ...]; `UserError` in one line if it does not fit.

    Args:
        family: the environments.
        observation: of one, or of many with axes in front.
        lead: those axes.
        read: see `Compiled`.
    """
    space: Any = family.observation_space
    if isinstance(space, gymnasium.spaces.Box):
        seen = _numbers(space, observation, lead, "", family.read_observation)
    else:
        seen = _of_parts(space, observation, lead, "")
    return seen if read is None else np.asarray(read(seen))


def _of_parts(space: Any, observation: Any, lead: tuple[int, ...], path: str) -> Any:
    """An observation, checked against a space of any kind: NumPy arrays in the place of its parts."""
    if isinstance(space, gymnasium.spaces.Dict):
        if not isinstance(observation, Mapping) or not set(space.spaces) <= set(observation):
            raise UserError(
                f"the observation{path} is {_short(observation)}, but must be a dict with {', '.join(map(str, space.spaces))}."
            )
        return {name: _of_parts(part, observation[name], lead, f"{path}[{name!r}]") for name, part in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        if not isinstance(observation, tuple | list) or len(observation) != len(space.spaces):
            raise UserError(
                f"the observation{path} is {_short(observation)}, but must be a tuple of {len(space.spaces)} items."
            )
        return tuple(_of_parts(part, observation[i], lead, f"{path}[{i}]") for i, part in enumerate(space.spaces))
    if isinstance(space, gymnasium.spaces.Box):
        return _numbers(space, observation, lead, path, np.asarray)
    seen = _numbers(space, observation, lead, path, np.asarray, whole=True)
    least: Any = 0 if isinstance(space, gymnasium.spaces.MultiBinary) else space.start
    count = {gymnasium.spaces.Discrete: "n", gymnasium.spaces.MultiDiscrete: "nvec"}.get(type(space))
    most = least + (getattr(space, count) if count else 2)
    if np.any((seen < least) | (seen >= most)):
        raise UserError(f"the observation{path} is {_short(observation)}, which is not in {space}.")
    return seen.astype(np.int32)


def _numbers(space: Any, observation: Any, lead: tuple[int, ...], path: str, read: Callable, whole: bool = False) -> np.ndarray:
    shape = lead + (space.shape or ())
    wanted = f"{'whole ' if whole else ''}numbers of shape {shape}"
    try:
        seen = np.asarray(observation) if lead or np.shape(observation) == shape else read(observation)
        if whole and np.asarray(seen).dtype.kind not in "biu":
            raise ValueError
        seen = np.asarray(seen, space.dtype)
    except (TypeError, ValueError, KeyError) as error:
        raise UserError(f"the observation{path} is {_short(observation)}, but must be {wanted}.") from error
    if seen.shape != shape:
        raise UserError(f"the observation{path} has shape {seen.shape}, but must have {shape}, as in training.")
    if not np.isfinite(seen).all():
        place = np.argwhere(~np.isfinite(np.atleast_1d(seen)))[0].tolist()
        raise UserError(
            f"the observation{path} is {np.atleast_1d(seen)[tuple(place)]} at place {place}; the agent would act on it."
        )
    return seen


def in_space(space: gymnasium.Space, action: Any) -> Any:
    """An action as NumPy, of the space's own number type, whose rounding must not lead out of it."""
    if isinstance(space, gymnasium.spaces.Dict):
        return {name: in_space(part, action[name]) for name, part in space.spaces.items()}
    if isinstance(space, gymnasium.spaces.Tuple):
        return tuple(in_space(part, each) for part, each in zip(space.spaces, action, strict=True))
    if isinstance(space, gymnasium.spaces.Discrete):
        return np.asarray(action, np.int64)[()]
    action = np.asarray(action)
    if isinstance(space, gymnasium.spaces.MultiDiscrete | gymnasium.spaces.MultiBinary):
        return action.astype(space.dtype)
    if isinstance(space, gymnasium.spaces.Box) and np.issubdtype(space.dtype, np.floating):
        return np.asarray(np.clip(action.astype(space.dtype), space.low, space.high))
    return action


def recorded_step(family: envs.TaskFamily, functions: Compiled, state: MetaState) -> dict[str, Any]:
    """What an actor records of one step, by the fields of `Episode` that have a time axis: leaves with shape and dtype."""
    params, memory = jax.eval_shape(functions.begin, state, None)
    space = copy.deepcopy(family.observation_space)  # whose own random numbers are the user's
    seen = read_observation(family, space.sample(), read=functions.read)
    _, step = jax.eval_shape(lambda *given: functions.act(*given, 0, False), params, memory, seen, jax.random.key(0))
    number, end = jax.ShapeDtypeStruct((), np.float32), jax.ShapeDtypeStruct((), np.bool_)
    told = {"observation": jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), seen), "action": step.action}
    return told | {"log_prob": step.log_prob, "distribution": step.distribution, "reward": number, "terminated": end}


def checked(i: int, episode: Episode, like: dict[str, Any]) -> Episode:
    """The i-th of some episodes in NumPy arrays; lists are welcome.

    Args:
        i: for messages.
        episode: as an actor recorded it, or as a file holds that.
        like: see `recorded_step`.

    Raises:
        UserError: it is not what an actor of this agent records.
    """
    if np.ndim(episode.reward) != 1:
        raise UserError(f"episode {i}: reward has shape {np.shape(episode.reward)}, but must have one number for each step.")
    steps, found = len(episode.reward), {}
    if not steps:
        raise UserError(f"episode {i} has no steps; leave it out.")
    for name, one_step in like.items():
        given = getattr(episode, name)
        try:
            leaves = [np.asarray(leaf) for leaf in jax.tree.structure(one_step).flatten_up_to(given)]  # type: ignore[attr-defined]
            kinds = {leaf.dtype.kind for leaf in leaves}
        except (TypeError, ValueError):
            kinds = {"O"}
        if not kinds <= set("biuf"):
            raise UserError(f"episode {i}: {name} is {_short(given)}, which no actor of this agent records.")
        for leaf, expected in zip(leaves, jax.tree.leaves(one_step), strict=True):
            if leaf.shape != (steps, *expected.shape):
                raise UserError(
                    f"episode {i}: {name} has shape {leaf.shape}, but actors of this agent record {(steps, *expected.shape)} "
                    f"in {steps} steps."
                )
            if np.isnan(leaf).any() or (name != "distribution" and not np.isfinite(leaf).all()):
                raise UserError(f"episode {i} has a {name} that is not finite.")
        arrays = [leaf.astype(expected.dtype) for leaf, expected in zip(leaves, jax.tree.leaves(one_step), strict=True)]
        found[name] = jax.tree.unflatten(jax.tree.structure(one_step), arrays)
    return episode._replace(**found)


def as_batch(episodes: Sequence[Episode], num_steps: int, horizon: int, remembers: bool, like: dict[str, Any]) -> Trajectory:
    """Episodes as one batch [N, T, ...], T being ``horizon`` or their greatest length, zero after their ends.

    Args:
        episodes: N of them.
        num_steps: adaptation steps that the agent has taken.
        horizon: of training.
        remembers: whether the agent has a memory, which reads what it played itself.
        like: see `recorded_step`.

    Raises:
        UserError: there are none, or they are not what an agent after ``num_steps`` adaptation steps plays.
    """
    several = isinstance(episodes, list | tuple) and not isinstance(episodes, Episode)
    if not several or not episodes or not all(isinstance(episode, Episode) for episode in episodes):
        raise UserError(f"episodes is {_short(episodes)}, but must be a list of what Actor.episodes() gives, at least one.")
    episodes = [checked(i, episode, like) for i, episode in enumerate(episodes)]
    for i, episode in enumerate(episodes):
        if episode.num_steps != num_steps and not remembers:
            raise UserError(
                f"episode {i} was played after {episode.num_steps} inner steps, but this agent has taken {num_steps}; play new "
                "ones with its own actor."
            )
    steps = max(horizon, *(len(episode.reward) for episode in episodes))

    def padded(leaf: np.ndarray, repeat: bool = False) -> Any:
        rest = [(0, steps - len(leaf)), *[(0, 0)] * (leaf.ndim - 1)]
        return np.pad(leaf, rest, mode="edge" if repeat else "constant")

    def one(episode: Episode) -> Trajectory:
        return Trajectory(
            observation=padded(episode.observation, repeat=True),
            action=jax.tree.map(functools.partial(padded, repeat=True), episode.action),
            log_prob=padded(episode.log_prob),
            distribution=jax.tree.map(functools.partial(padded, repeat=True), episode.distribution),
            reward=padded(episode.reward),
            mask=padded(np.ones_like(episode.reward)),
            terminated=padded(episode.terminated),
            last_observation=episode.observation[-1],
        )

    return jax.tree.map(lambda *leaves: np.stack(leaves), *map(one, episodes))


def _where(condition: np.ndarray, first: Any, second: Any) -> Any:
    """Leaves [B, ...] of the first where the condition [B] holds, else of the second."""
    return jax.tree.map(lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b), first, second)


def _short(value: Any) -> str:
    return " ".join(repr(value).split())[:80]
