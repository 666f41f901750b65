"""``vmtsim host``: act as the VMware host of a virtual machine in plain QEMU."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtsim.arguments import seed

if TYPE_CHECKING:
    from types import FrameType

    from vmtsim.gdb.session import Settings
    from vmtsim.gdb.sites import Program

SUMMARY = "simulate the VMware host for a real guest in plain QEMU, through its GDB stub"

_EPILOG = """\
examples:
  qemu-system-x86_64 ... -gdb tcp:127.0.0.1:1234           any guest, any accelerator
  vmtsim host --gdb 127.0.0.1:1234 --kmod vmt.kmod         finds the module, then a prompt
  vmtsim host --gdb /tmp/gdb --kmod vmt.kmod --scenario boot-to-halt --serial serial.log
  vmtsim host --gdb 127.0.0.1:1234 --elf netbsd            a kernel with its own vmt(4)

Without VMware's CPUID you have to force the driver to attach: modload -b force=true vmt.
docs/qemu.md is the tutorial.
"""


def _number(text: str) -> int:
    try:
        value = int(text, 16) if not text.startswith("0x") else int(text, 0)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a hexadecimal address") from None
    if not 0 <= value < 1 << 64:
        raise argparse.ArgumentTypeError(f"{text!r} is not a 64-bit address")
    return value


def _numbers(text: str) -> list[int]:
    return [_number(word) for word in text.split(",")]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim host``."""
    parser.epilog = _EPILOG
    parser.add_argument(
        "--gdb",
        required=True,
        metavar="HOST:PORT",
        help="QEMU's GDB stub, or the path of a Unix socket",
    )
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument(
        "--kmod", type=Path, metavar="FILE", help="the module that the guest has loaded"
    )
    what.add_argument(
        "--elf", type=Path, metavar="FILE", help="a kernel or program instead of a module"
    )
    what.add_argument(
        "--sites", type=_numbers, metavar="ADDR,...", help="addresses of the trap instructions"
    )
    parser.add_argument(
        "--text",
        type=_number,
        metavar="ADDR",
        help="start address of its text (printed by modstat -k)",
    )
    parser.add_argument(
        "--serial", type=Path, metavar="FILE", help="file to which QEMU logs the guest's console"
    )
    parser.add_argument(
        "--scenario",
        metavar="NAME|FILE",
        help="run this scenario, check it and exit; as for vmtsim run",
    )
    parser.add_argument("--seed", type=seed, default=1, metavar="N", help="random seed (1)")
    parser.add_argument("--duration", type=float, metavar="SECONDS", help="exit after SECONDS")
    parser.add_argument("--quiet", action="store_true", help="do not print the conversation")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the result as JSON")
    parser.add_argument("--trace", type=Path, metavar="FILE", help="write all events as JSON lines")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="draw the conversation")


def _program(args: argparse.Namespace) -> Program:
    from vmtsim.gdb import sites  # noqa: PLC0415 - `--help` needs none of it

    if args.kmod is not None:
        return sites.of_module(args.kmod)
    if args.elf is not None:
        return sites.of_elf(args.elf)
    return sites.of_addresses(args.sites)


def _settings(args: argparse.Namespace) -> Settings:
    from vmtsim.gdb.session import Settings  # noqa: PLC0415
    from vmtsim.scenario import script  # noqa: PLC0415

    return Settings(
        program=_program(args),
        scenario=None if args.scenario is None else script.load(args.scenario),
        text=args.text,
        serial=args.serial,
        seed=args.seed,
        keep=True if args.svg is not None else 2000,
        duration=args.duration,
    )


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def run(args: argparse.Namespace) -> int:
    """Serve the guest until the end, then resume it."""
    from vmtsim.core import output  # noqa: PLC0415
    from vmtsim.core.trace import TraceFile  # noqa: PLC0415
    from vmtsim.gdb.prompt import Prompt  # noqa: PLC0415
    from vmtsim.gdb.rsp import Client, connect  # noqa: PLC0415
    from vmtsim.gdb.session import Session  # noqa: PLC0415
    from vmtsim.report import session_text  # noqa: PLC0415

    output.check((args.json, args.trace, args.svg))
    settings = _settings(args)
    shown: list[Prompt] = []

    def print_line(line: str) -> None:
        if shown:
            shown[0].show(f"vmtsim: {line}")
        else:
            sys.stdout.write(f"vmtsim: {line}\n")

    session = Session(Client(connect(args.gdb)), settings, print_line)
    prompt = Prompt(session, sys.stdin)
    shown.append(prompt)
    findings = session_text.Findings(session.trace)
    if not args.quiet:
        session_text.conversation(session.trace, prompt.show)
    before: dict[int, Any] = {
        number: signal.signal(number, _leave) for number in (signal.SIGTERM, signal.SIGHUP)
    }
    file = TraceFile(args.trace, seed=args.seed) if args.trace is not None else None
    try:
        if file is not None:
            session.trace.subscribe(file)
        prompt.start()
        session.run()
    except KeyboardInterrupt:
        session.ended = "interrupted"
    except Exception:
        if file is not None:
            file.discard()
        raise
    finally:
        if file is not None:
            file.close()
        for number, handler in before.items():
            signal.signal(number, handler)
    return _report(args, session, findings.of(session), above=prompt.above)


def _report(
    args: argparse.Namespace, session: Any, findings: list[dict[str, Any]], *, above: str
) -> int:
    from vmtsim.core import output  # noqa: PLC0415
    from vmtsim.report import session_text  # noqa: PLC0415

    if args.json is not None:
        output.write_text(args.json, session_text.as_json(session, findings))
    if args.svg is not None:
        from vmtsim.report import chart_svg  # noqa: PLC0415

        output.write_text(args.svg, chart_svg.svg(session.trace.events))
    sys.stdout.write(above + "\n".join(session_text.lines(session, findings)) + "\n")
    return session_text.FAILED if findings else session_text.OK
