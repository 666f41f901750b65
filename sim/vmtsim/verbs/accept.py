"""``vmtsim accept``: test the driver on a real NetBSD in stock QEMU, and write a report."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import textwrap
import time
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from vmtsim.arguments import seed

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import FrameType

    from vmtsim.accept.boot import Account
    from vmtsim.accept.drivers import Driver
    from vmtsim.accept.run import Acceptance, Plan
    from vmtsim.accept.verdict import Result
    from vmtsim.scenario.script import Scenario

SUMMARY = "test the driver on a real NetBSD in stock QEMU and compare with the simulator"

_EPILOG = """\
examples:
  vmtsim accept --disk NetBSD-10.1-amd64-live.img.gz
       the image as NetBSD publishes it; the module is built for its release
  vmtsim accept --kernel netbsd --disk root.img --module vmt.kmod --cpus 2
       a kernel of your own with a root of your own
  vmtsim accept --disk i386.qcow2 --machine i386 --user root --password-file pw
  vmtsim accept --disk live.img.gz --scenario boot-to-halt detach-attach --report out
  vmtsim accept --no-host --console 'ssh root@guest'  only the walkthrough, on real VMware
  vmtsim accept --disk live.img.gz --driver vmmemctl  the memory balloon
  vmtsim accept --list                               list the scenarios

The command boots the image without writing to it: all changes are discarded at the end.  It goes
through the boot loader and logs in on the serial console, and copies the module and the scripts
in on a separate disk.  It runs each scenario twice: in the simulator, and on the guest, whose
VMware host is simulated behind QEMU's GDB stub.  The guest has no network.  The command then
checks the properties of `vmtsim run`, as far as they can be seen from outside the guest, and
compares the two conversations.  Its exit status is 0 if every scenario is ok, 1 if one is not, 3
if the kernel crashed.

The report contains index.html (conversations side by side), report.json, console.log and traces.
Without --accel kvm a boot takes minutes; progress messages show what the command waits for.
docs/acceptance.md is the tutorial.
"""


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0 < value < 1e6:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and a million")
    return value


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not an integer") from None
    if not 0 < value < 1 << 20:
        raise argparse.ArgumentTypeError(f"{text} is out of range: expected 1 to 1048575")
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``vmtsim accept``."""
    parser.epilog = _EPILOG
    what = parser.add_argument_group("the guest")
    what.add_argument(
        "--disk", type=Path, metavar="IMAGE", help="disk image: raw or qcow2, or either with .gz"
    )
    what.add_argument(
        "--kernel", type=Path, metavar="NETBSD", help="a kernel that QEMU loads directly (PVH)"
    )
    what.add_argument(
        "--append", metavar="WORDS", help="the kernel's arguments (console=com root=...)"
    )
    what.add_argument(
        "--machine",
        choices=("amd64", "i386"),
        default="amd64",
        help="the guest's NetBSD port (amd64)",
    )
    what.add_argument("--user", default="root", help="user to log in as on the console (root)")
    what.add_argument(
        "--password-file", type=Path, metavar="FILE", help="file whose first line is the password"
    )
    what.add_argument(
        "--no-host", action="store_true", help="the guest runs already: only the walkthrough"
    )
    what.add_argument(
        "--console",
        metavar="COMMAND",
        help="with --no-host: command that opens a terminal on it, such as 'ssh root@guest'",
    )
    driver = parser.add_argument_group("the driver")
    driver.add_argument(
        "--driver",
        default="vmt",
        choices=("vmt", "vmmemctl"),
        help="vmt, or vmmemctl, the memory balloon (vmt)",
    )
    driver.add_argument(
        "--module", type=Path, metavar="FILE", help="its .kmod, or an archive made by vmtgen dist"
    )
    driver.add_argument(
        "--scenario",
        nargs="+",
        metavar="NAME|FILE",
        help="scenarios to run; all: every one (see --list)",
    )
    driver.add_argument("--list", action="store_true", help="list the scenarios and exit")
    driver.add_argument("--seed", type=seed, default=1, metavar="N", help="random seed (1)")
    qemu = parser.add_argument_group("QEMU")
    qemu.add_argument("--qemu", metavar="PATH", help="qemu-system-x86_64, or -i386")
    qemu.add_argument("--cpus", type=_count, default=2, metavar="N", help="vCPUs (2)")
    qemu.add_argument("--memory", type=_count, default=1024, metavar="MIB", help="memory (1024)")
    qemu.add_argument(
        "--accel",
        choices=("tcg", "kvm"),
        default="tcg",
        help="kvm is faster where it is available (tcg)",
    )
    qemu.add_argument(
        "--disk-bus",
        choices=("ide", "virtio", "scsi", "usb"),
        help="bus of the disks (ide; virtio with --kernel)",
    )
    qemu.add_argument("--keep", action="store_true", help="leave the machine running at the end")
    rest = parser.add_argument_group("time and output")
    rest.add_argument(
        "--boot-timeout",
        type=_seconds,
        default=1800.0,
        metavar="SECONDS",
        help="limit from power-on to the shell prompt (1800)",
    )
    rest.add_argument(
        "--slow",
        type=_seconds,
        default=2.0,
        metavar="FACTOR",
        help="how many times longer than the simulated guest this one may take (2)",
    )
    rest.add_argument(
        "--report",
        type=Path,
        default=Path("vmt-accept"),
        metavar="DIR",
        help="directory for the report (vmt-accept)",
    )
    rest.add_argument("--quiet", action="store_true", help="print the table only, no progress")


def _fail(message: str, hint: str, status: int = 64) -> NoReturn:
    sys.stderr.write(f"vmtsim accept: error: {message}\nhint: {hint}\n")
    raise SystemExit(status)


def _account(args: argparse.Namespace) -> Account:
    from vmtsim.accept.boot import Account  # noqa: PLC0415

    if args.password_file is None:
        return Account(args.user)
    try:
        lines = args.password_file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        _fail(f"cannot read {args.password_file}: {error}", "its first line is the password", 66)
    return Account(args.user, lines[0] if lines else "")


def _scenarios(driver: Driver, names: list[str] | None) -> tuple[frozenset[str], list[Scenario]]:
    """Return the extras that are requested, and the scenarios."""
    from vmtsim.scenario import script  # noqa: PLC0415

    known = driver.scenarios()
    extras = {each.name for each in driver.extras}
    chosen = list(driver.default) if names is None else names
    if chosen == ["all"]:
        chosen = [*extras, *known]
    played = [script.load(known.get(name, name)) for name in chosen if name not in extras]
    return frozenset(chosen) & extras, played


def _plan(args: argparse.Namespace) -> Plan:
    from vmtsim.accept.drivers import DRIVERS  # noqa: PLC0415
    from vmtsim.accept.machine import MachineOptions  # noqa: PLC0415
    from vmtsim.accept.run import Plan  # noqa: PLC0415

    if args.disk is None and args.kernel is None:
        _fail("no guest", "--disk IMAGE (a live image of NetBSD, for example), or --kernel NETBSD")
    if args.append is not None and args.kernel is None:
        _fail("--append without --kernel", "a disk's boot loader takes its arguments from boot.cfg")
    driver = DRIVERS[args.driver]
    extras, scenarios = _scenarios(driver, args.scenario)
    if args.keep:
        extras -= {"power-off"}
    return Plan(
        options=MachineOptions(
            machine=args.machine,
            qemu=args.qemu,
            cpus=args.cpus,
            memory=args.memory,
            accelerator=args.accel,
            append=args.append,
            bus=args.disk_bus,
        ),
        scenarios=scenarios,
        driver=driver,
        extras=extras,
        disk=args.disk,
        kernel=args.kernel,
        module=args.module,
        account=_account(args),
        boot_timeout=args.boot_timeout,
        slow=args.slow,
        seed=args.seed,
        keep=args.keep,
    )


def _list(module: str) -> int:
    from vmtsim.accept.drivers import DRIVERS  # noqa: PLC0415
    from vmtsim.scenario import script  # noqa: PLC0415

    driver = DRIVERS[module]
    for extra in driver.extras:
        sys.stdout.write(f"* {extra.name:<24}          {extra.summary}\n")
    for name, path in driver.scenarios().items():
        scenario = script.load(path)
        mark = "*" if name in driver.default else " "
        sys.stdout.write(f"{mark} {name:<24} {scenario.duration / 1e9:5.0f} s  ")
        text = scenario.summary.partition(";")[0].partition(":")[0]
        sys.stdout.write(f"{textwrap.shorten(text, 60, placeholder=' ...')}\n")
    sys.stdout.write("* run by default, without --scenario\n")
    return 0


def _leave(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def run(args: argparse.Namespace) -> int:
    """Run the acceptance test and write the report."""
    if args.list:
        return _list(args.driver)
    if args.no_host or args.console is not None:
        return _visit(args)
    from vmtsim.accept import report  # noqa: PLC0415
    from vmtsim.accept.run import Acceptance  # noqa: PLC0415

    plan = _plan(args)
    print_line = _progress(args)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    results: list[Result] = []
    with Acceptance(plan, print_line) as acceptance:
        try:
            acceptance.prepare()
            for result in acceptance.results():
                results.append(result)
                print_line(f"{result.scenario}: {result.verdict}")
                report.write(args.report, acceptance, results)
        except BaseException:
            _write_partial_report(args, acceptance, results)
            raise
        report.write(args.report, acceptance, results)
    return _summary(args, results)


def _progress(args: argparse.Namespace) -> Callable[[str], None]:
    started = time.monotonic()

    def print_line(line: str) -> None:
        if not args.quiet:
            sys.stdout.write(f"{time.monotonic() - started:8.1f}  {line}\n")
            sys.stdout.flush()

    return print_line


def _summary(args: argparse.Namespace, results: list[Result]) -> int:
    from vmtsim.accept import report, verdict  # noqa: PLC0415

    sys.stdout.write("\n".join([*report.table(results), "", *report.closing(results)]) + "\n")
    sys.stdout.write(f"report   {args.report / 'index.html'}\n")
    return verdict.status(results)


def _visit(args: argparse.Namespace) -> int:
    """Do the walkthrough on a guest that runs already, and write the report."""
    from vmtsim.accept import report  # noqa: PLC0415
    from vmtsim.accept.drivers import DRIVERS  # noqa: PLC0415
    from vmtsim.accept.module import bring  # noqa: PLC0415
    from vmtsim.accept.visit import Visit  # noqa: PLC0415

    if not args.no_host or args.console is None:
        _fail("--no-host and --console need each other", "--no-host --console 'ssh root@guest'")
    if args.disk is not None or args.kernel is not None or args.scenario is not None:
        _fail("--no-host starts no machine and runs no scenario", "omit --disk, --kernel ...")
    print_line = _progress(args)
    driver = DRIVERS[args.driver]
    with tempfile.TemporaryDirectory(prefix="vmt-accept-") as work:

        def brought(release: str, port: str) -> dict[str, Path]:
            return bring(driver, args.module, release, port, Path(work), print_line)

        visit = Visit(
            driver,
            args.console,
            _account(args),
            args.report,
            brought,
            print_line,
            timeout=args.boot_timeout,
        )
        results = [visit.take()]
        report.write(args.report, visit, results)
    return _summary(args, results)


def _write_partial_report(
    args: argparse.Namespace, acceptance: Acceptance, results: list[Result]
) -> None:
    """Write the console log and the results so far if a run was cut short."""
    from vmtsim.accept import report  # noqa: PLC0415

    if not acceptance.console():
        return
    report.write(args.report, acceptance, results)
    sys.stderr.write(f"vmtsim accept: partial results are in {args.report}\n")
