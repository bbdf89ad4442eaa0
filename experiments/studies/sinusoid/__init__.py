"""The table of sinusoid errors: ``python -m experiments.studies.sinusoid``."""
