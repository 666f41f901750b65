"""The Python environment that `make` creates first: with uv, without it, with neither."""

from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from pathlib import Path

# A Python that makes an environment with itself in it, and notes what pip and uv get.
STUB = """\
#!/bin/sh
case "$*" in
"-m venv --without-pip "*) mkdir -p "$4/bin" && cp "$0" "$4/bin/python" ;;
"-c import sys; "* | "-c import venv"*) ;;
*ensurepip*) echo /usr/share/pip.whl ;;
*purelib*) echo site ;;
*"pip --disable-pip-version-check "*" config list")
    echo "global.index-url='https://packages.example/a b'"
    echo ":env:.index-url='https://nearer.example'" ;;
*" pip install "*" .[dev]" | *" install "*" .[dev]")
    echo "$3 $UV_DEFAULT_INDEX" >>typed
    case "$3" in pip) exit "$NO_UV" ;; *) exit "$NO_PIP" ;; esac ;;
*) ;;
esac
"""


@pytest.mark.parametrize(
    ("no_uv", "no_pip", "typed", "status"),
    [
        ("0", "1", ["pip https://nearer.example"], 0),
        ("1", "0", ["pip https://nearer.example", "--disable-pip-version-check "], 0),
        ("1", "1", ["pip https://nearer.example", "--disable-pip-version-check "], 69),
    ],
)
def test_environment_is_made_with_uv_or_else_with_pip(
    root: Path, tmp_path: Path, no_uv: str, no_pip: str, typed: list[str], status: int
) -> None:
    python = tmp_path / "python"
    python.write_text(STUB)
    python.chmod(0o755)
    script = shutil.copy(root / "tools" / "environment.sh", tmp_path)
    done = subprocess.run(
        ["sh", script, str(python), "the environment"],
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "NO_UV": no_uv, "NO_PIP": no_pip},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == status, done.stderr
    assert (tmp_path / "typed").read_text().splitlines() == typed
    assert (tmp_path / "the environment" / ".complete").exists() is (status == 0)
    assert ("Its output is in the environment/install.log" in done.stderr) is (status != 0)
