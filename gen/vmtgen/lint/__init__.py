"""The linter: reports load errors of a module, and likely problems after loading."""
