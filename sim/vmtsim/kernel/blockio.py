"""buf(9): requests to block devices, biodone and biowait, physio, and the blocks of a node.

A struct buf is guest memory, of a driver or of the kernel; its layout is that of sys/sys/buf.h.
Requests of the kernel itself (a read of a block device, a page of a physio) are passed to
d_strategy like those of a driver, and end with biodone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.twos import signed

from vmtsim.kernel.api import Block, Call, DataSymbol, Subject, kernel_function
from vmtsim.kernel.callback import same_locks
from vmtsim.kernel.devsw import DISK, TAPE, DeviceSwitches
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue
from vmtsim.kernel.mutex import Mutexes
from vmtsim.kernel.objects import Objects
from vmtsim.kernel.process import Processes
from vmtsim.kernel.uio import UioVector

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel

DEV_BSIZE = 512  # sys/sys/param.h, and the next two
_IOSIZE, MAXPHYS = 2048, 64 * 1024  # BLKDEV_IOSIZE
_READAHEAD = 511  # blocks of spec_read
_CONCURRENT = 16  # physio_concurrency of sys/kern/kern_physio.c
B_ASYNC, B_PHYS, B_RAW, B_READ = 0x4, 0x40000, 0x80000, 0x100000
BC_BUSY, BO_DONE, BO_DELWRI = 0x10, 0x200, 0x80
_NODEV = 0xFFFFFFFFFFFFFFFF
_DEFAULT = 1  # BPRIO_DEFAULT
_BUSY_NAME, _DONE_NAME = "biolock", "biowait"


class BufFields:
    """Offsets of struct buf by the size of a word; an int64_t is aligned to 4 on i386."""

    def __init__(self, word: int) -> None:
        at = 3 * word  # b_u: a node of a red-black tree is the largest
        for name, size in (
            ("iodone", word), ("error", 4), ("resid", 4), ("flags", 4), ("prio", 4),
            ("bufsize", 4), ("bcount", 4), ("dev", 8), ("data", word), ("blkno", 8),
            ("rawblkno", 8), ("proc", word), ("saveaddr", word), ("ci", word), ("private", word),
            ("dcookie", 8), ("busy", 2 * word), ("unused", word), ("hash", 2 * word),
            ("vnbufs", 2 * word), ("freelist", 2 * word), ("wapbllist", 2 * word), ("lblkno", 8),
            ("freelistindex", 4), ("cflags", 4), ("vp", word), ("done", 2 * word), ("oflags", 4),
            ("objlock", word),
        ):  # fmt: skip
            align = min(size, word) if size in {4, 8} else word
            at = -(-at // align) * align
            setattr(self, name, at)
            at += size
        self.size = at

    def __getattr__(self, name: str) -> int:
        """Declare the type of the offsets; only an unknown name gets here."""
        raise AttributeError(name)


@dataclass(eq=False)
class Buf:
    """A struct buf from buf_init or getiobuf; ``object`` if the kernel owns the memory."""

    made_at: int
    object: KernelObject | None = None
    given: str = ""  # the driver whose d_strategy has it, until biodone
    ended: Callable[[], None] | None = None  # b_iodone of a request of the kernel itself


@dataclass
class Cached:
    """The blocks of an open node in the buffer cache; those in ``dirty`` are not written."""

    size: int = 0
    blocks: dict[int, bytearray] = field(default_factory=dict)
    dirty: set[int] = field(default_factory=set)


@dataclass
class _Physio:
    """A physio(9) in progress (struct physio_stat)."""

    running: int = 0
    error: int = 0
    end: int = -1
    failed: int = 0
    left: int = 0
    queue: WaitQueue = field(default_factory=lambda: WaitQueue("physio"))


class Blocks(Subject):
    """All bufs by their addresses."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/vfs_bio.c 1.306": "*",
        "sys/kern/kern_physio.c 1.102": "physio minphys",
        "sys/kern/subr_disk.c 1.137": "bounds_check_with_mediasize",
        "sys/kern/subr_devsw.c 1.53": "bdev_strategy bdev_size",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {"b_objlock": "biodone biowait"}
    ACCESSES_DATA = "*"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.fields = BufFields(kernel.memory.pointer_size)
        self.live: LiveObjects[Buf] = LiveObjects(
            self,
            Words("buf", "initialised"),
            unknown="buf-unknown",
            freed="buf-freed",
            left="buf-left",
        )
        self._done = WaitQueue(_DONE_NAME)
        self._kernels = 0  # the b_iodone of the kernel's own requests
        self._lock = 0

    def data(self) -> Iterator[DataSymbol]:
        """Yield the lock of bufs that no vnode owns."""
        yield DataSymbol("buffer_lock", bytes(self.kernel.memory.pointer_size))
        self._lock = self.kernel.symbols["buffer_lock"]
        self._kernels = self.kernel.memory.place(bytes(16))

    def boot(self) -> None:
        """Initialise the lock."""
        self.kernel.subject(Mutexes).own(self._lock)

    def check_unload(self, module: str) -> None:
        """Report requests that a driver has not ended: their processes wait forever."""
        super().check_unload(module)
        kernel, switches = self.kernel, self.kernel.subject(DeviceSwitches)
        for found in self.live.values():
            if found.given and not any(
                switches.find(found.given, block=block) for block in (True, False)
            ):
                kernel.violation(
                    "buf-never-done",
                    f"module {module} is unloaded, but the driver {found.given} has not ended a "
                    "request: a process waits for it",
                )
                found.given = ""

    # -- members -------------------------------------------------------------------------------

    def _get(self, at: int, name: str) -> int:
        offset = at + getattr(self.fields, name)
        memory = self.kernel.memory
        if name in {"dev", "blkno"}:
            return memory.s64(offset) if name == "blkno" else memory.u64(offset)
        if name in {"data", "iodone"}:
            return memory.pointer(offset)
        return memory.s32(offset)

    def _put(self, at: int, name: str, value: int) -> None:
        offset, memory = at + getattr(self.fields, name), self.kernel.memory
        if name in {"dev", "blkno", "rawblkno"}:
            memory.put_u64(offset, value)
        elif name in {"data", "iodone", "vp", "proc", "objlock", "saveaddr"}:
            memory.put_word(offset, value)
        else:
            memory.put_u32(offset, value)

    # -- functions for drivers -------------------------------------------------------------------

    @kernel_function("void buf_init(void *bp)")
    def buf_init(self, at: int) -> None:
        self._fill(at)
        self.live.add("buf_init", at, Buf(self.kernel.call_site))

    def _fill(self, at: int) -> None:
        for name, value in (
            ("dev", _NODEV), ("error", 0), ("flags", 0), ("cflags", 0), ("oflags", 0),
            ("iodone", 0), ("prio", _DEFAULT), ("objlock", self._lock),
        ):  # fmt: skip
            self._put(at, name, value)

    @kernel_function("void buf_destroy(void *bp)")
    def buf_destroy(self, at: int) -> None:
        self.live.find("buf_destroy", at)
        self._check_idle("buf_destroy", at)
        self.live.remove(at)

    def _check_idle(self, function: str, at: int) -> None:
        """Report a buf that is freed while a driver has it."""
        found, kernel = self.live[at], self.kernel
        if found.given:
            kernel.violation(
                "buf-busy",
                f"{function} by {kernel.where()}: d_strategy of {found.given} has the buf, and no "
                "biodone has ended it",
            )

    def new(self, made_at: int = 0) -> int:
        """Return a buf in kernel memory; without a call site the kernel owns it."""
        made = KernelObject(self.kernel, self.fields.size, "buf")
        self._fill(made.at)
        self.live.add("getiobuf", made.at, Buf(made_at, made))
        return made.at

    @kernel_function("void *getiobuf(void *vp, bool waitok)")
    def getiobuf(self, vnode: int, wait: bool) -> int:
        if wait:
            self.kernel.rules.may_sleep("getiobuf")
        at = self.new(self.kernel.call_site)
        self._put(at, "vp", vnode)
        return at

    @kernel_function("void putiobuf(void *bp)")
    def putiobuf(self, at: int) -> None:
        found = self.live.find("putiobuf", at)
        self._check_idle("putiobuf", at)
        if found.object is None:
            kernel = self.kernel
            kernel.panic(
                "buf-unknown",
                f"putiobuf by {kernel.where()}: the buf is not one of getiobuf, but of buf_init",
            )
        self.live.remove(at)
        found.object.free("putiobuf")

    @kernel_function("void biodone(void *bp)")
    def biodone(self, at: int) -> Model:
        """End a request: wake its waiters, or call b_iodone (biodone2)."""
        kernel = self.kernel
        found = self.live.find("biodone", at)
        flags = self._get(at, "oflags")
        if flags & BO_DONE:
            kernel.panic(
                "biodone-twice", f"biodone by {kernel.where()}: the request has ended before"
            )
        found.given = ""
        self._put(at, "oflags", flags | BO_DONE)
        self._put(at, "prio", _DEFAULT)
        function = self._get(at, "iodone")
        self._put(at, "iodone", 0)
        if function == self._kernels:
            if found.ended is not None:
                found.ended()
        elif function:
            held = list(kernel.current.held)
            yield Call(function, (at,))
            who = f"b_iodone {kernel.location(function)}"
            same_locks(kernel, held, who, "callback-with-mutex")
        else:
            kernel.scheduler.wake_all(self._done)

    @kernel_function("int biowait(void *bp)")
    def biowait(self, at: int) -> Model:
        kernel = self.kernel
        self.live.find("biowait", at)
        kernel.rules.may_sleep("biowait")
        if not self._get(at, "cflags") & BC_BUSY:
            kernel.panic(
                "buf-not-busy", f"biowait by {kernel.where()}: b_cflags of the buf lack BC_BUSY"
            )
        yield from self._wait(at)
        return self._get(at, "error")

    def _wait(self, at: int) -> Model:
        while not self._get(at, "oflags") & (BO_DONE | BO_DELWRI):
            yield Block(self._done, what=_DONE_NAME)

    @kernel_function("void bdev_strategy(void *bp)")
    def bdev_strategy(self, at: int) -> Model:
        """Pass a request to the driver of b_dev; without one it ends with ENXIO."""
        found = self.live.find("bdev_strategy", at)
        switches = self.kernel.subject(DeviceSwitches)
        switch = switches.of(self._get(at, "dev"), block=True)
        if switch is None:
            self._put(at, "error", Errno.ENXIO)
            self._put(at, "resid", self._get(at, "bcount"))
            yield from self.biodone(at)
            return
        found.given = switch.name
        # Another thread may have the buf when d_strategy returns.
        yield from switches.call(switch, "strategy", at)

    @kernel_function("int bdev_size(dev_t dev)")
    def bdev_size(self, device: int) -> Model:
        switches = self.kernel.subject(DeviceSwitches)
        switch = switches.of(device, block=True)
        if switch is None or not switches.member(switch, "psize"):
            return -1
        words = self.kernel.memory.wide(device)
        return signed((yield from switches.call(switch, "psize", *words)), 32)

    @kernel_function("void minphys(void *bp)")
    def minphys(self, at: int) -> None:
        self._put(at, "bcount", min(self._get(at, "bcount"), MAXPHYS))

    @kernel_function("int bounds_check_with_mediasize(void *bp, int secsize, uint64_t mediasize)")
    def bounds_check_with_mediasize(self, at: int, sector: int, size: int) -> int:
        """0: the request has ended, at the end of the disk or with EINVAL; otherwise 1."""
        block = self._get(at, "blkno")
        if block < 0:
            self._put(at, "error", Errno.EINVAL)
            return 0
        count = -(-self._get(at, "bcount") // sector)
        if block + count > size:
            count = size - block
            if count == 0:
                self._put(at, "resid", self._get(at, "bcount"))
                return 0
            if count < 0:
                self._put(at, "error", Errno.EINVAL)
                return 0
            self._put(at, "bcount", count * sector)
        return 1

    # -- physio(9) -------------------------------------------------------------------------------

    @kernel_function(
        "int physio(void *strategy, void *obp, dev_t dev, int flags, void *minphys, "
        "struct uio *uio)"
    )
    def physio(
        self, strategy: int, own: int, device: int, flags: int, limit: int, uio: int
    ) -> Model:
        """Let a strategy function move the data of a uio: the memory of the process is mapped."""
        kernel, memory = self.kernel, self.kernel.memory
        kernel.rules.may_sleep("physio")
        if own:
            self.live.find("physio", own)
        switches = kernel.subject(DeviceSwitches)
        switch = switches.of(device)
        disk = switch is not None and switches.type_of(switch) == DISK
        most = 0 if own or not disk else _CONCURRENT - 1
        vector, state = UioVector(kernel, uio), _Physio()
        read, error, sync = flags & B_READ, 0, True
        while not error and vector.length:
            yield from self._physio_wait(state, 0 if sync else most)
            if state.failed:
                break
            at = own or self.new()
            self._put(at, "dev", device)
            self._put(at, "proc", memory.pointer(
                kernel.current.address + kernel.subject(Objects).offsets.l_proc
            ))  # fmt: skip
            self._put(at, "oflags", 0)
            self._put(at, "cflags", BC_BUSY)
            self._put(at, "flags", read | B_PHYS | B_RAW)
            self._put(at, "iodone", self._kernels)
            self._put(at, "blkno", vector.offset // DEV_BSIZE)
            self._put(at, "error", 0)
            self._put(at, "resid", 0)
            error = Errno.EINVAL if disk and vector.offset % DEV_BSIZE else 0
            size = min(MAXPHYS if disk else 0x7FFFFFFF, vector.length)
            self._put(at, "bcount", size)
            if not error:
                yield Call(limit, (at,))
                size = self._get(at, "bcount")
                if size > MAXPHYS or size <= 0:
                    kernel.panic(
                        "physio-size",
                        f"physio by {kernel.where()}: the minphys function left {size} bytes, and "
                        f"{MAXPHYS} are the most that is mapped at once",
                    )
                self._put(at, "bufsize", size)
                error = self._start(at, vector, size, state, read=bool(read), keep=bool(own))
            if error:
                if not own:
                    self.putiobuf(at)
                break
            sync = (vector.base + size) % 4096 != 0
            state.running += 1
            vector.advance(size)
            self.live[at].given = switch.name if switch is not None else "physio"
            yield from self._strategy(strategy, at)
        yield from self._physio_wait(state, 0)
        if disk and state.failed:
            vector.put_back(vector.offset - state.end)
        elif not disk:
            vector.put_back(state.left)
        return error or state.error

    def _strategy(self, function: int, at: int) -> Model:
        held = list(self.kernel.current.held)
        yield Call(function, (at,))
        who = f"the strategy function {self.kernel.location(function)}"
        same_locks(self.kernel, held, who, "callback-with-mutex")

    def _physio_wait(self, state: _Physio, most: int) -> Model:
        while state.running > most:
            yield Block(state.queue, what="physio")

    def _start(
        self, at: int, vector: UioVector, size: int, state: _Physio, *, read: bool, keep: bool
    ) -> int:
        """Map the memory of the process for a request (vmapbuf); returns an errno.

        At its end the buf is freed, unless it is to be kept.
        """
        kernel = self.kernel
        processes, user = kernel.subject(Processes), vector.base
        mapped = KernelObject(kernel, size, "mapped memory of a process")
        if processes.copy_in(user, mapped.at, size):
            mapped.free("vunmapbuf")
            return Errno.EFAULT
        self._put(at, "data", mapped.at)
        self._put(at, "saveaddr", user)
        first = vector.offset

        def ended() -> None:
            self._physio_done(at, state, first)
            if read:
                processes.copy_out(mapped.at, user, size)
            mapped.free("vunmapbuf")
            if not keep:
                self.putiobuf(at)

        self.live[at].ended = ended
        return 0

    def _physio_done(self, at: int, state: _Physio, first: int) -> None:
        """Count the bytes moved (physio_biodone, physio_done)."""
        kernel = self.kernel
        size, count, left = (self._get(at, name) for name in ("bufsize", "bcount", "resid"))
        error, done = self._get(at, "error"), count - left
        if count > size or left > count or left < 0 or (done == size and error):
            kernel.panic(
                "buf-resid",
                f"biodone by {kernel.where()}: of {size} bytes b_bcount is {count}, b_resid {left} "
                f"and b_error {error}",
            )
        if done != size:
            end = first + done
            if state.end == -1 or end < state.end:
                state.end, state.error = end, error
            state.failed += 1
            state.left += size - done
        state.running -= 1
        kernel.scheduler.wake_all(state.queue)

    # -- blocks of a node (spec_read, spec_write) --------------------------------------------------

    def transfer(
        self,
        cache: Cached,
        device: int,
        size: int,
        offset: int,
        content: bytes,
        *,
        write: bool,
    ) -> Model:
        """Read or write ``content`` at an offset in blocks of ``size``: bytes, or an errno.

        ``size`` is pi_bsize of the driver, 0 if it has none.
        """
        block = min(max(size, DEV_BSIZE), MAXPHYS) if size else _IOSIZE
        if cache.size != block:
            yield from self.flush(cache, device)
            cache.size = block
        done, error = bytearray(), 0
        last = (offset + len(content) - 1) // block
        while len(done) < len(content) and not error:
            number, within = divmod(offset + len(done), block)
            count = min(block - within, len(content) - len(done))
            if write and count == block:
                cache.blocks[number] = bytearray(block)
            elif number not in cache.blocks:
                ahead = () if write else range(number, min(last, number + _READAHEAD) + 1)
                error = yield from self._fetch(cache, device, number, ahead)
                if error:
                    break
            have = cache.blocks[number]
            count = min(count, len(have) - within)
            if count <= 0:
                break
            part = slice(within, within + count)
            if write:
                have[part] = content[len(done) : len(done) + count]
                cache.dirty.add(number)
                if within + count == block or self._is_tape(device):
                    error = yield from self._store(cache, device, number)
            if not error:
                done += have[part]
        return error if error and not done else bytes(done)

    def _is_tape(self, device: int) -> bool:
        switches = self.kernel.subject(DeviceSwitches)
        switch = switches.of(device, block=True)
        return switch is not None and switches.type_of(switch) == TAPE

    def _request(
        self, cache: Cached, device: int, number: int, flags: int
    ) -> tuple[int, KernelObject]:
        """Return a buf for a block, and its data."""
        at = self.new()
        data = KernelObject(self.kernel, cache.size, f"data of block {number} of a device")
        block = number * (cache.size // DEV_BSIZE)
        for name, value in (
            ("dev", device), ("data", data.at), ("bcount", cache.size), ("bufsize", cache.size),
            ("blkno", block), ("flags", flags), ("cflags", BC_BUSY), ("resid", 0),
        ):  # fmt: skip
            self._put(at, name, value)
        self.kernel.memory.put_u64(at + self.fields.lblkno, block)
        return at, data

    def _fetch(self, cache: Cached, device: int, number: int, ahead: range | tuple[()]) -> Model:
        """Read a block, and start reading the next ones (breadn); returns the first errno."""
        blocks = [n for n in ahead if n not in cache.blocks] or [number]
        requests = []
        for each in blocks:
            at, data = self._request(cache, device, each, B_READ)
            requests.append((each, at, data))
            yield from self.bdev_strategy(at)
        error = 0
        for each, at, data in requests:
            yield from self._wait(at)
            failed = self._get(at, "error")
            if failed and each == number:
                error = failed
            if not failed:
                left = self._get(at, "resid")
                content = self.kernel.memory.read(data.at, max(cache.size - max(left, 0), 0))
                cache.blocks[each] = bytearray(content)
            data.free("brelse")
            self.putiobuf(at)
        return error

    def _store(self, cache: Cached, device: int, number: int) -> Model:
        """Write a block (bawrite): returns the errno."""
        at, data = self._request(cache, device, number, 0)
        self.kernel.memory.write(data.at, bytes(cache.blocks[number]))
        cache.dirty.discard(number)
        yield from self.bdev_strategy(at)
        yield from self._wait(at)
        error = self._get(at, "error")
        if error:
            del cache.blocks[number]
        data.free("brelse")
        self.putiobuf(at)
        return error

    def flush(self, cache: Cached, device: int) -> Model:
        """Write delayed blocks, and drop all (vinvalbuf); the errors of writes are lost."""
        for number in sorted(cache.dirty):
            yield from self._store(cache, device, number)
        cache.blocks.clear()
        cache.dirty.clear()
