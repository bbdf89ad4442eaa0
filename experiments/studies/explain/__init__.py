"""Pictures of what is optimised: ``python -m experiments.studies.explain``."""
