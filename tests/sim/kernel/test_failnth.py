"""fault(4), low memory and signals: failures that a scenario injects into a module's calls."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.failnth import MAY_FAIL
from vmtsim.kernel.modules import Modules

from tests.sim import modkit

SYS = os.environ.get("NETBSD_SYS", "")
# The evidence in NetBSD's source that the function may fail so: file, function, text in it.
EVIDENCE = {
    "kthread_create": ("kern/kern_kthread.c", r"if \(uaddr == 0\) \{\s*return ENOMEM;"),
    "workqueue_create": ("kern/subr_workqueue.c", r"error = kthread_create\("),
    "softint_establish": ("kern/kern_softint.c", r"table full, .*?return NULL;"),
    "sysmon_task_queue_sched": ("dev/sysmon/sysmon_taskq.c", r"M_NOWAIT\);.*?return ENOMEM;"),
    "devsw_attach": ("kern/subr_devsw.c", r"kmem_strdupsize\(devname, NULL, KM_NOSLEEP\)"),
    "uvm_pglistalloc": ("uvm/uvm_pglist.c", r"error = ENOMEM;.*?if \(waitok\)"),
    "copyin": ("arch/amd64/amd64/copy.S", r"EFAULT"),
    "copyout": ("arch/amd64/amd64/copy.S", r"EFAULT"),
    "uiomove": ("kern/subr_copy.c", r"uiomove\(void .*?copy(in|out)_vmspace\("),
}


def machine(name: str = "mailbox") -> modkit.Machine:
    return modkit.Machine(modkit.built(name))


def failed_calls(guest: modkit.Machine) -> list[str]:
    return [event["point"] for event in guest.trace.events if event.kind == "fault"]


def test_only_nth_call_that_may_fail_fails() -> None:
    """MODULE_CMD_INIT of mailbox.c: kthread_create, then devsw_attach."""
    for nth, function in ((1, "kthread_create"), (2, "devsw_attach")):
        guest = machine()
        guest.do("fault", nth)
        assert guest.do("load") == Errno.ENOMEM
        assert failed_calls(guest) == [function]
        assert guest.broken() == []
        assert guest.do("load") == 0
        assert guest.do("unload", "mailbox") == 0


def test_fault_counts_down_once_and_can_be_disarmed() -> None:
    guest = machine()
    guest.do("fault", 3)
    assert guest.do("load") == 0
    guest.do("fault", 0)
    assert guest.do("open", {"device": "mailbox"}) == 0
    assert guest.do("ioctl", {"name": "mailbox", "command": 0x80046D01, "data": 128}) == 0
    assert failed_calls(guest) == []


def test_non_sleeping_allocation_fails() -> None:
    guest = machine()
    guest.do("load")
    guest.do("open", {"device": "mailbox"})
    guest.do("fault", 1)
    resize = {"name": "mailbox", "command": 0x80046D01, "data": 128}
    assert guest.do("ioctl", resize) == Errno.ENOMEM
    assert failed_calls(guest) == ["an allocation that does not wait"]
    assert guest.do("ioctl", resize) == 0


def test_copyout_fails() -> None:
    guest = machine()
    guest.do("load")
    guest.do("open", {"device": "mailbox"})
    guest.do("write", {"name": "mailbox", "text": "hello"})
    guest.do("fault", 1)
    assert guest.do("read", {"name": "mailbox"}) == Errno.EFAULT
    assert failed_calls(guest) == ["uiomove"]


def test_allocation_fails_or_waits_under_memory_pressure() -> None:
    guest = machine()
    guest.do("load")
    guest.do("open", {"device": "mailbox"})
    began = guest.kernel.clock.now
    pressed = guest.guest.start("pressure", guest.guest.command("pressure", {"free": 0}))
    resize = {"name": "mailbox", "command": 0x80046D01, "data": 128}
    guest.kernel.run(lambda: pressed.state == "asleep")
    assert guest.do("ioctl", resize) == Errno.ENOMEM
    # d_open allocates with KM_SLEEP: it comes back when the memory does.
    assert guest.do("open", {"device": "mailbox", "name": "second"}) == Errno.EBUSY
    assert guest.kernel.clock.now - began >= 10**9
    assert guest.broken() == []
    assert guest.do("ioctl", resize) == 0


def test_signal_ends_read_and_waiting_close() -> None:
    """fd_close() in sys/kern/kern_descrip.c waits for the system calls that use a descriptor."""
    guest = machine()
    guest.do("load")
    guest.do("open", {"device": "mailbox"})
    reader = guest.guest.start("read", guest.guest.command("read", {"name": "mailbox"}))
    guest.kernel.run(lambda: reader.state == "asleep")
    closer = guest.guest.start("close", guest.guest.command("close", "mailbox"))
    guest.kernel.run(lambda: closer.state == "asleep")
    assert guest.do("unload", "mailbox") == Errno.EBUSY
    guest.do("interrupt")
    guest.kernel.run(lambda: closer.state == "gone")
    assert reader.result in {Errno.EINTR, Errno.ERESTART}
    assert closer.result == 0
    assert guest.do("unload", "mailbox") == 0


def test_signal_ends_poll() -> None:
    guest = machine()
    guest.do("load")
    guest.do("open", {"device": "mailbox"})
    command = guest.guest.command("poll", {"name": "mailbox", "events": 1, "wait": 0.5})
    waiting = guest.guest.start("poll", command)
    guest.kernel.run(lambda: waiting.state == "asleep")
    guest.do("interrupt")
    guest.kernel.run(lambda: waiting.state == "gone")
    assert waiting.result == Errno.EINTR
    assert guest.do("poll", {"name": "mailbox", "events": 1, "wait": 0.5}) == "0x0"


def test_non_blocking_read_passes_io_ndelay() -> None:
    """vn_read() in sys/kern/vfs_vnops.c makes IO_NDELAY of FNONBLOCK."""
    guest = machine()
    guest.do("load")
    guest.do("open", {"device": "mailbox", "flags": ["read", "nonblock"]})
    assert guest.do("read", {"name": "mailbox"}) == Errno.EWOULDBLOCK


def test_every_failure_has_model_and_source() -> None:
    modelled = set(machine().kernel.dispatch.modelled())
    assert set(MAY_FAIL) == set(EVIDENCE)
    assert set(MAY_FAIL) <= modelled
    assert all(row.source.startswith("sys/") for row in MAY_FAIL.values())


@pytest.mark.skipif(not SYS, reason="NETBSD_SYS does not name a sys/ directory of 10.99.12")
@pytest.mark.parametrize("name", EVIDENCE)
def test_function_can_fail_in_netbsd(name: str) -> None:
    file, words = EVIDENCE[name]
    text = Path(SYS, file).read_text(encoding="utf-8", errors="replace")
    assert re.search(words, text, re.DOTALL)


def test_sysctl_value_out_of_range_is_refused() -> None:
    """write_number() in sbin/sysctl/sysctl.c."""
    guest = modkit.Machine(modkit.built("classic"))
    guest.do("load")
    node = "machdep.classic0.step"
    assert guest.do("sysctl", {node: 1 << 40}) == Errno.ERANGE
    assert guest.do("sysctl", {node: -(1 << 40)}) == Errno.ERANGE
    assert guest.do("sysctl", {node: "two"}) == Errno.EINVAL
    assert guest.do("sysctl", {node: 3}) == 0
    assert "classic" in guest.kernel.subject(Modules).loaded
