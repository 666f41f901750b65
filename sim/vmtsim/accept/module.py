"""The files for the guest: the module under test, and vmtctl if available."""

from __future__ import annotations

import re
import subprocess
import sys
import tarfile
from typing import TYPE_CHECKING

from vmtgen.common.errors import DATA, ReportedError
from vmtgen.kobj import Module, read_module

from vmtsim.accept.walk import VMTCTL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from vmtsim.accept.drivers import Driver


class ModuleError(ReportedError):
    """There is no module for the guest, or the given one does not fit it."""

    exit_status = DATA


def bring(
    driver: Driver,
    given: Path | None,
    release: str,
    port: str,
    work: Path,
    print_line: Callable[[str], None],
) -> dict[str, Path]:
    """Return the files by their names in the guest; archives are unpacked into ``work``.

    ``release`` and ``port`` are the guest's uname(1); the module is built for them unless it is
    ``given``. Raises ModuleError.
    """
    path = given or _made(driver, release, port, work, print_line)
    found: dict[str, Path] = {driver.file: path}
    if not path.is_file():
        raise ModuleError(f"no file {path}")
    if tarfile.is_tarfile(path):
        found = _unpacked(driver, path, work)
    module = described(found[driver.file])
    name = module.modinfo.name
    if name != driver.name:
        raise ModuleError(
            f"{path} is the module {name!r}, not {driver.name}",
            hint="--driver names the driver under test",
        )
    if module.machine.value != port:
        raise ModuleError(f"{path} is for {module.machine.value}, the guest is {port}")
    return found


def described(path: Path) -> Module:
    """Read a module; raises ModuleError."""
    try:
        return read_module(path)
    except ReportedError as error:
        raise ModuleError(str(error), hint=error.hint) from error


def _unpacked(driver: Driver, path: Path, work: Path) -> dict[str, Path]:
    found: dict[str, Path] = {}
    with tarfile.open(path) as tar:
        for member in tar:
            name = member.name.rpartition("/")[2]
            if name in {driver.file, VMTCTL} and (inside := tar.extractfile(member)):
                found[name] = work / name
                found[name].write_bytes(inside.read())
    if driver.file not in found:
        raise ModuleError(
            f"{path} is an archive without a {driver.file}",
            hint="--driver names the driver under test",
        )
    return found


def _made(
    driver: Driver, release: str, port: str, work: Path, print_line: Callable[[str], None]
) -> Path:
    """Build the archive for the guest's release, as a user would, or the module alone."""
    known = re.split(r"[_\s]", release)[0]
    print_line(f"building {driver.file} for NetBSD {known}/{port}")
    out = work / "build"
    words = ["--module", driver.name, "--release", known, "--machine", port, "--out", str(out)]
    message = ""
    for verb, made in (("dist", f"{driver.name}-*.tgz"), ("build", f"*/*/{driver.file}")):
        done = subprocess.run(
            [sys.executable, "-m", "vmtgen", verb, *words],
            capture_output=True,
            text=True,
            check=False,
        )
        found = sorted(out.glob(made))
        if done.returncode == 0 and found:
            return found[0]
        message = done.stderr.strip()
    raise ModuleError(
        f"no module for NetBSD {release}/{port}: {message}",
        hint="build one (vmtgen build --sys) and give it with --module",
    )
