"""The coverage of each room by the tests: ``python -m tests.coverage_table``."""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

from coverage import Coverage

ROOMS = ("gen", "sim", "userland", "bench")


def main() -> int:
    """Print lines and share of each room; 1 where all of them are below fail_under."""
    measured = Coverage()
    measured.load()
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "coverage.json"
        measured.json_report(outfile=str(out))
        files = json.loads(out.read_text(encoding="utf-8"))["files"]
    lines = dict.fromkeys(ROOMS, 0)
    run = dict.fromkeys(ROOMS, 0)
    for name, reported in files.items():
        room = Path(name).parts[0]
        lines[room] += reported["summary"]["num_statements"]
        run[room] += reported["summary"]["covered_lines"]
    lines["all"], run["all"] = sum(lines.values()), sum(run.values())
    print("| room | lines | run by tests | share |\n|---|---:|---:|---:|")
    for room, count in lines.items():
        print(f"| {room} | {count} | {run[room]} | {100 * run[room] / max(count, 1):.1f} % |")
    print("\npython -m coverage report --skip-covered -m  names the others")
    return 100 * run["all"] < float(measured.config.fail_under) * lines["all"]


if __name__ == "__main__":
    sys.exit(main())
