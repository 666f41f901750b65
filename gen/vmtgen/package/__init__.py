"""The packager: archives of a release, and the driver's files for NetBSD's source tree."""
