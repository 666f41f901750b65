"""Reads specs/MODULE/*.yaml: ``load``, rules across files, and the names that the C needs."""
