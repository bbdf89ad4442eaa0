"""Just enough to draw small worlds into an array, without a window or a drawing library."""

import itertools

import numpy as np

WHITE, GREY, BLACK, RED, BLUE = (255, 255, 255), (215, 215, 215), (0, 0, 0), (200, 30, 30), (40, 90, 200)
GREEN = (40, 150, 70)
DARK_GREY, PALE, PINK = (140, 140, 140), (240, 240, 240), (245, 205, 205)


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


# 3 x 5 pixels each, row by row from the top; a bit per pixel.
GLYPHS = {
    "0": (7, 5, 5, 5, 7),
    "1": (2, 6, 2, 2, 7),
    "2": (7, 1, 7, 4, 7),
    "3": (7, 1, 7, 1, 7),
    "4": (5, 5, 7, 1, 1),
    "5": (7, 4, 7, 1, 7),
    "6": (7, 4, 7, 5, 7),
    "7": (7, 1, 1, 2, 2),
    "8": (7, 5, 7, 5, 7),
    "9": (7, 5, 7, 1, 7),
    "-": (0, 0, 7, 0, 0),
}


def draw_number(image: np.ndarray, number: int, place: np.ndarray, colour: tuple[int, int, int], scale: float) -> None:
    """Paint a whole number in place, 5 pixels high, the middle of its top at ``place`` in the coordinates of `draw_disc`."""
    size, text = image.shape[0], str(number)
    left = round((place[0] + scale) / (2 * scale) * size - 2 * len(text) + 0.5)
    top = round((scale - place[1]) / (2 * scale) * size)
    for i, glyph in enumerate(text):
        for row, bits in enumerate(GLYPHS[glyph]):
            for column in range(3):
                y, x = top + row, left + 4 * i + column
                if bits >> (2 - column) & 1 and 0 <= y < size and 0 <= x < size:
                    image[y, x] = colour


def draw_path(image: np.ndarray, points: np.ndarray, radius: float, colour: tuple[int, int, int], scale: float) -> None:
    """Paint a line through ``points`` [P, 2] in place, as a row of discs."""
    for start, end in itertools.pairwise(points):
        for share in np.linspace(0.0, 1.0, 2 + int(np.linalg.norm(end - start) / radius)):
            draw_disc(image, start + share * (end - start), radius, colour, scale)


def draw_box(
    image: np.ndarray, low: tuple[float, float], high: tuple[float, float], colour: tuple[int, int, int], scale: float
) -> None:
    """Paint the rectangle between two corners in place, in the coordinates of `draw_disc`."""
    size = image.shape[0]
    axis = (np.arange(size) + 0.5) / size * 2 * scale - scale
    columns = (axis >= low[0]) & (axis <= high[0])
    rows = (-axis >= low[1]) & (-axis <= high[1])
    image[rows[:, None] & columns[None, :]] = colour


def draw_walk(trail: np.ndarray, goals: np.ndarray, scale: float, near: float = 0.0) -> np.ndarray:
    """A picture of a walk in the plane.

    Args:
        trail: [P, 2], the positions so far.
        goals: [G, 2]; the first is the task's, the others were possible.
        scale: coordinates run over [-scale, scale].
        near: radius around the goal that counts; 0 for none.
    """
    image = blank(192)
    if near:
        draw_disc(image, goals[0], near, PINK, scale)
    for goal in goals[:0:-1]:
        draw_disc(image, goal, 0.05 * scale, GREY, scale)
    draw_path(image, trail, 0.008 * scale, DARK_GREY, scale)
    draw_disc(image, goals[0], 0.05 * scale, RED, scale)
    draw_disc(image, trail[-1], 0.04 * scale, BLUE, scale)
    return image
