"""scikit-learn's handwritten digits as few-shot classes: a small image set that comes inside a package."""

import numpy as np

from envs import optional
from envs.few_shot.examples import Arrays, arrays

HELD_OUT = (6, 7, 8, 9)  # digits that no training task shows, upright or turned


def digits() -> Arrays:
    """1,797 images [8, 8, 1] of ten digits in [0, 1], each upright and turned by a quarter: 20 classes.

    Turned images are further classes, as in the practice on Omniglot (Santoro et al. 2016), but by one quarter only: by half a
    turn 0, 1 and 8 would be themselves and 6 would be 9. Digits 6 to 9 are held out with their turned images: 12 classes to
    train on, 8 to test on.

    Raises:
        ImportError: scikit-learn is not installed.
    """
    found = optional.require("digits").load_digits()
    images = np.float32(found.images) / 16
    names = {turn: np.array([f"{digit}{turn}" for digit in found.target]) for turn in ("", "-turned")}
    return arrays(
        np.concatenate([images, np.rot90(images, axes=(1, 2))])[..., None],
        label=np.concatenate(list(names.values())),
        held_out=[f"{digit}{turn}" for digit in HELD_OUT for turn in names],
        source="digits",
    )
