"""Changes files of the system: planned, shown as a diff, atomic, never through a symbolic link."""
