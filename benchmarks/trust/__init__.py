"""Whether files decode everywhere, and what happens where runs are cut off."""
