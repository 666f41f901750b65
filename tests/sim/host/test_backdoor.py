"""Commands other than MESSAGE, time, CPUID, and machines without VMware."""

import pytest
from vmtsim.host import Frame, HostOptions

from .client import MAGIC, Guest, Memory

ONES = 0xFFFFFFFF


def test_getversion_answers_6_the_magic_and_the_product() -> None:
    guest = Guest(product_type=4)
    frame = guest.low(10, ebx=ONES, sub=0xFFFF)
    assert (frame.arg0, frame.arg1, frame.arg2) == (6, MAGIC, 4)
    assert guest.broken_rules() == []


def test_getversion_with_magic_in_ebx_is_a_violation() -> None:
    guest = Guest()
    guest.low(10, ebx=MAGIC)
    assert guest.broken_rules() == ["version-probe"]


def test_getuuid_returns_bytes_in_memory_order() -> None:
    frame = Guest().low(19)
    words = (frame.arg0, frame.arg1, frame.arg2, frame.arg3)
    assert b"".join(w.to_bytes(4, "little") for w in words) == bytes(range(16))


def test_getmhz_replaces_magic_in_eax() -> None:
    assert Guest(mhz=3100).low(1).arg0 == 3100


def test_gethz_splits_tsc_frequency() -> None:
    frame = Guest(mhz=5000, apic_hz=66).low(45, ebx=ONES)
    assert frame.arg1 << 32 | frame.arg0 == 5_000_000_000
    assert frame.arg2 == 66


@pytest.mark.parametrize("command", [2, 31, 97, 104, 0x7F, 0xFFFF])
def test_unknown_command_returns_all_ones(command: int) -> None:
    guest = Guest()
    assert guest.low(command).arg0 == ONES
    assert guest.broken_rules() == ["backdoor-command"]
    assert f"command {command}" in guest.events("violation")[0]["detail"]


def test_unknown_time_command_is_no_violation() -> None:
    guest = Guest(time_commands=())
    assert [guest.low(number).arg0 for number in (23, 46, 55)] == [ONES] * 3
    assert guest.broken_rules() == []


def test_probing_by_another_driver_is_allowed_by_option() -> None:
    guest = Guest(foreign_access=True)
    guest.low(39)
    assert guest.host.other_port(0x60, 1, None) == 0xFF
    assert guest.broken_rules() == []


def test_other_port_is_reported_with_written_value() -> None:
    guest = Guest()
    assert guest.host.other_port(0x5660, 4, None) == ONES
    guest.host.other_port(0x70, 1, 0x8F)
    assert guest.broken_rules() == ["foreign-port", "foreign-port"]
    details = [event["detail"] for event in guest.events("violation")]
    assert details == [
        "port 0x5660 read, 32 bits wide",
        "port 0x0070 written with 0x8f, 8 bits wide",
    ]


def test_call_without_magic_is_answered_like_empty_bus() -> None:
    guest = Guest()
    frame = Frame(0x12345678, 0, 10, 0x5658)
    guest.host.low_bandwidth(frame)
    assert frame.arg0 == ONES
    assert guest.broken_rules() == ["magic"]


def test_other_port_is_a_violation() -> None:
    guest = Guest()
    guest.host.low_bandwidth(Frame(MAGIC, 0, 10, 0x5659))
    guest.host.high_bandwidth(Frame(MAGIC, 0x10000, 4, 0x5658), guest.memory, to_host=True)
    assert guest.broken_rules() == ["port", "port"]


def test_bare_metal_returns_all_ones() -> None:
    guest = Guest(kind="hardware")
    for command in (1, 10, 17, 19, 30, 46):
        assert guest.low(command).arg0 == ONES
    assert guest.host.cpuid(0x40000000) is None
    assert guest.host.cpuid(1) is None


def test_qemu_answers_few_commands_and_no_message() -> None:
    guest = Guest(kind="qemu")
    answered = {n for n in range(106) if guest.low(n, ebx=ONES).arg0 != ONES}
    assert answered == {10, 19, 20, 45, 68}
    assert guest.low(20).arg1 == 0x1177
    vendor = guest.host.cpuid(0x40000000)
    assert vendor is not None
    assert b"".join(w.to_bytes(4, "little") for w in vendor[1:]) == b"KVMKVMKVM\0\0\0"


def test_cpuid_reports_vmware_and_hypercall() -> None:
    host = Guest(hypercall="vmmcall").host
    assert host.cpuid(1) == (0, 0, 1 << 31, 0)
    highest, *vendor = host.cpuid(0x40000000) or ()
    assert highest >= 0x40000010
    assert b"".join(w.to_bytes(4, "little") for w in vendor) == b"VMwareVMware"
    assert (host.cpuid(0x40000010) or ())[2] == 1
    assert host.cpuid(0) is None
    assert Guest(cpuid=False).host.cpuid(1) is None


def test_hypercall_takes_flags_instead_of_port() -> None:
    guest = Guest(hypercall="vmcall")
    frame = Frame(MAGIC, ONES, 10, 0)
    guest.host.hypercall(frame, Memory())
    assert frame.arg1 == MAGIC
    frame = Frame(MAGIC, 0x80000000 | 0x49435052, 30, 0)
    guest.host.hypercall(frame, Memory())
    channel, high, low = frame.arg3 >> 16, frame.arg4, frame.arg5
    guest.host.hypercall(Frame(MAGIC, 5, 1 << 16 | 30, channel << 16, high, low), guest.memory)
    out = guest.memory
    out.data[:5] = b"log x"
    frame = Frame(MAGIC, 0x10000, 5, channel << 16 | 3, 0xFFFF_C000_1234_5000, low, high)
    guest.host.hypercall(frame, out)
    assert frame.arg1 == 0x10000
    assert guest.events("rpci")[0]["request"] == b"log x"


def test_host_has_hypercall_only_if_configured() -> None:
    guest = Guest()
    assert (guest.host.cpuid(0x40000010) or ())[2] == 0
    frame = Frame(MAGIC, ONES, 10, 0)
    guest.host.hypercall(frame, Memory())
    assert frame.arg0 == ONES
    assert guest.broken_rules() == ["hypercall"]


def test_dead_ports_return_ones_and_allow_only_getversion() -> None:
    guest = Guest(hypercall="vmmcall", ports=False)
    assert guest.low(10, ebx=ONES).arg0 == ONES
    assert guest.broken_rules() == []
    assert guest.low(30, ebx=0x80000000 | 0x49435052).arg0 == ONES
    guest.host.high_bandwidth(Frame(MAGIC, 0x10000, 4, 0x5659), guest.memory, to_host=True)
    assert guest.broken_rules() == ["dead-port", "dead-port"]
    frame = Frame(MAGIC, ONES, 10, 0)
    guest.host.hypercall(frame, Memory())
    assert frame.arg1 == MAGIC


# Time.


def test_gettimefull_keeps_magic_and_splits_seconds() -> None:
    guest = Guest(epoch=(1 << 32) + 5, max_lag_us=1000, interrupt_lag_us=30)
    guest.time = 2_000_007_000
    frame = guest.low(46)
    assert (frame.arg0, frame.arg4, frame.arg3, frame.arg1) == (MAGIC, 1, 7, 7)
    assert frame.arg2 == 1030


def test_lag_command_reports_both_lags() -> None:
    frame = Guest(max_lag_us=1000, interrupt_lag_us=30).low(55)
    assert (frame.arg0, frame.arg2, frame.arg5) == (MAGIC, 1000, 30)


def test_gettime_returns_32_bit_seconds_in_eax() -> None:
    guest = Guest()
    guest.time = 1_500_000_000
    frame = guest.low(23)
    assert (frame.arg0, frame.arg1) == (1_767_225_601, 500_000)


def test_old_host_knows_only_old_time_command() -> None:
    guest = Guest(time_commands=(23,))
    assert guest.low(46).arg0 == ONES
    assert guest.low(55).arg0 == ONES
    assert guest.low(23).arg0 == 1_767_225_600


def test_stopcatchup_ends_interrupt_lag() -> None:
    guest = Guest(interrupt_lag_us=500)
    guest.low(24)
    assert guest.low(55).arg5 == 0


def test_host_clock_can_drift_jump_and_be_set() -> None:
    guest = Guest(epoch=1000)
    clock = guest.host.clock
    clock.drift(100)
    guest.time = 10_000_000_000
    assert clock.now() == 1010 * 10**9 + 1_000_000
    clock.jump(-5 * 10**9)
    assert clock.now() == 1005 * 10**9 + 1_000_000
    clock.drift(0)
    guest.time = 20_000_000_000
    assert clock.now() == 1015 * 10**9 + 1_000_000
    clock.set(7)
    assert clock.now() == 7


@pytest.mark.parametrize(
    ("options", "message"),
    [({"kind": "xen"}, "kind 'xen'"), ({"hypercall": "int"}, "hypercall"), ({"channels": 0}, "ch")],
)
def test_invalid_options_are_refused(options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        HostOptions(**options)
