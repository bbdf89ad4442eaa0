"""Legged robots as in Rothfuss et al. 2019 and Finn et al. 2017: ``python -m experiments.studies.locomotion``."""
