"""Legged robots on MuJoCo."""
