"""Agents look the same in every picture, and can be told apart."""

import re

import matplotlib.pyplot as plt
import numpy as np

import agents
from experiments.reporting import figures, looks, pyplot


def test_every_agent_of_ours_has_a_look_of_its_own():
    assert set(looks.LOOKS) == set(agents.AGENTS)
    assert len(set(looks.LOOKS.values())) == len(looks.LOOKS)
    assert {look.colour for look in looks.LOOKS.values()} <= set(looks.COLOURS)
    assert {look.dash for look in looks.LOOKS.values()} <= set(looks.DASHES)


def test_a_look_does_not_depend_on_the_company():
    names = [*agents.AGENTS, "mine", "theirs"]
    together = looks.looks_of(names)
    for name in agents.AGENTS:
        assert looks.looks_of([name, "another"])[name] == together[name]
    assert len(set(together.values())) == len(names)
    many = [f"agent-{i}" for i in range(60)]
    assert set(looks.looks_of(many)) == set(many)


def luminance(colour):
    """As WCAG 2 defines it."""
    channels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def test_colours_stand_out_on_white_and_on_dark_pages():
    for colour in looks.COLOURS:
        assert 1.05 / (luminance(colour) + 0.05) > 2.2 and (luminance(colour) + 0.05) / (luminance("#16181c") + 0.05) > 2.5, (
            colour
        )


def test_the_style_file_has_these_colours():
    line = next(line for line in pyplot.STYLE.read_text().splitlines() if line.startswith("axes.prop_cycle"))
    assert tuple(f"#{digits}" for digits in re.findall(r"[0-9A-F]{6}", line)) == looks.COLOURS
    assert tuple(pyplot.plt.rcParams["axes.prop_cycle"].by_key()["color"]) == looks.COLOURS


def test_the_axis_begins_where_curves_can_be_told_apart():
    axis = plt.figure().add_subplot()
    falling = np.concatenate([[-300.0, -200.0], np.full(98, -10.0)])
    figures.from_where_they_differ(axis, [falling, np.full(100, -5.0), np.array([np.nan])])
    low, _ = axis.get_ylim()
    assert -12 < low < -10
    figures.from_where_they_differ(axis, [np.array([np.nan])])
    plt.close("all")
