"""Training pictures, crops of them, and controls drawn for each."""
