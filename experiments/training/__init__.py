"""From settings to a trained run: the compiled loop and everything around it."""
