"""Models that ship with the package: where they are, and how model files are written and read."""
