"""Functions around mounted file systems: walking the list, figures, sync, suspension."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, NoReturn

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.fslayout import MNT_WAIT, STATVFS_SIZE
from vmtsim.kernel.kmem import Kmem
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.mounts import (
    NORMAL,
    SUSPENDED,
    SUSPENDING,
    Mount,
    Mounts,
)
from vmtsim.kernel.objects import Objects

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.lwp import Lwp


@dataclass
class Iterator:
    """A mount_iterator_t: ``last`` is the number of the last mount that it returned."""

    made_at: int
    lwp: Lwp
    last: int = 0
    current: Mount | None = None


class FileSystems(Subject):
    """The functions that modules call."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/vfs_mount.c 1.110": "*",
        "sys/kern/vfs_subr.c 1.502": "VFS_STATVFS VFS_SYNC",
        "sys/kern/vfs_syscalls.c 1.570": "do_sys_sync dostatvfs",
        "sys/kern/vfs_trans.c 1.73": "fstrans_getstate fstrans_setstate vfs_resume vfs_suspend",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "mountlist_lock": (
            "mountlist_iterator_init mountlist_iterator_next mountlist_iterator_trynext "
            "mountlist_iterator_destroy"
        ),
        "vfs_suspend_lock": "vfs_suspend vfs_resume",
    }
    ACCESSES_DATA = "VFS_STATVFS dostatvfs"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.iterators: LiveObjects[Iterator] = LiveObjects(
            self,
            Words("mount iterator"),
            unknown="mount-iterator-unknown",
            left="mount-iterator-left",
            # The last mount that it returned stays busy.
            name=lambda each: f"on {each.current.directory}" if each.current else "",
        )

    def _mounts(self) -> Mounts:
        return self.kernel.subject(Mounts)

    def _find(self, function: str, address: int) -> Mount:
        found = [mount for mount in self._mounts().mounted if mount.at == address]
        if not found:
            self._unknown(function, address)
        return found[0]

    def _referenced(self, function: str, address: int) -> Mount:
        """Return a mount that is mounted, or was and is still referenced."""
        for mount in self._mounts().unmounted:
            if mount.at == address:
                return mount
        return self._find(function, address)

    def _unknown(self, function: str, address: int) -> NoReturn:
        kernel = self.kernel
        kernel.memory.pointer(address)
        kernel.panic(
            "mount-unknown",
            f"{function} by {kernel.where()}: {kernel.describe(address)} is not a file system",
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

    def _give_back(self, function: str, iterator: Iterator) -> None:
        """Release the last mount; only the thread that got it can (fstrans_done)."""
        kernel, mount = self.kernel, iterator.current
        iterator.current = None
        if mount is None or mount.gone:
            return
        if iterator.lwp is kernel.current:
            self._mounts().leave(mount)
            return
        kernel.violation(
            "mount-iterator-thread",
            f"{function} by {kernel.where()} in thread {kernel.current.name}: the file system "
            f"{mount.directory} stays busy, by thread {iterator.lwp.name} which got it",
        )

    def _next(self, function: str, address: int, *, wait: bool) -> Model:
        iterator = self.iterators.find(function, address)
        self.kernel.rules.may_sleep(function)
        self._give_back(function, iterator)
        mounts = self._mounts()
        lwp = iterator.lwp = self.kernel.current
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
        self._give_back("mountlist_iterator_destroy", iterator)
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
        self.kernel.rules.may_sleep("vfs_trybusy")
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

    @kernel_function("void vfs_ref(struct mount *mp)")
    def vfs_ref(self, address: int) -> None:
        mount = self._referenced("vfs_ref", address)
        mount.references += 1
        mount.referenced_at = self.kernel.call_site

    @kernel_function("void vfs_rele(struct mount *mp)")
    def vfs_rele(self, address: int) -> None:
        """Release a reference; the last one frees a file system that is unmounted."""
        kernel, mounts = self.kernel, self._mounts()
        mount = self._referenced("vfs_rele", address)
        kernel.rules.thread_context("vfs_rele")
        if not mount.references:
            kernel.panic(
                "vfs-rele",
                f"vfs_rele by {kernel.where()}: the released reference to {mount.directory} is "
                "that of mount(2)",
            )
        mount.references -= 1
        if not mount.references and mount in mounts.unmounted:
            mounts.unmounted.remove(mount)
            mount.struct.free("vfs_rele")

    # -- figures and sync (NetBSD sys/kern/vfs_syscalls.c) ---------------------------------------

    @kernel_function(
        "int dostatvfs(struct mount *mp, struct statvfs *sp, struct lwp *l, int flags, int root)"
    )
    def dostatvfs(self, address: int, where: int, lwp_at: int, flags: int, _root: int) -> Model:
        """With MNT_WAIT or 0 fresh figures, with MNT_NOWAIT or MNT_LAZY the last known ones.

        If the file system fails, zeros are left in ``where``.
        """
        kernel, memory, mounts = self.kernel, self.kernel.memory, self._mounts()
        mount = self._find("dostatvfs", address)
        memory.pointer(lwp_at + kernel.subject(Objects).offsets.l_proc)
        if lwp_at != kernel.current.address:
            kernel.violation(
                "dostatvfs-lwp",
                f"dostatvfs by {kernel.where()} for {kernel.describe(lwp_at)}, which is not curlwp",
            )
        cached = mount.at + mounts.layout.stat
        size = STATVFS_SIZE[memory.pointer_size]
        if flags in {MNT_WAIT, 0}:
            memory.write(where, bytes(size))
            error = yield from self._fresh("dostatvfs", mount)
            if error:
                return error
            mounts.store(mount, cached)
        memory.write(where, memory.read(cached, size))
        return 0

    def _fresh(self, function: str, mount: Mount) -> Model:
        """Query the file system itself: sleeps while it does not answer; returns an errno.

        No vfs_statvfs starts a transaction: it works on a suspended file system.
        """
        self.kernel.rules.may_sleep(function)
        yield from self._mounts().wait_for_server(mount)
        return mount.error

    @kernel_function("int VFS_STATVFS(struct mount *mp, struct statvfs *sp)")
    def vfs_statvfs(self, address: int, where: int) -> Model:
        mount = self._find("VFS_STATVFS", address)
        error = yield from self._fresh("VFS_STATVFS", mount)
        if not error:
            self._mounts().store(mount, where)
        return error

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
        return mount.error

    @kernel_function("void do_sys_sync(struct lwp *l)")
    def do_sys_sync(self, lwp_at: int) -> Model:
        kernel = self.kernel
        kernel.rules.may_sleep("do_sys_sync")
        # It uses the thread's credentials.
        kernel.memory.pointer(lwp_at + kernel.subject(Objects).offsets.l_cred)
        yield from self._mounts().sync_all()

    # -- suspension (NetBSD sys/kern/vfs_trans.c) ------------------------------------------------

    @kernel_function("int vfs_suspend(struct mount *mp, int nowait)")
    def vfs_suspend(self, address: int, nowait: int) -> Model:
        kernel = self.kernel
        mounts = self._mounts()
        mount = self._referenced("vfs_suspend", address)
        kernel.rules.may_sleep("vfs_suspend")
        if mount not in mounts.mounted:
            return Errno.ENOENT  # fstrans_get_lwp_info() finds nothing
        if mounts.suspender is kernel.current and not nowait:
            held = ", ".join(mounts.suspended())
            kernel.panic(
                "vfs-suspend-twice",
                f"vfs_suspend of {mount.directory} by {kernel.where()}: locking against myself, "
                f"vfs_suspend_lock is held since {kernel.location(mounts.suspender_site)} "
                f"suspended {held}: only one file system can be suspended at a time",
            )
        return (yield from mounts.suspend(mount, nowait=bool(nowait)))

    @kernel_function("void vfs_resume(struct mount *mp)")
    def vfs_resume(self, address: int) -> None:
        kernel = self.kernel
        mount = self._find("vfs_resume", address)
        mounts = self._mounts()
        if mounts.suspender is not kernel.current or mount.owner is not kernel.current:
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
        mounts.resume(mount)

    @kernel_function("int fstrans_setstate(struct mount *mp, int new_state)")
    def fstrans_setstate(self, address: int, state: int) -> Model:
        kernel = self.kernel
        mount = self._find("fstrans_setstate", address)
        kernel.rules.may_sleep("fstrans_setstate")
        if state not in {NORMAL, SUSPENDED, SUSPENDING}:
            # The state is set as requested, and no thread is admitted.
            kernel.violation(
                "fstrans-state",
                f"fstrans_setstate by {kernel.where()} of {mount.directory} to unknown state "
                f"{state}",
            )
        if mount.state == state:
            return 0
        # Only for the end the owner is asserted; another thread may continue the suspension.
        if state == NORMAL and mount.owner is not kernel.current:
            owner = mount.owner.name if mount.owner is not None else "no thread"
            kernel.panic(
                "fstrans-owner",
                f"fstrans_setstate by {kernel.where()} in thread {kernel.current.name}: "
                f"{mount.directory} belongs to {owner}, who suspended it in "
                f"{kernel.location(mount.owner_site)}",
            )
        if state == NORMAL:
            self._mounts().open(mount)
        else:
            yield from self._mounts().close(mount, state)
        return 0

    @kernel_function("int fstrans_getstate(struct mount *mp)")
    def fstrans_getstate(self, address: int) -> int:
        return self._find("fstrans_getstate", address).state
