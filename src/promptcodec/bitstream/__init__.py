"""The .ptc file, and the entropy coder whose integers it holds. Needs neither torch nor Pillow."""
