"""Mutants of the driver's C: read from table.yaml, built, and run until a check detects them."""

from __future__ import annotations

import tempfile
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen.build.compile import build_module
from vmtgen.common.errors import SOFTWARE
from vmtgen.common.located import load_yaml
from vmtsim.campaign.player import play
from vmtsim.kernel.errors import KernelPanic, Spinning, Stalled
from vmtsim.run.simulation import Simulation
from vmtsim.scenario import script

from tests.vmmemctl import test_driver
from tests.vmmemctl.machine import Machine

from .checks import CHECKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
KMOD = ROOT / "kmod"
# Table -> the module whose C it is about, a directory of kmod/.
_TABLES = {"table.yaml": "vmt", "vmmemctl.yaml": "vmmemctl"}
_BALLOON = ROOT / "tests" / "vmmemctl"  # scenarios and tests of that driver
_CACHE = ROOT / "build" / ".cache"


class StaleMutantError(Exception):
    """A mutant no longer applies to the C."""


@dataclass(frozen=True)
class Mutant:
    """One small defect.  ``edits`` are (text, replacement), all in ``file``."""

    module: str
    name: str
    file: str
    why: str
    edits: tuple[tuple[str, str], ...]
    killers: tuple[str, ...]
    sample: bool


@dataclass(frozen=True)
class Verdict:
    """The result of a mutant: ``killer`` and its output, or "" and the survivor's runs."""

    mutant: str
    killer: str
    reason: str

    @property
    def killed(self) -> bool:
        """Whether a check detected it."""
        return bool(self.killer)


def mutants() -> tuple[Mutant, ...]:
    """Read the tables."""
    return tuple(
        Mutant(
            module,
            entry["id"],
            entry["file"],
            entry["why"],
            tuple((edit["find"], edit["replace"]) for edit in (entry, *entry.get("edits", []))),
            tuple(entry["killed_by"]),
            entry.get("sample", False),
        )
        for table, module in _TABLES.items()
        for entry in load_yaml(HERE / table, keep=True).plain()
    )


def mutated(mutant: Mutant, kmod: Path = KMOD) -> str:
    """Return the C of the mutant's file; raises StaleMutantError where it does not apply."""
    text = (kmod / mutant.module / mutant.file).read_text(encoding="utf-8")
    for find, replace in mutant.edits:
        count = text.count(find)
        if count != 1:
            raise StaleMutantError(
                f"{mutant.name}: {mutant.file} has {find!r} {count} times, not once: "
                "adapt the mutant to the C"
            )
        text = text.replace(find, replace)
    return text


def stale(chosen: Iterable[Mutant], kmod: Path = KMOD) -> list[str]:
    """Return the error of each mutant that does not apply."""
    found = []
    for mutant in chosen:
        try:
            mutated(mutant, kmod)
        except StaleMutantError as error:  # noqa: PERF203 - all of them are reported
            found.append(str(error))
    return found


def build(mutant: Mutant, out: Path, kmod: Path = KMOD) -> Path:
    """Build a mutant and return the module."""
    return _built(mutant.module, mutant, out, kmod)


def _built(name: str, mutant: Mutant | None, out: Path, kmod: Path) -> Path:
    source = out / "kmod"
    source.mkdir(parents=True)
    for file in (kmod / name).iterdir():
        if file.suffix in {".c", ".h"} or file.name == "Makefile":
            (source / file.name).write_bytes(file.read_bytes())
    if mutant is not None:
        (source / mutant.file).write_text(mutated(mutant, kmod), encoding="utf-8")
    flags = ("-Wno-error", "-O0")  # a sixth of the compiler's time, and it runs once
    return build_module(source, out=out, name=name, cache=_CACHE, extra_flags=flags).path


def finding_of(module: Path, killer: str) -> str:
    """Run one killer and return its finding, or ""."""
    kind, _, argument = killer.partition(" ")
    try:
        if kind == "seeds":
            first, last = map(int, argument.split(":"))
            return _seeds(module, first, last)
        if kind == "check":
            return CHECKS[argument](module)
        if kind == "driver":
            return _driver_test(module, argument)
        return _scenario(module, killer)
    except KernelPanic as panic:
        return f"panic: {panic.rule}: {panic.message}"
    except (Spinning, Stalled) as hang:
        return f"hang: {hang}"


def _driver_test(module: Path, call: str) -> str:
    """Run a test of tests/vmmemctl/test_driver.py on the module."""
    name, *words = call.split()
    arguments = [int(word) if word.isdecimal() else word for word in words]
    try:
        getattr(test_driver, name)(partial(Machine, module), *arguments)
    except AssertionError as error:
        return f"{name}: {error or 'failed'}"
    return ""


def _seeds(module: Path, first: int, last: int) -> str:
    for seed in range(first, last + 1):
        played = play(module, seed)
        if played.status == SOFTWARE:
            raise RuntimeError(f"seed {seed}: {played.trouble}")
        if played.status:
            finding = played.findings[0]
            return f"seed {seed}: {finding.rule}: {finding.message}"
    return ""


def scenario_of(killer: str) -> script.Scenario:
    """Return the scenario of a killer that is neither a check nor seeds nor a driver's test."""
    name = killer.partition("@")[0]
    places = (HERE / "scenarios" / f"{name}.yaml", _BALLOON / f"{name}.yaml")
    return script.load(next((place for place in places if place.is_file()), name))


def _scenario(module: Path, killer: str) -> str:
    builtin = killer.endswith("@builtin")
    outcome = Simulation(module, scenario_of(killer), builtin_vmt=builtin).run()
    return "; ".join(f"{each.rule}: {each.message}" for each in outcome.findings[:2])


def judge(mutant: Mutant, kmod: Path = KMOD) -> Verdict:
    """Build a mutant and run its killers in order, until one detects it."""
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        module = build(mutant, Path(folder), kmod)
        for killer in mutant.killers:
            try:
                reason = finding_of(module, killer)
            except Exception:  # reported as an error, not as a kill
                return Verdict(mutant.name, "", f"BROKEN by {killer}: {traceback.format_exc()}")
            if reason:
                return Verdict(mutant.name, killer, reason)
    return Verdict(mutant.name, "", f"survived {', '.join(mutant.killers)}")


def killers(chosen: Iterable[Mutant]) -> Sequence[str]:
    """Return every killer that is used, once."""
    return sorted({killer for mutant in chosen for killer in mutant.killers})


def false_alarms(kmod: Path = KMOD) -> dict[str, str]:
    """Run every killer on the unmodified drivers, and return their findings."""
    found = {}
    for name in _TABLES.values():
        chosen = [mutant for mutant in mutants() if mutant.module == name]
        with tempfile.TemporaryDirectory(prefix="driver-") as folder:
            module = _built(name, None, Path(folder), kmod)
            for killer in killers(chosen):
                if reason := finding_of(module, killer):
                    found[f"{name}: {killer}"] = reason
    return found
