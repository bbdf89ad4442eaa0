"""Promises: one spelling, and tests of intervals and numbers."""

import pytest

from experiments.reporting import claims
from experiments.reporting.claims import Claim, clearly_above, near

CLAIMS = [Claim("one is below two", True), Claim("two is below one", False), Claim("nobody looked", None)]


def test_a_claim_reads_alike_everywhere(capsys):
    lines = ["kept: one is below two", "NOT KEPT: two is below one", "not judged: nobody looked"]
    claims.show(CLAIMS)
    assert capsys.readouterr().out.splitlines() == lines
    assert claims.markdown(CLAIMS).splitlines() == [f"- {line}" for line in lines]


@pytest.mark.parametrize(
    ("one", "other", "above"),
    [((2, 3), (0, 1), True), ((1, 3), (0, 1), False), ((0.5, 3), (0, 1), False), ((0, 1), (2, 3), False)],
)
def test_intervals_that_touch_are_not_clearly_apart(one, other, above):
    assert clearly_above(one, other) == above


def test_near_is_relative():
    assert near(11.5, 10.0, 0.15) and near(-8.5, -10.0, 0.15)
    assert not near(11.6, 10.0, 0.15) and not near(8.0, -10.0, 0.15)
