"""Code that vmtgen and vmtsim share: located errors, the schema engine, files. It knows no spec."""
