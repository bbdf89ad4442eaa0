"""Two tasks in the plane."""

from typing import NamedTuple

import numpy as np


class TwoTasks(NamedTuple):
    """Two quadratic losses 1/2 (theta - centre)' A (theta - centre) in the plane.

    Attributes:
        centre: [2, 2], the tasks' optima.
        curvature: [2, 2, 2], A: each loss is steep in one direction and flat in the other.
        inner_lr: one step with it nearly solves the steep direction and hardly moves in the flat one.
    """

    centre: np.ndarray = np.array([[-1.0, -0.7], [1.0, 0.7]])
    curvature: np.ndarray = np.array([[[2.2, 0.5], [0.5, 0.4]], [[0.4, -0.5], [-0.5, 2.2]]])
    inner_lr: float = 0.35
