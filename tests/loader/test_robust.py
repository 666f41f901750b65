"""The linter gives a verdict and uses little memory with any sizes in a file."""

from __future__ import annotations

import resource
import struct
from typing import TYPE_CHECKING

import pytest
from vmtgen import cli

from . import random_mutants
from .random_mutants import BASE, mutants, verdict

if TYPE_CHECKING:
    from pathlib import Path


def test_random_mutants_get_a_verdict(tmp_path: Path) -> None:
    """200 of the 2,000 that make soak plays, here in one process."""
    path, refused = tmp_path / "mutant.kmod", 0
    for what, data in mutants(200):
        path.write_bytes(data)
        try:
            refused += verdict(path)
        except Exception as error:
            raise AssertionError(f"{what}: {type(error).__name__}: {error}") from error
    assert 20 < refused < 200


def _section(name: bytes, **fields: int) -> bytes:
    """Return base.kmod with fields of one section header changed."""
    places = {"type": (4, "I"), "size": (32, "Q"), "align": (48, "Q")}
    data = bytearray(BASE.read_bytes())
    (headers,) = struct.unpack_from("<Q", data, 0x28)
    count, index = struct.unpack_from("<HH", data, 0x3C)
    names = struct.unpack_from("<Q", data, headers + 64 * index + 24)[0]
    for place in range(headers, headers + 64 * count, 64):
        at = names + struct.unpack_from("<I", data, place)[0]
        if data[at : at + len(name) + 1] == name + b"\0":
            for field, value in fields.items():
                offset, form = places[field]
                struct.pack_into(f"<{form}", data, place + offset, value)
    return bytes(data)


@pytest.mark.parametrize("size", [1 << 30, 1 << 32, 1 << 40, 1 << 63, (1 << 64) - 1])
@pytest.mark.parametrize("type_", [1, 8])
def test_size_fields_do_not_allocate_memory(tmp_path: Path, size: int, type_: int) -> None:
    """A NOBITS section of 2^30 bytes once cost 2.1 GB, one of 2^63 a traceback."""
    path = tmp_path / "big.kmod"
    path.write_bytes(_section(b".data", type=type_, size=size))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert verdict(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "KiB"


def test_alignment_fields_do_not_allocate_memory(tmp_path: Path) -> None:
    path = tmp_path / "aligned.kmod"
    path.write_bytes(_section(b".rodata", align=0x40000000))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert verdict(path)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10, "KiB"


def test_names_in_file_cannot_control_terminal(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "escapes.kmod"
    data = BASE.read_bytes().replace(b"\0mutex_init\0", b"\0\x1b[2J\nx\xff\xfe__\0")
    path.write_bytes(data)
    assert cli.main(["lint", "--release", "10.99.12", str(path)]) == 65
    printed = capsys.readouterr().out
    assert r"\x1b[2J\nx" in printed
    assert "\x1b" not in printed
    assert cli.main(["show", str(path)]) == 0
    assert "\x1b" not in capsys.readouterr().out


def test_crashing_mutant_is_reported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The soak test itself: a linter error, and an error that ends the process."""

    def fault(path: Path) -> bool:
        raise RecursionError(path.name)

    path = tmp_path / "any.kmod"
    path.write_bytes(b"")
    monkeypatch.setattr(random_mutants, "verdict", fault)
    assert "RecursionError: any.kmod" in random_mutants._alone(path)
    monkeypatch.setattr(random_mutants, "verdict", lambda _: bytearray(1 << 40))
    assert "MemoryError" in random_mutants._alone(path)
    monkeypatch.setattr(random_mutants, "verdict", lambda _: True)
    assert random_mutants._alone(path) == ""
