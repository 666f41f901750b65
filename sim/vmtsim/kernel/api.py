"""The interface of kernel models, and how to add one.

A subject of the kernel's programming interface (condition variables, sysctl, ...) is a class
derived from ``Subject`` in a file of its own in this directory.  A kernel function is one method
with its C prototype::

    class Ticks(Subject):
        @kernel_function("int getticks(void)")
        def getticks(self) -> int:
            return self.kernel.clock.ticks

        @kernel_function("int kpause(const char *wmesg, bool intr, int timo, kmutex_t *mtx)")
        def kpause(self, message: str | None, interruptible: bool, ticks: int, mutex: int) -> Model:
            self.kernel.rules.may_sleep("kpause")
            ...
            yield Block(queue, deadline=...)       # sleep; True when woken, False at deadline
            return EWOULDBLOCK

Arguments are converted by their C types: ``int`` and narrower signed types, ``unsigned``, 64-bit
types and pointers become ``int`` (pointers are addresses), ``bool`` becomes ``bool``, and
``const char *`` becomes ``str | None`` with one character per byte (declare ``const void *`` where
the address itself matters).  ``...`` becomes one ``Arguments`` object and ``va_list`` too.  The
result is converted back: None for void, int or bool otherwise.

A method that never sleeps and never calls back simply returns.  A method that does is a
generator, and yields requests: ``Call(function, arguments)`` runs guest code on the same thread
and returns its 64-bit result; ``Block`` sleeps; ``Preempt()`` lets others run.  A model may use
``yield from`` on other models, and may return a generator instead of being one (the uncontended
case then costs nothing).

Symbols that are data are placed by ``data()``: it yields ``DataSymbol`` objects; the subject finds
their addresses in ``kernel.symbols`` after that.  The helpers that every model needs:

``kernel.memory``     read and write guest memory: words, strings, structures
``kernel.current``    the running ``Lwp``;  ``kernel.clock`` virtual time;  ``kernel.rng`` random
``kernel.rules``      context checks that panic with function, object, holder and source line
``kernel.violation``  a rule was broken in a way that a release kernel survives: the run continues
                      and fails at its end; ``kernel.panic`` if no kernel survives it.  Both
                      take the id of a row in ``rule_table.py``
``kernel.subject(T)`` another subject by its class
``LiveObjects``       objects of modules (vmtsim.kernel.live): finds one for a function, reports
                      an error if there is none, and the objects left at free and unload

``SOURCES``           of the class: NetBSD's source file and revision that the models follow

``machines=`` limits a function to some machines.  State belongs to the subject object, never to
the module or class.
"""

from __future__ import annotations

import re
from functools import cache, cached_property
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar, Union

from vmtgen.common.dataclass import dataclass

from vmtsim.kernel.marshal import Arguments

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence

    from vmtsim.kernel.kernel import Kernel
    from vmtsim.kernel.live import LiveObjects
    from vmtsim.kernel.lwp import WaitQueue

    # The type of a model that sleeps or calls back: ``yield Request`` returns its result.
    Model = Generator["Request", Any, Any]

F = TypeVar("F", bound="Callable[..., Any]")

__all__ = [
    "Arguments",
    "Block",
    "Call",
    "DataSymbol",
    "Model",
    "Parameter",
    "Preempt",
    "Prototype",
    "Request",
    "Subject",
    "kernel_function",
]


@dataclass(frozen=True, slots=True)
class Call:
    """Run guest code: ``yield Call(address, (a, b))`` returns its result as an unsigned word."""

    function: int
    arguments: Sequence[int] = ()


@dataclass(frozen=True, slots=True)
class Block:
    """Sleep on ``queue`` until woken (returns True) or until ``deadline`` in ns (returns False).

    Without a queue only the deadline ends the sleep.  ``what`` is the wait message that
    ps(1) would show.  ``signal`` lets ``kernel.scheduler.interrupt`` end it (returns None).
    """

    queue: WaitQueue | None = None
    deadline: int | None = None
    what: str = ""
    signal: bool = False


@dataclass(frozen=True, slots=True)
class Preempt:
    """Let another thread run, if one is ready; this one stays ready."""


Request = Union[Call, Block, Preempt]  # noqa: UP007 - evaluated at run time on Python 3.10 too


@dataclass(frozen=True, slots=True)
class DataSymbol:
    """A variable of the kernel that modules may refer to by name."""

    name: str
    content: bytes
    writable: bool = True
    align: int = 16


# C type words -> (kind).  Kinds: s8 u8 s16 u16 s32 u32 s64 u64 long ulong ptr str bool void args
# valist.  Sizes of typedefs are those of NetBSD on every machine that the simulator knows.
_TYPES = {
    "void": "void",
    "char": "s8",
    "signed char": "s8",
    "unsigned char": "u8",
    "u_char": "u8",
    "uint8_t": "u8",
    "sa_family_t": "u8",
    "int8_t": "s8",
    "short": "s16",
    "int16_t": "s16",
    "unsigned short": "u16",
    "u_short": "u16",
    "uint16_t": "u16",
    "int": "s32",
    "int32_t": "s32",
    "pri_t": "s32",
    "pid_t": "s32",
    "clockid_t": "s32",
    "modcmd_t": "s32",
    "kmutex_type_t": "u32",
    "km_flag_t": "u32",
    "devclass_t": "u32",
    "krw_t": "u32",
    "unsigned": "u32",
    "unsigned int": "u32",
    "u_int": "u32",
    "uint32_t": "u32",
    "uid_t": "u32",
    "gid_t": "u32",
    "in_addr_t": "u32",
    "long": "long",
    "ssize_t": "long",
    "intptr_t": "long",
    "ptrdiff_t": "long",
    "unsigned long": "ulong",
    "u_long": "ulong",
    "size_t": "ulong",
    "uintptr_t": "ulong",
    "vaddr_t": "ulong",
    "paddr_t": "ulong",
    "psize_t": "ulong",
    "long long": "s64",
    "int64_t": "s64",
    "intmax_t": "s64",
    "time_t": "s64",
    "off_t": "s64",
    "unsigned long long": "u64",
    "uint64_t": "u64",
    "uintmax_t": "u64",
    "u_quad_t": "u64",
    "kauth_action_t": "u64",
    "quad_t": "s64",
    "dev_t": "u64",
    "bool": "bool",
    "boolean_t": "bool",
    # Typedefs of pointers.
    "device_t": "ptr",
    "cfdata_t": "ptr",
    "kauth_cred_t": "ptr",
    "sysctlfn": "ptr",
    "prop_dictionary_t": "ptr",
    "prop_object_t": "ptr",
    "prop_string_t": "ptr",
    "prop_number_t": "ptr",
    "prop_bool_t": "ptr",
    "prop_array_t": "ptr",
    "devhandle_t": "ptr",
    "va_list": "valist",
}


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of a prototype."""

    name: str
    kind: str


class Prototype:
    """A C prototype with named parameters.  ``varargs`` is true for a trailing ``...``.

    It is parsed when more than its name is needed, which is so for the few functions that a
    module imports; a wrong one raises PrototypeError then.
    """

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        self.name = self.text.partition("(")[0].replace("*", " ").rstrip().rpartition(" ")[2]

    @cached_property
    def _parts(self) -> tuple[str, list[str]]:
        """The type of the result, and the parameters as texts."""
        head, parenthesis, rest = self.text.partition("(")
        result = head.rstrip().removesuffix(self.name)
        if not parenthesis or not rest.endswith(")") or result[-1:] not in {" ", "*"}:
            raise PrototypeError(f"not a C prototype: {self.text!r}")
        inside = rest[:-1]
        return result.strip(), [] if inside in {"", "void"} else _split(inside)

    @cached_property
    def returns(self) -> str:
        """The kind of its result."""
        kind = _kind(self._parts[0], self.text)
        return "ptr" if kind == "str" else kind

    @cached_property
    def varargs(self) -> bool:
        """Whether it accepts unnamed arguments."""
        return self._parts[1][-1:] == ["..."]

    @cached_property
    def parameters(self) -> tuple[Parameter, ...]:
        """The named parameters."""
        words = self._parts[1]
        return tuple(_parameter(each, self.text) for each in words[: len(words) - self.varargs])


class PrototypeError(ValueError):
    """A prototype that does not parse: an error in a model."""


def _split(text: str) -> list[str]:
    """Split a parameter list at its outer commas."""
    parts, depth, start = [], 0, 0
    for position, character in enumerate(text):
        if character == "(":
            depth += 1
        elif character == ")":
            depth -= 1
        elif character == "," and not depth:
            parts.append(text[start:position])
            start = position + 1
    parts.append(text[start:])
    return [part.strip() for part in parts]


def _kind(text: str, prototype: str) -> str:
    known = _kind_of(text)
    if not known:
        raise PrototypeError(f"type {text!r} in {prototype!r} is unknown: add it to api._TYPES")
    return known


@cache
def _kind_of(text: str) -> str:
    """Return the kind of a type, "" if it is unknown."""
    words = [word for word in text.split() if word not in {"struct", "enum", "volatile", "__dead"}]
    if "*" in text:
        return "str" if "".join(words) in {"constchar*", "constchar*restrict"} else "ptr"
    return _TYPES.get(" ".join(word for word in words if word != "const"), "")


_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_"


def _parameter(text: str, prototype: str) -> Parameter:
    if "(" in text:
        pointer = re.search(r"\(\s*\*\s*(\w+)\s*\)", text)
        if pointer:
            return Parameter(pointer[1], "ptr")
    array = "*" if text.endswith("]") else ""
    if array:
        text = text.rpartition("[")[0].rstrip()
    kind = text.rstrip(_NAME)
    name = text[len(kind) :]
    if not name or kind[-1:] not in {" ", "*"}:
        raise PrototypeError(f"parameter {text!r} of {prototype!r} has no name")
    return Parameter(name, _kind(kind.strip() + array, prototype))


def kernel_function(prototype: str, *, machines: Iterable[str] | None = None) -> Callable[[F], F]:
    """Mark a method of a ``Subject`` as the model of the kernel function with this prototype.

    May be given more than once, for functions with the same behaviour.
    """
    parsed = Prototype(prototype)
    where = None if machines is None else frozenset(machines)

    def mark(method: F) -> F:
        listed = getattr(method, "kernel_functions", ())
        method.kernel_functions = (*listed, (parsed, where))  # type: ignore[attr-defined]
        return method

    return mark


@cache
def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


class Subject:
    """A part of the kernel.  Subclasses hold state and the models of their functions.

    ``SOURCES`` maps a file of NetBSD's sources and the revision that was read, as
    "sys/kern/kern_synch.c 1.366", to the functions whose models follow it: names with blanks, or
    "*" for all that no other file names.  An installed header has no revision: "of 2025".
    """

    SOURCES: ClassVar[Mapping[str, str]] = {}
    # For ``--races``, in each class that has models: a lock that the kernel takes inside functions,
    # to the functions that it orders, as in SOURCES.  "NAME reader": as one of several readers.
    # Locks that a model takes itself are not listed.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    # The functions that access memory that the caller's arguments point at, as in SOURCES; others
    # keep their own state in objects of the caller, such as a kmutex_t, and order that themselves.
    ACCESSES_DATA: ClassVar[str] = ""

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.registries: list[LiveObjects[Any]] = []  # filled by LiveObjects itself

    def data(self) -> Iterator[DataSymbol]:
        """Yield the variables that modules may refer to."""
        yield from ()

    def boot(self) -> None:
        """Initialise this subject as the kernel does, before any process runs."""

    def check_unload(self, module: str) -> None:
        """Report objects that ``module`` left, after its unload; each registry reports its own."""
        for registry in self.registries:
            registry.check_unload(module)

    @classmethod
    def source(cls, function: str) -> str:
        """Return the file and revision that a function's model follows; "" if none is known."""
        for source, names in cls.SOURCES.items():
            if function in names.split():
                return source
        return next((source for source, names in cls.SOURCES.items() if names == "*"), "")

    @classmethod
    def locks(cls, function: str) -> list[str]:
        """Return the locks of SERIALIZED that order a function."""
        listed = [lock for lock, names in cls.SERIALIZED.items() if function in names.split()]
        return listed or [lock for lock, names in cls.SERIALIZED.items() if names == "*"]

    @classmethod
    def accesses_data(cls, function: str) -> bool:
        """Whether a function accesses data that its caller points to."""
        return cls.ACCESSES_DATA == "*" or function in _words(cls.ACCESSES_DATA)

    @classmethod
    def functions(cls) -> Iterator[tuple[Prototype, frozenset[str] | None, str]]:
        """Yield (prototype, machines, method name) of all models of the class."""
        methods = {
            name: each for base in reversed(cls.__mro__) for name, each in vars(base).items()
        }
        for name in sorted(methods):
            for prototype, machines in getattr(methods[name], "kernel_functions", ()):
                yield prototype, machines, name

    @classmethod
    @cache
    def models(cls) -> tuple[tuple[Prototype, frozenset[str] | None, str], ...]:
        """Return the result of ``functions``, which is the same for every kernel."""
        return tuple(cls.functions())
