"""How fast meta-iterations are: ``python -m experiments.benchmark``."""
