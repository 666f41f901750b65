"""Changes each number of the specs by one, up and down: which check detects it?

``python -m tests.gen.every_number`` does all of them (an hour); ``--every N`` a part. A number that
is off by one is refused with a place, or changes nothing that is compiled, or is detected by a
scenario, a check or a test that runs the driver. Where a similar value works as well, as the
comment in the spec says, the number is in NEAR and is not tried. Anything else is an error.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.build.compile import build_module
from vmtgen.common.located import LocatedErrors
from vmtgen.compiler import generate

from tests.sim.mutants.mutation import finding_of

from .every_entry import ROOT, SPECS, Change, SpecsTrial, entries

if TYPE_CHECKING:
    from collections.abc import Iterator

NEAR = frozenset({
    "backdoor.commands.get-version.in.0.value", "backdoor.commands.get-version.in.1.value",
    "transport.policy.checkpoint_retries", "transport.policy.reopen_ms",
    "transport.policy.reopen_max_ms", "transport.policy.buffer",
    "tclo.polling.drain", "tclo.polling.quiet_after", "tclo.backup.keep_alive_ms",
    "tclo.backup.limit",
    "guestinfo.nics.period", "guestinfo.nics.addresses", "guestinfo.nics.methods.0.addresses",
    "guestinfo.disks.period", "guestinfo.disks.count", "guestinfo.disks.text",
    "guestinfo.detailed.full",
    "guestinfo.items.os-name-full.period", "guestinfo.items.os-name-full.limit",
    "guestinfo.items.os-name.period", "guestinfo.items.os-name.limit",
    "guestinfo.items.build.period", "guestinfo.items.build.limit",
    "guestinfo.items.dns-name.period",
    "guestinfo.items.uptime.period", "guestinfo.items.uptime.limit",
    "driver.clock.samples", "driver.clock.sample_window_us", "driver.clock.slew_floor_us",
    "driver.rpc.pending", "driver.rpc.lifetime", "driver.device.priority",
})  # fmt: skip
"""Numbers where a near value works as well; the spec's comment has the reason."""

# The checks that run, in this order; then the tests of HELD, then all other scenarios and checks.
FIRST = ("boot-to-halt", "no-high-bandwidth", "old-host", "backup", "clock-steps", "suspend-hour")
CHECKS = ("period-bounds", "long-command", "unwinding", "retries-in-time", "idle-hour")
# Numbers that the driver's tests check: the test that detects a change.
HELD = {
    "tclo.polling": "test_tclo.py",
    "backdoor.commands.get-uuid": "test_sysctl.py",
    "driver.clock": "test_clock.py",
    "rpci.identity": "test_tclo.py",
    "guestinfo.items": "test_guestinfo.py",
    "guestinfo.detailed": "test_guestinfo.py",
    "guestinfo.disks": "test_guestinfo.py",
    "guestinfo.nics": "test_nicinfo.py",
    "transport.limits": "test_transport.py",
    "driver.sysctl": "test_sysctl.py",
}


def numbers(trial: SpecsTrial) -> list[Change]:
    """Every number of the specs, one more and one less."""
    return [
        Change(spec, path, near)
        for spec in SPECS
        for path, value in entries(trial.data[spec], ())
        if isinstance(value, int) and not isinstance(value, bool)
        for near in (value + 1, value - 1)
    ]


def killers() -> Iterator[str]:
    """Every other scenario, and some checks."""
    shipped = (ROOT / "sim" / "scenarios").glob("*.yaml")
    own = (ROOT / "tests" / "sim" / "mutants" / "scenarios").glob("*.yaml")
    yield from sorted({path.stem for path in (*shipped, *own)} - set(FIRST))
    yield from (f"check {name}" for name in CHECKS)


def detected(trial: SpecsTrial, change: Change, top: Path) -> str:
    """Return the check that detects the change, or ""."""
    made = trial.made(change)
    if isinstance(made, LocatedErrors):
        return "refused"
    if not any(output.place.endswith((".c", ".h")) for output in made):
        return "not compiled"
    kmod = top / "kmod" / "vmt"
    kmod.mkdir(parents=True)
    files = {
        output.place: output.text for output in (*generate.sources(ROOT / "kmod" / "vmt"), *made)
    }
    for name, text in {**trial.outputs, **files}.items():
        if name.startswith("kmod/"):
            (top / name).write_text(text, encoding="utf-8")
    machine = "aarch64" if change.path[0] == "arm" else "amd64"
    module = build_module(
        kmod, machine=machine, out=top, cache=ROOT / "build" / ".cache", extra_flags=("-Wno-error",)
    ).path
    for killer in FIRST:
        if finding_of(module, killer):
            return killer
        if machine == "aarch64":
            return ""
    for prefix, test in HELD.items():
        if change.where.startswith(prefix) and _test_fails(test, kmod):
            return test
    for killer in killers():
        if finding_of(module, killer):
            return killer
    return ""


def _test_fails(test: str, kmod: Path) -> bool:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", f"tests/driver/{test}"],
        cwd=ROOT,
        env=os.environ | {"VMT_KMOD": str(kmod)},
        capture_output=True,
        check=False,
    )
    return done.returncode == 1


def main() -> int:
    """Print the check that detects each change; 1 if a required detection is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.gen.every_number", description=__doc__)
    parser.add_argument("--every", type=int, default=1, metavar="N", help="only each Nth (1)")
    parser.add_argument("--first", type=int, default=0, metavar="N", help="beginning with (0)")
    parser.add_argument("paths", nargs="*", metavar="SPEC.PATH", help="only what begins so")
    arguments = parser.parse_args()
    by: Counter[str] = Counter()
    wrong = 0
    with tempfile.TemporaryDirectory() as folder:
        trial = SpecsTrial(Path(folder))
        begins = tuple(arguments.paths) or ("",)
        chosen = [each for each in numbers(trial) if each.where.startswith(begins)]
        chosen = chosen[arguments.first :: arguments.every]
        for change in chosen:
            if change.where in NEAR:
                who = "as good"
            else:
                with tempfile.TemporaryDirectory() as place:
                    who = detected(trial, change, Path(place))
            by[who if who in {"as good", "refused", "not compiled", ""} else "detected"] += 1
            wrong += not who
            print(f"{change}: {who or 'NOT DETECTED'}", flush=True)
    counts = ", ".join(f"{by[key]} {key or 'unnoticed'}" for key in sorted(by))
    print(f"{len(chosen)} numbers off by one: {counts}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
