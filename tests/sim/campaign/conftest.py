from __future__ import annotations

from pathlib import Path

import pytest
from vmtgen.build.compile import build_module
from vmtsim.campaign.player import play

from tests.sim import modkit

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's driver, built once."""
    out = tmp_path_factory.mktemp("driver")
    return build_module(ROOT / "kmod" / "vmt", out=out, cache=ROOT / "build" / ".cache").path


@pytest.fixture(scope="session")
def channel_leak(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The driver with one defect: it never closes a channel that it has lost."""
    out = tmp_path_factory.mktemp("channel_leak")
    source = out / "kmod"
    source.mkdir()
    for file in (ROOT / "kmod" / "vmt").iterdir():
        if file.suffix in {".c", ".h"} or file.name == "Makefile":
            source.joinpath(file.name).write_bytes(file.read_bytes())
    path = source / "vmt_tclo.c"
    text = path.read_text(encoding="utf-8")
    before = "\tvmt_channel_close(&sc->sc_tclo);\n\tsc->sc_registered = false;"
    assert text.count(before) == 1
    after = "\tsc->sc_tclo.ch_open = false;\n\tsc->sc_registered = false;"
    path.write_text(text.replace(before, after), encoding="utf-8")
    cache = ROOT / "build" / ".cache"
    # The compiler takes a sixth of the time.
    return build_module(source, out=out, name="vmt", cache=cache, extra_flags=("-O0",)).path


@pytest.fixture(scope="session")
def mailbox() -> Path:
    """A small driver for tests of executors: its seeds take a tenth of the time of vmt's."""
    return modkit.built("mailbox")


@pytest.fixture(scope="session")
def leaky_mailbox() -> Path:
    """The same with a leak."""
    return modkit.built("mailbox", flags=("-DBUG=1",))


@pytest.fixture(scope="session")
def leak(leaky_mailbox: Path) -> int:
    """The first seed that finds the leak and whose successor does not."""
    failed = [False] + [bool(play(leaky_mailbox, seed).status) for seed in range(1, 13)]
    return next(s for s in range(1, 12) if failed[s] and not failed[s + 1])
