"""Checks that a script is for sh(1), so that it may get a block of shell commands."""

from __future__ import annotations

# Shells that run scripts for sh(1).
_SHELLS = frozenset({b"sh", b"ash", b"bash", b"dash", b"ksh", b"ksh93", b"mksh", b"oksh", b"pdksh"})

# A second line that passes the script to another interpreter.
_OTHER_INTERPRETERS = (
    b"'''exec' ",
    b'"""exec" ',
    b"eval 'exec ",
    b'eval "exec ',
    b'":"',
    b"':'",
    b"''''",
)


def objection(data: bytes) -> str:
    """Return why ``data`` is not a script for sh(1); "" when it is one."""
    first, _, rest = data.partition(b"\n")
    if not first.startswith(b"#!"):
        return "it does not begin with #!, so the kernel does not run it"
    if first.endswith(b"\r"):
        return "its #! line ends with a carriage return, so the kernel does not find the shell"
    words = first[2:].split()
    if words and words[0].rpartition(b"/")[2] == b"env":
        words = words[1:]
    name = words[0].rpartition(b"/")[2] if words else b""
    if name not in _SHELLS:
        return f"its interpreter is {name.decode('utf-8', 'replace') or 'not named'}, not sh"
    if rest.lstrip().startswith(_OTHER_INTERPRETERS):
        return "its second line passes it to another interpreter than sh"
    return ""
