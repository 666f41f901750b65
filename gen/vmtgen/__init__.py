"""vmtgen: from protocol specs to a kernel module that NetBSD takes."""

__version__ = "0.1.0"
