"""A model of a NetBSD kernel: one file per subject of the kernel's programming interface.

``api`` tells how a kernel function is added.
"""
