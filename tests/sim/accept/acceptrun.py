"""One complete run of `vmtsim accept` with the test guest in stock QEMU."""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass
from vmtsim import cli

from tests.patience import HANG

if TYPE_CHECKING:
    from pathlib import Path

    import pytest
    from guestkit import Guest


@dataclass
class Run:
    """One run: exit status, output, report."""

    status: int
    printed: str
    folder: Path
    report: dict[str, Any]

    def scenario(self, name: str) -> dict[str, Any]:
        return next(each for each in self.report["scenarios"] if each["name"] == name)

    def states(self, name: str) -> dict[str, str]:
        """The state of each property of a scenario."""
        properties = self.scenario(name)["properties"]
        return {name: each["state"] for name, each in properties.items()}


def run(
    guest: Guest,
    qemu: Path,
    folders: pytest.TempPathFactory,
    words: str,
    *extras: str,
    driver: str = "vmt",
    **scenarios: str,
) -> Run:
    """Run it with scenarios, given as name=text, and those that are named in ``extras``."""
    folder = folders.mktemp("run")
    paths = []
    for name, text in scenarios.items():
        paths.append(folder / f"{name}.yaml")
        paths[-1].write_text(text, encoding="utf-8")
    secret = folder / "password"
    secret.write_text("open sesame\n", encoding="utf-8")
    out = io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(out):
        status = cli.main(
            [
                *("accept", "--kernel", str(guest.kernel), "--append", words),
                *("--qemu", str(qemu), "--memory", "64", "--boot-timeout", str(HANG)),
                *("--slow", "20", "--driver", driver, "--module", str(guest.module)),
                *("--password-file", str(secret), "--report", str(folder / "report")),
                *("--scenario", *extras, *map(str, paths)),
            ]
        )
    printed = out.getvalue()
    path = folder / "report" / "report.json"
    assert path.is_file(), printed
    return Run(status, printed, folder / "report", json.loads(path.read_text(encoding="utf-8")))
