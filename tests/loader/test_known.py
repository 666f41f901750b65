"""Lists of a kernel's symbols and modules: the built-in ones, and the user's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtgen import cli
from vmtgen.kobj import Machine
from vmtgen.kobj.known import modules_of, read_symbols, symbols_of
from vmtgen.kobj.modinfo import split_required

from .random_mutants import BASE

if TYPE_CHECKING:
    from pathlib import Path

NM = """\
netbsd:
ffffffff80200000 T _start
ffffffff80e00010 D hz
ffffffff80e00014 B cold
ffffffff80300000 t a_local_one
ffffffff80400000 W pmap_enter
                 U not_here
ffffffff80500000 A an_absolute
"""


def test_nm_output_is_parsed(tmp_path: Path) -> None:
    """Without local, weak and undefined names, which kobj_checksyms() does not find."""
    path = tmp_path / "symbols"
    path.write_text(NM)
    assert read_symbols(path).names == {"_start", "hz", "cold", "an_absolute"}
    path.write_text("_start T ffffffff80200000 0\nhz D ffffffff80e00010 4\nputs U\n_x w 0\n")
    assert read_symbols(path).names == {"_start", "hz"}, "nm -P"
    path.write_text("# names alone\n_start\nhz\n")
    assert read_symbols(path).names == {"_start", "hz"}


@pytest.mark.parametrize(
    ("text", "printed"),
    [("", "no global symbol in it"), ("hz is a variable\n", "line 1: not a line of nm(1)")],
)
def test_invalid_symbol_list_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, printed: str
) -> None:
    path = tmp_path / "symbols"
    path.write_text(text)
    assert cli.main(["lint", "--symbols", str(path), str(BASE)]) == 65
    err = capsys.readouterr().err
    assert printed in err
    assert "hint: on NetBSD, nm /netbsd > FILE writes it" in err
    assert cli.main(["lint", "--symbols", str(tmp_path / "none"), str(BASE)]) == 66


def test_symbols_given_by_user_take_precedence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    known = symbols_of(1_099_001_200, Machine.AMD64)
    assert known is not None
    path = tmp_path / "symbols"
    path.write_text("\n".join(known.names - {"vmt_cd"}))
    assert cli.main(["lint", "--symbols", str(path), str(BASE)]) == 0
    path.write_text("\n".join(known.names - {"mutex_init"}))
    assert cli.main(["lint", "--symbols", str(path), str(BASE)]) == 65
    printed = capsys.readouterr().out
    assert "mutex_init: error: not among the kernel's" in printed
    assert "the kernel says: symbol `mutex_init' not found" in printed
    path.write_text("\n".join(known.names | {"vmtk_worker"}))
    assert cli.main(["lint", "--symbols", str(path), str(BASE)]) == 65
    assert "global symbol `vmtk_worker' redefined" in capsys.readouterr().out


def test_only_the_inspected_kernel_is_known() -> None:
    assert symbols_of(1_100_000_000, Machine.AMD64) is None
    assert symbols_of(1_099_001_200, Machine.I386) is None
    modules = modules_of(1_099_001_200, Machine.AMD64)
    assert modules is not None
    assert modules_of(1_099_001_200, Machine.AARCH64) is None
    assert {"ffs", "sysmon_power", "vmt"} <= modules.builtin
    assert modules.idle == {"vmt"}
    assert modules.has("zlib")
    assert not modules.has("md")


@pytest.mark.parametrize(
    ("text", "names", "ignored"),
    [
        ("", (), ""),
        (",", (), ""),
        ("a", ("a",), ""),
        ("a,", ("a",), ""),
        (",a", ("a",), ""),
        ("a,b", ("a", "b"), ""),
        ("a,,b", ("a",), "b"),
        (",,a", (), "a"),
        ("a, b", ("a", " b"), ""),
    ],
)
def test_required_module_list_is_parsed_as_in_kernel(
    text: str, names: tuple[str, ...], ignored: str
) -> None:
    """module_do_load(): one leading comma is skipped, and the first empty name ends it."""
    assert split_required(text) == (names, ignored)
