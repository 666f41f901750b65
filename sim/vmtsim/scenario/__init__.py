"""Scenarios: actions of host and guest with their times, and expectations, as YAML."""
