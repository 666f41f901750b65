"""Measures the figures of this machine in one run: ``make bench``.

Prints Markdown, and writes the same as JSON and pictures to build/bench/.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import sys
from pathlib import Path

from vmtgen.common.files import write

from bench import page, table
from bench.figures import Plan
from bench.run import PARTS, run

ROOT = Path(__file__).resolve().parents[1]
_UNAVAILABLE = 69  # EX_UNAVAILABLE of sysexits(3)


def arguments(argv: list[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="the smallest run with each part")
    parser.add_argument(
        "--runs", type=int, default=5, metavar="N", help="the best of N runs counts (%(default)s)"
    )
    parser.add_argument(
        "--seeds", type=int, default=100, metavar="N", help="largest campaign (%(default)s)"
    )
    parser.add_argument(
        "--parts", nargs="+", choices=PARTS, default=list(PARTS), metavar="PART",
        help=f"measure only these parts: {', '.join(PARTS)}",
    )  # fmt: skip
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "bench", metavar="DIR",
                        help="for bench.json, pictures and build outputs")  # fmt: skip
    parser.add_argument(
        "--base", default="", metavar="COMMIT", help="compare the simulator with that of COMMIT"
    )
    parser.add_argument("--page", type=Path, metavar="FILE", help="write this page as well")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Measure, print, and write the requested files; return 1 if a part failed."""
    args = arguments(argv)
    drawing = importlib.util.find_spec("matplotlib") is not None
    hint = "pip install 'netbsd-vmt[bench]' installs matplotlib"
    if args.page is not None and not drawing:
        print(f"bench: error: no matplotlib for the pictures of {args.page}\nhint: {hint}",
              file=sys.stderr)  # fmt: skip
        return _UNAVAILABLE
    out = args.out.resolve()
    plan = Plan(out, args.quick, max(args.runs, 1), args.seeds, args.base)
    result = run(tuple(name for name in PARTS if name in args.parts), plan)
    print(table.whole(result), end="")
    write(out / "bench.json", (json.dumps(result.to_json(), indent=1) + "\n").encode())
    if drawing:
        page.draw(result, out)
        if args.page is not None:
            page.write_page(result, args.page)
    else:
        print(f"bench: no pictures: {hint}", file=sys.stderr)
    return 1 if result.failed else 0


if __name__ == "__main__":
    sys.exit(main())
