"""Layers and transforms."""
