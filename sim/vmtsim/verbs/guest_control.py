"""``vmtsim guest-control``: advance time and operate the host of a running guest."""

from __future__ import annotations

import argparse
from pathlib import Path

from vmtgen.common.errors import UnavailableError

SUMMARY = "advance virtual time and send host operations to a running guest"


def _operations() -> str:
    """Return the help of ``host``: the table of host operations."""
    from vmtsim.host.operator import OPERATIONS  # noqa: PLC0415 - other verbs need none of it

    lines = [f"  {each.usage}\n      {each.text}" for each in OPERATIONS.values()]
    return "\n".join(["operations of the host:", *lines, "  show NAME\n      print guestinfo.NAME"])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim guest-control``."""
    parser.add_argument("root", metavar="DIR", type=Path, help="root directory of the guest")
    verbs = parser.add_subparsers(dest="control", metavar="VERB", required=True)
    advance = verbs.add_parser("advance", help="advance virtual time")
    advance.add_argument("seconds", metavar="SECONDS", type=_seconds)
    host = verbs.add_parser(
        "host",
        help="perform an operation of the host",
        epilog=_operations(),
        formatter_class=parser.formatter_class,
    )
    host.add_argument(
        "words", metavar="OPERATION", nargs="+", help="the operation and its arguments"
    )
    status = verbs.add_parser("status", help="print the state of the guest")
    status.add_argument("--json", action="store_true", help="print JSON")
    verbs.add_parser("stop", help="stop the guest")


def _seconds(text: str) -> float:
    value = float(text)
    if not 0 < value < 1e7:
        raise argparse.ArgumentTypeError(f"{text}: expected seconds above 0 and below 10 million")
    return value


def run(args: argparse.Namespace) -> int:
    """Send the request and print the answer."""
    from vmtsim.fakeguest.stubtool import NoGuestError, ask, put  # noqa: PLC0415

    words = list(getattr(args, "words", ()))
    if args.control == "advance":
        words = [str(args.seconds)]
    elif args.control == "status" and args.json:
        words = ["json"]
    try:
        answer = ask(str(args.root.absolute()), {"control": args.control, "arguments": words})
    except NoGuestError as error:
        raise UnavailableError(str(error)) from None
    return put(answer)
