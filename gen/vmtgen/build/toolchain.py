"""The compilers that can build the module, and their command lines."""

from __future__ import annotations

import hashlib
import importlib.util
import shutil
import subprocess
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import UnavailableError

if TYPE_CHECKING:
    from vmtgen.targets import MachineTarget, Targets

CompilerName = Literal["zig", "clang", "gcc"]


@dataclass(frozen=True)
class Toolchain:
    """One compiler for one machine.

    `compile` and `link` are the commands before any file name; `identity` changes
    with the compiler, so that the object of one compiler is never used for another.
    """

    name: CompilerName
    identity: str
    compile: tuple[str, ...]
    link: tuple[str, ...]

    def path_flags(self, working: Path, maps: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
        """Return the flags that keep the build's directories out of the result.

        `working` is where the compiler runs, `maps` are pairs (directory, replacement).
        Compilers try the last pair first.
        """
        flags = [f"-ffile-prefix-map={path}={name}" for path, name in maps]
        if self.name == "gcc":
            return (f"-ffile-prefix-map={working}=.", *flags)
        return ("-fdebug-compilation-dir=.", *flags)


def toolchain(
    name: CompilerName, machine: MachineTarget, targets: Targets, *, warns: int | None = None
) -> Toolchain:
    """Return the compiler called `name` for `machine`; UnavailableError where it is missing.

    `warns` is the level of warnings of a module of another project (WARNS of its Makefile); without
    it every warning of the strict set is an error.
    """
    flags = targets.flags
    if warns is None:
        warnings = [*flags.strict]
    else:
        levels = [
            flag for level in flags.warns if int(level) <= warns for flag in flags.warns[level]
        ]
        warnings = [*levels, *flags.foreign]  # disabled warnings come last
    common = (*flags.compile, *warnings, *flags.define)
    if name == "gcc":
        gcc = _program(machine.gcc_command, f"install a gcc that makes {machine.name} code")
        linker = _program(machine.gcc_command.removesuffix("gcc") + "ld", "install binutils for it")
        return Toolchain(
            name,
            _identity(gcc),
            (gcc, *common, *flags.gcc, *machine.flags, *machine.gcc),
            (linker, "-r", "-m", machine.emulation.replace("aarch64elf", "aarch64linux")),
        )
    if name == "zig":
        # `zig clang` and `zig ld.lld` are plain clang and lld, of a version that pip pins.
        compiler: tuple[str, ...] = (zig_program(), "clang")
        link: tuple[str, ...] = (zig_program(), "ld.lld")
        identity = f"ziglang {metadata.version('ziglang')}"
    else:
        compiler = (_program("clang", "install clang and lld, or use --cc zig"),)
        link = (_program("ld.lld", "install lld, or use --cc zig"),)
        identity = _identity(compiler[0])
    machine_flags = (*machine.flags, *machine.clang)
    return Toolchain(
        name,
        identity,
        (*compiler, f"--target={machine.triple}", *common, *flags.clang, *machine_flags),
        (*link, "-r", "-m", machine.emulation),
    )


@cache
def zig_program() -> str:
    """Return the path of the zig program in the ziglang package.

    Raises UnavailableError where it is not installed.
    """
    found = importlib.util.find_spec("ziglang")
    if found is None or found.origin is None:
        raise UnavailableError(
            "no compiler: the Python package ziglang is not installed",
            hint="pip install 'netbsd-vmt[gen]', or --cc clang, or --cc gcc",
        )
    program = Path(found.origin).with_name("zig")
    if not program.is_file():
        raise UnavailableError(
            f"the Python package ziglang has no program {program}",
            hint="pip install --force-reinstall 'netbsd-vmt[gen]'",
        )
    return str(program)


@cache
def zig_headers() -> Path:
    """Return the directory with the headers that NetBSD installs, as zig carries them."""
    return Path(zig_program()).parent / "lib" / "libc" / "include" / "generic-netbsd"


def _program(name: str, hint: str) -> str:
    found = shutil.which(name)
    if found is None:
        raise UnavailableError(f"no compiler: {name} is not in PATH", hint=hint)
    return found


@cache
def _identity(program: str) -> str:
    """Return the identity of this compiler: the first lines of its version."""
    version = subprocess.run([program, "--version"], capture_output=True, check=False)
    return hashlib.sha256(version.stdout).hexdigest()
