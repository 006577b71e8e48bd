"""For developing only: the sandbox host, stand-ins for outside services, the demo and the benchmarks."""
