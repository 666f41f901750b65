"""vmtctl: manages the VMware Tools driver vmt(4) on a NetBSD guest."""

__version__ = "0.1.0"
