"""Matplotlib without a screen and in this house's style, imported when something is drawn."""

from pathlib import Path
from typing import TYPE_CHECKING

from experiments.cli.later import Later

STYLE = Path(__file__).with_name("metarl.mplstyle")


def _without_screen() -> None:
    import matplotlib
    import matplotlib.style

    matplotlib.use("Agg")
    matplotlib.style.use(STYLE)


if TYPE_CHECKING:
    import matplotlib.pyplot as plt
    from matplotlib import ticker
else:
    plt = Later("matplotlib.pyplot", _without_screen)
    ticker = Later("matplotlib.ticker")
