"""``vmtsim merge``: combine the shards of a campaign."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import DATA

from vmtsim.verbs import campaign

if TYPE_CHECKING:
    import argparse

SUMMARY = "combine the --json results of the shards of a campaign"

_EPILOG = """\
examples:
  vmtsim campaign vmt.kmod --shard 1/2 --json one.json      on one machine
  vmtsim campaign vmt.kmod --shard 2/2 --json two.json      on another one
  vmtsim merge one.json two.json --html campaign.html       the result of both

The exit status is that of a campaign; 65 if seeds are missing or the files do not fit together.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim merge``."""
    parser.epilog = _EPILOG
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="results of shards")
    parser.add_argument(
        "--all-sometimes",
        action="store_true",
        help="fail if an event that must occur in some run never occurred",
    )
    parser.add_argument(
        "--json", metavar="FILE", type=Path, help="write the combined result as JSON"
    )
    parser.add_argument("--html", metavar="FILE", type=Path, help="write an HTML page")


def run(args: argparse.Namespace) -> int:
    """Merge, write and print."""
    from vmtsim.campaign.record import merge  # noqa: PLC0415
    from vmtsim.core import output  # noqa: PLC0415 - `--help` needs none of it

    output.check((args.json, args.html))
    record = merge(args.files)
    # A shard was cut short: the sum does not cover the whole campaign.
    return campaign.finish(args, record, DATA if record.cut else 0)
