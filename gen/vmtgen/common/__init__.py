"""What vmtgen and vmtsim share: located errors, the schema engine, files. No spec is known here."""
