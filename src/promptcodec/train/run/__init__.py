"""A run: checkpoints, processes, guards, logs."""
