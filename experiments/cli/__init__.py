"""Flags, signals, and a user's mistakes as one line each."""
