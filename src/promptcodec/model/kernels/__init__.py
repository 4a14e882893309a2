"""Window attention for inference on CPUs, compiled or piece by piece."""
