"""vmtsim: a NetBSD kernel and a VMware host in which a driver module runs."""

__version__ = "0.1.0"
