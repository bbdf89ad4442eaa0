"""Any ordinary Gymnasium environment as a task family."""
