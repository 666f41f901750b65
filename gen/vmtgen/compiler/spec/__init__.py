"""Reads specs/*.yaml: the schema language, the builder, the rules, and ``load`` for all of them."""
