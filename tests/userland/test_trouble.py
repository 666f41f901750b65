"""vmtctl's messages and leftovers when something is broken."""

from __future__ import annotations

import struct
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from vmtctl import exits

if TYPE_CHECKING:
    from answers import Control, Outcome


def _module(guest: Any) -> str:
    return str(guest.module())


@pytest.mark.parametrize(
    ("builtin", "attached", "steps"),
    [
        (True, "stock", ["disable the built-in driver", "load ", "detach vmt0", "attach vmt0"]),
        (True, None, ["attach vmt0 to the driver in place first", "disable the built-in"]),
        (False, None, ["load ", "attach vmt0"]),
    ],
)
def test_load_dry_run_prints_steps_only(
    vmtctl: Control, guest: Any, builtin: bool, attached: str | None, steps: list[str]
) -> None:
    guest.set(builtin=builtin, attached=attached)
    done = vmtctl("load", "--dry-run", "-m", _module(guest))
    assert done.status == 0
    places = [done.out.find(step) for step in steps]
    assert -1 not in places, done.out
    assert places == sorted(places)
    assert guest.calls() == []


def test_unload_dry_run_names_restored_driver(vmtctl: Control, guest: Any) -> None:
    vmtctl("load", "-m", _module(guest))
    before = guest.calls()
    done = vmtctl("unload", "--dry-run")
    assert "unload the module vmt" in done.out
    assert "enable the built-in driver" in done.out
    assert guest.calls() == before


@pytest.mark.parametrize("verb", ["load", "unload"])
def test_unknown_modules_prevent_any_attempt(vmtctl: Control, guest: Any, verb: str) -> None:
    guest.set(faults={"modstat": "Operation not permitted"})
    words = ["-m", _module(guest)] if verb == "load" else []
    done = vmtctl(verb, *words)
    assert done.status != 0
    assert "cannot determine which modules are loaded" in done.err
    assert guest.calls() == []


@pytest.mark.parametrize(
    ("fault", "how", "words"),
    [
        ("modunload vmt", "Device busy", "the module is not unloaded: modunload: vmt: Device busy"),
        ("modunload vmt", "silent", "but modstat still shows it"),
        ("modload -f vmt", "Permission denied", "the built-in driver stays disabled"),
    ],
)
def test_failed_unload_names_completed_steps(
    vmtctl: Control, guest: Any, fault: str, how: str, words: str
) -> None:
    vmtctl("load", "-m", _module(guest))
    guest.set(faults={fault: how})
    assert words in vmtctl("unload").err


# -- files that are no module ------------------------------------------------------------------


def _big_endian(data: bytearray) -> None:
    data[5] = 2


def _executable(data: bytearray) -> None:
    struct.pack_into("<H", data, 16, 2)


def _no_sections(data: bytearray) -> None:
    struct.pack_into("<H", data, 60, 0)


def _cut_off(data: bytearray) -> None:
    table = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<Q", data, table + 3 * 64 + 32, 1 << 30)


def _stripped(data: bytearray) -> None:
    table = struct.unpack_from("<Q", data, 40)[0]
    struct.pack_into("<I", data, table + 5 * 64 + 4, 7)


def _renamed(data: bytearray) -> None:
    at = data.index(b"link_set_modules")
    data[at : at + 4] = b"LINK"


def _moved_relocation(data: bytearray) -> None:
    table = struct.unpack_from("<Q", data, 40)[0]
    place = struct.unpack_from("<Q", data, table + 2 * 64 + 24)[0]
    struct.pack_into("<Q", data, place, 64)


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (_big_endian, "it is big-endian"),
        (_executable, "it is not a relocatable file"),
        (_no_sections, "it has no section table"),
        (_cut_off, "it is truncated"),
        (_stripped, "it was stripped"),
        (_renamed, "it has no section link_set_modules"),
        (_moved_relocation, "its link_set_modules has no relocation"),
    ],
)
def test_non_module_is_refused_with_reason(
    vmtctl: Control, guest: Any, damage: Any, words: str
) -> None:
    path = Path(_module(guest))
    data = bytearray(path.read_bytes())
    damage(data)
    path.write_bytes(data)
    done = vmtctl("load", "-m", str(path))
    assert done.status == exits.DATA
    assert words in done.err
    assert guest.calls() == []


# -- vmtctl's own files ------------------------------------------------------------------------


def test_damaged_record_counts_as_absent(vmtctl: Control, guest: Any) -> None:
    vmtctl("load", "-m", _module(guest))
    (record,) = [p for p in (guest.root / "var/run").iterdir() if p.read_bytes()[:1] == b"{"]
    record.write_text("{damaged")
    assert vmtctl("load", "-m", _module(guest), "--json").json["changed"] is True


def test_without_var_run_lock_fails(vmtctl: Control, guest: Any) -> None:
    (guest.root / "var/run").rmdir()
    done = vmtctl("load", "-m", _module(guest))
    assert done.status == exits.CANNOT_CREATE
    assert "open the lock" in done.err


def _whats(done: Outcome) -> str:
    return "\n".join(row["what"] for row in done.json["findings"])


def test_doctor_reads_site_configuration(vmtctl: Control, guest: Any) -> None:
    vmtctl("powerd", "install")
    site = guest.root / "etc/powerd/vmt.d"
    site.mkdir(exist_ok=True)
    (site / "10-mail").write_text("#!/bin/sh\n")
    (site / "10-mail").chmod(0o644)
    (site / "20-open").write_text("#!/bin/sh\n")
    (site / "20-open").chmod(0o757)
    problems = _whats(vmtctl("doctor", "--json"))
    assert "10-mail is not executable" in problems
    assert "20-open may be written by users other than root" in problems
    assert "10-mail" in vmtctl("powerd", "status").out


def test_doctor_reports_damaged_package(vmtctl: Control, guest: Any) -> None:
    place = guest.root / "usr/pkg/stand/amd64/11.0/modules/vmt/vmt.kmod"
    place.parent.mkdir(parents=True)
    place.write_bytes(b"not a module at all")
    assert "vmt.kmod" in _whats(vmtctl("doctor", "--json"))


def test_doctor_names_foreign_system(vmtctl: Control, guest: Any) -> None:
    guest.kernel(kern__ostype="FreeBSD")
    assert "this is FreeBSD, not NetBSD" in _whats(vmtctl("doctor", "--json"))


def test_cpu_vendor_identifies_hypervisor_if_kernel_does_not(vmtctl: Control, guest: Any) -> None:
    guest.set(attached=None)
    state = guest.get()
    del state["kernel"]["machdep.hypervisor"]
    guest.write(state)
    assert vmtctl("status", "--json").json["system"]["hypervisor"] == "unknown"
    for vendor, hypervisor in (("VMware, Inc.", "VMware"), ("Acme", "none")):
        state["kernel"]["machdep.dmi.system-vendor"] = vendor
        guest.write(state)
        assert vmtctl("status", "--json").json["system"]["hypervisor"] == hypervisor


def test_powerd_status_distinguishes_edited_from_missing(vmtctl: Control, guest: Any) -> None:
    assert "hooks absent" in vmtctl("powerd", "status").out
    vmtctl("powerd", "install")
    handler = guest.root / "etc/powerd/vmt-event"
    handler.chmod(0o644)
    assert "not executable" in vmtctl("powerd", "status").out
    handler.write_text(handler.read_text() + "# mine\n")
    done = vmtctl("powerd", "status")
    assert done.status != 0
    assert "edited" in done.out


# -- the host and the clock --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("Operation not permitted", "only root may"),
        ("Invalid argument", "does not accept"),
        ("Input/output error", "was not set: "),
        ("silent", "period was set to 120, but the driver says"),
    ],
)
def test_refused_period_is_explained(vmtctl: Control, guest: Any, fault: str, words: str) -> None:
    guest.set(faults={"sysctl -w": fault})
    done = vmtctl("clock", "120")
    assert done.status != 0
    assert words in done.err


def test_persist_merges_duplicate_lines(vmtctl: Control, guest: Any) -> None:
    file = guest.root / "etc/sysctl.conf"
    file.write_text("machdep.vmt0.clock_sync.period=1\n# x\nmachdep.vmt0.clock_sync.period=2")
    vmtctl("clock", "90", "--persist")
    assert file.read_text() == "# x\nmachdep.vmt0.clock_sync.period?=90\n"


def test_persist_adds_missing_final_newline(vmtctl: Control, guest: Any) -> None:
    file = guest.root / "etc/sysctl.conf"
    file.write_text("kern.x=1")
    vmtctl("clock", "90", "--persist")
    assert file.read_text() == "kern.x=1\nmachdep.vmt0.clock_sync.period?=90\n"


# -- the program itself ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raised", "status", "words"),
    [
        (KeyboardInterrupt(), 130, "vmtctl: interrupted"),
        (OSError(28, "No space left on device", "/var/run/x"), None, "/var/run/x"),
        (RuntimeError("planted"), exits.SOFTWARE, "internal error: RuntimeError: planted"),
    ],
)
def test_unexpected_error_has_message_and_status(
    vmtctl: Control,
    monkeypatch: pytest.MonkeyPatch,
    raised: BaseException,
    status: int | None,
    words: str,
) -> None:
    def broken(*_: object) -> int:
        raise raised

    from vmtctl.verbs import status as verb

    monkeypatch.setattr(verb, "run", broken)
    done = vmtctl("status")
    assert done.status == status or (status is None and done.status != 0)
    assert words in done.err


def test_internal_error_shows_traceback_on_request(
    vmtctl: Control, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> int:
        raise RuntimeError("planted")

    from vmtctl.verbs import status as verb

    monkeypatch.setattr(verb, "run", broken)
    monkeypatch.setenv("VMTCTL_TRACEBACK", "1")
    assert "Traceback" in vmtctl("status").err


def test_verbose_shows_each_command_and_output(vmtctl: Control) -> None:
    trace = vmtctl("detach", "--verbose").err
    assert "+ drvctl -d vmt0\n" in trace
