"""Builds with an empty cache: ``python -m bench.cold SOURCE OUT CACHE [RECORD]``.

CACHE is the object cache. RECORD gets the compiler's calls as JSON, so that bench can run these
alone.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.build import compile as compiling
from vmtgen.build import objects

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Sequence


def main() -> int:
    """Build, and record the compiler's calls."""
    source, out, cache, *record = map(Path, sys.argv[1:])
    calls: list[dict[str, object]] = []
    run_tool = objects.run_tool

    def noted(
        command: Sequence[str], home: Path, directory: Path | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        if "-c" in command:
            calls.append({"command": list(command), "home": str(home), "cwd": str(directory)})
        return run_tool(command, home, directory)

    if record:
        objects.run_tool = noted  # type: ignore[assignment]
    compiling.build_module(source, out=out, cache=cache)
    if record:
        record[0].write_text(json.dumps(calls), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
