"""The page as one file: its text, style and program stand beside this module, its numbers are given."""

import json
from importlib import resources
from typing import Any

PROGRAM = ("numbers.js", "draw.js", "points.js", "theta.js", "surface.js", "goal.js", "bandit.js", "start.js")  # in this order
PARAMETERS = "parameters.json"


def read(name: str) -> str:
    """A file that stands beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def page(parameters: dict[str, Any]) -> str:
    """The whole page as text.

    Args:
        parameters: what `experiments.studies.playground` made.
    """
    parts = {
        "style": read("page.css"),
        "made": made_by(parameters["made_with"]),
        "data": json.dumps({name: part for name, part in parameters.items() if name != "made_with"}).replace("<", "\\u003c"),
        "script": "\n".join(read(name) for name in PROGRAM),
    }
    text = read("page.html")
    for name, part in parts.items():
        text = text.replace("{{" + name + "}}", part)
    return text


def made_by(made_with: dict[str, Any]) -> str:
    """A line about where the numbers are from."""
    versions = made_with["versions"]
    named = ", ".join(f"{name} {versions[name]}" for name in ("metarl", "jax") if versions.get(name))
    return f"Trained and written by python -m experiments.studies.playground, {named}."
