"""vmtgen: from protocol specs to a vmt.kmod that the kernel takes."""

__version__ = "0.1.0"
