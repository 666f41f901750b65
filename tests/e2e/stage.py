"""A copy of the driver's sources, for tests that break them."""

from __future__ import annotations

import contextlib
import importlib
import io
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vmtgen.build.compile import build_module
from vmtgen.compiler.generate import sources

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True)
class SourceTree:
    """A directory with specs/, templates/, the written part of kmod/ and, once made, build/."""

    top: Path

    @classmethod
    def copied_from(cls, checkout: Path, top: Path) -> SourceTree:
        for name in ("specs", "templates"):
            shutil.copytree(checkout / name, top / name)
        (top / "kmod" / "vmt").mkdir(parents=True)
        for output in sources(checkout / "kmod" / "vmt"):
            (top / output.place).write_text(output.text, encoding="utf-8")
        return cls(top)

    def replace(self, file: str, old: str, new: str) -> None:
        """Replace the single occurrence of ``old`` in ``file``."""
        path = self.top / file
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1, f"{file} has {old!r} {text.count(old)} times"
        path.write_text(text.replace(old, new), encoding="utf-8")

    def run(self, module: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ``python -m MODULE WORDS`` in the directory, in this process."""
        main = importlib.import_module(f"{module}.cli").main
        arguments = [str(word) for word in words]
        out, err = io.StringIO(), io.StringIO()
        with (
            contextlib.chdir(self.top),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
        ):
            try:
                status = main(arguments)
            except SystemExit as end:
                status = end.code
        return subprocess.CompletedProcess(arguments, status, out.getvalue(), err.getvalue())

    def command(self, module: str, *words: str | Path) -> subprocess.CompletedProcess[str]:
        """Run ``python -m MODULE WORDS`` in the directory, in a separate process."""
        command = [sys.executable, "-m", module, *map(str, words)]
        return subprocess.run(command, cwd=self.top, capture_output=True, text=True, check=False)

    def generate(self) -> subprocess.CompletedProcess[str]:
        return self.run(
            "vmtgen", "generate", "--specs", "specs", "--templates", "templates", "--out", "."
        )

    def build(self) -> subprocess.CompletedProcess[str]:
        return self.run("vmtgen", "build", "--source", "kmod/vmt", "--out", "build")

    def build_quickly(self) -> None:
        """Build it without optimization or debug information: compiling takes a quarter then."""
        build_module(
            self.top / "kmod" / "vmt", out=self.top / "build/11.0/amd64", extra_flags=("-O0", "-g0")
        )

    def simulate(self, *words: str) -> subprocess.CompletedProcess[str]:
        return self.run("vmtsim", "run", "build/11.0/amd64/vmt.kmod", *words)
