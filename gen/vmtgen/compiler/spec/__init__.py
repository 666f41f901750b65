"""Reads specs/MODULE/*.yaml: ``load``, the rules of several files, what the C needs of them."""
