"""``vmtsim chart``: draw the conversation of a recorded trace."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.files import expect_file
from vmtgen.common.text import visible

if TYPE_CHECKING:
    import argparse

SUMMARY = "draw the conversation in a trace file"

_EPILOG = """\
examples:
  vmtsim run vmt.kmod --trace run.jsonl --summary
  vmtsim chart run.jsonl                             guest and host side by side, as text
  vmtsim chart run.jsonl --svg run.svg               the same as a picture
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim chart``."""
    parser.epilog = _EPILOG
    parser.add_argument("file", metavar="TRACE", type=Path, help="a file that --trace wrote")
    parser.add_argument(
        "--svg", metavar="FILE", type=Path, help="write an SVG file instead of printing text"
    )


def run(args: argparse.Namespace) -> int:
    """Draw the conversation."""
    from vmtsim.core import output  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.core.trace import read_events  # noqa: PLC0415
    from vmtsim.report import chart, chart_svg  # noqa: PLC0415

    expect_file(args.file, hint="vmtsim run FILE --trace TRACE writes one")
    events = list(read_events(args.file))
    if args.svg is not None:
        output.write_text(args.svg, chart_svg.svg(events))
        return 0
    sys.stdout.write("".join(f"{visible(line)}\n" for line in chart.text(events)))
    return 0
