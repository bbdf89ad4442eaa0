"""Matplotlib without a screen, imported when something is drawn."""

from typing import TYPE_CHECKING

from experiments.cli.later import Later


def _without_screen() -> None:
    import matplotlib

    matplotlib.use("Agg")


if TYPE_CHECKING:
    import matplotlib.pyplot as plt
    from matplotlib import ticker
else:
    plt = Later("matplotlib.pyplot", _without_screen)
    ticker = Later("matplotlib.ticker")
