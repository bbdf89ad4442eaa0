"""From settings to a trained run: the compiled loop and everything around it.

For Python programs: ``from experiments.training import meta_train``.
"""

from experiments.training.without_folders import Progress, meta_train

__all__ = ["Progress", "meta_train"]
