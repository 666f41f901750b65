"""vmtgen makes a kernel module that NetBSD loads, from protocol specs."""

__version__ = "0.1.0"
