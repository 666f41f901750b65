"""The verbs of the command ``vmtsim``, one module each; see vmtsim.cli."""
