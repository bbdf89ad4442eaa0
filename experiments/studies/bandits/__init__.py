"""Bernoulli bandits beside planners: ``python -m experiments.studies.bandits``."""
