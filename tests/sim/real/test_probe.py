"""Results of kernel functions: the simulated kernel compared with a recording of a real one.

`probe.c` calls kernel functions and prints their answers; `kernel-10.99.12-amd64.txt` is what a
real NetBSD/amd64 10.99.12 kernel printed for it.  No answer depends on the speed of a machine:
those about time are orders ("not before", "not twice within a second") and error numbers.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtsim.host.options import EPOCH
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.timekeeping import TimeKeeping

from ..modkit import Machine

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE = Path(__file__).parent
RECORDED = (HERE / "kernel-10.99.12-amd64.txt").read_text(encoding="ascii").splitlines()
VERSION = 1_099_001_200
SYS = os.environ.get("NETBSD_SYS")
# Lines that need the headers of a NetBSD tree: they read struct lwp.
TREE_ONLY = {"kthread", "lwp"}
# Differences of the simulated kernel by the name of the line: its result, and the reason.  A row
# whose line agrees is an error: remove it.
DIFFERENT: Mapping[str, tuple[str, str]] = {}


def name_of(line: str) -> str:
    return line.split()[1]


def answers(sys: Path | None, out: Path) -> list[str]:
    """Return the probe's output on the simulated kernel."""
    flags = ("-DWHOLE_TREE",) if sys is not None else ()
    module = build_module(
        [HERE / "probe.c"], machine="amd64", release="10.99.12", out=out, sys=sys,
        extra_flags=flags,
    ).path  # fmt: skip
    machine = Machine(module, version=VERSION)
    machine.kernel.subject(TimeKeeping).set_rtc(EPOCH * 1_000_000_000)
    # The probe's init fails on purpose, as it did on the real kernel.
    assert machine.do("load") == Errno.EINVAL
    assert machine.broken() == []
    return [line for line in machine.console if line.startswith("P ")]


def compare(printed: list[str], recorded: list[str]) -> None:
    expected = [
        f"P {name_of(line)} {DIFFERENT[name_of(line)][0]}" if name_of(line) in DIFFERENT else line
        for line in recorded
    ]
    assert printed == expected
    for line in recorded:
        if name_of(line) in DIFFERENT:
            assert line != f"P {name_of(line)} {DIFFERENT[name_of(line)][0]}"


def test_recording_is_complete() -> None:
    assert len(RECORDED) == 97
    assert len({name_of(line) for line in RECORDED}) == 97
    assert RECORDED[-1] == "P ret end"
    assert {name_of(line) for line in RECORDED} >= TREE_ONLY | set(DIFFERENT)


def test_simulated_kernel_answers_as_real_kernel(tmp_path: Path) -> None:
    recorded = [line for line in RECORDED if name_of(line) not in TREE_ONLY]
    compare(answers(None, tmp_path), recorded)


@pytest.mark.skipif(not SYS, reason="NETBSD_SYS does not name a sys/ directory of 10.99.12")
def test_simulated_kernel_answers_as_real_with_netbsd_headers(tmp_path: Path) -> None:
    assert SYS is not None
    compare(answers(Path(SYS), tmp_path), RECORDED)
