"""evcnt(9): event counters that vmstat -e shows (NetBSD sys/kern/subr_evcnt.c)."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.dataclass import dataclass

from vmtsim.cpu import CpuFault
from vmtsim.kernel.api import DataSymbol, Subject, kernel_function
from vmtsim.kernel.live import LiveObjects, Words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from vmtsim.kernel.kernel import Kernel

_TYPES = ("misc", "intr", "trap")
_STRING_MAX = 255  # EVCNT_STRING_MAX: with the NUL


@dataclass(frozen=True)
class _Layout:
    """Offsets in struct evcnt, after a 64-bit count at 0 and a list entry of two pointers at 8."""

    type: int
    grouplen: int
    namelen: int
    parent: int
    group: int
    name: int


_LAYOUT = {8: _Layout(24, 25, 26, 32, 40, 48), 4: _Layout(16, 17, 18, 20, 24, 28)}


@dataclass(frozen=True)
class Counter:
    """A counter as vmstat(1) shows it; ``kind`` is misc, intr or trap."""

    group: str
    name: str
    kind: str
    count: int

    def __str__(self) -> str:
        return f"{self.group} {self.name} {self.count} {self.kind}"


@dataclass(frozen=True, slots=True)
class Attached:
    """A struct evcnt in the list, and its creator."""

    address: int
    made_at: int


class EventCounters(Subject):
    """The list ``allevents``, to which modules add their counters."""

    SOURCES: ClassVar[Mapping[str, str]] = {"sys/kern/subr_evcnt.c 1.17": "*"}
    SERIALIZED: ClassVar[Mapping[str, str]] = {"evcnt_lock": "*"}
    ACCESSES_DATA = ""

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self.layout = _LAYOUT[kernel.memory.pointer_size]
        self.attached: LiveObjects[Attached] = LiveObjects(  # in the order of the list
            self,
            Words("event counter", "attached", "detached"),
            unknown="evcnt-not-attached",
            twice="evcnt-attached-twice",
            freed="evcnt-freed-attached",
            left="evcnt-not-detached",
            name=lambda counter: self._name(counter.address),
        )

    def data(self) -> Iterator[DataSymbol]:
        """Yield the list's head: first element, and where the last one's link is."""
        yield DataSymbol("allevents", bytes(2 * self.kernel.memory.pointer_size))

    def boot(self) -> None:
        """Initialise the list as empty."""
        self._link()

    def _name(self, event: int) -> str:
        """Return a counter's name in quotes, or its address: its memory may be freed."""
        memory = self.kernel.memory
        try:
            return repr(memory.string(memory.pointer(event + self.layout.name)))
        except CpuFault:
            return f"in {self.kernel.describe(event)}"

    def _link(self) -> None:
        """Write the tail queue into guest memory."""
        memory, size = self.kernel.memory, self.kernel.memory.pointer_size
        link = self.kernel.symbols["allevents"]
        for event in self.attached:
            memory.put_pointer(link, event)
            memory.put_pointer(event + 8 + size, link)
            link = event + 8
        memory.put_pointer(link, 0)
        memory.put_pointer(self.kernel.symbols["allevents"] + size, link)

    def _string(self, address: int, what: str, event: int) -> str:
        kernel = self.kernel
        try:
            return kernel.memory.string(address)
        except CpuFault:
            counter = self.attached.get(event)
            site = kernel.location(counter.made_at if counter is not None else 0)
            kernel.panic(
                "evcnt-string-gone",
                f"the {what} of the event counter at {kernel.describe(event)} that {site} "
                f"attached is at {kernel.describe(address)}: the kernel keeps the pointer, not "
                "the text",
                site,
            )

    def read(self) -> list[Counter]:
        """Return all counters as vmstat -e reads them, in the order of their attachment."""
        memory, layout = self.kernel.memory, self.layout
        return [
            Counter(
                self._string(memory.pointer(event + layout.group), "group", event),
                self._string(memory.pointer(event + layout.name), "name", event),
                dict(enumerate(_TYPES)).get(memory.u8(event + layout.type), "?"),
                memory.u64(event),
            )
            for event in self.attached
        ]

    def counts(self) -> Iterator[tuple[str, int]]:
        """Yield the name and count of all counters; not those whose memory is freed."""
        memory = self.kernel.memory
        for event in self.attached:
            with suppress(CpuFault):
                yield (
                    memory.string(memory.pointer(event + self.layout.name)),
                    memory.u64(event),
                )

    # -- functions ---------------------------------------------------------------------------

    def _attach(self, function: str, event: int) -> None:
        kernel = self.kernel
        memory, layout = kernel.memory, self.layout
        kernel.rules.may_sleep(function, softint=True)
        group = memory.pointer(event + layout.group)
        name = memory.pointer(event + layout.name)
        self.attached.check_new(function, event)
        if memory.u8(event + layout.type) >= len(_TYPES):
            kernel.violation(
                "evcnt-type",
                f"{function} by {kernel.where()}: type {memory.u8(event + layout.type)} is none of "
                "EVCNT_TYPE_MISC 0, _INTR 1, _TRAP 2",
            )
        for what, address, place in (
            ("group", group, layout.grouplen),
            ("name", name, layout.namelen),
        ):
            length = len(memory.cstring(address))
            if not 0 < length < _STRING_MAX:
                kernel.panic(
                    "evcnt-string",
                    f"{function} by {kernel.where()}: the {what} of the event counter at "
                    f"{kernel.describe(event)} has {length} characters, not 1 to "
                    f"{_STRING_MAX - 1}",
                )
            memory.put_u8(event + place, length)
        self.attached.add(function, event, Attached(event, kernel.call_site))
        self._link()

    def _fill(self, event: int, kind: int, parent: int, group: int, name: int) -> None:
        memory, layout = self.kernel.memory, self.layout
        memory.put_u8(event + layout.type, kind)
        memory.put_pointer(event + layout.parent, parent)
        memory.put_pointer(event + layout.group, group)
        memory.put_pointer(event + layout.name, name)

    @kernel_function(
        "void evcnt_attach_dynamic(struct evcnt *ev, int type, const struct evcnt *parent, "
        "const void *group, const void *name)"
    )
    def evcnt_attach_dynamic(
        self, event: int, kind: int, parent: int, group: int, name: int
    ) -> None:
        if event not in self.attached:
            self.kernel.memory.put_u64(event, 0)
            self._fill(event, kind, parent, group, name)
        self._attach("evcnt_attach_dynamic", event)

    @kernel_function(
        "void evcnt_attach_dynamic_nozero(struct evcnt *ev, int type, "
        "const struct evcnt *parent, const void *group, const void *name)"
    )
    def evcnt_attach_dynamic_nozero(
        self, event: int, kind: int, parent: int, group: int, name: int
    ) -> None:
        if event not in self.attached:
            self._fill(event, kind, parent, group, name)
        self._attach("evcnt_attach_dynamic_nozero", event)

    @kernel_function("void evcnt_attach_static(struct evcnt *ev)")
    def evcnt_attach_static(self, event: int) -> None:
        self._attach("evcnt_attach_static", event)

    @kernel_function("void evcnt_detach(struct evcnt *ev)")
    def evcnt_detach(self, event: int) -> None:
        self._detach("evcnt_detach", event)

    def _detach(self, function: str, event: int) -> None:
        self.kernel.rules.may_sleep(function)
        self.attached.find(function, event)
        self.attached.remove(event)
        self._link()

    # -- modules -------------------------------------------------------------------------------

    def attach_set(self, events: Iterable[int]) -> None:
        """Attach the link set ``evcnts`` of a module that is loaded (module_load_evcnt)."""
        for event in events:
            self._attach("module_load_evcnt", event)

    def detach_set(self, events: Iterable[int]) -> None:
        """Detach the link set of a module at its unload (module_unload_evcnt).

        The kernel does not check whether the module has already done so: a panic.
        """
        for event in events:
            self._detach("module_unload_evcnt", event)

    def check_unload(self, module: str) -> None:
        """Report counters that were left in the list, and remove them."""
        super().check_unload(module)
        self._link()
