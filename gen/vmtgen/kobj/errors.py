"""The messages of the kernel's module loader when it refuses a module."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import ReportedError

if TYPE_CHECKING:
    from vmtgen.kobj.model import Relocation


@dataclass(frozen=True)
class Message:
    """One console line of the loader.

    `function` is the C function that kobj_out() names and `line` its source line in
    NetBSD 10.99.12 (sys/kern/subr_kobj.c 1.78); both are None where the kernel uses a
    plain printf.
    """

    text: str
    function: str | None = None
    line: int | None = None

    def console(self, name: str) -> str:
        """Return the line as the console shows it for the object called `name`."""
        if self.function is None:
            return self.text
        return f"{self.function}, {self.line}: [{name}]: linker error: {self.text}"


class KobjError(ReportedError):
    """The kernel refuses the module; str() is its messages, one per line.

    `errno` is the name of the error that modctl(2) returns, for example 'ENOEXEC';
    `relocation` is the one that cannot be applied, where that is the reason.
    """

    def __init__(
        self, *messages: Message, errno: str = "ENOEXEC", relocation: Relocation | None = None
    ) -> None:
        self.messages = messages
        self.errno = errno
        self.relocation = relocation
        super().__init__("\n".join(message.text for message in messages))

    def console(self, name: str) -> tuple[str, ...]:
        """Return the console lines for the object called `name`, in the kernel's order."""
        return tuple(message.console(name) for message in self.messages)


class KobjPanicError(KobjError):
    """The kernel does not refuse the module: it panics, or the call never returns.

    str() is the panic message, or a description of the hang.
    """

    def __init__(self, text: str, relocation: Relocation | None = None) -> None:
        super().__init__(Message(text), errno="EFAULT", relocation=relocation)
