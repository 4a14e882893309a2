"""Pictures and curves to measure with."""
