"""tools/netbsd_modules.py: which directories of a tree its table is drawn from."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen.build.makefile import make_program

from tools.netbsd_modules import candidates

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.skipif(make_program() is None, reason="no bmake(1): apt install bmake")
def test_modules_that_make_refuses_are_not_drawn(tmp_path: Path) -> None:
    """Modules for other machines (.error) are skipped; a missing source fails in the table."""
    makefiles = {
        "plain": "KMOD=plain\nSRCS=plain.c\n",
        "of_others": ".if ${MACHINE} != none\n.error for other machines\n.endif\nKMOD=of_others\n",
        "no_source": "KMOD=no_source\nSRCS=missing.c\n",
    }
    for name, text in makefiles.items():
        directory = tmp_path / "modules" / name
        directory.mkdir(parents=True)
        (directory / "Makefile").write_text(f"{text}.include <bsd.kmodule.mk>\n")
    (tmp_path / "modules/plain/plain.c").write_text("int plain;\n")
    (tmp_path / "modules/Makefile").write_text("SUBDIR=plain\n.include <bsd.subdir.mk>\n")
    names = [directory.name for directory in candidates(tmp_path, "amd64")]
    assert names == ["no_source", "plain"]
