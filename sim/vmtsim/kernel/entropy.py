"""rnd(9), entropy(9), cprng(9): NetBSD sys/kern/kern_entropy.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.api import Block, Call, Subject, kernel_function
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.errors import Errno
from vmtsim.kernel.live import LiveObjects, Words
from vmtsim.kernel.lwp import WaitQueue

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.api import Model
    from vmtsim.kernel.kernel import Kernel


# struct krndsource of sys/sys/rndsource.h: where its callback is, by the size of a word.
_GET = {8: 144, 4: 124}
_HAS_CALLBACK = 0x800  # RND_FLAG_HASCB of sys/sys/rndio.h
_CAPACITY = 32  # ENTROPY_CAPACITY of sys/sys/entropy.h: bytes that the pool needs


@dataclass(frozen=True)
class Source:
    """An attached struct krndsource."""

    made_at: int
    name: str


class Entropy(Subject):
    """The entropy pool: added data is recorded, drawn data comes from the seed.

    ``needed`` is whether the kernel considers the pool empty (E->bitsneeded), ``gathered`` whether
    its sources have delivered something since.
    """

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_entropy.c 1.72": "*",
        "sys/crypto/cprng_fast/cprng_fast.c 1.20": "cprng_fast32 cprng_fast64",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {
        "E->lock": (
            "entropy_consolidate entropy_gather entropy_reset rnd_attach_source rnd_detach_source"
        )
    }
    ACCESSES_DATA = "rnd_add_data rnd_add_data_sync"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.sources: LiveObjects[Source] = LiveObjects(
            self,
            Words("entropy source", "attached", "detached"),
            unknown="rnd-source-unknown",
            twice="rnd-source-twice",
            freed="rnd-source-freed",
            left="rnd-source-left",
            name=lambda source: repr(source.name),
        )
        self._get = _GET[kernel.memory.pointer_size]
        self.added: list[tuple[int, int]] = []  # (bytes, bits claimed)
        self.epoch = 2
        self.needed = False
        self.gathered = False
        self._rng = kernel.rng.fork("entropy")
        self._thread = kernel.rng.fork("entropy thread")
        self._rested = 0  # when the kernel's entropy thread may start its next round
        self._round: int | None = None  # when the round starts that callers wait for
        self._waiting = WaitQueue("entropy")

    @kernel_function(
        "void rnd_add_data(void *rs, const void *data, uint32_t len, uint32_t entropybits)"
    )
    @kernel_function(
        "void rnd_add_data_sync(void *rs, const void *data, uint32_t len, uint32_t entropybits)"
    )
    def rnd_add_data(self, source: int, data: int, size: int, bits: int) -> None:
        """Add data; without a source it takes an adaptive mutex: not allowed with a spin mutex
        held.
        """
        kernel = self.kernel
        if source:
            self.sources.find("rnd_add_data", source)
        elif not kernel.current.in_softint:
            kernel.rules.may_sleep("rnd_add_data")
        if -(-bits // 8) > size:
            kernel.violation(
                "rnd-bits",
                f"rnd_add_data by {kernel.where()}: {bits} bits of entropy in {size} bytes",
            )
        self.kernel.memory.read(data, size)
        self.added.append((size, bits))

    @kernel_function("void rnd_add_uint32(void *rs, uint32_t value)")
    def rnd_add_uint32(self, source: int, _value: int) -> None:
        """Add 32 bits from any context; their entropy is estimated."""
        self.sources.find("rnd_add_uint32", source)
        self.added.append((4, 0))

    @kernel_function("void rndsource_setcb(void *rs, void *get, void *getarg)")
    def rndsource_setcb(self, source: int, function: int, argument: int) -> None:
        memory = self.kernel.memory
        memory.put_pointer(source + self._get, function)
        memory.put_pointer(source + self._get + memory.pointer_size, argument)

    @kernel_function(
        "void rnd_attach_source(void *rs, const char *name, uint32_t type, uint32_t flags)"
    )
    def rnd_attach_source(self, source: int, name: str | None, _type: int, flags: int) -> Model:
        """Attach a source, and call its callback if it has one."""
        kernel, memory = self.kernel, self.kernel.memory
        kernel.rules.may_sleep("rnd_attach_source")
        function = memory.pointer(source + self._get) if flags & _HAS_CALLBACK else 0
        if not name or bool(flags & _HAS_CALLBACK) != bool(function):
            kernel.panic(
                "rnd-source-name",
                f"rnd_attach_source by {kernel.where()}: "
                + ("RND_FLAG_HASCB without a callback" if name else "an empty name"),
            )
        self.sources.add("rnd_attach_source", source, Source(kernel.call_site, name))
        if function:
            argument = memory.pointer(source + self._get + memory.pointer_size)
            yield Call(function, (_CAPACITY, argument))

    @kernel_function("void rnd_detach_source(void *rs)")
    def rnd_detach_source(self, source: int) -> None:
        """Detach it; waits for callbacks in progress."""
        self.kernel.rules.may_sleep("rnd_detach_source")
        self.sources.find("rnd_detach_source", source)
        self.sources.remove(source)

    @kernel_function("void entropy_reset(void)")
    def entropy_reset(self) -> None:
        """Consider the pool empty; its data stays (xc_broadcast may sleep)."""
        self.kernel.rules.may_sleep("entropy_reset")
        self.needed, self.gathered = True, False
        self.kernel.trace.emit("entropy.reset")

    @kernel_function("int entropy_gather(void)")
    def entropy_gather(self) -> int:
        """Call the sources; their data counts after the next consolidation."""
        self.kernel.rules.may_sleep("entropy_gather")
        self.gathered = True
        self.kernel.trace.emit("entropy.gather")
        return 0

    @kernel_function("int entropy_consolidate(void)")
    def entropy_consolidate(self) -> Model:
        """Wait for a round of the kernel's entropy thread.

        entropy_thread() rests a second after each round, and starts rounds by itself whenever the
        processors have enough samples: the wait is up to a second, even for the first call.  All
        waiters share the same round.  A signal ends the wait (cv_wait_sig).
        """
        kernel = self.kernel
        kernel.rules.may_sleep("entropy_consolidate")
        now = kernel.clock.now
        if self._round is None:
            self._round = max(self._rested, now + self._thread.below(SECOND))
        due = self._round
        if (yield Block(self._waiting, due, what="entropy", signal=True)) is None:
            return Errno.EINTR
        if self._round == due:
            self._round = None
            self._rested = due + SECOND
            self.epoch += 1
            self.needed = self.needed and not self.gathered
            kernel.trace.emit("entropy.consolidate", epoch=self.epoch)
        return 0

    @kernel_function("unsigned entropy_epoch(void)")
    def entropy_epoch(self) -> int:
        return self.epoch

    @kernel_function("uint32_t cprng_fast32(void)")
    def cprng_fast32(self) -> int:
        return self._rng.below(1 << 32)

    @kernel_function("uint64_t cprng_fast64(void)")
    def cprng_fast64(self) -> int:
        return self._rng.bits64()
