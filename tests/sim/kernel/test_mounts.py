"""Mounted file systems: walks, statistics, sync, and suspension one at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import KernelPanic
from vmtsim.kernel.mounts import Mounts

from .guestcode import MACHINES, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/fstrans.h>
    #include <sys/kauth.h>
    #include <sys/kmem.h>
    #include <sys/lwp.h>
    #include <sys/mount.h>
    #include <sys/proc.h>
    #include <sys/pserialize.h>
    #include <sys/systm.h>
    #include <sys/vfs_syscalls.h>

    #define STAY()  __asm volatile("")

    char text[1024];
    struct mount *kept;
    mount_iterator_t *walk;

    int
    list(int flags)
    {
            mount_iterator_t *it;
            struct mount *mp;
            struct statvfs *sb = kmem_zalloc(sizeof(*sb), KM_SLEEP);
            size_t used = 0;
            int n = 0;

            mountlist_iterator_init(&it);
            while ((mp = mountlist_iterator_trynext(it)) != NULL) {
                    if (dostatvfs(mp, sb, curlwp, flags, 0) != 0)
                            return -1;
                    used += snprintf(text + used, sizeof(text) - used,
                        "%s %s %s %lx %lu %lu %llu %llu %llu|", sb->f_fstypename,
                        sb->f_mntonname, sb->f_mntfromname, sb->f_flag, sb->f_bsize,
                        sb->f_frsize, (unsigned long long)sb->f_blocks,
                        (unsigned long long)sb->f_bfree, (unsigned long long)sb->f_bavail);
                    n++;
            }
            mountlist_iterator_destroy(it);
            kmem_free(sb, sizeof(*sb));
            return n;
    }

    /* The number of mounts, waiting for each. */
    int
    walk_waiting(int pause)
    {
            mount_iterator_t *it;
            int n = 0;

            mountlist_iterator_init(&it);
            while ((kept = mountlist_iterator_next(it)) != NULL) {
                    if (pause)
                            kpause("walk", false, pause, NULL);
                    n++;
            }
            mountlist_iterator_destroy(it);
            return n;
    }

    int
    keep(int skip)
    {
            mount_iterator_t *it;

            mountlist_iterator_init(&it);
            do
                    kept = mountlist_iterator_trynext(it);
            while (skip-- > 0);
            mountlist_iterator_destroy(it);
            return kept != NULL;
    }

    int
    forget_iterator(void)
    {

            mountlist_iterator_init(&walk);                  /* made here */
            mountlist_iterator_trynext(walk);
            kpause("forever", false, 1, NULL);
            return 0;
    }

    int
    use_destroyed(void)
    {

            mountlist_iterator_init(&walk);
            mountlist_iterator_destroy(walk);
            mountlist_iterator_trynext(walk);                /* after its end */
            STAY();
            return 0;
    }

    int
    sync_all(void)
    {

            do_sys_sync(curlwp);
            STAY();
            return 0;
    }

    int
    look_at_gone(struct mount *unused)
    {

            return *(const int *)(const void *)kept;         /* looked here */
    }

    /* Freeze, flush, hold for a while, thaw. */
    int
    freeze(int ticks)
    {
            int error = vfs_suspend(kept, 0);                /* frozen here */

            if (error)
                    return error;
            if (VFS_SYNC(kept, MNT_WAIT, kauth_cred_get()) != 0)
                    return -1;
            kpause("frozen", false, ticks, NULL);
            vfs_resume(kept);
            STAY();
            return 0;
    }

    int
    freeze_nowait(void)
    {
            int error = vfs_suspend(kept, 1);

            if (error == 0)
                    vfs_resume(kept);
            return error;
    }

    int
    freeze_two(void)
    {

            keep(0);
            vfs_suspend(kept, 0);                            /* first freeze */
            keep(2);
            vfs_suspend(kept, 0);                            /* second freeze */
            STAY();
            return 0;
    }

    int
    freeze_and_leave(void)
    {

            vfs_suspend(kept, 0);                            /* never thawed */
            STAY();
            return 0;
    }

    int
    thaw(void)
    {

            vfs_resume(kept);                                /* thaws another's */
            STAY();
            return 0;
    }

    /* Figures of a mount that this thread keeps busy. */
    int
    figures_while_busy(int ticks)
    {
            mount_iterator_t *it;
            struct mount *mp;
            struct statvfs *sb = kmem_zalloc(sizeof(*sb), KM_SLEEP);
            int error;

            mountlist_iterator_init(&it);
            mp = mountlist_iterator_trynext(it);
            kpause("busy", false, ticks, NULL);
            error = vfs_busy(mp);
            if (error == 0)
                    vfs_unbusy(mp);
            if (error == 0)
                    error = vfs_trybusy(mp);
            if (error == 0)
                    vfs_unbusy(mp);
            mountlist_iterator_destroy(it);
            kmem_free(sb, sizeof(*sb));
            return error;
    }

    /* The blocks of the first file system, 0 where it fails. */
    int
    blocks(int *error)
    {
            struct statvfs *sb = kmem_zalloc(sizeof(*sb), KM_SLEEP);
            int n;

            sb->f_blocks = 77;
            *error = dostatvfs(kept, sb, curlwp, MNT_WAIT, 0);
            n = (int)sb->f_blocks;
            kmem_free(sb, sizeof(*sb));
            return n;
    }

    int failed;

    int
    blocks_of_root(void)
    {

            return blocks(&failed);
    }

    int
    begin_walk(void)
    {

            mountlist_iterator_init(&walk);
            (void)mountlist_iterator_trynext(walk);
            kpause("walk", false, 20, NULL);
            return 0;
    }

    int
    end_walk(void)
    {

            mountlist_iterator_destroy(walk);                /* of another */
            STAY();
            return 0;
    }

    int
    for_another_thread(struct lwp *l)
    {
            struct statvfs *sb = kmem_zalloc(sizeof(*sb), KM_SLEEP);
            int error;

            keep(0);
            error = dostatvfs(kept, sb, l, MNT_NOWAIT, 0);   /* for whom? */
            kmem_free(sb, sizeof(*sb));
            return error;
    }

    int
    try_in_section(void)
    {
            int s, error;

            keep(0);
            s = pserialize_read_enter();
            error = vfs_trybusy(kept);
            pserialize_read_exit(s);
            return error;
    }

    /* Both file systems at once, as only fstrans_setstate can. */
    int
    freeze_all(int ticks)
    {
            struct mount *root, *tmp;

            keep(0);
            root = kept;
            keep(2);
            tmp = kept;
            fstrans_setstate(root, FSTRANS_SUSPENDED);
            fstrans_setstate(tmp, FSTRANS_SUSPENDED);
            VFS_SYNC(root, MNT_WAIT, kauth_cred_get());
            VFS_SYNC(tmp, MNT_WAIT, kauth_cred_get());
            kpause("frozen", false, ticks, NULL);
            fstrans_setstate(tmp, FSTRANS_NORMAL);
            fstrans_setstate(root, FSTRANS_NORMAL);
            return fstrans_getstate(root) == FSTRANS_NORMAL;
    }
"""
WAIT, NOWAIT = 1, 2
EWOULDBLOCK, EOPNOTSUPP = 35, 45
TICK = 10_000_000


@pytest.mark.parametrize("machine", MACHINES)
def test_every_file_system_is_walked_with_statistics(
    load: Callable[..., Code], machine: str
) -> None:
    code = load(SOURCE, machine)
    assert code.call("list", NOWAIT) == 3
    assert code.text("text") == (
        "ffs / /dev/wd0a 5000 16384 2048 4194304 2621440 2411725|"
        "kernfs /kern kernfs 1000 512 512 2 0 0|"
        "tmpfs /tmp tmpfs 1000 4096 4096 131072 130816 130816|"
    )
    assert code.unload() == []


def test_cached_statistics_come_without_waiting(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    mounts = code.kernel.subject(Mounts)
    mounts.set_free("/", 1 << 30)
    code.call("list", NOWAIT)
    assert " 4194304 2621440 2411725|" in code.text("text")
    code.call("list", WAIT)
    assert " 4194304 524288 314573|" in code.text("text")
    mounts.set_free("/", 0)
    code.call("list", NOWAIT)
    assert " 4194304 524288 314573|" in code.text("text")
    mounts.refresh()  # as df(1) does
    code.call("list", NOWAIT)
    assert " 4194304 0 0|" in code.text("text")
    with pytest.raises(ValueError, match="cannot be free"):
        mounts.set_free("/", 9 << 30)
    with pytest.raises(KeyError, match=r"nothing is mounted on '/usr' \(mounted on: /, /kern"):
        mounts.set_free("/usr", 0)


def test_unreachable_file_server_blocks_waiters(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    mounts.mount("nfs", "/home", "server:/home", size=1 << 40, free=1 << 39)
    mounts.hang("/home")
    assert code.call("list", NOWAIT) == 4
    assert "nfs /home server:/home 0 32768 512" in code.text("text")
    lwp = code.start("list", WAIT)
    kernel.run_for(60_000_000_000)
    assert (lwp.state, lwp.what) == ("asleep", "nfsrcv")
    mounts.hang("/home", stuck=False)
    code.finish(lwp)
    assert lwp.result == 4


def test_suspended_file_system_is_skipped_or_waited_for(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    code.call("keep", 0)
    started = kernel.clock.now
    freezer = code.start("freeze", 100)
    kernel.run_for(5 * TICK)
    assert mounts.suspended() == ["/"]
    assert code.call("list", NOWAIT) == 2
    assert "kernfs" in code.text("text")
    assert kernel.clock.now - started < 50 * TICK
    waiter = code.start("walk_waiting", 0)
    code.finish(freezer, waiter)
    assert (freezer.result, waiter.result) == (0, 3)
    assert kernel.clock.now - started >= 99 * TICK
    assert mounts.suspended() == []
    assert code.unload() == []


def test_writers_wait_during_suspension_and_data_is_flushed(
    load: Callable[..., Code],
) -> None:
    code = load(SOURCE)
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    root = mounts.find("/")
    kernel.run_process("cp", mounts.write("/"))
    assert root.dirty
    code.call("keep", 0)
    freezer = code.start("freeze", 50)
    kernel.run_for(10 * TICK)
    assert not root.dirty
    writer = kernel.spawn("cp", "user", mounts.write("/"))
    kernel.run_for(20 * TICK)
    assert (writer.state, writer.what, root.figures.writes) == ("asleep", "fstchg", 1)
    code.finish(freezer, writer)
    assert root.figures.writes == 2


def test_sync_writes_every_writable_file_system(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    mounts.mount("ffs", "/cdrom", "/dev/cd0a", size=700 << 20, read_only=True)
    kernel.run_process("cp", mounts.write("/"))
    assert code.call("sync_all") == 0
    assert (mounts.syncs, mounts.find("/").flushed, mounts.find("/cdrom").flushed) == (1, 1, 0)
    assert mounts.find("/").dirty
    kernel.run_for(3 * TICK)
    assert not mounts.find("/").dirty


def test_second_suspension_by_same_thread_panics(load: Callable[..., Code]) -> None:
    text = load(SOURCE).panic("freeze_two")
    assert text.startswith("vfs-suspend-twice: vfs_suspend of /tmp by freeze_two")
    assert f"freeze_two (tried.c:{line_of(SOURCE, '/* first freeze */')}) suspended /:" in text
    assert f"tried.c:{line_of(SOURCE, '/* second freeze */')}" in text


def test_second_suspension_by_other_thread_waits_or_is_refused(
    load: Callable[..., Code],
) -> None:
    code = load(SOURCE)
    code.call("keep", 0)
    first = code.start("freeze", 30)
    code.kernel.run_for(2 * TICK)
    assert code.call("freeze_nowait") == EWOULDBLOCK
    second = code.start("freeze", 30)
    code.finish(first, second)
    assert (first.result, second.result) == (0, 0)
    assert code.kernel.clock.now > 60 * TICK


def test_unsupported_suspension_returns_error(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.kernel.subject(Mounts).mount("unionfs", "/union", "/some/where")
    code.call("keep", 3)
    assert code.call("freeze", 1) == EOPNOTSUPP
    code.call("keep", 0)
    assert code.call("freeze", 1) == 0


def test_several_file_systems_can_be_suspended_together(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    lwp = code.start("freeze_all", 20)
    code.kernel.run_for(10 * TICK)
    assert code.kernel.subject(Mounts).suspended() == ["/", "/tmp"]
    code.finish(lwp)
    assert lwp.result == 1


def test_thread_ending_with_suspended_file_system_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("keep", 0)
    text = code.panic("freeze_and_leave")
    assert text.startswith("vfs-suspended-left: thread freeze_and_leave ended")
    assert f"freeze_and_leave (tried.c:{line_of(SOURCE, '/* never thawed */')})" in text


def test_resuming_suspension_of_other_thread_panics(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("keep", 0)
    code.start("freeze", 100)
    code.kernel.run_for(3 * TICK)
    text = code.panic("thaw")
    assert text.startswith("vfs-resume-by-non-owner: vfs_resume by thaw")
    assert f"freeze (tried.c:{line_of(SOURCE, '/* frozen here */')})" in text


def test_unmount_waits_for_references(
    load: Callable[..., Code],
) -> None:
    code = load(SOURCE)
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    walker = code.start("walk_waiting", 20)
    kernel.run_for(10 * TICK)
    umount = kernel.spawn("umount", "user", mounts.unmount("/"))
    kernel.run_for(5 * TICK)
    assert (umount.state, umount.what) == ("asleep", "fstcnt")
    code.finish(umount, walker)
    assert walker.result == 3
    assert [mount.directory for mount in mounts.mounted] == ["/kern", "/tmp"]
    code.call("keep", 0)
    kernel.run_process("umount", mounts.unmount("/kern"))
    text = code.panic("look_at_gone", 0)
    assert text.startswith("use-after-free: page fault: read of 4 bytes")
    assert "(the freed struct mount of /kern, which was removed)" in text
    assert f"tried.c:{line_of(SOURCE, '/* looked here */')}" in text


def test_forgotten_iterator_is_reported_with_busy_mount(
    load: Callable[..., Code],
) -> None:
    busy = load(SOURCE).panic("forget_iterator")
    assert busy.startswith("vfs-busy-left: thread forget_iterator ended, but the file system / ")
    code = load(SOURCE, checks=frozenset())
    code.call("forget_iterator")
    (left,) = code.violations()
    assert left == busy
    (text,) = code.unload()
    assert text.startswith("mount-iterator-left: module tried is unloaded")
    assert f"forget_iterator (tried.c:{line_of(SOURCE, '/* made here */')})" in text


def test_iterator_after_end_faults(load: Callable[..., Code]) -> None:
    with pytest.raises(KernelPanic) as caught:
        load(SOURCE).call("use_destroyed")
    assert caught.value.rule == "use-after-free"
    assert f"tried.c:{line_of(SOURCE, '/* after its end */')}" in caught.value.message


def test_thread_in_transaction_may_reenter(load: Callable[..., Code]) -> None:
    """_fstrans_start counts in any state: the suspending thread waits for the other."""
    code = load(SOURCE)
    code.call("keep", 0)
    inside = code.start("figures_while_busy", 20)
    code.kernel.run_for(2 * TICK)
    freezer = code.start("freeze", 1)
    code.finish(inside, freezer)
    assert (inside.result, freezer.result) == (0, 0)


def test_suspended_file_system_returns_statistics(load: Callable[..., Code]) -> None:
    """A suspended file system answers, because no vfs_statvfs begins a transaction."""
    code = load(SOURCE)
    code.call("keep", 0)
    freezer = code.start("freeze", 100)
    code.kernel.run_for(3 * TICK)
    asked = code.kernel.clock.now
    code.kernel.memory.put_u32(code.address("failed"), 77)
    assert code.call("blocks_of_root") == 4194304
    assert (code.number("failed"), code.kernel.clock.now < asked + TICK) == (0, True)
    code.finish(freezer)


def test_failing_statistics_are_zero(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    code.call("keep", 0)
    code.kernel.subject(Mounts).fail("/", 5)
    assert code.call("blocks_of_root") == 0
    assert code.number("failed") == 5
    code.kernel.subject(Mounts).fail("/", 0)
    assert (code.call("blocks_of_root"), code.number("failed")) == (4194304, 0)


def test_mount_and_unmount_wait_for_suspension_elsewhere(
    load: Callable[..., Code],
) -> None:
    """All three hold vfs_suspend_lock for their whole duration."""
    code = load(SOURCE)
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    code.call("keep", 0)
    freezer = code.start("freeze", 100)
    kernel.run_for(3 * TICK)
    jobs = [
        kernel.spawn("mount", "user", mounts.mounting("ffs", "/home", "/dev/wd1a", size=1 << 30)),
        kernel.spawn("mount -u", "user", mounts.updating("/tmp", read_only=True)),
        kernel.spawn("umount", "user", mounts.unmount("/kern")),
    ]
    kernel.run_for(50 * TICK)
    assert [job.what for job in jobs] == ["tstile"] * 3
    assert [mount.directory for mount in mounts.mounted] == ["/", "/kern", "/tmp"]
    code.finish(freezer, *jobs)
    assert [job.result for job in jobs] == [0, 0, 0]
    assert [mount.directory for mount in mounts.mounted] == ["/", "/tmp", "/home"]
    assert mounts.find("/tmp").flags & 1


def test_sync_waits_for_mount_update(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    kernel, mounts = code.kernel, code.kernel.subject(Mounts)
    kernel.run_process("cp", mounts.write("/"))
    update = kernel.spawn("mount -u", "user", mounts.updating("/", read_only=True))
    kernel.run(lambda: bool(mounts.find("/").updating))
    sync = code.start("sync_all")
    kernel.run_for(TICK)
    assert sync.what in {"fstchg", "tstile"}
    code.finish(update, sync)
    assert mounts.find("/").flushed == 1


def test_walk_ends_in_its_thread(load: Callable[..., Code]) -> None:
    """vfs_unbusy() checks the transactions of its own thread."""
    code = load(SOURCE)
    walker = code.start("begin_walk")
    code.kernel.run_for(3 * TICK)
    code.call("end_walk")
    (text,) = code.violations()
    assert text.startswith("mount-iterator-thread: mountlist_iterator_destroy by end_walk")
    assert f"tried.c:{line_of(SOURCE, '/* of another */')}" in text
    assert text.endswith("the file system / stays busy, by thread begin_walk which got it")
    with pytest.raises(KernelPanic) as caught:
        code.finish(walker)
    assert caught.value.rule == "vfs-busy-left"


def test_statistics_are_requested_as_current_thread(load: Callable[..., Code]) -> None:
    code = load(SOURCE)
    text = code.panic("for_another_thread", code.kernel.symbols["lwp0"])
    assert text.startswith("dostatvfs-lwp: dostatvfs by for_another_thread")
    assert f"tried.c:{line_of(SOURCE, '/* for whom? */')}" in text
    assert code.panic("for_another_thread", 0).startswith("null-pointer: page fault")


def test_vfs_trybusy_may_sleep(load: Callable[..., Code]) -> None:
    assert load(SOURCE).panic("try_in_section").startswith("sleep-in-pserialize: vfs_trybusy")


def test_pseudo_file_systems_report_kernel_block_counts(
    load: Callable[..., Code],
) -> None:
    mounts = load(SOURCE).kernel.subject(Mounts)
    for kind, blocks in (("procfs", 1), ("ptyfs", 2), ("kernfs", 2)):
        assert mounts.mount(kind, f"/{kind}", kind).figures.blocks == blocks
