"""The linter and the simulator agree with a real kernel about broken modules."""

from __future__ import annotations

import re

from .mutants import EXCEPTIONS, MOST_EXCEPTIONS, Mutant, agrees, lint_errors, simulated

# Here the kernel prints memory after a table, or an address.
BEHIND = ("m152", "m260")


def test_linter_refuses_what_real_kernel_refused(mutants: list[Mutant]) -> None:
    """errno 0, attached or not: no error. A refusal, a panic, a hang: an error."""
    recorded = [mutant for mutant in mutants if mutant.verdict is not None]
    assert len(recorded) == 257
    differs = {m.name for m in recorded if bool(lint_errors(m.path)) is not m.refused}
    assert differs == set(EXCEPTIONS)
    assert len(EXCEPTIONS) <= MOST_EXCEPTIONS


def test_linter_gives_verdict_for_every_mutant(mutants: list[Mutant]) -> None:
    """Including mutants that no kernel was given: no traceback, and both verdicts occur."""
    others = [mutant for mutant in mutants if mutant.verdict is None]
    assert len(others) == 85
    errors = [mutant.name for mutant in others if lint_errors(mutant.path)]
    assert 0 < len(errors) < len(others)


def test_simulator_result_matches_real_kernel(mutants: list[Mutant]) -> None:
    """The kernel's errno or its panic, and for a refusal the same lines on the console."""
    wrong = []
    for mutant in mutants:
        if mutant.verdict is None:
            continue
        result, console = simulated(mutant.path)
        if not agrees(mutant.verdict, result):
            wrong.append((mutant.name, mutant.what, mutant.verdict["errno"], result))
        elif isinstance(result, int) and result != 0 and mutant.name not in BEHIND:
            message, expected = _plain(console), _plain(mutant.verdict["console"])
            # The recording has only the first lines of a long output.
            if message[: len(expected)] != expected:
                wrong.append((mutant.name, mutant.what, expected, message))
    assert wrong == []


def _plain(lines: list[str]) -> list[str]:
    """Lines without the path of the file, which differs; the module's own name stays."""
    lines = [re.sub(r"\[(?!vmt\])[^\]]*\]", "[FILE]", line) for line in lines]
    return [re.sub(r"`[^']*/m[0-9]{3}\.kmod'", "`FILE'", line) for line in lines]
