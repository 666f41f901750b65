"""Build vmtctl.pyz: one file that runs with Python 3.10 or later and nothing else.

usage: python make_zipapp.py OUT

The same tree gives the same bytes at any time and in any directory.
"""

from __future__ import annotations

import os
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).resolve().parent

# What vmtctl installs on a guest; in the archive it is part of the package.
DATA = (
    *(f"powerd/{path.name}" for path in sorted((HERE / "powerd").glob("[!.]*"))),
    "rc.d/vmtools.conf",
)

_MAIN = "import sys\nfrom vmtctl.cli import main\nsys.exit(main())\n"
_SHEBANG = b"#!/usr/bin/env python3\n"


def members() -> dict[str, bytes]:
    """Return the archive's files by name."""
    found = {"__main__.py": _MAIN.encode()}
    for path in sorted((HERE / "vmtctl").rglob("*.py")):
        found[path.relative_to(HERE).as_posix()] = path.read_bytes()
    for name in DATA:
        found[f"vmtctl/data/{name}"] = (HERE / name).read_bytes()
    return found


def build(out: Path) -> None:
    """Write the archive to ``out``, atomically."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as stream:
            stream.write(_SHEBANG)
            with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
                for name, data in sorted(members().items()):
                    # The earliest date in a zip file
                    entry = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
                    entry.compress_type = zipfile.ZIP_DEFLATED
                    entry.external_attr = 0o644 << 16
                    archive.writestr(entry, data)
        temporary.chmod(0o755)
        temporary.replace(out)
    finally:
        temporary.unlink(missing_ok=True)


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: python make_zipapp.py OUT")
    build(Path(sys.argv[1]))
