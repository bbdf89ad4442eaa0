"""Of a table of agents or families, the few that stand for all in `make test`; the others repeat the check, and are slow."""

import pytest


def few(cases, *fast):
    """Each case as a parameter, marked slow unless it is one of ``fast``; a case that is a tuple is several parameters."""
    cases = list(cases)
    assert all(one in cases for one in fast), (fast, cases)
    mark = lambda case: () if case in fast else pytest.mark.slow
    return [pytest.param(*(case if isinstance(case, tuple) else (case,)), marks=mark(case)) for case in cases]
