"""``vmtsim scenarios``: the scenarios that ship."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import argparse

SUMMARY = "list the scenarios that ship, or the verbs of their steps"

_EPILOG = """\
examples:
  vmtsim scenarios                                   names, durations and what they show
  vmtsim scenarios --json                            the same as JSON
  vmtsim scenarios --verbs                           the verbs for your own scenarios
  vmtsim run vmt.kmod --scenario checkpoint          run one
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim scenarios``."""
    parser.epilog = _EPILOG
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--verbs", action="store_true", help="list the verbs of steps, with their arguments"
    )


def run(args: argparse.Namespace) -> int:
    """Print name and summary of each scenario."""
    from vmtsim.scenario import script  # noqa: PLC0415 - `--help` needs no YAML

    if args.verbs:
        return _verbs(as_json=args.json)
    found = {
        (module, name): script.load(name, module)
        for module in ("", *script.DEFAULTS)
        for name in script.shipped(module)
    }
    if args.json:
        json.dump(
            [
                {
                    "name": name,
                    "module": module or None,
                    "summary": each.summary,
                    "seconds": each.duration / 1e9,
                }
                for (module, name), each in found.items()
            ],
            sys.stdout,
            indent=2,
        )
        sys.stdout.write("\n")
        return 0
    for (module, name), each in found.items():
        text = textwrap.wrap(each.summary, 74)
        whose = f"of {module}, " if module else ""
        sys.stdout.write(f"{name} ({whose}{each.duration / 1e9:g} s)\n")
        sys.stdout.write("".join(f"    {line}\n" for line in text))
    return 0


def _verbs(*, as_json: bool) -> int:
    """Print the verbs of steps: name, effect, arguments."""
    from vmtsim.scenario.verbs import VERBS  # noqa: PLC0415

    if as_json:
        json.dump(
            [
                {"name": name, "text": verb.text, "argument": verb.expected}
                for name, verb in VERBS.items()
            ],
            sys.stdout,
            indent=2,
        )
        sys.stdout.write("\n")
        return 0
    for name, verb in VERBS.items():
        text = f"wait for: {verb.text} ARGUMENT" if name.startswith("expect.") else verb.text
        lines = textwrap.wrap(f"argument: {verb.expected}", 74)
        sys.stdout.write(f"{name}: {text}\n")
        sys.stdout.write("".join(f"    {line}\n" for line in lines))
    return 0
