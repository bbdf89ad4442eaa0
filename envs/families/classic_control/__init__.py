"""Gymnasium's classic control tasks; their physical constants are the task."""
