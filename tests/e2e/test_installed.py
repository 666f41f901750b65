"""The wheel, installed outside a checkout, generates and builds as the checkout does."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def installed(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the wheel's content, without the checkout."""
    out = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(out)],
        cwd=root,
        check=True,
        capture_output=True,
    )
    (wheel,) = out.glob("*.whl")
    place = tmp_path_factory.mktemp("installed outside")
    zipfile.ZipFile(wheel).extractall(place)
    return place


def run(installed: Path, top: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    return subprocess.run(
        [sys.executable, "-m", *words],
        cwd=top,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture(scope="module")
def made(installed: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory in which the wheel has generated and built the driver."""
    top = tmp_path_factory.mktemp("made")
    for words in (("generate", "--out", "."), ("build", "--out", "build")):
        done = run(installed, top, "vmtgen", *words)
        assert done.returncode == 0, done.stderr
    return top


def test_wheel_generates_and_builds(made: Path, root: Path) -> None:
    for path in filter(Path.is_file, (root / "kmod" / "vmt").iterdir()):
        if path.suffix == ".yaml":  # a list for the simulator
            continue
        assert (made / "kmod" / "vmt" / path.name).read_text() == path.read_text()
    assert (made / "build/11.0/amd64/vmt.kmod").is_file()
    assert (made / "build/11.0/amd64/vmt.kmod.debug").is_file()


def test_wheel_runs_module(installed: Path, made: Path) -> None:
    ran = run(installed, made, "vmtsim", "run", "build/11.0/amd64/vmt.kmod")
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "every property held" in ran.stdout


@pytest.mark.parametrize("name", ["vmtgen", "vmtsim", "vmtctl"])
def test_each_command_prints_its_version(installed: Path, tmp_path: Path, name: str) -> None:
    result = run(installed, tmp_path, name, "--version")
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == [name, "0.1.0"]
