"""A simulated guest as a directory whose tools talk to a running simulation.

``vmtsim guest`` makes the directory and runs the simulation; ``vmtsim guest-control`` advances its
virtual time and operates the host.  So tools that administer a NetBSD guest can be tested against
the real module without a NetBSD machine.
"""
