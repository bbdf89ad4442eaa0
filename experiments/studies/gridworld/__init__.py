"""VariBAD's grid: memory agents beside exact planners: ``python -m experiments.studies.gridworld``."""
