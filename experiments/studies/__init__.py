"""Published experiments, each a command: ``python -m experiments.studies.NAME``."""
