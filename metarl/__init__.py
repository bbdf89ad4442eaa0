"""The mathematics of gradient-based meta-learning: data first, then a pure objective.

``collect`` plays the inner loop and records data; ``adapt`` replays it differentiably; a meta-gradient differentiates the
replay. Nothing here knows an environment, a network library or a file.
"""
