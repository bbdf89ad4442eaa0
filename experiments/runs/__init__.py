"""Run folders: settings, metrics, checkpoints, and the wandb runs beside them."""
