"""A guest on the desk: a directory whose tools talk to a running simulation.

``vmtsim guest`` makes the directory and runs the simulation; ``vmtsim guest-control`` moves its
virtual time and plays the host's operator.  What administers a NetBSD guest can so be tried
against the real module without a NetBSD machine.
"""
