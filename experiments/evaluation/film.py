"""A film of held-out tasks before and after adaptation: new greedy episodes, where chance decides how one starts or moves."""

from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image

import envs
from envs.keys import is_key, numbers
from envs.stepping import first_step, next_step
from experiments.evaluation.rollout_video import GAP, LAST_FRAMES, MAX_FRAMES, SECONDS, beside, film
from experiments.evaluation.trained import Trained

TASKS_SHOWN = 2
KEY_OF_FILMS = 11  # the same start before and after adaptation, whatever the agent


def write(path: Path, agent: Trained, tasks: Any, num_steps: int = 1) -> bool:
    """Draw greedy episodes of the first two different tasks, one below the other: before adaptation and after it.

    Args:
        path: where to write.
        agent: which adapts by gradients.
        tasks: leaves [M, ...].
        num_steps: K, inner steps.

    Returns:
        Whether it was written; not if the family cannot draw itself.
    """
    path.unlink(missing_ok=True)
    if not envs.family.can_render(agent.family):
        return False
    rows = [films_of(agent, jax.tree.map(lambda x, i=i: x[i], tasks), num_steps) for i in distinct(tasks, TASKS_SHOWN)]
    length = max(len(frames) for films in rows for frames in films.values())
    frames = [picture(rows, i) for i in range(length)]
    frames += [frames[-1]] * LAST_FRAMES
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=int(1000 * SECONDS / MAX_FRAMES), loop=0)
    return True


def strip(path: Path, agent: Trained, tasks: Any, num_steps: int = 1, count: int = 5) -> None:
    """The same as one picture: ``count`` moments of each episode beside each other, an episode per row."""
    rows = []
    for i in distinct(tasks, TASKS_SHOWN):
        for caption, frames in films_of(agent, jax.tree.map(lambda x, i=i: x[i], tasks), num_steps).items():
            moments = np.linspace(0, len(frames) - 1, count).astype(int)
            rows.append(beside([frames[m] for m in moments], [caption] + [""] * (count - 1)))
    stacked(rows).save(path)


def distinct(tasks: Any, count: int) -> list[int]:
    """Indices of the first ``count`` different tasks, leaves [M, ...]; fewer if there are no more."""
    seen: dict[bytes, int] = {}
    leaves = jax.tree.leaves(numbers(tasks))
    for i in range(leaves[0].shape[0]):
        seen.setdefault(b"".join(np.asarray(leaf[i]).tobytes() for leaf in leaves), i)
    return list(seen.values())[:count]


def films_of(agent: Trained, task: Any, num_steps: int) -> dict[str, list[np.ndarray]]:
    """Caption -> pictures of an episode of one task, before adaptation and after each number of inner steps shown."""
    curve = agent.adapt(task, num_steps=num_steps)
    about = ", ".join(" ".join(f"{x:+.2f}" for x in np.ravel(leaf)) for leaf in jax.tree.leaves(task) if told(leaf))
    after = "after one step" if num_steps == 1 else f"after {num_steps} steps"
    found = {}
    for words, step in (("before", 0), (after, num_steps)):
        states, total = greedy_episode(agent, curve, task, step)
        found[f"{words}: {total:.1f}" + f" (task {about})" * bool(about)] = film(agent.family, task, states)
    return found


def told(leaf: Any) -> bool:
    """Whether a caption has room for a part of a task."""
    return np.size(leaf) <= 2 and not is_key(leaf)


def greedy_episode(agent: Trained, curve: Any, task: Any, step: int) -> tuple[list[Any], float]:
    """The states of an episode of the policy's modes after ``step`` inner steps, and its return."""
    family, key = agent.family, jax.random.key(KEY_OF_FILMS)
    follow = jax.jit(lambda t, state, action: next_step(family, key, t, state, action, task))
    state, observation = first_step(family, key, task)
    states, total = [state], 0.0
    for t in range(family.horizon):
        state, observation, reward, terminated, _ = follow(t, state, agent.act(curve, observation, step))
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
