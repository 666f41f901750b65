"""The protocol compiler reads specs into a model, and renders templates to C and manuals."""
