"""``vmtsim rules``: the rules of kernel and host, and how to fix a broken one."""

from __future__ import annotations

import json
import sys
import textwrap
from typing import TYPE_CHECKING

from vmtgen.common.errors import UsageError

if TYPE_CHECKING:
    import argparse

SUMMARY = "list the rules that a run checks, or explain one"

_EPILOG = """\
examples:
  vmtsim rules                                       every rule, by the source that it follows
  vmtsim rules --explain mutex-double-enter          the rule, the fix, and which kernels enforce it
  vmtsim rules --explain all --json                  the whole table
"""
_HOST = "VMware's side of the protocol, see docs/PROTOCOL.md"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim rules``."""
    parser.epilog = _EPILOG
    parser.add_argument("--explain", metavar="ID", help="explain the rule ID; all: every rule")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _rows() -> dict[str, dict[str, str]]:
    """Return all rules by id; those of the protocol under the names that findings have."""
    from vmtsim.host.context import RULES as PROTOCOL  # noqa: PLC0415 - `--help` needs none of it
    from vmtsim.kernel.rule_table import RULES  # noqa: PLC0415

    rows = {
        rule.id: {
            "id": rule.id,
            "holds": rule.holds,
            "remedy": rule.remedy,
            "source": rule.source,
            "enforced": rule.enforced.value,
        }
        for rule in RULES.values()
    }
    for name, text in PROTOCOL.items():
        key = f"protocol: {name}"
        rows[key] = {"id": key, "holds": text, "remedy": "", "source": _HOST, "enforced": ""}
    return rows


def run(args: argparse.Namespace) -> int:
    """Print the table, or one rule."""
    from vmtgen.common.located import nearest  # noqa: PLC0415

    rows = _rows()
    chosen = rows
    if args.explain not in {None, "all"}:
        name = args.explain if args.explain in rows else f"protocol: {args.explain}"
        if name not in rows:
            near = nearest(args.explain, rows)
            meant = f" (did you mean {near!r}?)" if near else ""
            raise UsageError(
                f"no rule {args.explain!r}{meant}", hint="`vmtsim rules` lists all of them"
            )
        chosen = {name: rows[name]}
    if args.json:
        json.dump(list(chosen.values()), sys.stdout, indent=2)
        sys.stdout.write("\n")
    elif args.explain is not None:
        sys.stdout.write("\n".join(line for row in chosen.values() for line in _explained(row)))
        sys.stdout.write("\n")
    else:
        sys.stdout.write("\n".join(_listed(rows)) + "\n")
    return 0


def _explained(row: dict[str, str]) -> list[str]:
    lines = [f"{row['id']}", *textwrap.wrap(f"{row['holds']}.", 92)]
    if row["remedy"]:
        lines += textwrap.wrap(f"fix: {row['remedy']}", 92)
    lines.append(f"source: {row['source']}")
    if row["enforced"]:
        lines.append(f"enforced by: {row['enforced']}")
    return [lines[0], *(f"    {line}" for line in lines[1:])]


def _listed(rows: dict[str, dict[str, str]]) -> list[str]:
    lines: list[str] = []
    source = ""
    for row in rows.values():
        if row["source"] != source:
            source = row["source"]
            lines.append(source)
        lines.append(f"    {row['id']:<34} {row['holds']}")
    return [*lines, f"{len(rows)} rules"]
