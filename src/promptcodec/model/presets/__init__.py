"""Named model configurations: data, not classes."""
