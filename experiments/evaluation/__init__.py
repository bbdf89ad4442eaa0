"""Trained agents on held-out tasks.

For Python programs: ``from experiments.evaluation import load`` for the agent of a run, `trained` for one that a program has
trained itself, `evaluate`, `save` and `restore`.
"""

from experiments.evaluation.held_out import evaluate
from experiments.evaluation.trained import Trained, load, restore, save, trained

__all__ = ["Trained", "evaluate", "load", "restore", "save", "trained"]
