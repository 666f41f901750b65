"""The base that all packages of the simulator use: random numbers, traces, output files."""
