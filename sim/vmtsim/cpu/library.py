"""libunicorn through its C interface, which include/unicorn/unicorn.h of the package declares.

The package's Python binding imports tables of nine processors and, to find the library, inspect,
zipfile and tempfile: a sixth of the code that a short run loads.  The simulator calls the library
itself for everything that is frequent, so it needs little more to do without the binding: only its
tables of constants are read.  tests/sim/test_library.py compares the two.
"""

from __future__ import annotations

import ctypes
import os
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

_FILE = "libunicorn.2.dylib" if sys.platform == "darwin" else "libunicorn.so.2"
_WIDEST = 8  # words of 64 bits in the widest register


def _package() -> Path:
    """Return the directory of the package ``unicorn``; ModuleNotFoundError without one."""
    found = PathFinder.find_spec("unicorn")
    places = None if found is None else found.submodule_search_locations
    if not places:
        import unicorn  # noqa: PLC0415 - says that it is missing, or is found in another way

        places = unicorn.__path__
    return Path(places[0])


_PLACE = _package()


def constants(name: str) -> Any:
    """Return a table of the package, such as ``x86_const``, without importing the package."""
    loader = SourceFileLoader(f"unicorn.{name}", str(_PLACE / f"{name}.py"))
    table = ModuleType(loader.name)
    loader.exec_module(table)
    return table


uc = constants("unicorn_const")


def _path() -> str:
    """Return the file of the library; the binding also knows the less usual places."""
    path = _PLACE / "lib" / _FILE
    if "LIBUNICORN_PATH" in os.environ or not path.exists():
        from unicorn.unicorn_py3.unicorn import uclib  # noqa: PLC0415

        return str(uclib._name)  # noqa: SLF001
    return str(path)


PATH = _path()
LIBRARY = ctypes.CDLL(PATH)
FAST = ctypes.PyDLL(PATH)
"""For functions that take microseconds and call no Python code: it keeps Python's lock."""


class _Region(ctypes.Structure):
    """uc_mem_region."""

    _fields_ = (("begin", ctypes.c_uint64), ("end", ctypes.c_uint64), ("perms", ctypes.c_uint32))


class Block(ctypes.Structure):
    """uc_tb: a translated block; ``size`` in bytes."""

    _fields_ = (("pc", ctypes.c_uint64), ("icount", ctypes.c_uint16), ("size", ctypes.c_uint16))


class SystemRegister(ctypes.Structure):
    """uc_arm64_cp_reg: the register of an MRS."""

    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("crn", "crm", "op0", "op1", "op2")),
        ("val", ctypes.c_uint64),
    )


class Translation(ctypes.Structure):
    """uc_tlb_entry: the physical address of a page, and what may be done there."""

    _fields_ = (("paddr", ctypes.c_uint64), ("perms", ctypes.c_uint32))


_ENGINE = ctypes.c_void_p
_INT, _U32, _U64 = ctypes.c_int, ctypes.c_uint32, ctypes.c_uint64
_POINTER = ctypes.c_void_p

# The callbacks of hooks; the last argument is that of uc_hook_add().
INVALID_MEMORY = ctypes.CFUNCTYPE(
    ctypes.c_bool, _ENGINE, _INT, _U64, _INT, ctypes.c_int64, _POINTER
)
MEMORY = ctypes.CFUNCTYPE(None, _ENGINE, _INT, _U64, _INT, ctypes.c_int64, _POINTER)
INVALID_INSTRUCTION = ctypes.CFUNCTYPE(ctypes.c_bool, _ENGINE, _POINTER)
EDGE = ctypes.CFUNCTYPE(
    None, _ENGINE, ctypes.POINTER(Block), ctypes.POINTER(Block), _POINTER
)  # fmt: skip
IN = ctypes.CFUNCTYPE(_U32, _ENGINE, _U32, _INT, _POINTER)
OUT = ctypes.CFUNCTYPE(None, _ENGINE, _U32, _INT, _U32, _POINTER)
CPUID = ctypes.CFUNCTYPE(_U32, _ENGINE, _POINTER)
TRANSLATION = ctypes.CFUNCTYPE(
    ctypes.c_bool, _ENGINE, _U64, _INT, ctypes.POINTER(Translation), _POINTER
)
SYSTEM = ctypes.CFUNCTYPE(_U32, _ENGINE, _U32, ctypes.POINTER(SystemRegister), _POINTER)

# Each returns a uc_err.  uc_ctl() and uc_hook_add() have more arguments, which callers convert.
_PROTOTYPES = {
    "close": (_ENGINE,),
    "context_alloc": (_ENGINE, _POINTER),
    "context_free": (_POINTER,),
    "context_restore": (_ENGINE, _POINTER),
    "context_save": (_ENGINE, _POINTER),
    "ctl": (_ENGINE, _INT),
    "emu_start": (_ENGINE, _U64, _U64, _U64, ctypes.c_size_t),
    "emu_stop": (_ENGINE,),
    "free": (_POINTER,),
    "hook_add": (_ENGINE, _POINTER, _INT, _POINTER, _POINTER, _U64, _U64),
    "mem_map": (_ENGINE, _U64, _U64, _U32),
    "mem_map_ptr": (_ENGINE, _U64, _U64, _U32, _POINTER),
    "mem_protect": (_ENGINE, _U64, _U64, _U32),
    "mem_read": (_ENGINE, _U64, _POINTER, _U64),
    "mem_regions": (_ENGINE, _POINTER, _POINTER),
    "mem_unmap": (_ENGINE, _U64, _U64),
    "mem_write": (_ENGINE, _U64, ctypes.c_char_p, _U64),
    "open": (_U32, _U32, _POINTER),
    "reg_read": (_ENGINE, _INT, _POINTER),
    "reg_write": (_ENGINE, _INT, _POINTER),
}
for _name, _arguments in _PROTOTYPES.items():
    getattr(LIBRARY, f"uc_{_name}").argtypes = _arguments
LIBRARY.uc_strerror.argtypes = (_INT,)
LIBRARY.uc_strerror.restype = ctypes.c_char_p


def pointer(address: int | None) -> Any:
    """Return an argument that needs no conversion when it is used, unlike a c_void_p."""
    return ctypes.c_void_p.from_param(address)


def reason(error: int) -> str:
    """Return the library's text for a uc_err."""
    return str(LIBRARY.uc_strerror(error).decode())


def check(error: int) -> None:
    """RuntimeError for any uc_err but UC_ERR_OK: the simulator asked for the impossible."""
    if error:
        raise RuntimeError(f"unicorn: {reason(error)}")


class Context:
    """All registers of a processor."""

    def __init__(self, handle: Any) -> None:
        self.place = ctypes.c_void_p()
        check(LIBRARY.uc_context_alloc(handle, ctypes.byref(self.place)))

    def __del__(self) -> None:
        LIBRARY.uc_context_free(self.place)


class Processor:
    """An engine of the library; the methods are its functions, with the binding's names."""

    def __init__(self, architecture: int, mode: int) -> None:
        self.handle = ctypes.c_void_p()
        self._wide = (ctypes.c_uint64 * _WIDEST)()
        self._wide_at = ctypes.c_void_p(ctypes.addressof(self._wide))
        self._callbacks: list[Any] = []  # the library calls them, so they must stay referenced
        check(LIBRARY.uc_open(architecture, mode, ctypes.byref(self.handle)))

    def __del__(self) -> None:
        if self.handle.value:
            LIBRARY.uc_close(self.handle)

    def hook(
        self, kind: int, callback: Any, begin: int = 1, end: int = 0, instruction: int = 0
    ) -> None:
        """Let the library call ``callback``, of a C type, which must not raise."""
        check(
            LIBRARY.uc_hook_add(
                self.handle, ctypes.byref(ctypes.c_size_t()), kind, callback, None, begin, end,
                ctypes.c_int(instruction),
            )
        )  # fmt: skip
        self._callbacks.append(callback)

    def emu_stop(self) -> None:
        """Stop at the end of the block."""
        check(LIBRARY.uc_emu_stop(self.handle))

    # -- memory ------------------------------------------------------------------------------

    def mem_map(self, address: int, size: int, protection: int) -> None:
        """Map memory of the library's own."""
        check(LIBRARY.uc_mem_map(self.handle, address, size, protection))

    def mem_map_ptr(self, address: int, size: int, protection: int, place: Any) -> None:
        """Map memory of this process."""
        check(LIBRARY.uc_mem_map_ptr(self.handle, address, size, protection, place))

    def mem_unmap(self, address: int, size: int) -> None:
        """Unmap pages."""
        check(LIBRARY.uc_mem_unmap(self.handle, address, size))

    def mem_protect(self, address: int, size: int, protection: int) -> None:
        """Change the protection of pages."""
        check(LIBRARY.uc_mem_protect(self.handle, address, size, protection))

    def mem_write(self, address: int, data: bytes) -> None:
        """Change memory, independent of its protection."""
        check(LIBRARY.uc_mem_write(self.handle, address, data, len(data)))

    def mem_regions(self) -> Sequence[tuple[int, int, int]]:
        """Return (first byte, last byte, protection) of all that is mapped, in no order."""
        regions, count = ctypes.POINTER(_Region)(), ctypes.c_uint32()
        check(
            LIBRARY.uc_mem_regions(self.handle, ctypes.byref(regions), ctypes.byref(count))
        )  # fmt: skip
        try:
            found = regions[: count.value]
            return [(each.begin, each.end, each.perms) for each in found]
        finally:
            LIBRARY.uc_free(regions)

    # -- registers ---------------------------------------------------------------------------

    def reg_read(self, register: int) -> int:
        """Return the lower 64 bits of a register."""
        self._wide[0] = 0
        check(LIBRARY.uc_reg_read(self.handle, register, self._wide_at))
        return self._wide[0]

    def reg_write(self, register: int, value: int) -> None:
        """Store the lower 64 bits of a register."""
        self._wide[0] = value
        check(LIBRARY.uc_reg_write(self.handle, register, self._wide_at))

    def context_save(self) -> Context:
        """Return the state of all registers."""
        context = Context(self.handle)
        self.context_update(context)
        return context

    def context_update(self, context: Context) -> None:
        """Save the state of all registers into ``context``."""
        check(LIBRARY.uc_context_save(self.handle, context.place))

    def context_restore(self, context: Context) -> None:
        """Load the state that ``context`` holds."""
        check(LIBRARY.uc_context_restore(self.handle, context.place))

    # -- control -----------------------------------------------------------------------------

    def control(self, what: int, *arguments: Any) -> None:
        """UC_CTL_WRITE() of unicorn.h."""
        code = uc.UC_CTL_IO_WRITE << 30 | len(arguments) << 26 | what
        # The code has the type int, and bit 31 is its sign.
        check(LIBRARY.uc_ctl(self.handle, ctypes.c_int(code), *arguments))

    def ctl_set_tlb_mode(self, mode: int) -> None:
        """Choose how addresses are translated: UC_TLB_CPU or UC_TLB_VIRTUAL."""
        self.control(uc.UC_CTL_TLB_TYPE, ctypes.c_uint(mode))

    def ctl_flush_tb(self) -> None:
        """Drop all translated code."""
        self.control(uc.UC_CTL_TB_FLUSH)

    def ctl_remove_cache(self, start: int, end: int) -> None:
        """Drop translated code of a range."""
        self.control(
            uc.UC_CTL_TB_REMOVE_CACHE, ctypes.c_uint64(start), ctypes.c_uint64(end)
        )  # fmt: skip
