"""Promises about results: what is claimed, whether it is kept, how that is printed, and tests that studies share."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Claim(NamedTuple):
    """A promise, and whether the results keep it; None where they do not say."""

    text: str
    kept: bool | None


def verdict(kept: bool | None) -> str:
    """In one or two words."""
    return {True: "kept", False: "NOT KEPT", None: "not judged"}[kept]


def line(claim: Claim) -> str:
    """The claim after its verdict."""
    return f"{verdict(claim.kept)}: {claim.text}"


def markdown(claims: Iterable[Claim]) -> str:
    """A list."""
    return "".join(f"- {line(claim)}\n" for claim in claims)


def show(claims: Iterable[Claim]) -> None:
    """Print one line for each."""
    for claim in claims:
        print(line(claim))


def clearly_above(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether interval ``one`` (low, high) lies above ``other`` without touching it.

    A claim that rests on this says which intervals: for these seeds (over tasks), for the algorithm (over seeds and tasks), or
    t intervals over seeds.
    """
    return one[0] > other[1]


def near(value: float, published: float, share: float) -> bool:
    """Whether ``value`` differs from a published one by at most this share of it."""
    return abs(value - published) <= share * abs(published)
