"""An interactive introduction in one HTML file: ``python -m experiments.studies.playground``."""
