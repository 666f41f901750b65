"""rnd(9), entropy(9), cprng(9): NetBSD sys/kern/kern_entropy.c."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel


class Entropy(Subject):
    """The entropy pool: what was added is remembered, what is drawn comes from the seed."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "sys/kern/kern_entropy.c 1.72": "*",
        "sys/crypto/cprng_fast/cprng_fast.c 1.20": "cprng_fast32 cprng_fast64",
    }

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.added: list[tuple[int, int]] = []  # (bytes, bits claimed)
        self.epoch = 2
        self._rng = kernel.rng.fork("entropy")

    @kernel_function(
        "void rnd_add_data(void *rs, const void *data, uint32_t len, uint32_t entropybits)"
    )
    @kernel_function(
        "void rnd_add_data_sync(void *rs, const void *data, uint32_t len, uint32_t entropybits)"
    )
    def rnd_add_data(self, _source: int, data: int, size: int, bits: int) -> None:
        self.kernel.memory.read(data, size)
        self.added.append((size, bits))

    @kernel_function("int entropy_consolidate(void)")
    def entropy_consolidate(self) -> int:
        self.kernel.rules.may_sleep("entropy_consolidate")
        self.epoch += 1
        self.kernel.trace.emit("entropy.consolidate", epoch=self.epoch)
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
