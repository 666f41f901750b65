"""The linter: what the kernel refuses in a module, and what would go wrong later."""
