"""Allowed operations of a thread that suspends a file system, and the threads that wait for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import Halted
from vmtsim.kernel.mounts import Mounts
from vmtsim.kernel.pmf import Pmf
from vmtsim.kernel.sysmon import SysmonPower

from .guestcode import Code, compile_module, line_of

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000
ENOENT = 2
SOURCE = """
    #include <sys/param.h>
    #include <sys/fstrans.h>
    #include <sys/kauth.h>
    #include <sys/kernel.h>
    #include <sys/kmem.h>
    #include <sys/mount.h>
    #include <sys/proc.h>
    #include <sys/syslog.h>
    #include <sys/systm.h>

    static struct mount *kept;
    static void *memory;

    int
    find_root(void)
    {
            mount_iterator_t *it;

            mountlist_iterator_init(&it);
            kept = mountlist_iterator_trynext(it);
            vfs_ref(kept);  /* reference */
            mountlist_iterator_destroy(it);
            return 0;
    }

    int
    forget_root(void)
    {
            vfs_rele(kept); /* release */
            return 0;
    }

    int
    suspend(int ticks)
    {
            int error = vfs_suspend(kept, 0);

            if (error != 0)
                    return error;
            error = VFS_SYNC(kept, MNT_WAIT, kauth_cred_get());
            kpause("held", false, ticks, NULL);
            vfs_resume(kept);
            return error;
    }

    int
    allocate_waiting(void)
    {
            (void)vfs_suspend(kept, 0);
            memory = kmem_alloc(64, KM_SLEEP);      /* waits */
            vfs_resume(kept);
            kmem_free(memory, 64);
            return 0;
    }

    int
    allocate_at_once(void)
    {
            (void)vfs_suspend(kept, 0);
            memory = kmem_alloc(64, KM_NOSLEEP);
            vfs_resume(kept);
            kmem_free(memory, 64);
            memory = kmem_alloc(64, KM_SLEEP);
            kmem_free(memory, 64);
            log(LOG_INFO, "resumed\\n");
            return 0;
    }

    int
    log_it(void)
    {
            (void)vfs_suspend(kept, 0);
            log(LOG_INFO, "held\\n");       /* logs */
            vfs_resume(kept);
            return 0;
    }
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_module(SOURCE, tmp_path_factory.mktemp("suspension"))


@pytest.fixture
def code(module: Path) -> Code:
    code = Code(module, "amd64")
    code.call("find_root")
    return code


def test_suspending_thread_must_not_wait_for_memory(code: Code) -> None:
    """uvm_pdaemon.c writes dirty pages out, which waits in _fstrans_start() of vfs_trans.c."""
    assert code.call("allocate_waiting") == 0
    line = line_of(SOURCE, "/* waits */")
    (text,) = code.violations()
    assert text == (
        f"suspended-allocates: kmem_alloc called by allocate_waiting (tried.c:{line}) in thread "
        "allocate_waiting, which has suspended the file system /: without free memory it waits for "
        "the pagedaemon, which waits for the file system"
    )


def test_suspending_thread_must_not_log(code: Code) -> None:
    """syslogd(8) reads the message of log(9), and sleeps when it writes it to /var/log."""
    assert code.call("log_it") == 0
    line = line_of(SOURCE, "/* logs */")
    (text,) = code.violations()
    assert text.startswith(f"suspended-logs: log called by log_it (tried.c:{line}) in thread")


def test_non_waiting_calls_and_calls_after_resume_are_allowed(code: Code) -> None:
    assert code.call("allocate_at_once") == 0
    assert code.violations() == []


def test_writers_wait_and_suspending_thread_does_not(code: Code) -> None:
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    kernel.run_process("cp", mounts.write("/"))
    holder = code.start("suspend", 200)
    kernel.run_for(SECOND // 2)
    assert mounts.suspended() == ["/"]
    assert not mounts.find("/").dirty
    syslogd = kernel.spawn("syslogd", "user", mounts.write("/"))
    elsewhere = kernel.spawn("cp", "user", mounts.write("/tmp"))
    kernel.run_for(SECOND // 2)
    assert (syslogd.state, syslogd.what, elsewhere.state) == ("asleep", "fstchg", "gone")
    code.finish(holder, syslogd)
    assert (holder.result, mounts.suspended()) == (0, [])


def test_reboot_waits_and_hooks_follow_unmount(code: Code) -> None:
    """kern_reboot(), cpu_reboot() of amd64: vfs_shutdown() before pmf_system_shutdown()."""
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    code.start("suspend", 300)
    kernel.run_for(SECOND // 10)
    since = kernel.clock.now
    shutdown: list[tuple[int, list[str]]] = []

    pmf, usual = kernel.subject(Pmf), kernel.subject(Pmf).shutdown

    def hooks(howto: int):  # type: ignore[no-untyped-def]
        shutdown.append((kernel.clock.now, [mount.directory for mount in mounts.mounted]))
        return usual(howto)

    pmf.shutdown = hooks  # type: ignore[method-assign]
    kernel.spawn("reboot", "user", kernel.subject(SysmonPower).reboot(0))
    with pytest.raises(Halted):
        kernel.run_for(60 * SECOND)
    ((at, mounted),) = shutdown
    assert mounted == []
    assert at - since >= 2 * SECOND


def test_reference_outlives_mount(code: Code) -> None:
    """vfs_rele() of the last one frees struct mount; fstrans_get_lwp_info() finds none before."""
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    kernel.run_process("umount", mounts.unmount("/"))
    assert code.call("suspend", 1) == ENOENT
    assert code.call("forget_root") == 0
    assert mounts.unmounted == []
    assert code.panic("forget_root").startswith("use-after-free: ")


def test_unheld_reference_cannot_be_released(code: Code) -> None:
    assert code.call("forget_root") == 0
    line = line_of(SOURCE, "/* release */")
    assert code.panic("forget_root") == (
        f"vfs-rele: vfs_rele by forget_root (tried.c:{line}): the released reference to / is that "
        "of mount(2)"
    )


def test_leftover_references_are_reported(code: Code) -> None:
    code.kernel.subject(Mounts).check_unload("tried")
    line = line_of(SOURCE, "/* reference */")
    (text,) = code.violations()
    assert text == (
        "vfs-ref-left: module tried is unloaded, but its reference to the file system /, taken by "
        f"find_root (tried.c:{line}), was not released"
    )
