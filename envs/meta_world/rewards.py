"""Rewards of reach-v3, push-v3 and pick-place-v3, version "v2", for many robots at once; `metaworld` counts one at a time.

NumPy only. Tests compare whole episodes with the package's own.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

RADIUS = 0.05  # m, around the goal
PICKED_RADIUS = 0.07  # m, of success in pick-place
GRIP = 0.05  # m, between a pad and the middle of an object that is held
OBJECT = 0.015  # m, half of its width
XZ = [0, 2]


class Seen(NamedTuple):
    """Where things are, float64 in m, one row per robot.

    Attributes:
        tcp: [B, 3], between the two fingers.
        opened: [B], how far the gripper is open, 0 to 1.
        left: [B, 3], the left pad.
        right: [B, 3], the right pad.
        object: [B, 3].
    """

    tcp: np.ndarray
    opened: np.ndarray
    left: np.ndarray
    right: np.ndarray
    object: np.ndarray


class Begun(NamedTuple):
    """What an episode is measured by: [B, 3] each, in m.

    Attributes:
        hand: where the hand is put at the start.
        tcp: between the two fingers then.
        object: where it starts.
        target: the goal.
    """

    hand: np.ndarray
    tcp: np.ndarray
    object: np.ndarray
    target: np.ndarray


def reach(seen: Seen, begun: Begun, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rewards [B] and successes [B]: how near the fingers are to the goal."""
    del action
    away = _norm(seen.tcp - begun.target)
    return 10 * _near(away, (0, RADIUS), _norm(begun.hand - begun.target)), away <= RADIUS


def push(seen: Seen, begun: Begun, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rewards [B] and successes [B]: caging the object, then how near it is to the goal."""
    away, held = _norm(seen.object - begun.target), _norm(seen.object - seen.tcp)
    in_place = _near(away, (0, RADIUS), _norm(begun.object - begun.target))
    pads = np.stack([seen.left, seen.right])[..., 1]
    sides = np.abs(pads - seen.object[:, 1]), np.abs(np.abs(pads - begun.object[:, 1]) - GRIP)
    reward = 2 * _caged(*sides, seen, begun, action)
    reward = np.where((held < 0.02) & (seen.opened > 0), 2 * reward + 1 + 5 * in_place, reward)
    return np.where(away < RADIUS, 10.0, reward), away <= RADIUS


def pick_place(seen: Seen, begun: Begun, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rewards [B] and successes [B]: holding the object and how near it is to the goal, more once it is lifted."""
    away, held = _norm(seen.object - begun.target), _norm(seen.object - seen.tcp)
    in_place = _near(away, (0, RADIUS), _norm(begun.object - begun.target))
    # metaworld means the pads' places at the start, but the arrays it keeps of them go along with the robot
    sides = np.stack([seen.left - seen.object, seen.object - seen.right])[..., 1]
    caged = _caged(sides, np.abs(np.abs(sides) - GRIP), seen, begun, action)
    lifted = (held < 0.02) & (seen.opened > 0) & (seen.object[:, 2] - 0.01 > begun.object[:, 2])
    reward = _both(caged, in_place) + np.where(lifted, 1 + 5 * in_place, 0.0)
    return np.where(away < RADIUS, 10.0, reward), away <= PICKED_RADIUS


REWARDS: dict[str, Callable[[Seen, Begun, np.ndarray], tuple[np.ndarray, np.ndarray]]] = {
    "reach-v3": reach,
    "push-v3": push,
    "pick-place-v3": pick_place,
}


def _caged(sides: np.ndarray, margins: np.ndarray, seen: Seen, begun: Begun, action: np.ndarray) -> np.ndarray:
    """How well the gripper holds the object [B], from what lies between it and either pad, [2, B], and the margins."""
    across = _both(*_near(sides, (OBJECT, GRIP), margins))
    margin = _norm(begun.object[:, XZ] - begun.tcp[:, XZ]) - 0.005
    caging = _both(across, _near(_norm(seen.tcp[:, XZ] - seen.object[:, XZ]), (0, 0.005), margin))
    closed = np.where(caging > 0.97, np.clip(action[:, -1], 0, 1), 0.0)
    return (_both(caging, closed) + caging) / 2


def _near(x: np.ndarray, bounds: tuple[float, float], margin: np.ndarray) -> np.ndarray:
    """1 within the bounds; outside less, 0.1 at the margin away from them: dm_control's ``tolerance`` with its long tail."""
    low, high = bounds
    outside = np.where(x < low, low - x, x - high)
    with np.errstate(divide="ignore", invalid="ignore"):
        tail = 1 / ((outside / margin * 3.0) ** 2 + 1)
    return np.where((low <= x) & (x <= high), 1.0, np.where(margin == 0, 0.0, tail))


def _both(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Hamacher's product of numbers in [0, 1]."""
    below = a + b - a * b
    return np.where(below > 0, a * b / np.where(below > 0, below, 1.0), 0.0)


def _norm(x: np.ndarray) -> np.ndarray:
    return np.linalg.norm(x, axis=-1)
