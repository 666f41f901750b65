"""One base class of errors: errors for the user derive from it, others are listed and caught."""

from __future__ import annotations

import ast
import builtins
import functools
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = ("gen/vmtgen", "sim/vmtsim", "userland/vmtctl")
# ReportedError for vmtgen and vmtsim; vmtctl runs on a guest that has neither.
BASES = {"ReportedError", "Failure"}
# Every other class that derives from one of Python's own errors, with the reason.
INTERNAL = {
    "GrammarError": "the reader of ioconf files makes a located problem of it",
    "RelocationRefusedError": "the loader makes a refusal of it, with its section",
    "_BudgetError": "leaves the recursion of a reduction",
    "GuestFault": "the host reads memory that the guest does not have: the guest's fault",
    "CpuFault": "a fault of the guest's code; cpu/ may not import host/, which has the other",
    "CpuStuck": "a state of the guest's code",
    "Ending": "the guest's run is over: a verdict",
    "Down": "the guest in a directory is down: its tools print it",
    "NoGuestError": "stub tools import nothing of vmtgen: they start as fast as the real ones",
    "_Lost": "a state of the stub tools daemon's channel",
    "ValueProblem": "a message of the guest is wrong: a broken rule of the protocol",
    "XdrError": "a message of the guest is wrong: a broken rule of the protocol",
    "StatisticsError": "a message of the guest is wrong: a broken rule of the protocol",
    "PrototypeError": "a model is wrong: a fault of the program",
    "Unreadable": "a shell script that doctor does not try to understand",
    "Interrupted": "ends a campaign from wherever it is, as Python's KeyboardInterrupt does",
}
# Raised at import, when a model is written wrong, and meant to end the program; and what is
# caught as the ValueError or KeyboardInterrupt that it is.
UNCAUGHT = {"Interrupted", "PrototypeError", "StatisticsError", "XdrError"}


@functools.cache
def trees() -> list[ast.Module]:
    return [
        ast.parse(path.read_text(encoding="utf-8"))
        for room in ROOMS
        for path in sorted((ROOT / room).rglob("*.py"))
    ]


def python_error(name: str) -> bool:
    found = getattr(builtins, name, None)
    return isinstance(found, type) and issubclass(found, BaseException)


def test_user_errors_derive_from_reported_error_or_are_listed() -> None:
    direct = {
        node.name
        for tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
        and any(isinstance(base, ast.Name) and python_error(base.id) for base in node.bases)
    }
    assert direct == BASES | set(INTERNAL)


def test_internal_exceptions_are_caught_in_their_program() -> None:
    caught = set()
    for tree in trees():
        bases: dict[str, set[str]] = {}
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                bases[node.name] = {base.id for base in node.bases if isinstance(base, ast.Name)}
            if isinstance(node, ast.ExceptHandler) and node.type is not None:
                names = {each.id for each in ast.walk(node.type) if isinstance(each, ast.Name)}
                caught |= names
            # contextlib.suppress(NAME) is an except clause, too.
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "suppress":
                caught |= {each.id for each in node.args if isinstance(each, ast.Name)}
        # An ending is caught by its kinds.
        caught |= {base for name in caught for base in bases.get(name, ())}
    assert set(INTERNAL) - UNCAUGHT - caught <= {"Ending"}
    assert {"KernelPanic", "Halted", "Stalled"} <= caught
