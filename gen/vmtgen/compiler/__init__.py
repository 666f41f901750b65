"""The protocol compiler: from specs to a model; model and templates make C and the manual."""
