"""Numbers in pictures, and that a robot's picture tells how far it has come."""

import numpy as np
import pytest

import envs
from envs import drawing
from envs.families.locomotion import drawing as robots


def test_a_number_is_where_it_should_be_and_cut_off_at_the_edge():
    image = drawing.blank(40)
    drawing.draw_number(image, -17, np.array([0.0, 0.0]), drawing.BLACK, 1.0)
    rows, columns = np.nonzero(image[..., 0] == 0)
    assert rows.min() == 20 and rows.max() == 24 and abs(columns.mean() - 20) < 2.5
    shown = ["".join(".#"[int(pixel == 0)] for pixel in row) for row in image[20:25, columns.min() : columns.max() + 1, 0]]
    assert shown == [".....#..###", "....##....#", "###..#....#", ".....#...#.", "....###..#."]
    drawing.draw_number(image, 8, np.array([1.0, -1.0]), drawing.BLACK, 1.0)


@pytest.mark.parametrize("name", ["HalfCheetahDir", "AntDir"])
def test_pictures_of_the_same_posture_elsewhere_differ(name):
    family = envs.make(f"metarl/{name}-v0", threads=1)
    posture = np.array(family.start, np.float64)
    moved = posture.copy()
    moved[0] += 5.0
    view = family.robot.view
    pictures = [robots.draw(family.physics.model, qpos, view) for qpos in (posture, moved)]
    assert np.any(pictures[0] != pictures[1])
    posture[:] = np.nan
    assert robots.draw(family.physics.model, posture, view).shape == pictures[0].shape
