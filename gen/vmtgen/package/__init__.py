"""The packager: archives of a release, and the driver laid out for NetBSD's own tree."""
