"""Checkpoints of the papers' own code, read into our model and adapter files."""
