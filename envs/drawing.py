"""Just enough to draw small worlds into an array, without a window or a drawing library."""

import itertools

import numpy as np

WHITE, GREY, BLACK, RED, BLUE = (255, 255, 255), (215, 215, 215), (0, 0, 0), (200, 30, 30), (40, 90, 200)
GREEN = (40, 150, 70)


def blank(size: int) -> np.ndarray:
    """A white image [size, size, 3], uint8."""
    return np.full((size, size, 3), WHITE, np.uint8)


def draw_disc(image: np.ndarray, centre: np.ndarray, radius: float, colour: tuple[int, int, int], scale: float) -> None:
    """Paint a disc in place. Coordinates run over [-scale, scale] on both axes, y upwards; what lies outside is cut off."""
    size = image.shape[0]
    axis = (np.arange(size) + 0.5) / size * 2 * scale - scale
    inside = (axis[None, :] - centre[0]) ** 2 + (-axis[:, None] - centre[1]) ** 2 <= radius**2
    image[inside] = colour


def draw_line(
    image: np.ndarray, start: np.ndarray, end: np.ndarray, width: float, colour: tuple[int, int, int], scale: float
) -> None:
    """Paint a straight line with round ends in place; coordinates as in `draw_disc`."""
    size = image.shape[0]
    axis = (np.arange(size) + 0.5) / size * 2 * scale - scale
    points = np.stack(np.broadcast_arrays(axis[None, :], -axis[:, None]), axis=-1) - start
    along = end - start
    share = np.clip(points @ along / max(along @ along, 1e-12), 0.0, 1.0)
    away = points - share[..., None] * along
    image[np.sum(away**2, axis=-1) <= (width / 2) ** 2] = colour


def draw_path(image: np.ndarray, points: np.ndarray, radius: float, colour: tuple[int, int, int], scale: float) -> None:
    """Paint a line through ``points`` [P, 2] in place, as a row of discs."""
    for start, end in itertools.pairwise(points):
        for share in np.linspace(0.0, 1.0, 8):
            draw_disc(image, start + share * (end - start), radius, colour, scale)
