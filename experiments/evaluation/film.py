"""A film of tasks before and after adaptation: new episodes, with the same start and the same chance in both."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

import envs
from envs.keys import is_key, numbers
from envs.stepping import first_step, next_step
from experiments.evaluation.actor import Actor
from experiments.evaluation.rollout_video import GAP, LAST_FRAMES, MAX_FRAMES, SECONDS, beside, film
from experiments.evaluation.trained import Trained

TASKS_SHOWN = 2
KEY_OF_FILMS = 11  # the same start before and after adaptation, whatever the agent


class How(NamedTuple):
    """What a film shows of each task.

    Attributes:
        num_steps: K, adaptation steps between the two episodes of a row.
        seed: of start and chance, the same in both episodes.
        sampled: whether actions are sampled, and not the policy's modes.
    """

    num_steps: int = 1
    seed: int = KEY_OF_FILMS
    sampled: bool = False


def write(path: Path, agent: Trained, tasks: Any, num_steps: int = 1) -> bool:
    """Draw greedy episodes of the first two different tasks, one below the other: before adaptation and after it.

    Args:
        path: where to write.
        agent: which.
        tasks: leaves [M, ...].
        num_steps: K, inner steps, or episodes of agents with memory.

    Returns:
        Whether it was written; not if the family cannot draw itself.
    """
    path.unlink(missing_ok=True)
    if not envs.family.can_render(agent.family):
        return False
    write_all(path, agent, [row(tasks, i) for i in distinct(tasks, TASKS_SHOWN)], How(num_steps))
    return True


def write_all(path: Path, agent: Trained, tasks: Sequence[Any], how: How) -> None:
    """The same of given tasks of a family that draws itself."""
    rows = [films_of(agent, task, how) for task in tasks]
    length = max(len(frames) for films in rows for frames in films.values())
    frames = [picture(rows, i) for i in range(length)]
    frames += [frames[-1]] * LAST_FRAMES
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=int(1000 * SECONDS / MAX_FRAMES), loop=0)


def strip(path: Path, agent: Trained, tasks: Any, num_steps: int = 1, count: int = 5) -> None:
    """The same as one picture: ``count`` moments of each episode beside each other, an episode per row."""
    rows = []
    for i in distinct(tasks, TASKS_SHOWN):
        for caption, frames in films_of(agent, row(tasks, i), How(num_steps)).items():
            moments = np.linspace(0, len(frames) - 1, count).astype(int)
            rows.append(beside([frames[m] for m in moments], [caption] + [""] * (count - 1)))
    stacked(rows).save(path)


def row(tasks: Any, index: int) -> Any:
    """One of M tasks, leaves [M, ...]."""
    return jax.tree.map(lambda leaf: leaf[index], tasks)


def distinct(tasks: Any, count: int) -> list[int]:
    """Indices of the first ``count`` different tasks, leaves [M, ...]; fewer if there are no more."""
    seen: dict[bytes, int] = {}
    leaves = jax.tree.leaves(numbers(tasks))
    for i in range(leaves[0].shape[0]):
        seen.setdefault(b"".join(np.asarray(leaf[i]).tobytes() for leaf in leaves), i)
    return list(seen.values())[:count]


def films_of(agent: Trained, task: Any, how: How) -> dict[str, list[np.ndarray]]:
    """Caption -> pictures of an episode of one task, before adaptation and after K steps; of one, if nothing adapts."""
    acting = agent.learner.acting
    adapts = acting is not None and acting.learn is not None and not acting.sees_task
    num_steps = how.num_steps if adapts else 0
    curve = agent.adapt(task, num_steps=num_steps)
    about = ", ".join(" ".join(f"{x:+.2f}" for x in np.ravel(leaf)) for leaf in jax.tree.leaves(task) if told(leaf))
    kind = "episode" if acting is not None and acting.remembers else "step"
    after = f"after one {kind}" if num_steps == 1 else f"after {num_steps} {kind}s"
    found = {}
    for words, step in (("before", 0), (after, num_steps)) if num_steps else (("", 0),):
        actor = agent.actor(curve, step, greedy=not how.sampled, seed=how.seed)
        states, total = episode(agent, actor, task, how.seed)
        caption = f"{words}: {total:.1f}".removeprefix(": ")
        found[caption + f" (task {about})" * bool(about)] = film(agent.family, task, states)
    return found


def told(leaf: Any) -> bool:
    """Whether a caption has room for a part of a task."""
    return np.size(leaf) <= 2 and not is_key(leaf)


def episode(agent: Trained, actor: Actor, task: Any, seed: int) -> tuple[list[Any], float]:
    """The states of an episode as an actor plays it, and its return."""
    family, key = agent.family, jax.random.key(seed)
    follow = jax.jit(lambda t, state, action: next_step(family, key, t, state, action, task))
    state, observation = first_step(family, key, task)
    actor.reset(seed=key)
    states, total = [state], 0.0
    for t in range(family.horizon):
        state, observation, reward, terminated, truncated = follow(t, state, actor.act(observation))
        actor.observe(reward, terminated, truncated)
        states.append(state)
        total += float(reward)
        if terminated:
            break
    return states, total


def picture(rows: list[dict[str, list[np.ndarray]]], index: int) -> Image.Image:
    """One frame: a row for each task; an episode that has ended stands still."""
    return stacked([beside([film[min(index, len(film) - 1)] for film in films.values()], list(films)) for films in rows])


def stacked(rows: list[Image.Image]) -> Image.Image:
    """Pictures below one another."""
    height = sum(row.height for row in rows) + GAP * (len(rows) - 1)
    whole = Image.new("RGB", (max(row.width for row in rows), height), (222, 222, 222))
    top = 0
    for row in rows:
        whole.paste(row.convert("RGB"), (0, top))
        top += row.height + GAP
    return whole.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
