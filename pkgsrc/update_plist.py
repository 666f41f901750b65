"""Writes sysutils/vmtctl/PLIST from the files of the package.

usage: python update_plist.py
"""

from __future__ import annotations

from pathlib import Path

HERE = Path(__file__).resolve().parent
USERLAND = HERE.parent / "userland"
PLIST = HERE / "sysutils/vmtctl/PLIST"

# The places where the package's Makefile installs them
POWERD = tuple(f"powerd/{path.name}" for path in sorted((USERLAND / "powerd").glob("[!.]*")))
DATA = (*POWERD, "rc.d/vmtools.conf")
EXAMPLES = (*POWERD, "rc.conf", "rc.conf.d/vmtools")
COMPLETIONS = (
    "share/bash-completion/completions/vmtctl",
    "share/fish/vendor_completions.d/vmtctl.fish",
    "share/zsh/site-functions/_vmtctl",
)


def plist() -> str:
    """Return the list, sorted as pkglint requires it."""
    names = ["bin/vmtctl", "man/man8/vmtctl.8", "share/doc/vmtctl/LICENSE", *COMPLETIONS]
    names += [f"share/examples/vmtctl/{name}" for name in EXAMPLES]
    for path in (USERLAND / "vmtctl").rglob("*.py"):
        name = path.relative_to(USERLAND).as_posix()
        names += [f"${{PYSITELIB}}/{name}", f"${{PYSITELIB}}/{name}c"]
    names += [f"${{PYSITELIB}}/vmtctl/data/{name}" for name in DATA]
    return "@comment $NetBSD$\n" + "".join(f"{name}\n" for name in sorted(names))


if __name__ == "__main__":
    PLIST.write_text(plist())
