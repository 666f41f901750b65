"""The builder compiles C to a kernel module, and compares the project's headers with NetBSD's."""
