"""The verbs of ``vmtgen``, one module each; vmtgen.cli lists them."""
