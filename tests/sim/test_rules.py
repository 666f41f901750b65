"""Every violation of a kernel rule is reported with the rule's name and the source line."""

from __future__ import annotations

import re

import pytest
from vmtsim.kernel import scheduler
from vmtsim.kernel.errors import KernelPanic, Spinning, Stalled
from vmtsim.kernel.process import Processes

from .modkit import MACHINES, SOURCES, Machine, built, marked

# function -> rule; the line is the one marked with the rule inside or below the function.
PANICS = {
    "double_enter": "mutex-double-enter",
    "exit_unheld": "mutex-exit-by-non-owner",
    "destroy_held": "mutex-destroy-held",
    "enter_uninitialised": "mutex-uninitialised",
    "init_twice": "mutex-already-initialised",
    "wait_without_mutex": "condvar-without-mutex",
    "wait_with_spin": "switch-with-spin-mutex",
    "destroy_waited": "condvar-destroy-waited-on",
    "free_wrong_size": "kmem-size",
    "free_twice": "double-free",
    "free_inner": "bad-free",
    "alloc_nothing": "kmem-size",
    "use_after_free": "use-after-free",
    "read_behind": "out-of-bounds",
    "write_before": "out-of-bounds",
    "write_rodata": "read-only-memory",
    "null_read": "null-pointer",
    "free_with_mutex": "free-with-mutex",
    "callout_unset": "callout-without-function",
    "callout_destroy_pending": "callout-destroy-pending",
    "callout_after_destroy": "callout-uninitialised",
    "callout_sleeps": "sleep-in-softint",
    "callout_allocates": "softint-context",
    "thread_joins_itself": "kthread-join-self",
    "thread_exits_with_mutex": "exit-with-mutex",
}


def _machine(machine: str = "amd64", seed: int = 1) -> Machine:
    made = Machine(built("rules", machine), machine, seed=seed)
    assert made.do("load") == 0
    return made


@pytest.mark.parametrize(("function", "rule"), PANICS.items(), ids=PANICS)
def test_violation_panics_with_rule_and_line(function: str, rule: str) -> None:
    panic = _machine().panic(function)
    assert panic.rule == rule
    lines = [int(line) for line in re.findall(r"rules\.c:(\d+)", panic.message)]
    assert set(lines) & set(marked("rules", f"found here: {rule}")), panic.message


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("function", ["double_enter", "use_after_free", "write_rodata"])
def test_rules_hold_on_all_machines(machine: str, function: str) -> None:
    panic = _machine(machine).panic(function)
    assert panic.rule == PANICS[function]
    assert "rules.c:" in panic.message


def test_mutex_holder_and_acquisition_line_are_reported() -> None:
    message = _machine().panic("double_enter").message
    (taken,) = marked("rules", "taken here")
    assert "locking against myself" in message
    assert "lock in data of module rules" in message
    assert f"taken by double_enter (rules.c:{taken})" in message


def test_freed_object_report_has_both_histories() -> None:
    message = _machine().panic("free_twice").message
    (freed,) = marked("rules", "freed once")
    assert f"already freed by free_twice (rules.c:{freed})" in message
    assert "object of 24 bytes" in message


def test_wrong_size_is_compared_with_actual() -> None:
    message = _machine().panic("free_wrong_size").message
    (made,) = marked("rules", "made here")
    assert ", 16) by" in message
    assert f"the object is 24 bytes, allocated by free_wrong_size (rules.c:{made})" in message


def test_module_cannot_dereference_user_pointer() -> None:
    machine = _machine()
    address = machine.kernel.subject(Processes).buffer(b"secret")
    panic = machine.panic("user_read", address)
    assert panic.rule == "user-pointer"


def test_null_function_call_faults_at_address_zero() -> None:
    panic = _machine().panic("jump_null")
    assert panic.rule == "null-pointer"
    assert "jump to" in panic.message


@pytest.mark.parametrize("machine", MACHINES)
def test_changed_callee_saved_register_is_detected(machine: str) -> None:
    panic = _machine(machine).panic("clobber")
    assert panic.rule == "registers-preserved"
    assert "clobber" in panic.message
    assert {"amd64": "rbx", "i386": "ebx", "aarch64": "x19"}[machine] in panic.message


def test_tail_call_is_attributed_to_called_function() -> None:
    panic = _machine().panic("jumps")
    assert panic.rule == "mutex-uninitialised"
    assert re.search(r"by jumps \(rules\.c:\d+\) or code that it jumps to", panic.message)


def test_returning_thread_function_panics() -> None:
    assert _machine().panic("thread_returns").rule == "kthread-return"


def test_stack_overflow_is_reported() -> None:
    machine = _machine()
    assert machine.call("deep", 5) == 15
    panic = machine.panic("deep", 60)
    assert panic.rule == "stack-overflow"
    assert "stack of deep" in panic.message


def test_event_with_lock_held_is_reported_and_run_continues() -> None:
    machine = _machine()
    assert machine.call("event_with_mutex") == 0
    (violation,) = machine.kernel.violations
    assert violation.rule == "pswitch-with-mutex"
    assert f"rules.c:{marked('rules', 'found here: pswitch-with-mutex')[0]}" in violation.message


def test_overlapping_memcpy_is_reported() -> None:
    machine = _machine()
    machine.call("overlap")
    assert machine.broken() == ["memcpy-overlap"]


@pytest.mark.parametrize(
    ("function", "rule"), [("leak", "leak"), ("leave_mutex", "mutex-not-destroyed")]
)
def test_leftovers_are_found_at_unload(function: str, rule: str) -> None:
    machine = _machine()
    machine.call(function)
    assert machine.broken() == []
    assert machine.do("unload", "rules") == 0
    (violation,) = machine.kernel.violations
    assert violation.rule == rule
    assert f"rules.c:{marked('rules', f'found here: {rule}')[0]}" in violation.message


def test_clean_module_leaves_nothing() -> None:
    machine = _machine()
    assert machine.do("unload", "rules") == 0
    assert machine.broken() == []


@pytest.mark.parametrize(
    ("function", "rule"),
    [("leave_thread", "condvar-destroy-waited-on"), ("leave_callout", "callout-left")],
)
def test_call_into_unloaded_code_panics(function: str, rule: str) -> None:
    machine = _machine()
    machine.call(function)
    with pytest.raises(KernelPanic) as caught:
        machine.do("unload", "rules")
    assert caught.value.rule == rule


def test_kernel_calls_without_sleep_are_no_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scheduler, "CALLS_WITHOUT_SLEEP", 10_000)  # a million calls take seconds
    with pytest.raises(Spinning, match="without sleeping"):
        _machine().call("calls_forever")


def test_wait_without_wakeup_is_a_stall() -> None:
    with pytest.raises(Stalled):
        _machine().call("waits_forever")


def test_loop_without_kernel_calls_can_be_stopped() -> None:
    import threading

    machine = _machine()
    timer = threading.Timer(0.3, machine.kernel.cpu.interrupt)
    timer.start()
    with pytest.raises(Spinning, match=r"spins .* loops forever without a kernel call"):
        machine.call("spins")
    timer.join()


@pytest.mark.parametrize("machine", MACHINES)
def test_timeout_of_three_ticks_ends_at_third_tick(machine: str) -> None:
    made = _machine(machine)
    made.kernel.run_for(7_000_000)
    before = made.kernel.clock.ticks
    assert made.call("timed_out") == 35
    assert made.kernel.clock.ticks == before + 3


def test_wakeup_ends_wait_early() -> None:
    machine = _machine()
    lwp = machine.start("timed_out")
    machine.kernel.run_for(5_000_000)
    machine.call("woken")
    machine.kernel.run(lambda: lwp.state == "gone")
    assert lwp.result == 0


def test_every_marked_line_has_test() -> None:
    text = (SOURCES / "rules.c").read_text(encoding="utf-8")
    tested = {*PANICS.values(), "user-pointer", "pswitch-with-mutex", "memcpy-overlap"}
    tested |= {"leak", "mutex-not-destroyed"}
    assert set(re.findall(r"found here: ([a-z-]+)", text)) == tested
