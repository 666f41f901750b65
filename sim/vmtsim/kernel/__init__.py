"""A model of a NetBSD kernel: one file per subject of the kernel's programming interface.

``api`` describes how to add a kernel function.
"""
