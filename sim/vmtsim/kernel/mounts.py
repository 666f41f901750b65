"""Mounted file systems: the list, figures, sync and suspension.

Sources: NetBSD sys/kern/vfs_mount.c 1.110, vfs_syscalls.c 1.570, vfs_trans.c 1.73,
sys/miscfs/genfs/genfs_vfsops.c, sys/miscfs/procfs/procfs_vfsops.c, sys/ufs/ffs/ffs_vfsops.c.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Block, Subject
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.fslayout import (
    IMNT_GONE,
    MNT_LOCAL,
    MNT_RDONLY,
    MNT_ROOTFS,
    MOUNT,
    Figures,
    pack_statvfs,
)
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.lwp import Lwp, WaitQueue

if TYPE_CHECKING:
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

NORMAL, SUSPENDED, SUSPENDING = 0, 1, 2  # enum fstrans_state
FLUSH_TIME = 20_000_000  # ns for writing everything of a dirty file system

# kind -> (frsize, bsize, whether the machine itself holds its data)
_KINDS = {
    "ffs": (2048, 16384, True),
    "ext2fs": (1024, 4096, True),
    "msdos": (4096, 4096, True),
    "cd9660": (2048, 2048, True),
    "mfs": (1024, 8192, True),
    "tmpfs": (4096, 4096, True),
    "kernfs": (512, 512, True),
    "procfs": (4096, 4096, True),
    "ptyfs": (512, 512, True),
    "nfs": (512, 32768, False),
    "union": (2048, 16384, True),
    "unionfs": (2048, 16384, True),
}
# f_blocks of those without a disk: genfs_statvfs, procfs_statvfs
_BLOCKS = {"kernfs": 2, "ptyfs": 2, "procfs": 1}
# vfs_suspendctl is eopnotsupp: only sys/fs/unionfs/unionfs_vfsops.c
NOT_SUSPENDABLE = frozenset({"unionfs"})
# One in this many file systems that sync(2) visits has a vnode that another thread has locked.
_LOCKED_ONE_IN = 4


@dataclass(eq=False)
class Mount:
    """One mounted file system.

    ``figures`` are the current values; ``mnt_stat`` in guest memory holds those of the last
    request. ``stuck`` makes it hang like NFS without its server, ``error`` is the errno of
    VFS_STATVFS and VFS_SYNC, ``updating`` the thread that holds mnt_updating.  ``dirty`` means data
    not yet written, the oldest of it since ``dirty_since`` (virtual ns).
    """

    number: int
    kind: str
    directory: str
    source: str
    flags: int
    figures: Figures
    struct: KernelObject
    dirty: bool = False
    dirty_since: int = 0
    stuck: bool = False
    error: int = 0
    updating: Lwp | None = None
    gone: bool = False
    references: int = 0  # of vfs_ref, beside that of the mount itself
    referenced_at: int = 0
    flushed: int = 0  # number of visits of VFS_SYNC or sync(2)
    busy: dict[Lwp, int] = field(default_factory=dict)
    state: int = NORMAL
    owner: Lwp | None = None  # the thread that suspended it
    owner_site: int = 0
    suspended_at: int = 0
    changed: WaitQueue = field(default_factory=lambda: WaitQueue("fstchg"))

    @property
    def at(self) -> int:
        """The address of struct mount."""
        return self.struct.at

    def closed_to(self, lwp: Lwp) -> bool:
        """Whether ``lwp`` has to wait for the end of a suspension (_fstrans_start).

        A thread that is already inside is admitted again, in any state.
        """
        return self.state != NORMAL and self.owner is not lwp and not self.busy.get(lwp)


class Mounts(Subject):
    """The mount list, and the actions of administrators and users on file systems."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.layout = MOUNT[kernel.memory.pointer_size]
        self.mounted: list[Mount] = []
        self._number = 0
        self.syncs = 0  # calls of sync(2)
        self._rng = kernel.rng.fork("vnode locks")
        # vfs_suspend_lock: one file system at a time, held until vfs_resume.
        self.suspender: Lwp | None = None
        self.suspender_site = 0
        self._suspend_queue = WaitQueue("tstile")
        self.unmounted: list[Mount] = []  # unmounted file systems that are still referenced

    def boot(self) -> None:
        """Mount a root file system, kernfs and tmpfs; register for the end of threads."""
        self.mount("ffs", "/", "/dev/wd0a", size=8 << 30, free=5 << 30)
        self.mount("kernfs", "/kern", "kernfs")
        self.mount("tmpfs", "/tmp", "tmpfs", size=512 << 20, free=511 << 20)
        scheduler = self.kernel.scheduler
        before = scheduler.on_exit

        def gone(lwp: Lwp) -> None:
            for mount in self.mounted:
                if mount.owner is lwp:
                    self._left(mount, f"thread {lwp.name} ended")
                if mount.busy.pop(lwp, 0):
                    self.kernel.violation(
                        "vfs-busy-left",
                        f"thread {lwp.name} ended, but the file system {mount.directory} is busy "
                        f"by it: it can never be unmounted or suspended again",
                    )
            before(lwp)

        scheduler.on_exit = gone

    def _left(self, mount: Mount, why: str) -> None:
        place = self.kernel.location(mount.owner_site)
        self.kernel.panic(
            "vfs-suspended-left",
            f"{why}, but the file system {mount.directory}, suspended by {place}, was not "
            "resumed: every thread that accesses it sleeps forever",
            place,
        )

    # -- the administrator's side --------------------------------------------------------------

    def find(self, directory: str) -> Mount:
        """Return the mount of a directory; KeyError with the existing directories."""
        for mount in self.mounted:
            if mount.directory == directory:
                return mount
        known = ", ".join(mount.directory for mount in self.mounted) or "none"
        raise KeyError(f"nothing is mounted on {directory!r} (mounted on: {known})")

    def mount(
        self,
        kind: str,
        directory: str,
        source: str,
        *,
        size: int = 0,
        free: int = 0,
        read_only: bool = False,
    ) -> Mount:
        """Mount a file system at the end of the list, at once; ``size`` and ``free`` in bytes.

        Kinds: ffs, ext2fs, msdos, cd9660, mfs, tmpfs, kernfs, procfs, ptyfs, nfs, union, unionfs.
        """
        mount = self._make(kind, directory, source, size=size, free=free, read_only=read_only)
        self.mounted.append(mount)
        return mount

    def _make(
        self, kind: str, directory: str, source: str, *, size: int, free: int, read_only: bool
    ) -> Mount:
        if kind not in _KINDS:
            raise ValueError(
                f"unknown kind of file system {kind!r}: expected one of {', '.join(_KINDS)}"
            )
        if any(mount.directory == directory for mount in self.mounted):
            raise ValueError(f"a file system is already mounted on {directory!r}")
        frsize, bsize, local = _KINDS[kind]
        flags = (MNT_LOCAL if local else 0) | (MNT_RDONLY if read_only else 0)
        if directory == "/":
            flags |= MNT_ROOTFS
        blocks = size // frsize
        figures = Figures(frsize, bsize, blocks, free // frsize)
        figures.blocks = _BLOCKS.get(kind, blocks)
        if kind == "ffs":
            figures.reserved = blocks // 20  # minfree, 5 %
        figures.files = blocks // 4
        figures.free_files = figures.free // 4
        self._number += 1
        struct = KernelObject(self.kernel, self.layout.size, f"struct mount of {directory}")
        mount = Mount(self._number, kind, directory, source, flags, figures, struct)
        memory, layout = self.kernel.memory, self.layout
        name = memory.place(kind.encode("latin-1") + b"\0")
        operations = memory.place(name.to_bytes(memory.pointer_size, "little") + bytes(512))
        memory.put_pointer(mount.at + layout.op, operations)
        memory.put_u32(mount.at + layout.flag, flags)
        memory.put_u32(mount.at + layout.refcnt, 1)
        self.store(mount, mount.at + layout.stat)
        return mount

    # mount(8) and umount(8), as processes.  Each holds vfs_suspend_lock, and so keeps the file
    # system suspended, for the whole operation, and waits while another thread holds it.

    def mounting(self, kind: str, directory: str, source: str, *, size: int = 0) -> Model:
        """Mount a file system; returns an errno (mount_domount in vfs_mount.c)."""
        mount = self._make(kind, directory, source, size=size, free=size, read_only=False)
        error = yield from self.suspend(mount)
        yield Block(deadline=self.kernel.clock.now + FLUSH_TIME, what="biowait")
        self.mounted.append(mount)
        if not error:
            self.resume(mount)
        return 0

    def updating(self, directory: str, *, read_only: bool) -> Model:
        """Run mount -u -o ro or rw; returns an errno (mount_update in vfs_syscalls.c)."""
        mount = self.find(directory)
        error = yield from self.suspend(mount)
        if error:
            return error
        mount.updating = self.kernel.current
        yield from self.flush(mount, wait=True)
        mount.flags = mount.flags & ~MNT_RDONLY | (MNT_RDONLY if read_only else 0)
        self.kernel.memory.put_u32(mount.at + self.layout.flag, mount.flags)
        mount.updating = None
        self.resume(mount)
        return 0

    def unmount(self, directory: str) -> Model:
        """Unmount; returns an errno, waits for users of the file system (dounmount)."""
        mount = self.find(directory)
        error = yield from self.suspend(mount)
        if error:
            return error
        mount.updating = self.kernel.current
        if not mount.flags & MNT_RDONLY:
            yield from self.flush(mount, wait=True)
        mount.updating = None
        mount.gone = True
        iflag = mount.at + self.layout.iflag
        self.kernel.memory.put_u32(iflag, self.kernel.memory.u32(iflag) | IMNT_GONE)
        self.resume(mount)
        self.mounted.remove(mount)
        if mount.references:
            self.unmounted.append(mount)
        else:
            mount.struct.free("vfs_rele")
        return 0

    def set_free(self, directory: str, free: int) -> None:
        """Set the number of free bytes of a file system.

        The kernel's copy in mnt_stat follows at the next call with MNT_WAIT; see ``refresh``.
        Raises ValueError for more than its size.
        """
        figures = self.find(directory).figures
        if not 0 <= free <= figures.blocks * figures.frsize:
            raise ValueError(
                f"{directory} has {figures.blocks * figures.frsize} bytes, {free} cannot be free"
            )
        figures.free = free // figures.frsize

    def refresh(self) -> None:
        """Update all mnt_stat, as df(1) does."""
        for mount in self.mounted:
            self.store(mount, mount.at + self.layout.stat)

    def hang(self, directory: str, *, stuck: bool = True) -> None:
        """Make a file system hang, or continue: requests for fresh data sleep."""
        mount = self.find(directory)
        mount.stuck = stuck
        self.changed(mount)

    def fail(self, directory: str, error: int) -> None:
        """Make VFS_STATVFS and VFS_SYNC of a file system fail with an errno; 0 ends that."""
        self.find(directory).error = error

    def write(self, directory: str) -> Model:
        """Write data, as a user process: sleeps while the file system is suspended."""
        mount = self.find(directory)
        yield from self.enter(mount)
        mount.figures.writes += 1
        if not mount.dirty:
            mount.dirty, mount.dirty_since = True, self.kernel.clock.now
        self.leave(mount)

    def suspended(self) -> list[str]:
        """Return the directories of all suspended file systems."""
        return [mount.directory for mount in self.mounted if mount.state != NORMAL]

    # -- for kernel functions ------------------------------------------------------------------

    def store(self, mount: Mount, where: int) -> None:
        """Write the current struct statvfs of a mount to an address."""
        memory = self.kernel.memory
        memory.write(
            where,
            pack_statvfs(
                memory.pointer_size,
                mount.figures,
                mount.flags,
                mount.number,
                mount.kind,
                mount.directory,
                mount.source,
            ),
        )

    def changed(self, mount: Mount) -> None:
        """Wake the threads that wait for this file system."""
        self.kernel.scheduler.wake_all(mount.changed)

    def enter(self, mount: Mount) -> Model:
        """Start a transaction of the running thread; waits for the end of a suspension."""
        lwp = self.kernel.current
        while mount.closed_to(lwp):
            yield Block(mount.changed, what="fstchg")
        mount.busy[lwp] = mount.busy.get(lwp, 0) + 1

    def leave(self, mount: Mount) -> None:
        """End a transaction of the running thread."""
        lwp = self.kernel.current
        count = mount.busy.get(lwp, 0)
        if count > 1:
            mount.busy[lwp] = count - 1
        else:
            mount.busy.pop(lwp, None)
            self.changed(mount)

    def wait_for_server(self, mount: Mount) -> Model:
        """Sleep while the file system hangs."""
        while mount.stuck:
            yield Block(mount.changed, what="nfsrcv")

    # -- suspension (vfs_trans.c) ----------------------------------------------------------------

    def suspend(self, mount: Mount, *, nowait: bool = False) -> Model:
        """Suspend a file system for the running thread; returns an errno (vfs_suspend)."""
        kernel = self.kernel
        lwp, site = kernel.current, kernel.call_site
        if nowait and self.suspender is not None:
            return Errno.EWOULDBLOCK
        while self.suspender is not None:
            yield Block(self._suspend_queue, what="tstile")
        if mount.kind in NOT_SUSPENDABLE:
            return Errno.EOPNOTSUPP
        self.suspender, self.suspender_site = lwp, site
        yield from self.close(mount, SUSPENDED)
        if mount.gone:
            self.resume(mount)
            return Errno.ENOENT
        return 0

    def resume(self, mount: Mount) -> None:
        """End the suspension of the running thread (vfs_resume)."""
        self.open(mount)
        self.suspender = None
        self.kernel.scheduler.wake_all(self._suspend_queue)

    def close(self, mount: Mount, state: int) -> Model:
        """Become the owner of a suspension; waits until no other thread is inside."""
        kernel = self.kernel
        lwp = kernel.current
        if mount.state == NORMAL:
            mount.owner, mount.owner_site = lwp, kernel.call_site
            mount.suspended_at = kernel.clock.now
        mount.state = state
        while any(other is not lwp for other in mount.busy):
            yield Block(mount.changed, what="fstcnt")
        if state == SUSPENDED:
            lwp.suspends = mount.directory
        kernel.trace.emit("vfs.suspend", directory=mount.directory)

    def open(self, mount: Mount) -> None:
        """Admit all threads again."""
        if mount.owner is not None:
            mount.owner.suspends = ""
        mount.state, mount.owner = NORMAL, None
        self.changed(mount)
        self.kernel.trace.emit("vfs.resume", directory=mount.directory)

    # -- sync ------------------------------------------------------------------------------------

    def sync_all(self) -> Model:
        """Start writing all file systems, as sync(2); waits for suspended ones (do_sys_sync).

        It also waits for a read-only file system.  MNT_NOWAIT may sleep too: for the holder of
        mnt_updating, for locked vnodes and for a server that does not answer.
        """
        self.syncs += 1
        self.kernel.trace.emit("sync")
        for mount in list(self.mounted):
            if mount.gone:
                continue
            yield from self.enter(mount)
            if mount not in self.mounted:
                mount.busy.clear()
                continue
            while mount.updating not in {None, self.kernel.current}:
                yield Block(deadline=self.kernel.clock.now + FLUSH_TIME, what="tstile")
            if not mount.flags & MNT_RDONLY:
                if mount.dirty and self._rng.below(_LOCKED_ONE_IN) == 0:
                    yield Block(deadline=self.kernel.clock.now + FLUSH_TIME, what="vnlock")
                yield from self.flush(mount, wait=False)
            self.leave(mount)

    def flush(self, mount: Mount, *, wait: bool) -> Model:
        """Write dirty data; without ``wait`` it is written soon.

        Data that is written during the sync waits for the next one.
        """
        mount.flushed += 1
        if not mount.dirty:
            return
        yield from self.wait_for_server(mount)
        kernel = self.kernel
        if wait:
            began, writes = kernel.clock.now, mount.figures.writes
            yield Block(deadline=began + FLUSH_TIME, what="biowait")
            mount.dirty, mount.dirty_since = mount.figures.writes != writes, began
        else:
            kernel.clock.at(kernel.clock.now + FLUSH_TIME, lambda: setattr(mount, "dirty", False))

    def check_unload(self, module: str) -> None:
        """Panic for a file system that a module left suspended; report leftover references."""
        for mount in self.mounted:
            if mount.state != NORMAL:
                self._left(mount, f"module {module} is unloaded")
        for mount in (*self.mounted, *self.unmounted):
            if mount.references:
                place = self.kernel.location(mount.referenced_at)
                mount.references = 0
                self.kernel.violation(
                    "vfs-ref-left",
                    f"module {module} is unloaded, but its reference to the file system "
                    f"{mount.directory}, taken by {place}, was not released",
                    place,
                )
