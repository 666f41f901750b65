"""What every room of the simulator stands on: random numbers, traces, output files."""
