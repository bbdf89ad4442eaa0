"""Constructor options that make no sense are refused in one line that names the family, the option and the value."""

import numpy as np
import pytest

import envs
from envs.registration import construct

WHOLE = [
    *[(id, "horizon", bad) for id in envs.FAMILIES for bad in ("5", -5, 0, 2.5, True)],
    *[(f"metarl/{id}Bandit-v0", "arms", bad) for id in ("Bernoulli", "Gaussian") for bad in (-1, 1, "two", True, [3])],
    *[("metarl/TabularMDP-v0", name, bad) for name in ("states", "actions") for bad in (-1, 1, "two", True)],
    *[("metarl/GridNavigation-v0", "size", bad) for bad in (2, "five", True)],
    *[(f"metarl/{id}-v0", "size", bad) for id in ("DarkRoom", "DarkKeyDoor") for bad in (2, "five", True)],
    *[("metarl/HopperRandParams-v0", name, bad) for name in ("iterations", "threads") for bad in (0, True, "two")],
]
RANGE = r"ranges has mass=.*, but must be \[low, high\] with 0 < low <= high"
SPEEDS = "but must be a lowest and a highest velocity"
OTHERS = [
    ("GaussianBandit", "std", -1, "std is -1, but must be a number of at least 0"),
    ("GaussianBandit", "std", True, "std is True, but must be"),
    ("GaussianBandit", "std", "one", "std is 'one', but must be"),
    ("GaussianBandit", "means", [], r"means is \[\]; known"),
    ("NavigationCorner", "reward", "some", "reward is 'some'; known: sparse, dense, dense_squared"),
    ("PendulumDynamics", "held_out", "xtreme", "held_out is 'xtreme'; known"),
    *[(id, "held_out", "all", "held_out is 'all'; known: apart, same") for id in ("DarkRoom", "DarkKeyDoor")],
    ("PendulumDynamics", "ranges", 3, "ranges is 3, but looks like"),
    ("PendulumDynamics", "ranges", {"weight": [1, 2]}, "ranges has 'weight'; known"),
    *[
        ("PendulumDynamics", "ranges", {"mass": bad}, RANGE)
        for bad in ([0, 1], [2, 1], [1], 1, "12", [True, 2], [1, np.inf], [np.nan, 1], [1, 1e39], [1e-60, 1], ["a", "b"])
    ],
    ("AcrobotDynamics", "centre", "half", "centre is 'half'; known: halfway, fixed"),
    ("HopperRandParams", "backend", "cuda", "backend is 'cuda', but must be one of"),
    *[
        ("HalfCheetahVel", "speeds", bad, f"speeds is .*, {SPEEDS}")
        for bad in (3, ["a", "b"], "ab", [0, np.inf], [0, np.nan], [2, 1], [1], [False, True], {"low": 0, "high": 1}, None)
    ],
]


def refusal(id, option, value):
    with pytest.raises(ValueError) as failure:
        construct(envs.FAMILIES[id], **{option: value})
    message = str(failure.value)
    assert message.startswith(envs.FAMILIES[id].split(":")[1] + ": ") and "\n" not in message
    return message


@pytest.mark.parametrize(("id", "option", "value"), WHOLE)
def test_whole_numbers(id, option, value):
    assert f"{option} is {value!r}, but must be a whole number of at least" in refusal(id, option, value)


@pytest.mark.parametrize(("id", "option", "value", "message"), OTHERS)
def test_other_options(id, option, value, message):
    with pytest.raises(ValueError, match=message):
        raise ValueError(refusal(f"metarl/{id}-v0", option, value))


def test_both_at_once():
    with pytest.raises(ValueError, match=r"^AcrobotDynamics: .*leave one of them out"):
        construct(envs.FAMILIES["metarl/AcrobotDynamics-v0"], ranges={"mass": [1, 2]}, held_out="extreme")
