"""Training: recipes, data, objectives and the loop."""
