"""Code that vmtgen and vmtsim share, without specs: located errors, the schema engine, files."""
