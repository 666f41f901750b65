"""What the simulator declares of libunicorn is what the library's own binding declares."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from typing import Any

import pytest
import unicorn
from unicorn.unicorn_py3 import unicorn as binding
from unicorn.unicorn_py3.arch import arm64, intel
from vmtsim.cpu import library
from vmtsim.cpu.library import uc

_PAGE = 0x1000
_RBX, _XMM0 = (getattr(unicorn.x86_const, f"UC_X86_REG_{name}") for name in ("RBX", "XMM0"))


def _layout(structure: type[ctypes.Structure]) -> dict[str, tuple[int, int]]:
    names = [field[0] for field in structure._fields_]
    return {
        name: (getattr(structure, name).offset, getattr(structure, name).size) for name in names
    }


def _kind(kind: Any) -> str:
    """Return how a value of this C type is passed: a pointer is a pointer."""
    if kind is None:
        return "void"
    if issubclass(kind, (ctypes._Pointer, ctypes.c_void_p, ctypes.c_char_p)):
        return "pointer"
    return str(kind._type_)


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (library._Region, binding.uc_mem_region),
        (library.Block, binding.uc_tb),
        (library.SystemRegister, arm64.UcRegCP64),
        (library.Translation, binding.uc_tlb_entry),
    ],
)
def test_structures_are_laid_out_as_those_of_binding(own: Any, other: Any) -> None:
    assert _layout(own) == _layout(other)


def test_functions_have_the_prototypes_of_binding() -> None:
    for name in library._PROTOTYPES:
        own, other = (getattr(lib, f"uc_{name}") for lib in (library.LIBRARY, binding.uclib))
        assert [*map(_kind, own.argtypes)] == [*map(_kind, other.argtypes)], name
        assert issubclass(other.restype, own.restype), name


@pytest.mark.parametrize(
    ("own", "other"),
    [
        (library.INVALID_MEMORY, binding.HOOK_MEM_INVALID_CFUNC),
        (library.MEMORY, binding.HOOK_MEM_ACCESS_CFUNC),
        (library.INVALID_INSTRUCTION, binding.HOOK_INSN_INVALID_CFUNC),
        (library.EDGE, binding.HOOK_EDGE_GEN_CFUNC),
        (library.TRANSLATION, binding.HOOK_TLB_FILL_CFUNC),
        (library.IN, intel.HOOK_INSN_IN_CFUNC),
        (library.OUT, intel.HOOK_INSN_OUT_CFUNC),
        (library.CPUID, intel.HOOK_INSN_CPUID_CFUNC),
        (library.SYSTEM, arm64.HOOK_INSN_SYS_CFUNC),
    ],
)
def test_hooks_have_the_types_of_binding(own: Any, other: Any) -> None:
    assert [*map(_kind, own._argtypes_)] == [*map(_kind, other._argtypes_)]
    assert _kind(own._restype_) == _kind(other._restype_)


def test_processor_does_what_that_of_binding_does() -> None:
    arguments = uc.UC_ARCH_X86, uc.UC_MODE_64
    found = []
    for processor in (library.Processor(*arguments), unicorn.Uc(*arguments)):
        processor.ctl_set_tlb_mode(uc.UC_TLB_VIRTUAL)
        processor.mem_map(2 * _PAGE, 2 * _PAGE, uc.UC_PROT_ALL)
        processor.mem_map(8 * _PAGE, _PAGE, uc.UC_PROT_ALL)
        processor.mem_unmap(3 * _PAGE, _PAGE)
        processor.mem_write(2 * _PAGE, b"\x90\xf4")
        processor.mem_protect(2 * _PAGE, _PAGE, uc.UC_PROT_READ)
        processor.ctl_remove_cache(2 * _PAGE, 2 * _PAGE + 2)
        processor.ctl_flush_tb()
        processor.reg_write(_RBX, 2**64 - 2)
        state = processor.context_save()
        processor.reg_write(_RBX, 1)
        changed = processor.reg_read(_RBX)
        processor.context_restore(state)
        processor.reg_write(_XMM0, 5)  # 128 bits
        found.append(
            (
                sorted(processor.mem_regions()),
                changed,
                processor.reg_read(_RBX),
                processor.reg_read(_XMM0),
            )
        )
    assert found[0] == found[1]
    assert found[0][0] == [(0x2000, 0x2FFF, uc.UC_PROT_READ), (0x8000, 0x8FFF, uc.UC_PROT_ALL)]
    assert found[0][1:] == (1, 2**64 - 2, 5)


def test_refusal_of_library_is_reported_with_its_reason() -> None:
    processor = library.Processor(uc.UC_ARCH_X86, uc.UC_MODE_64)
    with pytest.raises(RuntimeError, match="unicorn: Invalid argument"):
        processor.mem_map(1, 1, uc.UC_PROT_ALL)
    assert library.reason(uc.UC_ERR_INSN_INVALID) == str(unicorn.UcError(uc.UC_ERR_INSN_INVALID))


def test_binding_finds_library_in_another_place() -> None:
    code = "from vmtsim.cpu import library; print(library.PATH)"
    usual = {k: v for k, v in os.environ.items() if k != "LIBUNICORN_PATH"}
    paths = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=environment,
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for environment in (usual, {**usual, "LIBUNICORN_PATH": str(library._PLACE / "lib")})
    ]
    assert paths[0] == paths[1]
