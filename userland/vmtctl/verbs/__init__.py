"""The verbs of vmtctl: one module each, with `run(context) -> int`."""
