"""Transforms and entropy models: configurations, layers, and the model that joins them."""
