"""Scenarios: what host and guest do at which time, and what must be seen, as YAML."""
