"""Trained agents on held-out tasks."""
