"""Preemption between two kernel calls: exact, repeatable, and at every point."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from vmtsim import cli
from vmtsim.run.preempt import Preempt, drawn, written

from tests.sim import modkit

from .guestcode import MACHINES

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/systm.h>

    int     getticks(void);

    volatile int shared, steps;

    int
    counts(void)
    {
            shared++;
            return 0;
    }

    int
    walks(void)
    {
            for (int i = 0; i < 20; i++)
                    steps++;
            return 0;
    }
"""


def run(
    load: Callable[..., Code], point: int, *names: str, machine: str = "amd64"
) -> tuple[Code, list[int]]:
    """Run functions concurrently; the first to run is stopped after ``point`` instructions."""
    code = load(SOURCE, machine, seed=3, cpus=2)
    scheduler = code.kernel.scheduler
    if point:
        scheduler.points = {scheduler.calls: point}
    lwps = [code.start(name) for name in names]
    code.finish(*lwps)
    return code, [lwp.result for lwp in lwps]


@pytest.mark.parametrize("machine", MACHINES)
def test_update_is_lost_at_some_instruction_but_no_call(
    load: Callable[..., Code], machine: str
) -> None:
    code, _results = run(load, 0, "counts", "counts", machine=machine)
    assert code.number("shared") == 2
    sums = []
    for point in range(1, 40):
        code, _results = run(load, point, "counts", "counts", machine=machine)
        if not code.kernel.scheduler.hits:
            break
        sums.append(code.number("shared"))
    # i386 and amd64 count in one instruction, which one processor makes as a whole here.
    assert set(sums) == ({1, 2} if machine == "aarch64" else {2})
    assert len(sums) >= 3


def steps_at(load: Callable[..., Code], point: int) -> int:
    """Stop ``walks`` after this many instructions, and return how far it has come."""
    code = load(SOURCE, seed=3, cpus=2)
    scheduler = code.kernel.scheduler
    scheduler.points = {scheduler.calls: point}
    code.start("walks")
    code.kernel.run(lambda: bool(scheduler.hits))
    return code.number("steps")


def test_each_point_is_one_instruction_further(load: Callable[..., Code]) -> None:
    """With each point the stopped thread has run further; a replay stops it at the same places."""
    seen = [[steps_at(load, point) for point in range(1, 20)] for _ in range(2)]
    assert seen[0] == seen[1] == sorted(seen[0])
    assert seen[0][0] == 0
    assert len(set(seen[0])) > 15


def test_points_are_written_as_read() -> None:
    assert Preempt.read("all").kind == "all"
    assert Preempt.read("3").count == 3
    points = {17: 4, 5: 60}
    assert Preempt.read(written(points)).points == points
    for wrong in ("", "0", "10", "5+0", "5-1", "some"):
        with pytest.raises(ValueError, match="expected all, 1 to 9, or points"):
            Preempt.read(wrong)


def test_random_points_depend_on_seed() -> None:
    calls = list(range(100, 200))
    assert drawn(calls, 7, 3) == drawn(calls, 7, 3) != drawn(calls, 8, 3)
    assert set(drawn(calls, 7, 3)) <= set(calls)
    assert drawn([], 7, 3) == {}


def test_every_single_preemption_of_clean_module_is_run(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["run", str(modkit.built("tally")), "--scenario", "alone"]
    assert cli.main([*words, "--preempt", "all"]) == 0
    out, progress = capsys.readouterr()
    (runs, calls) = map(int, re.findall(r"in (\d+) runs, .* \((\d+) calls", out)[0])
    assert runs > 5 * calls
    assert f"vmtsim: call {calls} of {calls}, " in progress


def test_lost_count_is_found_by_single_preemptions_alone(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The race detector is off, and no switch at a kernel call loses a count."""
    words = ["run", str(modkit.built("tally", flags=("-DBUG=1",))), "--scenario", "alone"]
    assert cli.main([*words, "--summary", "--seeds", "1:20"]) == 0
    capsys.readouterr()
    assert cli.main([*words, "--preempt", "all"]) == 3
    out = " ".join(capsys.readouterr().out.split())
    assert "finding driver-panic: tally: 5 of 6 counted" in out
    (points,) = re.findall(r"replay vmtsim run .* --preempt (\d+\+\d+)", out)
    assert cli.main([*words, "--summary", "--preempt", points]) == 3
    assert "tally: 5 of 6 counted" in capsys.readouterr().out
