"""module_do_load(): the kernel's checks of a module's information before it links the module.

From NetBSD sys/kern/kern_module.c, in its order.  The linter lists all failed checks; the
simulated kernel stops at the first.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.kobj.errors import KobjError, KobjPanicError, Message

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vmtgen.kobj.model import ModInfo

MAXMODNAME = 32  # with the NUL, NetBSD sys/sys/module.h
CLASSES = range(1, 7)  # MODULE_CLASS_MISC to MODULE_CLASS_BUFQ
ENOENT = 2


class AdmissionError(KobjError):
    """module_error() and the errno; str() is the text without its prefix."""

    def __init__(self, text: str, errno: str) -> None:
        super().__init__(Message(text), errno=errno)
        self.text = text

    def console(self, name: str) -> tuple[str, ...]:  # noqa: ARG002 - module_error() names no object
        """Return the console line."""
        return (f"WARNING: module error: {self.text}",)


def own_refusals(info: ModInfo) -> Iterator[AdmissionError]:
    """Yield the errors in the module's own name and class."""
    if info.name_length >= MAXMODNAME:
        yield AdmissionError(f"module name `{info.name}' longer than {MAXMODNAME}", "EINVAL")
    if info.module_class not in CLASSES:
        yield AdmissionError(
            f"module `{info.name}' has invalid class {info.module_class}", "EINVAL"
        )


def version_refusals(info: ModInfo, version: int) -> Iterator[AdmissionError]:
    """Yield an error if a kernel of that __NetBSD_Version__ refuses it: module_compatible()."""
    if not info.accepted_by(version):
        yield AdmissionError(
            f"module `{info.name}' built for `{info.version_signed}', system `{version}'",
            "EPROGMISMATCH",
        )


def name_refusals(info: ModInfo, active: Callable[[str], bool]) -> Iterator[AdmissionError]:
    """Yield an error if a module of that name is `active`: loaded or built in."""
    if active(info.name):
        yield AdmissionError(f"module with name `{info.name}' already loaded", "EEXIST")


def required_refusals(info: ModInfo, found: Callable[[str], bool]) -> Iterator[AdmissionError]:
    """Yield the errors in the required modules; `found` returns whether a module exists.

    Raises KobjPanicError where the list's pointer is invalid.
    """
    if info.required_fault:
        raise KobjPanicError(info.required_fault)
    for name in info.required:
        if len(name.encode()) + 1 >= MAXMODNAME:
            yield AdmissionError(
                f"required module name `{info.required_text}' longer than {MAXMODNAME}", "EINVAL"
            )
        elif name == info.name:
            yield AdmissionError(f"self-dependency detected for `{info.name}'", "EDEADLK")
        elif not found(name):
            yield AdmissionError(
                f"recursive load failed for `{info.name}' (`{name}' required), error {ENOENT}",
                "ENOENT",
            )
