"""The builder: C to a kernel module, and our kernel headers compared with those of NetBSD."""
