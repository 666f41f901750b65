"""A campaign as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtsim.report import verdict as verdicts
from vmtsim.report.layout import field

if TYPE_CHECKING:
    from vmtsim.campaign.record import Record


def text(record: Record, *, reports: bool = True) -> list[str]:
    """Return the summary, after the reports of failures."""
    lines: list[str] = []
    if reports:
        for failure in record.failures:
            lines += [*failure.lines, ""] if failure.lines else []
    of = f"{record.file}, sha256 {record.digest[:12]}"
    lines += field("module", of + (f", commit {record.commit}" if record.commit else ""))
    if record.subject:
        lines += field("driver", record.subject)
    ranges = [f"{a}" if a == b else f"{a}:{b}" for a, b in record.seeds]
    shown = ", ".join(ranges[:6]) + (" ..." if len(ranges) > 6 else "")
    lines += field("seeds", f"{record.played} ({shown}), {record.failed} failed")
    lines += field(
        "played",
        f"{record.virtual / 3.6e12:.1f} virtual h in {record.wall:.0f} s "
        f"({record.speed:.0f} virtual s per CPU second), "
        f"{record.kernel_calls} kernel calls, {record.traps} traps, "
        f"{record.switches} thread switches",
    )
    faults = ", ".join(f"{name} {count}" for name, count in sorted(record.faults.items()))
    lines += field(
        "did",
        f"{record.actions} actions, {record.injections} faults" + (f": {faults}" if faults else ""),
    )
    if record.orders:
        lines += field("orders", orders(record))
    if record.replayed:
        lines += field(
            "replayed", f"{record.replayed} seeds were run again and gave the same traces"
        )
    if record.canary:
        seed = record.canary.get("seed")
        caught = f"caught at seed {seed} ({record.canary.get('rule')})" if seed else "NOT CAUGHT"
        lines += field("canary", f"{record.canary['file']}: {caught}")
    count = len(record.properties)
    lines += field("reached", f"{count - len(record.never)} of {count} events that must occur "
                    "sometimes")  # fmt: skip
    if record.never:
        lines += field("never", ", ".join(record.never))
    for failure in record.failures:
        lines += field(
            "failure", f"{failure.rule} ({failure.seeds}, first {failure.seed}): "
            f"{failure.message}"
        )  # fmt: skip
    return [*lines, *field("verdict", verdict(record))]


def orders(record: Record) -> str:
    """Return how many orders of accesses were seen, and which seed showed the last new one."""
    stale = record.stale(record.seeds[0][0])
    text = f"{len(record.orders)} of two accesses to shared memory"
    return text + (f", the last new one in seed {record.seeds[0][1] - stale}" if stale else "")


def verdict(record: Record) -> str:
    """Return the verdict in a line; a campaign that was cut short is never plain ok."""
    if not record.cut:
        return verdicts.verdict(record.status, "nothing failed")
    so_far = verdicts.verdict(record.status) if record.status else "nothing failed until then"
    return f"NOT FINISHED: {record.cut}; {so_far}"
