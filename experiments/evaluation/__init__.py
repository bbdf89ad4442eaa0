"""Trained agents on held-out tasks.

For Python programs: ``from experiments.evaluation import load`` for the agent of a run, `trained` for one that a program has
trained itself, `evaluate`, `export`, `save` and `restore`.
"""

from experiments.evaluation.actor import Actor
from experiments.evaluation.episodes import Episode
from experiments.evaluation.export import export
from experiments.evaluation.held_out import evaluate
from experiments.evaluation.trained import Adapted, Trained, load, restore, save, trained

__all__ = ["Actor", "Adapted", "Episode", "Trained", "evaluate", "export", "load", "restore", "save", "trained"]
