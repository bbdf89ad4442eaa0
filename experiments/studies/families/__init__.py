"""One row per task family: ``python -m experiments.studies.families``."""
