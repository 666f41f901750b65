"""Mounted file systems: the list, figures, sync and suspension.

Sources: NetBSD sys/kern/vfs_mount.c, vfs_syscalls.c, vfs_trans.c, miscfs/genfs/genfs_vfsops.c.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from vmtsim.kernel.api import Block, Subject
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
from vmtsim.kernel.scheduler import Lwp, WaitQueue

if TYPE_CHECKING:
    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

NORMAL, SUSPENDED, SUSPENDING = 0, 1, 2  # enum fstrans_state
FLUSH_TIME = 20_000_000  # ns that it takes to write everything of a dirty file system

# kind -> (frsize, bsize, whether the machine itself holds it)
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
}
NOT_SUSPENDABLE = frozenset({"union"})


@dataclass(eq=False)
class Mount:
    """One mounted file system.

    ``figures`` is the truth; ``mnt_stat`` in guest memory is what somebody last asked for.
    ``stuck`` makes it hang like NFS without its server.  ``dirty`` means data not yet written, the
    oldest of it since ``dirty_since`` (virtual ns).
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
    gone: bool = False
    flushed: int = 0  # how often VFS_SYNC or sync(2) came by
    busy: dict[Lwp, int] = field(default_factory=dict)
    state: int = NORMAL
    owner: Lwp | None = None  # who suspended it
    owner_site: int = 0
    suspended_at: int = 0
    changed: WaitQueue = field(default_factory=lambda: WaitQueue("fstrans"))

    @property
    def at(self) -> int:
        """The address of struct mount."""
        return self.struct.at

    def closed_to(self, lwp: Lwp) -> bool:
        """Whether ``lwp`` has to wait for the end of a suspension."""
        return self.state != NORMAL and self.owner is not lwp


class Mounts(Subject):
    """The mount list, and what administrators and users do to file systems."""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.layout = MOUNT[kernel.memory.pointer_size]
        self.mounted: list[Mount] = []
        self._number = 0
        self.syncs = 0  # calls of sync(2)

    def boot(self) -> None:
        """Mount a root file system, kernfs and tmpfs; watch threads end."""
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
                        "by it: nobody can unmount or suspend it any more",
                    )
            before(lwp)

        scheduler.on_exit = gone

    def _left(self, mount: Mount, why: str) -> None:
        place = self.kernel.location(mount.owner_site)
        self.kernel.panic(
            "vfs-suspended-left",
            f"{why}, but the file system {mount.directory}, suspended by {place}, was not "
            "resumed: whatever touches it sleeps for ever",
            place,
        )

    # -- the administrator's side --------------------------------------------------------------

    def find(self, directory: str) -> Mount:
        """Return what is mounted on a directory; KeyError with the directories there are."""
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
        """Mount a file system at the end of the list; ``size`` and ``free`` in bytes.

        Kinds: ffs, ext2fs, msdos, cd9660, mfs, tmpfs, kernfs, procfs, ptyfs, nfs, union.
        """
        if kind not in _KINDS:
            raise ValueError(f"no kind of file system {kind!r}: {', '.join(_KINDS)}")
        if any(mount.directory == directory for mount in self.mounted):
            raise ValueError(f"something is mounted on {directory!r} already")
        frsize, bsize, local = _KINDS[kind]
        flags = (MNT_LOCAL if local else 0) | (MNT_RDONLY if read_only else 0)
        if directory == "/":
            flags |= MNT_ROOTFS
        blocks = size // frsize
        figures = Figures(frsize, bsize, blocks, free // frsize)
        if kind == "kernfs":
            figures.blocks = 2
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
        self.mounted.append(mount)
        return mount

    def unmount(self, directory: str) -> Model:
        """Unmount, as a process: waits for who uses the file system."""
        mount = self.find(directory)
        lwp = self.kernel.current
        while mount.closed_to(lwp) or any(other is not lwp for other in mount.busy):
            yield Block(mount.changed, what="unmount")
        self.mounted.remove(mount)
        mount.gone = True
        iflag = mount.at + self.layout.iflag
        self.kernel.memory.put_u32(iflag, self.kernel.memory.u32(iflag) | IMNT_GONE)
        mount.struct.free("vfs_rele")
        self.changed(mount)

    def set_free(self, directory: str, free: int) -> None:
        """Let a file system have so many bytes free.

        The kernel's copy in mnt_stat follows when somebody asks with MNT_WAIT; see ``refresh``.
        """
        figures = self.find(directory).figures
        if not 0 <= free <= figures.blocks * figures.frsize:
            raise ValueError(
                f"{directory} has {figures.blocks * figures.frsize} bytes, {free} cannot be free"
            )
        figures.free = free // figures.frsize

    def refresh(self) -> None:
        """Bring all mnt_stat up to date, as df(1) does."""
        for mount in self.mounted:
            self.store(mount, mount.at + self.layout.stat)

    def stick(self, directory: str, *, stuck: bool = True) -> None:
        """Let a file system hang, or go on: whoever wants fresh data from it sleeps."""
        mount = self.find(directory)
        mount.stuck = stuck
        self.changed(mount)

    def write(self, directory: str) -> Model:
        """Write something, as a user process: sleeps while the file system is suspended."""
        mount = self.find(directory)
        yield from self.enter(mount)
        mount.figures.writes += 1
        if not mount.dirty:
            mount.dirty, mount.dirty_since = True, self.kernel.clock.now
        self.leave(mount)

    def suspended(self) -> list[str]:
        """Return the directories of all suspended file systems."""
        return [mount.directory for mount in self.mounted if mount.state != NORMAL]

    # -- for the functions ---------------------------------------------------------------------

    def store(self, mount: Mount, where: int) -> None:
        """Write the true struct statvfs of a mount to an address."""
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
        """Wake whoever waits for this file system."""
        self.kernel.scheduler.wake_all(mount.changed)

    def enter(self, mount: Mount) -> Model:
        """Begin a transaction of the running thread; waits for the end of a suspension.

        A thread that is inside already is let in again, whatever the state (fstrans_start).
        """
        lwp = self.kernel.current
        while mount.closed_to(lwp) and not mount.busy.get(lwp):
            yield Block(mount.changed, what="fstrans")
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

    def flush(self, mount: Mount, *, wait: bool) -> Model:
        """Write what is dirty; without ``wait`` it is written soon."""
        mount.flushed += 1
        yield from self.wait_for_server(mount)
        if not mount.dirty:
            return
        kernel = self.kernel
        if wait:
            yield Block(deadline=kernel.clock.now + FLUSH_TIME, what="biowait")
            mount.dirty = False
        else:
            kernel.clock.at(kernel.clock.now + FLUSH_TIME, lambda: setattr(mount, "dirty", False))

    def check_unload(self, module: str) -> None:
        """Panic for a file system that a module left suspended."""
        for mount in self.mounted:
            if mount.state != NORMAL:
                self._left(mount, f"module {module} is gone")
