"""Functions around mounted file systems: walking the list, figures, sync, suspension."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NoReturn

from vmtsim.kernel.api import Block, Subject, kernel_function
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.fslayout import MNT_RDONLY, MNT_WAIT, STATVFS_SIZE
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.mounts import (
    NORMAL,
    NOT_SUSPENDABLE,
    SUSPENDED,
    SUSPENDING,
    Mount,
    Mounts,
)
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.scheduler import Lwp, WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


@dataclass
class Iterator:
    """A mount_iterator_t: ``last`` is the number of the mount that it gave last."""

    made_at: int
    lwp: Lwp
    last: int = 0
    current: Mount | None = None


class FileSystems(Subject):
    """What modules call."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/vfs_mount.c 1.110": "*",
        "sys/kern/vfs_subr.c 1.502": "VFS_STATVFS VFS_SYNC",
        "sys/kern/vfs_syscalls.c 1.570": "do_sys_sync dostatvfs",
        "sys/kern/vfs_trans.c 1.73": "fstrans_getstate fstrans_setstate vfs_resume vfs_suspend",
    }

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.iterators: LiveObjects[Iterator] = LiveObjects(
            self,
            Words("mount iterator"),
            unknown="mount-iterator-unknown",
            left="mount-iterator-left",
            # The mount that it gave last stays busy.
            name=lambda each: f"on {each.current.directory}" if each.current else "",
        )
        # vfs_suspend_lock: one file system at a time, kept until vfs_resume.
        self._suspender: Lwp | None = None
        self._suspender_site = 0
        self._suspend_queue = WaitQueue("vfs_suspend")

    def _mounts(self) -> Mounts:
        return self.kernel.subject(Mounts)

    def _find(self, function: str, address: int) -> Mount:
        found = [mount for mount in self._mounts().mounted if mount.at == address]
        if not found:
            self._unknown(function, address)
        return found[0]

    def _unknown(self, function: str, address: int) -> NoReturn:
        kernel = self.kernel
        kernel.memory.pointer(address)
        kernel.panic(
            "mount-unknown",
            f"{function} by {kernel.where()}: {kernel.describe(address)} is no mounted file system",
        )

    # -- the list (NetBSD sys/kern/vfs_mount.c) --------------------------------------------------

    @kernel_function("void mountlist_iterator_init(mount_iterator_t **mip)")
    def mountlist_iterator_init(self, where: int) -> None:
        kernel = self.kernel
        kernel.rules.may_sleep("mountlist_iterator_init")
        address = kernel.subject(Kmem).allocate(48, owner="mountlist")
        self.iterators.add(
            "mountlist_iterator_init", address, Iterator(kernel.call_site, kernel.current)
        )
        kernel.memory.put_pointer(where, address)

    def _give_back(self, iterator: Iterator) -> None:
        if iterator.current is not None and not iterator.current.gone:
            self._mounts().leave(iterator.current)
        iterator.current = None

    def _next(self, function: str, address: int, *, wait: bool) -> Model:
        iterator = self.iterators.find(function, address)
        self.kernel.rules.may_sleep(function)
        self._give_back(iterator)
        mounts = self._mounts()
        lwp = self.kernel.current
        while True:
            later = [mount for mount in mounts.mounted if mount.number > iterator.last]
            if not later:
                return 0
            mount = later[0]
            iterator.last = mount.number
            if wait:
                yield from mounts.enter(mount)
                if mount.gone:
                    mount.busy.clear()
                    continue
            elif mount.closed_to(lwp):
                continue
            else:
                mount.busy[lwp] = mount.busy.get(lwp, 0) + 1
            iterator.current = mount
            return mount.at

    @kernel_function("struct mount *mountlist_iterator_next(mount_iterator_t *mi)")
    def mountlist_iterator_next(self, address: int) -> Model:
        return (yield from self._next("mountlist_iterator_next", address, wait=True))

    @kernel_function("struct mount *mountlist_iterator_trynext(mount_iterator_t *mi)")
    def mountlist_iterator_trynext(self, address: int) -> Model:
        return (yield from self._next("mountlist_iterator_trynext", address, wait=False))

    @kernel_function("void mountlist_iterator_destroy(mount_iterator_t *mi)")
    def mountlist_iterator_destroy(self, address: int) -> None:
        iterator = self.iterators.find("mountlist_iterator_destroy", address)
        self._give_back(iterator)
        self.iterators.remove(address)
        self.kernel.subject(Kmem).release(address, None, "mountlist_iterator_destroy")

    @kernel_function("int vfs_busy(struct mount *mp)")
    def vfs_busy(self, address: int) -> Model:
        mount = self._find("vfs_busy", address)
        self.kernel.rules.may_sleep("vfs_busy")
        yield from self._mounts().enter(mount)
        return Errno.ENOENT if mount.gone else 0

    @kernel_function("int vfs_trybusy(struct mount *mp)")
    def vfs_trybusy(self, address: int) -> int:
        mount, lwp = self._find("vfs_trybusy", address), self.kernel.current
        if mount.closed_to(lwp):
            return Errno.EBUSY
        mount.busy[lwp] = mount.busy.get(lwp, 0) + 1
        return 0

    @kernel_function("void vfs_unbusy(struct mount *mp)")
    def vfs_unbusy(self, address: int) -> None:
        kernel = self.kernel
        mount = self._find("vfs_unbusy", address)
        if not mount.busy.get(kernel.current):
            kernel.panic(
                "vfs-unbusy",
                f"vfs_unbusy by {kernel.where()}: {mount.directory} is not busy by thread "
                f"{kernel.current.name}",
            )
        self._mounts().leave(mount)

    # -- figures and sync (NetBSD sys/kern/vfs_syscalls.c) ---------------------------------------

    @kernel_function(
        "int dostatvfs(struct mount *mp, struct statvfs *sp, struct lwp *l, int flags, int root)"
    )
    def dostatvfs(self, address: int, where: int, _lwp: int, flags: int, _root: int) -> Model:
        """With MNT_WAIT or 0 fresh figures, with MNT_NOWAIT or MNT_LAZY what was last known."""
        mounts = self._mounts()
        mount = self._find("dostatvfs", address)
        cached = mount.at + mounts.layout.stat
        if flags in {MNT_WAIT, 0}:
            yield from self._fresh("dostatvfs", mount)
            mounts.store(mount, cached)
        memory = self.kernel.memory
        memory.write(where, memory.read(cached, STATVFS_SIZE[memory.pointer_size]))
        return 0

    def _fresh(self, function: str, mount: Mount) -> Model:
        """Ask the file system itself: sleeps while it is suspended or does not answer."""
        mounts = self._mounts()
        self.kernel.rules.may_sleep(function)
        yield from mounts.enter(mount)
        yield from mounts.wait_for_server(mount)
        mounts.leave(mount)

    @kernel_function("int VFS_STATVFS(struct mount *mp, struct statvfs *sp)")
    def vfs_statvfs(self, address: int, where: int) -> Model:
        mount = self._find("VFS_STATVFS", address)
        yield from self._fresh("VFS_STATVFS", mount)
        self._mounts().store(mount, where)
        return 0

    @kernel_function("int VFS_SYNC(struct mount *mp, int flags, kauth_cred_t cred)")
    def vfs_sync(self, address: int, flags: int, credentials: int) -> Model:
        kernel = self.kernel
        mount = self._find("VFS_SYNC", address)
        kernel.rules.may_sleep("VFS_SYNC")
        if not credentials:
            kernel.panic("null-pointer", f"VFS_SYNC by {kernel.where()} without credentials")
        mounts = self._mounts()
        kernel.trace.emit("sync", directory=mount.directory, wait=flags == MNT_WAIT)
        yield from mounts.enter(mount)
        yield from mounts.flush(mount, wait=flags == MNT_WAIT)
        mounts.leave(mount)
        return 0

    @kernel_function("void do_sys_sync(struct lwp *l)")
    def do_sys_sync(self, lwp_at: int) -> Model:
        """Start writing everywhere; waits for suspended file systems, read-only ones included.

        Even so it sleeps where a file system does not answer: for the locks of its vnodes
        (ffs_sync, nfs_sync).
        """
        kernel = self.kernel
        kernel.rules.may_sleep("do_sys_sync")
        # It uses the thread's credentials.
        kernel.memory.pointer(lwp_at + kernel.subject(Objects).offsets.l_cred)
        mounts = self._mounts()
        mounts.syncs += 1
        kernel.trace.emit("sync")
        for mount in list(mounts.mounted):
            if mount.gone:
                continue
            yield from mounts.enter(mount)
            if not mount.flags & MNT_RDONLY and not mount.gone:
                yield from mounts.flush(mount, wait=False)
            mounts.leave(mount)

    # -- suspension (NetBSD sys/kern/vfs_trans.c) ------------------------------------------------

    def _close(self, mount: Mount, state: int) -> Model:
        """Become the owner of a suspension; waits until nobody else is inside."""
        kernel = self.kernel
        lwp = kernel.current
        if mount.state == NORMAL:
            mount.owner, mount.owner_site = lwp, kernel.call_site
            mount.suspended_at = kernel.clock.now
        mount.state = state
        while any(other is not lwp for other in mount.busy):
            yield Block(mount.changed, what="suspfs")
        kernel.trace.emit("vfs.suspend", directory=mount.directory)

    def _open(self, mount: Mount) -> None:
        mount.state, mount.owner = NORMAL, None
        self._mounts().changed(mount)
        self.kernel.trace.emit("vfs.resume", directory=mount.directory)

    @kernel_function("int vfs_suspend(struct mount *mp, int nowait)")
    def vfs_suspend(self, address: int, nowait: int) -> Model:
        kernel = self.kernel
        lwp = kernel.current
        mount = self._find("vfs_suspend", address)
        site = kernel.call_site
        kernel.rules.may_sleep("vfs_suspend")
        if self._suspender is lwp:
            held = ", ".join(self._mounts().suspended())
            kernel.panic(
                "vfs-suspend-twice",
                f"vfs_suspend of {mount.directory} by {kernel.where()}: locking against myself, "
                f"vfs_suspend_lock is held since {kernel.location(self._suspender_site)} "
                f"suspended {held}: only one file system can be suspended at a time",
            )
        if nowait and self._suspender is not None:
            return Errno.EWOULDBLOCK
        while self._suspender is not None:
            yield Block(self._suspend_queue, what="vfs_suspend")
        if mount.kind in NOT_SUSPENDABLE:
            return Errno.EOPNOTSUPP
        if mount.gone:
            return Errno.ENOENT
        self._suspender, self._suspender_site = lwp, site
        yield from self._close(mount, SUSPENDED)
        return 0

    @kernel_function("void vfs_resume(struct mount *mp)")
    def vfs_resume(self, address: int) -> None:
        kernel = self.kernel
        mount = self._find("vfs_resume", address)
        if self._suspender is not kernel.current or mount.owner is not kernel.current:
            state = (
                f"was suspended by {mount.owner.name}, in {kernel.location(mount.owner_site)}"
                if mount.owner is not None
                else "is not suspended"
            )
            kernel.panic(
                "vfs-resume-by-non-owner",
                f"vfs_resume by {kernel.where()} in thread {kernel.current.name}: "
                f"{mount.directory} {state}",
            )
        self._open(mount)
        self._suspender = None
        kernel.scheduler.wake_all(self._suspend_queue)

    @kernel_function("int fstrans_setstate(struct mount *mp, int new_state)")
    def fstrans_setstate(self, address: int, state: int) -> Model:
        kernel = self.kernel
        mount = self._find("fstrans_setstate", address)
        kernel.rules.may_sleep("fstrans_setstate")
        if state not in {NORMAL, SUSPENDED, SUSPENDING}:
            kernel.panic(
                "fstrans-state",
                f"fstrans_setstate by {kernel.where()} of {mount.directory} to unknown state "
                f"{state}",
            )
        if mount.state == state:
            return 0
        if mount.state != NORMAL and mount.owner is not kernel.current:
            owner = mount.owner.name if mount.owner is not None else "nobody"
            kernel.panic(
                "fstrans-owner",
                f"fstrans_setstate by {kernel.where()} in thread {kernel.current.name}: "
                f"{mount.directory} belongs to {owner}, who suspended it in "
                f"{kernel.location(mount.owner_site)}",
            )
        if state == NORMAL:
            self._open(mount)
        else:
            yield from self._close(mount, state)
        return 0

    @kernel_function("int fstrans_getstate(struct mount *mp)")
    def fstrans_getstate(self, address: int) -> int:
        return self._find("fstrans_getstate", address).state
