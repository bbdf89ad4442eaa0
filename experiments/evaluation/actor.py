"""Stepping a trained agent by hand: `Actor`, and the compiled functions under it."""

import copy
import functools
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import envs
from agents.parts.trials import act_by_sampling, act_greedily
from envs.forks import refuse_fork
from envs.to_gymnasium.task_vector_env import NEXT_EPISODE
from experiments.cli.errors import UserError, shown
from experiments.evaluation.episodes import Episode
from experiments.evaluation.observed import in_space, read_observation
from metarl.interfaces import Acting, MetaLearner, MetaState, unchanged


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
                raise UserError(f"{name} is {shown(value)}, but must be True or False.")
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
            raise UserError(f"observe: reward is {shown(reward)}, but must be {wanted}.") from error
        if not np.isfinite(rewards[~before]).all():
            raise UserError(f"observe: reward is {shown(reward)}, which is not finite; the agent would learn from it.")
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
            raise UserError(f"observe: {name} is {shown(end)}, but must be {wanted}.")
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


def recorded_step(family: envs.TaskFamily, functions: Compiled, state: MetaState) -> dict[str, Any]:
    """What an actor records of one step, by the fields of `Episode` that have a time axis: leaves with shape and dtype."""
    params, memory = jax.eval_shape(functions.begin, state, None)
    space = copy.deepcopy(family.observation_space)  # whose own random numbers are the user's
    seen = read_observation(family, space.sample(), read=functions.read)
    _, step = jax.eval_shape(lambda *given: functions.act(*given, 0, False), params, memory, seen, jax.random.key(0))
    number, end = jax.ShapeDtypeStruct((), np.float32), jax.ShapeDtypeStruct((), np.bool_)
    told = {"observation": jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), seen), "action": step.action}
    return told | {"log_prob": step.log_prob, "distribution": step.distribution, "reward": number, "terminated": end}


def _where(condition: np.ndarray, first: Any, second: Any) -> Any:
    """Leaves [B, ...] of the first where the condition [B] holds, else of the second."""
    return jax.tree.map(lambda a, b: jnp.where(condition.reshape(-1, *[1] * (a.ndim - 1)), a, b), first, second)
