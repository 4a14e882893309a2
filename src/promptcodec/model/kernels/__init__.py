"""Work on CPUs below the layers: kernels compiled for the processor at hand, and threads that share a layer's parts."""
