"""How agents look: the same colour and dashes in every picture, whoever else is in it."""

import itertools
from collections.abc import Iterable
from typing import NamedTuple

# Okabe and Ito's colours but yellow and black, which a white and a black page would hide: told apart by most colour-blind eyes.
BLUE, ORANGE, GREEN, RED, PURPLE, SKY, GREY = COLOURS = (
    "#0072B2",
    "#E69F00",
    "#009E73",
    "#D55E00",
    "#CC79A7",
    "#56B4E9",
    "#7F7F7F",
)
DASHES = {"-": "", "--": "7 4", ":": "2 3", "-.": "7 3 2 3"}  # and what SVG calls them


class Look(NamedTuple):
    """Of a line.

    Attributes:
        colour: as #RRGGBB.
        dash: a key of `DASHES`.
    """

    colour: str
    dash: str

    @property
    def style(self) -> dict[str, str]:
        """For matplotlib."""
        return {"color": self.colour, "linestyle": self.dash}


# Agents that are often compared differ in colour, not in dashes alone.
LOOKS = {
    "maml": Look(BLUE, "-"),
    "maml-trpo": Look(ORANGE, "-"),
    "promp": Look(GREEN, "-"),
    "rl2": Look(RED, "-"),
    "pretrained": Look(PURPLE, "-"),
    "varibad": Look(SKY, "-"),
    "random": Look(GREY, "-"),
    "fomaml": Look(BLUE, "--"),
    "imaml": Look(ORANGE, "--"),
    "reptile": Look(GREEN, "--"),
    "pearl": Look(RED, "--"),
    "multitask": Look(PURPLE, "--"),
    "task-embedding": Look(PURPLE, "-."),
    "cavia": Look(SKY, "--"),
    "oracle": Look(GREY, "-."),
    "anil": Look(BLUE, ":"),
    "meta-sgd": Look(ORANGE, ":"),
    "e-maml": Look(GREEN, ":"),
    "mann": Look(RED, ":"),
    "protonet": Look(PURPLE, ":"),
    "maml++": Look(SKY, ":"),
}


def looks_of(agents: Iterable[str]) -> dict[str, Look]:
    """Agent -> its look. Agents without one of their own get those that no agent here has, from the first when all are used.

    >>> looks_of(["maml", "mine"])["mine"] not in looks_of(["maml"]).values()
    True
    """
    names = list(agents)
    taken = {LOOKS[name] for name in names if name in LOOKS}
    free = [look for look in itertools.starmap(_look, itertools.product(DASHES, COLOURS)) if look not in taken]
    others = itertools.cycle(free or LOOKS.values())
    return {name: LOOKS[name] if name in LOOKS else next(others) for name in names}


def _look(dash: str, colour: str) -> Look:
    return Look(colour, dash)
