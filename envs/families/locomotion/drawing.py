"""Robots as stick figures: a projection of MuJoCo's shapes, without a graphics library or a screen."""

from typing import Any

import numpy as np

from envs import drawing

SIZE, REACH = 192, 1.6  # pixels; metres from the middle to the edge


def draw(model: Any, qpos: np.ndarray, view: str, goal: np.ndarray | None = None) -> np.ndarray:
    """The robot from the side (x to the right, z up) or from the top (x, y): [SIZE, SIZE, 3] uint8. The view moves with it.

    Args:
        model: its MjModel.
        qpos: [nq].
        view: "side" or "top".
        goal: [2], marked in the view from the top.
    """
    import mujoco

    data = mujoco.MjData(model)
    data.qpos[:] = qpos
    mujoco.mj_kinematics(model, data)
    axes = [0, 2] if view == "side" else [0, 1]
    centre = data.xpos[1].copy()
    centre[2] = 0.9 if view == "side" else 0.0
    image = drawing.blank(SIZE)
    _ground(image, centre, view)
    if goal is not None:
        drawing.draw_disc(image, goal - centre[:2], 0.15, drawing.GREEN, REACH)
    for geom in range(model.ngeom):
        shape = model.geom_type[geom]
        if shape == mujoco.mjtGeom.mjGEOM_PLANE:
            continue
        half = model.geom_size[geom, 1] if shape != mujoco.mjtGeom.mjGEOM_SPHERE else 0.0
        along = data.geom_xmat[geom].reshape(3, 3)[:, 2] * half
        ends = np.stack([data.geom_xpos[geom] - along, data.geom_xpos[geom] + along]) - centre
        colour = drawing.RED if model.geom_bodyid[geom] == 1 else drawing.BLUE
        drawing.draw_line(image, ends[0, axes], ends[1, axes], 2 * model.geom_size[geom, 0], colour, REACH)
    return image


def _ground(image: np.ndarray, centre: np.ndarray, view: str) -> None:
    # A line at height 0 with a numbered mark every metre, or marks every metre in both directions, so that motion is seen.
    if not np.all(np.isfinite(centre)):
        return
    metres = np.floor(centre[0]) + np.arange(-3, 4)
    marks = metres - centre[0]
    if view == "side":
        drawing.draw_line(image, np.array([-REACH, -centre[2]]), np.array([REACH, -centre[2]]), 0.04, drawing.GREY, REACH)
        for metre, x in zip(metres, marks, strict=True):
            drawing.draw_disc(image, np.array([x, -centre[2]]), 0.05, drawing.BLACK, REACH)
            drawing.draw_number(image, int(metre), np.array([x, -centre[2] - 0.12]), drawing.BLACK, REACH)
    else:
        rows = np.floor(centre[1]) + np.arange(-3, 4)
        for metre, x in zip(metres, marks, strict=True):
            for y in rows - centre[1]:
                drawing.draw_disc(image, np.array([x, y]), 0.03, drawing.GREY, REACH)
            drawing.draw_number(image, int(metre), np.array([x, 0.09 - REACH]), drawing.DARK_GREY, REACH)
        for row in rows:
            drawing.draw_number(image, int(row), np.array([0.09 - REACH, row - centre[1]]), drawing.DARK_GREY, REACH)
