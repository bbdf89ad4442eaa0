"""The environments behind a family on the host: which episode plays where, called from compiled programs.

A compiled program treats its callbacks as pure functions: it may repeat one, drop one, merge two that look alike, run two at
once, and a caller may go back to an earlier state. So an episode is a number under which its seed, task and actions are
recorded, and its environment is only where they have led so far:

- a step that follows on is played there;
- the last step asked again, with the same action, gets the same answer;
- a step from an earlier state, or with another action, plays the recorded actions again in another environment and goes on
  there under a number of its own.

NumPy only: jax called from inside a callback can wait for ever.
"""

import heapq
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from envs.from_gymnasium.worker import Environments, HostError, Recipe, task_of

# As many times the largest batch. An episode asked for longest ago gives up its environment first, then its record.
MAX_ENVIRONMENTS = 4
MAX_EPISODES = 8
MIN_EPISODES = 64  # records are small


class Episode:
    """What was asked of one episode so far, and the last answer. ``slot`` is -1 once it has no environment any more."""

    __slots__ = ("actions", "answer", "length", "seed", "slot", "task")

    def __init__(self, slot: int, seed: int, task: dict[str, np.ndarray], answer: tuple, actions: np.ndarray):
        self.slot, self.seed, self.task, self.answer = slot, seed, task, answer
        self.actions, self.length = actions, 0  # [horizon, ...], of which the first ``length`` were taken


class Pool:
    """Episodes of one family. Arrays have one leading axis [B]; every method may be called from any thread.

    Args:
        recipe: of the environments.
        actions: an empty record of an episode's actions, [horizon, ...].
        open_environments: () -> what has the methods of `Environments`; called anew after a failure.
    """

    def __init__(self, recipe: Recipe, actions: np.ndarray, open_environments: Callable[[], Any]):
        self.recipe, self._actions, self._open = recipe, actions, open_environments
        self._next = 0
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.RLock()
        self._drawn: tuple[int, int, Environments] | None = None  # episode, t, and where it is drawn
        self._environments: Any = None
        self._slots = self._largest = 0
        self._not_finite: str | None = None
        self._forget()

    def not_finite(self) -> str | None:
        """The first number of an environment that was not finite since this was last asked, in a line; None if all were.

        Such numbers go on into the program: what calls it may stop, or drop what they have spoiled.
        """
        with self._lock:
            found, self._not_finite = self._not_finite, None
            return found

    def __getstate__(self) -> dict[str, Any]:
        """What the environments are made of. Episodes stay behind: a step of one, elsewhere, says that it is not kept.

        So it does after new ones have begun there: they are counted on from here, and none has the number of an old one.
        """
        return {name: getattr(self, name) for name in ("recipe", "_actions", "_open", "_next")}

    def __setstate__(self, stored: dict[str, Any]) -> None:
        """What `__getstate__` gave."""
        vars(self).update(stored)
        self._begin()

    def reset(self, seeds: np.ndarray, tasks: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
        """Begin episodes: their numbers [B] and first observations [B, O]."""
        with self._lock, _Closing(self):
            self._largest = max(self._largest, len(seeds))
            slots = [self._free_slot() for _ in seeds]
            observation = self._environments.reset(slots, seeds, tasks)
            numbers = [
                self._record(slot, int(seeds[i]), {name: values[i : i + 1] for name, values in tasks.items()}, observation[i])
                for i, slot in enumerate(slots)
            ]
            self._note("reset", numbers, observation)
            return np.asarray(numbers, np.int32), observation

    def step(self, numbers: np.ndarray, t: np.ndarray, ended: np.ndarray, actions: np.ndarray) -> tuple[np.ndarray, ...]:
        """Step the episodes that have not ended.

        Args:
            numbers: [B], of the episodes.
            t: [B], how many steps each has taken.
            ended: [B]; nothing is done for these.
            actions: [B, ...].

        Returns:
            numbers [B], observation [B, O], reward [B], terminated [B], truncated [B], what is measured [B, Q]; zeros for those
            that have ended.
        """
        with self._lock, _Closing(self):
            self._largest = max(self._largest, len(numbers))
            called, times = numbers.tolist(), t.tolist()
            going = []  # the episodes that follow on
            for i in np.flatnonzero(~ended).tolist():
                number, now, action = called[i], times[i], actions[i]
                episode = self._find(number)
                if episode.length == now + 1 and _same(episode.actions[now], action):
                    continue  # asked again
                if episode.length != now or episode.slot < 0:
                    number = self._branch(episode, now)
                    called[i], episode = number, self._episodes[number]
                going.append(number)
                episode.actions[now] = action
                episode.length += 1
            if going:
                self._play(going)
            answers = [None if done else self._episodes[number].answer for number, done in zip(called, ended, strict=True)]
        return np.asarray(called, np.int32), *_gather(answers, self.recipe.observed.size, len(self.recipe.measures))

    def render(self, number: int, t: int) -> np.ndarray:
        """The picture [height, width, 3] of an episode after ``t`` steps, played again in an environment that draws."""
        with self._lock:
            episode = self._find(number)
            if self._drawn is None or self._drawn[0] != number or self._drawn[1] > t:
                self._drawn = (number, -1, self._drawn[2] if self._drawn else Environments(self.recipe, "rgb_array"))
            _, reached, environments = self._drawn
            if reached < 0:
                environments.reset([0], np.asarray([episode.seed]), episode.task)
                reached = 0
            for action in episode.actions[reached:t]:
                environments.step([0], action[None])
            self._drawn = (number, t, environments)
            return environments.render(0)

    def close(self) -> None:
        """Close all environments; the next `reset` begins anew."""
        with self._lock:
            if self._environments is not None:
                self._environments.close()
            if self._drawn is not None:
                self._drawn[2].close()
            self._environments = self._drawn = None
            self._forget()

    def _forget(self) -> None:
        self._episodes: OrderedDict[int, Episode] = OrderedDict()  # by number, the one asked for longest ago first
        self._playing: OrderedDict[int, Episode] = OrderedDict()  # those of them that have an environment
        self._free: list[int] = []
        self._slots = self._largest = 0

    def _record(self, slot: int, seed: int, task: dict[str, np.ndarray], observation: np.ndarray) -> int:
        number, self._next = self._next, (self._next + 1) % 2**31
        info = np.zeros(len(self.recipe.measures), np.float32)
        answer = observation.copy(), 0.0, False, False, info  # a view would keep the whole batch
        self._episodes[number] = self._playing[number] = Episode(slot, seed, task, answer, self._actions.copy())
        while len(self._episodes) > max(MAX_EPISODES * self._largest, MIN_EPISODES):
            self._release(next(iter(self._episodes)))
            self._episodes.popitem(last=False)
        return number

    def _find(self, number: int) -> Episode:
        if number not in self._episodes:
            raise HostError(
                f"{self.recipe.name}: step of an episode that is not kept: too many were begun since it was last stepped, an "
                "environment failed, or this is a copy of where it was begun. Reset again."
            )
        self._episodes.move_to_end(number)
        if number in self._playing:
            self._playing.move_to_end(number)
        return self._episodes[number]

    def _play(self, numbers: Iterable[int]) -> None:
        """Take the last recorded action of each of these episodes."""
        going = {number: self._episodes[number] for number in numbers}
        actions = np.asarray([episode.actions[episode.length - 1] for episode in going.values()])
        sane = np.isfinite(actions).reshape(len(actions), -1).all(axis=1)
        for number in [number for number, good in zip(going, sane, strict=True) if not good]:
            # From a policy that has diverged: no environment can answer, and training says what to do.
            seen, *_, info = going[number].answer
            going[number].answer = seen, float("nan"), False, True, np.full_like(info, np.nan)
            self._release(number)
            del going[number]
        if not going:
            return
        answer = self._environments.step([episode.slot for episode in going.values()], actions[sane])
        self._note("step", list(going), answer[0], answer[1], answer[4])
        rows = zip(answer[0], *(part.tolist() for part in answer[1:4]), answer[4], strict=True)
        for (number, episode), (observation, reward, terminated, truncated, info) in zip(going.items(), rows, strict=True):
            last = episode.length == len(episode.actions)
            truncated = truncated and not last  # a time limit inside says nothing new there
            episode.answer = observation.copy(), reward, terminated, truncated, info.copy()
            if last or terminated or truncated:
                self._release(number)

    def _note(
        self,
        call: str,
        numbers: list[int],
        observation: np.ndarray,
        reward: np.ndarray | None = None,
        info: np.ndarray | None = None,
    ) -> None:
        """Remember the first answer with a number that is not finite."""
        if self._not_finite is not None:
            return
        seen, paid, told = "an observation with {} at place {}", "the reward {}", "{} as info[{!r}]"
        for values, what in ((observation, seen), (reward, paid), (info, told)):
            if values is not None and not np.isfinite(values).all():
                i, *place = np.argwhere(~np.isfinite(values))[0].tolist()
                named = [self.recipe.measures[at] for at in place] if values is info else place
                episode = self._episodes[numbers[i]]
                who = f"{call} {episode.length} of an episode" if call == "step" else call
                self._not_finite = (
                    f"{self.recipe.name}: {who} with task {task_of(episode.task, 0)} and seed {episode.seed} gives "
                    f"{what.format(values[(i, *place)], *named)}."
                )
                return

    def _branch(self, episode: Episode, t: int) -> int:
        """The number of a new episode that has taken the first ``t`` actions of another."""
        if t > episode.length:
            raise HostError(
                f"{self.recipe.name}: step {t} of an episode of which {episode.length} steps were taken: "
                "give states only to the family that made them."
            )
        slot = self._free_slot()
        observation = self._environments.reset([slot], np.asarray([episode.seed]), episode.task)
        number = self._record(slot, episode.seed, episode.task, observation[0])
        copy = self._episodes[number]
        for action in episode.actions[:t]:
            if copy.slot < 0:
                break
            copy.actions[copy.length] = action
            copy.length += 1
            self._play([number])
        if copy.slot < 0 or (t == episode.length and not _same(copy.answer[0], episode.answer[0])):
            raise HostError(
                f"{self.recipe.name}: an episode played again from its seed {episode.seed} and its actions went another way; "
                "make the environment follow from reset(seed=...)."
            )
        return number

    def _free_slot(self) -> int:
        if self._environments is None:
            self._environments = self._open()
        if not self._free and self._slots >= MAX_ENVIRONMENTS * self._largest:
            self._release(next(iter(self._playing)))
        if self._free:
            return heapq.heappop(self._free)  # the lowest, which spreads them evenly over workers
        self._slots += 1
        return self._slots - 1

    def _release(self, number: int) -> None:
        episode = self._playing.pop(number, None)
        if episode is not None:
            heapq.heappush(self._free, episode.slot)
            episode.slot = -1


class _Closing:
    """Closes the pool if anything goes wrong inside, Ctrl-C included: half of a batch may have been stepped."""

    def __init__(self, pool: Pool):
        self.pool = pool

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: Any, error: Any, trace: Any) -> None:
        if kind is not None:
            self.pool.close()


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    return np.array_equal(a, b, equal_nan=True)


def _gather(answers: list[Any], size: int, num_measures: int) -> tuple[np.ndarray, ...]:
    nothing = np.zeros(size, np.float32), 0.0, False, False, np.zeros(num_measures, np.float32)
    observation, reward, *ends, info = zip(*(nothing if a is None else a for a in answers), strict=True)
    return np.asarray(observation), np.asarray(reward, np.float32), *map(np.asarray, ends), np.asarray(info)
