"""``rollout.gif``: a held-out task before and after adaptation, side by side, as the family itself draws it."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from PIL import Image, ImageDraw

import envs
from envs.stepping import first_step, next_step
from metarl.interfaces import unchanged

MAX_FRAMES = 50  # of one episode; longer ones skip states
SECONDS = 4.0  # that a full episode lasts
CAPTION = 18  # pixels above the pictures
GAP = 6  # pixels between them
LAST_FRAMES = 8  # how long the end stays, in frames


def write(
    path: Path,
    family: Any,
    task: Any,
    episodes: dict[str, tuple[Any, Any, Any]],
    keys: Mapping[str, jax.Array] | None = None,
    read: Callable[[Any], Any] = unchanged,
) -> bool:
    """Draw recorded episodes of one task beside each other. Their states are found by playing the recorded actions again.

    Args:
        path: where to write.
        family: the environments.
        task: the task of all episodes.
        episodes: caption -> (observation [T, ...], action [T, ...], mask [T]).
        keys: caption -> key that the episode was drawn with; not needed by a family without randomness of its own.
        read: the family's observation -> what is recorded of it.

    Returns:
        Whether it was written. Not if the family cannot draw itself, nor if playing the actions again does not give the
        recorded observations: the film would show something else than what was measured.
    """
    path.unlink(missing_ok=True)
    if not envs.family.can_render(family):
        return False
    films = []
    for caption, (observation, action, mask) in episodes.items():
        key = jax.random.key(0) if keys is None else keys[caption]
        steps = int(mask.sum())
        taken = jax.tree.map(lambda leaf, steps=steps: leaf[:steps], action)
        states = replay(family, task, taken, observation, key, read)
        if states is None:
            return False
        films.append(film(family, task, states))
    frames = [
        beside([frames[min(i, len(frames) - 1)] for frames in films], list(episodes)) for i in range(max(map(len, films)))
    ]
    frames += [frames[-1]] * LAST_FRAMES
    frames[0].save(path, save_all=True, append_images=frames[1:], duration=int(1000 * SECONDS / MAX_FRAMES), loop=0)
    return True


def replay(
    family: Any, task: Any, actions: Any, observed: np.ndarray, key: jax.Array, read: Callable[[Any], Any] = unchanged
) -> list[Any] | None:
    """The states of an episode, or None if they do not look as recorded."""
    step = jax.jit(lambda t, state, action: next_step(family, key, t, state, action, task)[:2])
    state, observation = first_step(family, key, task)
    states = [state]
    for t in range(len(jax.tree.leaves(actions)[0])):
        if not np.allclose(read(observation), observed[t], atol=1e-4, rtol=1e-4):
            return None
        state, observation = step(t, state, jax.tree.map(lambda x, t=t: x[t], actions))
        states.append(state)
    return states


def film(family: Any, task: Any, states: list[Any]) -> list[np.ndarray]:
    """Pictures [height, width, 3] of at most about `MAX_FRAMES` of the states, first and last included."""
    stride = -(-len(states) // MAX_FRAMES)
    shown = states[:-1:stride] + states[-1:]
    render_state, pictures = family.render_init(task), []
    for state in shown:
        render_state, picture = family.render_image(state, render_state, task)
        pictures.append(np.array(picture))
    return pictures


def beside(pictures: list[np.ndarray], captions: list[str]) -> Image.Image:
    """One frame: the pictures in a row, each under its caption."""
    height = CAPTION + max(picture.shape[0] for picture in pictures)
    width = sum(picture.shape[1] for picture in pictures) + GAP * (len(pictures) - 1)
    frame = Image.new("RGB", (width, height), (222, 222, 222))
    left = 0
    for picture, caption in zip(pictures, captions, strict=True):
        frame.paste(Image.fromarray(picture), (left, CAPTION))
        ImageDraw.Draw(frame).text((left + 4, 3), caption, fill="black")
        left += picture.shape[1] + GAP
    return frame.convert("P", palette=Image.Palette.ADAPTIVE, colors=64)
