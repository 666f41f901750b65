"""The rule of a page fault is derived from facts, not from names in the guest."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen.build.compile import build_module
from vmtsim.kernel.errors import KernelPanic

from ..modkit import SOURCES, Machine

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("name", ["classic", "freedom", "behind", "user", "before"])
def test_out_of_bounds_write_is_detected_for_any_driver_name(name: str, tmp_path: Path) -> None:
    """BUG 5 of classic.c writes one byte too far; the function's name is in the message."""
    text = (SOURCES / "classic.c").read_text(encoding="utf-8").replace("classic", name)
    source = tmp_path / f"{name}.c"
    source.write_text(text, encoding="utf-8")
    built = build_module([source], out=tmp_path, release="11.0", extra_flags=("-DBUG=5",))
    machine = Machine(built.path)
    machine.do("load")
    with pytest.raises(KernelPanic) as panic:
        machine.kernel.run_for(3_000_000_000)
    assert panic.value.rule == "out-of-bounds"
    assert panic.value.message.startswith("page fault: write of 1 byte to 0x")
