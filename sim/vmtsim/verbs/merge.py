"""``vmtsim merge``: the shards of a campaign as one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.common.errors import DATA

from vmtsim.verbs import campaign

if TYPE_CHECKING:
    import argparse

SUMMARY = "add up what the shards of a campaign wrote with --json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim merge``."""
    parser.add_argument("files", metavar="FILE", type=Path, nargs="+", help="results of shards")
    parser.add_argument(
        "--all-sometimes",
        action="store_true",
        help="fail if something that must happen sometimes never did",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the sum as JSON")
    parser.add_argument("--html", metavar="FILE", type=Path, help="write a page about it")


def run(args: argparse.Namespace) -> int:
    """Merge, write, print."""
    from vmtsim.campaign.record import merge  # noqa: PLC0415
    from vmtsim.core import output  # noqa: PLC0415 - `--help` needs none of it

    output.check((args.json, args.html))
    record = merge(args.files)
    # A shard that was cut short: the sum is not what the campaign was to be.
    return campaign.finish(args, record, DATA if record.cut else 0)
