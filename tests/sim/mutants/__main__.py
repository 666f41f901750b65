"""All mutants: ``python -m tests.sim.mutants [--jobs N] [--kmod DIR] [NAME ...]``."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path

from .mutation import KMOD, Mutant, Verdict, false_alarms, judge, mutants, stale


def main() -> int:
    """Judge mutants and print the share that was killed; 1 if one survives."""
    parser = argparse.ArgumentParser(prog="python -m tests.sim.mutants", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (all)")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, metavar="N")
    parser.add_argument("--kmod", type=Path, default=KMOD, metavar="DIR", help="the C (kmod)")
    parser.add_argument("--verbose", action="store_true", help="print what killed each")
    args = parser.parse_args()
    every = mutants()
    chosen = [mutant for mutant in every if not args.names or mutant.name in args.names]
    unknown = set(args.names) - {mutant.name for mutant in every}
    if unknown:
        parser.error(f"no mutant {', '.join(sorted(unknown))}")
    began = time.monotonic()
    outdated = stale(chosen, args.kmod)
    for text in outdated:
        print(f"STALE  {text}")
    if outdated:
        return 1
    if not args.names:
        reason = false_alarms(args.kmod)
        for killer, text in reason.items():
            print(f"FALSE ALARM  {killer} fails on the unmodified driver: {text[:300]}")
        if reason:
            return 1
    verdicts = _judged(chosen, args)
    dead = [verdict for verdict in verdicts if verdict.killed]
    print(
        f"{len(dead)} of {len(verdicts)} mutants killed "
        f"({100 * len(dead) // len(verdicts)} %) in {time.monotonic() - began:.0f} s"
    )
    by = {kind: sum(_kind(v.killer) == kind for v in dead) for kind in map(_kind, _used(dead))}
    print("killed by " + ", ".join(f"{kind} {count}" for kind, count in sorted(by.items())))
    for verdict in verdicts:
        if not verdict.killed:
            print(f"SURVIVOR  {verdict.mutant}: {verdict.reason}")
    return 0 if len(dead) == len(verdicts) else 1


def _judged(chosen: list[Mutant], args: argparse.Namespace) -> list[Verdict]:
    context = multiprocessing.get_context("spawn")
    verdicts = []
    with ProcessPoolExecutor(args.jobs, mp_context=context) as pool:
        for verdict in pool.map(partial(judge, kmod=args.kmod), chosen):
            verdicts.append(verdict)
            if args.verbose:
                word = verdict.killer or "SURVIVED"
                print(f"{verdict.mutant:<28} {word:<24} {verdict.reason[:120]}", flush=True)
            elif sys.stderr.isatty():
                sys.stderr.write(f"\r{len(verdicts)} of {len(chosen)} ")
    return verdicts


def _used(verdicts: list[Verdict]) -> list[str]:
    return [verdict.killer for verdict in verdicts]


def _kind(killer: str) -> str:
    word = killer.split(" ", 1)[0]
    return {"seeds": "seeds", "check": "checks", "driver": "checks"}.get(word, "scenarios")


if __name__ == "__main__":
    sys.exit(main())
