"""Pictures from and to whatever people have. Needs no torch."""
