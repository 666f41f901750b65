"""Objects that modules have made and not yet destroyed: one registry for every kind of object.

A subject keeps its objects in a ``LiveObjects``, which finds them for the kernel's functions,
reports what happened to a missing one, and reports what is left when memory is freed or a module is
unloaded.  The rules that it reports are given by their ids (vmtsim.kernel.rule_table); "" makes no
check.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn, Protocol, TypeVar

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.kmem import Kmem

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Subject
    from vmtsim.kernel.facts import Place


class Made(Protocol):
    """An object and the call site of the guest code that made it; 0: the kernel made it."""

    @property
    def made_at(self) -> int:
        """The call site."""


T = TypeVar("T", bound=Made)


@dataclass(frozen=True, slots=True)
class Site:
    """An object of which only the creator is known."""

    made_at: int


@dataclass(frozen=True, slots=True)
class Words:
    """The words for messages about the objects: "the MUTEX at ... was never INITIALISED"."""

    noun: str
    made: str = "made"
    destroyed: str = "destroyed"


class LiveObjects(dict[int, T]):
    """The objects of one kind, by their address (or the cookie that represents it).

    ``unknown`` is the rule of a function that gets no such object, ``twice`` of one that makes an
    object where one is, ``freed`` of memory that is freed with an object in it, ``left`` of a
    module that is unloaded and leaves one.  ``fatal`` makes ``left`` a panic: the kernel would run
    unloaded code.  ``name`` returns an object's name, such as "'vmtworker'".
    """

    def __init__(
        self,
        subject: Subject,
        words: Words,
        *,
        unknown: str = "",
        twice: str = "",
        freed: str = "",
        left: str = "",
        fatal: bool = False,
        name: Callable[[T], str] = lambda _found: "",
        in_memory: bool = True,
    ) -> None:
        super().__init__()
        self._kernel = subject.kernel
        self._words = words
        self._unknown, self._twice, self._freed, self._left = unknown, twice, freed, left
        self._fatal = fatal
        self._name = name
        self._in_memory = in_memory
        self._gone: dict[int, int] = {}  # address -> the code that destroyed the object
        if freed:
            subject.kernel.subject(Kmem).on_free.append(self._check_free)
        if left:
            subject.registries.append(self)

    # -- words -------------------------------------------------------------------------------

    def at(self, address: int) -> str:
        """Return an object's address, in words."""
        return f"at {self._kernel.describe(address)}" if self._in_memory else f"{address:#x}"

    def made(self, found: T) -> Place:
        """Return the code that made an object."""
        return self._kernel.location(found.made_at)

    # -- for functions of the kernel ---------------------------------------------------------

    def find(self, function: str, address: int) -> T:
        """Return the object at ``address``; panic if there is none."""
        found = self.get(address)
        if found is None:
            self.missing(function, address)
        return found

    def missing(self, function: str, address: int) -> NoReturn:
        """Panic: ``function`` got an address without an object."""
        kernel, words = self._kernel, self._words
        if self._in_memory:
            kernel.memory.pointer(address)  # a fault is more precise if the memory is unmapped
        gone = self._gone.get(address)
        state = (
            f"was {words.destroyed} by {kernel.location(gone)}"
            if gone
            else f"was never {words.made}"
        )
        kernel.panic(
            self._unknown,
            f"{function} by {kernel.where()}: the {words.noun} {self.at(address)} {state}",
        )

    def check_new(self, function: str, address: int) -> None:
        """Panic if there already is an object."""
        old = self.get(address)
        if old is not None and self._twice:
            kernel, words = self._kernel, self._words
            kernel.panic(
                self._twice,
                f"{function} by {kernel.where()}: the {words.noun} {self.at(address)} is already "
                f"{words.made}, by {self.made(old)}",
            )

    def add(self, function: str, address: int, found: T) -> None:
        """Add a new object; panic if there already is one."""
        self.check_new(function, address)
        self[address] = found
        self._gone.pop(address, None)

    def remove(self, address: int) -> T:
        """Remove an object that the running function destroys; the code that did is recorded."""
        self._gone[address] = self._kernel.call_site
        return self.pop(address)

    def inside(self, start: int, end: int) -> list[tuple[int, T]]:
        """Return the objects in a range of memory."""
        return [(address, found) for address, found in self.items() if start <= address < end]

    # -- leftovers ---------------------------------------------------------------------------

    def _check_free(self, start: int, end: int, function: str) -> None:
        """Panic for memory that is freed with an object in it."""
        if not self:
            return
        kernel, words = self._kernel, self._words
        for address, found in self.inside(start, end):
            kernel.panic(
                self._freed,
                f"{function} by {kernel.where()}: the {words.noun} {self.at(address)}, "
                f"{words.made} by {self.made(found)}, was not {words.destroyed}",
            )

    def check_unload(self, module: str) -> None:
        """Report the objects that a module left, and remove them."""
        kernel, words = self._kernel, self._words
        for address, found in list(self.items()):
            if not found.made_at or kernel.loaded_at(found.made_at) is not None:
                continue
            del self[address]
            name = self._name(found)
            place = self.made(found)
            report = kernel.panic if self._fatal else kernel.violation
            report(
                self._left,
                f"module {module} is unloaded, but the {words.noun}{' ' if name else ''}{name} "
                f"{words.made} by {place} was not {words.destroyed}",
                place,
            )
