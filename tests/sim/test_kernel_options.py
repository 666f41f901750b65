"""The kernel that detects a violation decides whether a run panics, fails or warns."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
from vmtsim import cli
from vmtsim.kernel.rule_table import OPTIONS, RULES, Consequence, Enforced, configured

from .modkit import built

if TYPE_CHECKING:
    from pathlib import Path

PANIC, DAMAGE, WARNING = Consequence.PANIC, Consequence.DAMAGE, Consequence.WARNING


@pytest.mark.parametrize(
    ("rule", "options", "consequence", "detected"),
    [
        ("mutex-double-enter", "none", PANIC, "by every kernel: it panics"),
        (
            "mutex-destroy-held",
            "DIAGNOSTIC",
            PANIC,
            (
                "by kernels with DIAGNOSTIC: they panic; without it, it continues, and is damaged "
                "or waits forever"
            ),
        ),
        (
            "mutex-destroy-held",
            "debug,lockdebug",
            DAMAGE,
            (
                "not by this kernel: it continues, and is damaged or waits forever; kernels with "
                "DIAGNOSTIC panic"
            ),
        ),
        (
            "use-after-free",
            "all",
            DAMAGE,
            "by no kernel: it continues, and is damaged or waits forever",
        ),
        ("attach-line", "all", WARNING, "by no kernel: it continues, and nothing is damaged"),
    ],
)
def test_rule_states_kernel_consequence(
    rule: str, options: str, consequence: Consequence, detected: str
) -> None:
    chosen = configured(options, "amd64")
    assert RULES[rule].consequence(chosen) is consequence
    assert RULES[rule].detected(chosen) == detected


def test_generic_matches_machine_configuration() -> None:
    assert configured("generic", "amd64") == {Enforced.DIAGNOSTIC, Enforced.HEARTBEAT}
    assert configured("generic", "aarch64") == {Enforced.HEARTBEAT}
    assert configured("none", "amd64") == set()
    assert configured("all", "i386") == set(OPTIONS.values())


def outcome(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    bug: int,
    options: str,
    name: str = "classic",
) -> tuple[int, str, list[dict[str, object]]]:
    """Exit status, report and findings of a run of a module with a bug."""
    record = tmp_path / "outcome.json"
    module = built(name, "amd64", (f"-DBUG={bug}",))
    status = cli.main(
        [
            "run",
            str(module),
            "--scenario",
            "alone",
            "--kernel-options",
            options,
            "--json",
            str(record),
        ]
    )
    return status, capsys.readouterr().out, json.loads(record.read_text("utf-8"))["findings"]


def test_run_panics_only_if_kernel_does(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """BUG 3 destroys a condition variable that its thread uses afterwards."""
    status, printed, findings = outcome(capsys, tmp_path, 3, "generic", "worker")
    assert (status, findings[0]["rule"]) == (3, "condvar-uninitialised")
    assert "panic: cv_" in printed
    assert "verdict  PANIC: the kernel would have panicked" in printed
    status, printed, findings = outcome(capsys, tmp_path, 3, "none", "worker")
    assert (status, findings[0]["rule"]) == (1, "condvar-uninitialised")
    assert "panic:" not in printed
    assert "verdict  FAILED" in printed
    assert (
        "detected not by this kernel: it continues, and is damaged or waits forever; kernels"
        in printed
    )
    assert printed.splitlines()[-1].endswith("--kernel-options none --scenario alone")


def test_undetected_violation_is_no_panic(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """BUG 5 writes one byte after an object."""
    status, printed, findings = outcome(capsys, tmp_path, 5, "all")
    assert (status, findings[0]["rule"]) == (1, "out-of-bounds")
    assert "panic" not in printed.lower()
    assert findings[0]["detected"] == "by no kernel: it continues, and is damaged or waits forever"


def test_harmless_violation_is_a_warning(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """BUG 8 does not end the line of attach."""
    status, printed, findings = outcome(capsys, tmp_path, 8, "all")
    assert (status, findings[0]["rule"], findings[0]["status"]) == (0, "attach-line", 0)
    assert "attach-line: classic0's attach function did not end its console line" in printed
    assert printed.count("\nwarning  ") == 1
    assert "finding  " not in printed
    assert "verdict  ok: every property held" in printed


def test_unknown_option_is_refused_with_known_ones(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as refused:
        cli.main(["run", "x.kmod", "--kernel-options", "DIAGNOSTICS"])
    assert refused.value.code == 64
    printed = " ".join(capsys.readouterr().err.split())
    assert "'DIAGNOSTICS' is not a debug option of a kernel" in printed
    assert "DIAGNOSTIC, DEBUG, LOCKDEBUG" in printed
