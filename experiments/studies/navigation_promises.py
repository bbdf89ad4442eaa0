"""Published returns of 2D navigation, and what this project promises about its own."""

from typing import Any, NamedTuple


class Published(NamedTuple):
    """Returns after 0..3 inner steps; None where none is printed."""

    agent: str
    source: str
    returns: tuple[float | None, ...]


PUBLISHED = (
    Published("maml", "Finn et al. 2017, Table 4", (-40.41, -11.68, -3.33, -3.23)),
    Published("context vector", "Finn et al. 2017, Table 4", (-42.42, -13.90, -5.17, -3.18)),
    Published("meta-sgd", "Li et al. 2017, fixed start", (None, -8.64, None, None)),
)
MAML, META_SGD = PUBLISHED[0].returns, PUBLISHED[2].returns


def check(rows: dict[str, Any]) -> list[dict[str, Any]]:
    """Which promises hold, of those whose agents are there.

    Args:
        rows: agent -> what `experiments.reporting.comparison.over_seeds` gives.

    Returns:
        {"text", "kept"} each; the text names the numbers and the agent that keeps it.
    """
    mean = {agent: row["return_mean"] for agent, row in rows.items()}
    by_gradient = {agent: m for agent, m in mean.items() if rows[agent]["adapts_by"] in ("gradient", "one batch")}
    found = []

    def promise(text: str, kept: bool) -> None:
        found.append({"text": text, "kept": bool(kept)})

    if "maml" in mean:
        promise(f"maml after one step {mean['maml'][1]:.2f}, published {MAML[1]}", mean["maml"][1] >= MAML[1])
        for other in ("pretrained", "random"):
            if other in mean:
                low, high = rows["maml"]["return_ci95"][-1][0], rows[other]["return_ci95"][-1][1]
                promise(f"maml above {other} after three steps: intervals from {low:.2f} and up to {high:.2f}", low > high)
    if by_gradient:
        best = max(by_gradient, key=lambda agent: by_gradient[agent][3])
        text = f"a gradient agent after three steps: {best} {mean[best][3]:.2f}, published maml {MAML[3]}"
        promise(text, mean[best][3] > MAML[3])
    others = {agent: m for agent, m in mean.items() if agent != "oracle"}
    if others:
        best = max(others, key=lambda agent: others[agent][1])
        unit = "episode" if rows[best]["adapts_by"] == "memory" else "inner step"
        text = f"an agent after one step: {best} {mean[best][1]:.2f} (one {unit}), published meta-sgd {META_SGD[1]}"
        promise(text, mean[best][1] > META_SGD[1])
    if others and "oracle" in mean:
        best = max(others, key=lambda agent: max(others[agent]))
        text = f"the oracle, {mean['oracle'][0]:.2f}, bounds all: the best other return is {best}'s {max(mean[best]):.2f}"
        promise(text, mean["oracle"][0] >= max(mean[best]))
    return found
