"""vmtgen: from protocol specs to a kernel module that NetBSD loads."""

__version__ = "0.1.0"
