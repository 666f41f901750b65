"""Compiles and links the objects of a module, with a cache by content."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen import resources
from vmtgen.build.ioconf import make_ioconf
from vmtgen.build.makefile import is_generated
from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.errors import CannotCreateError, ReportedError, UsageError, from_os_error
from vmtgen.common.files import shown, write

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from vmtgen.build.makefile import Recipe, Source
    from vmtgen.build.sysroot import Headers
    from vmtgen.build.toolchain import Toolchain
    from vmtgen.common.located import Problem

_HERE = "\x01/"  # the source's directory in cached warnings: each build has its own
_CACHE_FORMAT = "2"  # part of every key: increment it when keys or contents change their meaning
INCLUDED = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)
# The messages of clang and of gcc.
_MISSING = re.compile(r"'([^'\n]+)' file not found|fatal error: (\S+): No such file")
# A name that no header has declared: of a function, a variable, a type or a macro.
_UNDECLARED = re.compile(
    r"(?:undeclared (?:function|identifier)|implicit declaration of function|unknown type name) "
    r"['\u2018]([A-Za-z_]\w*)"
)
_DIRECTORY_FLAGS = ("-I", "-isystem", "-iquote", "-include", "-idirafter")
CANONICAL_SOURCE = "kmod"  # above the sources' directory in __FILE__ and DWARF: kmod/NAME/FILE


def _digest(*parts: bytes | str) -> str:
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def _named(source: Path) -> list[bytes | str]:
    """Return the name of a source, its text and those that it includes by a path from there.

    The headers beside it are part of each object's key anyway; this finds an ioconf.c, too.
    """
    first = source.resolve()
    waiting, seen = [first], {first: source.read_bytes()}
    while waiting:
        path = waiting.pop()
        for name in INCLUDED.findall(seen[path]):
            found = (path.parent / os.fsdecode(name)).resolve()
            if found not in seen and found.is_file():
                seen[found] = found.read_bytes()
                waiting.append(found)
    return [source.name, *seen.values()]


@dataclass
class Builder:
    """The compilations and the two links of one module for one target."""

    tool: Toolchain
    headers: Headers
    flags: tuple[str, ...]
    recipe: Recipe
    cache: Path
    made: Path | None = None  # the directory of ioconf.c
    warnings: list[str] = field(default_factory=list)

    @property
    def place(self) -> str:
        """What the sources' directory is called in __FILE__ and DWARF."""
        return f"{CANONICAL_SOURCE}/{self.recipe.name}"

    @property
    def files(self) -> tuple[Path, ...]:
        """The sources' files in order."""
        return tuple(source.path for source in self.recipe.sources)

    @cached_property
    def _cacheable(self) -> bool:
        """Whether every file that is included is part of a key."""
        recipe = self.recipe
        used = [*recipe.flags, *(flag for source in recipe.sources for flag in source.flags)]
        return (
            self.headers.cacheable
            and recipe.ioconf is None
            and not any(flag.startswith(_DIRECTORY_FLAGS) for flag in used)
        )

    @cached_property
    def _common_key(self) -> str:
        """Everything except the source that an object depends on, without directories."""
        directories = sorted({file.parent for file in self.files})
        local = [
            part
            for directory in directories
            for header in sorted(directory.glob("*.h"))
            for part in (header.name, header.read_bytes())
        ]
        return _digest(
            _CACHE_FORMAT,
            self.recipe.name,
            self.tool.identity,
            *self.tool.compile[1:],
            *self.flags,
            *self.recipe.flags,
            self.headers.digest,
            *local,
        )

    def ioconf(self, folder: Path, sys: Path | None) -> tuple[Problem, ...]:
        """Make ioconf.c if the Makefile requires it; return the messages of config(1).

        Raises UsageError where it needs a sys/ tree.
        """
        if self.recipe.ioconf is None:
            return ()
        if sys is None:
            raise UsageError(
                f"{shown(self.recipe.ioconf)}: config(1) reads NetBSD's conf/files for it",
                hint="--sys /usr/src/sys names the source tree",
            )
        result = make_ioconf(self.recipe.ioconf, sys)
        self.made = folder / "ioconf"
        for name, text in result.files.items():
            write(self.made / name, text.encode())
        return result.warnings

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Yield the directory of the objects.

        Objects that cannot be cached get a temporary directory: another build at the same time
        uses the same names for them. Raises CannotCreateError.
        """
        folder = self.cache / "objects"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotCreateError(f"cannot make {shown(folder)}: {error.strerror}") from error
        if self._cacheable:
            yield folder
            return
        with tempfile.TemporaryDirectory(dir=folder) as own:
            yield Path(own)

    def objects(self, folder: Path) -> tuple[list[Path], int]:
        """Return the object of every source in order, and how many had to be compiled."""
        found = [
            folder / f"{_digest(self._common_key, *source.flags, *_named(source.path))}.o"
            for source in self.recipe.sources
        ]
        missing = [
            (source, target)
            for source, target in zip(self.recipe.sources, found, strict=True)
            if not target.is_file()
        ]
        if missing:
            self._compile_all(missing)
        for source, target in zip(self.recipe.sources, found, strict=True):
            with suppress(FileNotFoundError):
                text = (
                    _warnings_file(target).read_text("utf-8").replace(_HERE, _folder(source.path))
                )
                self.warnings.append(text.rstrip())
        return found, len(missing)

    def _compile_all(self, missing: Sequence[tuple[Source, Path]]) -> None:
        """Compile in parallel; raise one error with the messages of every failing file."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            texts = list(pool.map(lambda item: self._compile(*item), missing))
        failed: dict[Path, str] = {}
        for (source, _), text in zip(missing, texts, strict=True):
            if text is not None:
                failed[source.path] = text
        if failed:
            names = ", ".join(shown(source) for source in failed)
            text = "\n".join(text.rstrip() for text in failed.values())
            raise ReportedError(
                f"cannot compile {names}:\n{text}",
                hint=_generated_hint(text, failed) or self._missing_hint(text),
            )

    def _missing_hint(self, text: str) -> str | None:
        """Explain how to get a header that the compiler has not found."""
        missing = _MISSING.search(text)
        if missing is None:
            undeclared = _UNDECLARED.search(text)
            if undeclared is None or not self.headers.cacheable:
                return None
            return (
                f"gen/kpi is a part of NetBSD's headers and may lack {undeclared[1]}: --sys DIR "
                "builds "
                "with a NetBSD source tree's"
            )
        name = missing[1] or missing[2]
        if "/" not in name and name.startswith("ioconf"):
            return (
                f"config(1) makes {name} from the driver's .ioconf on NetBSD: copy it here, or "
                "write its tables by hand, see docs/your-driver.md"
            )
        if self.headers.cacheable:  # the project's own
            return f"gen/kpi has no {name}: --sys DIR builds with a NetBSD source tree's headers"
        return None

    def _compile(self, source: Source, target: Path) -> str | None:
        """Compile one file; return the compiler's messages where it fails."""
        # Always DIRECTORY/FILE from the directory above: how a compiler shortens a name must not
        # depend on the user's working directory.
        path = source.path
        directory = path.parent.resolve()
        places = [self.recipe.directory, *([self.made] if self.made else [])]
        places = [place for place in places if place != directory]
        maps = (
            (f"{directory.name}/", f"{self.place}/"),
            *((str(place), self.place) for place in places),
            *self.headers.maps,
        )
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".o", delete=False) as place:
            pass
        temporary = Path(place.name)
        command = [
            *self.tool.compile,
            *self.flags,
            *_from(self.recipe.directory, (*self.recipe.flags, *source.flags)),
            # An assembler ignores most flags, and clang would warn about each.
            *(() if path.suffix == ".c" else ("-Wno-unused-command-line-argument", "-D_LOCORE")),
            "-nostdinc",
            *(f"-I{place}" for place in places),
            f"-I{directory.name}",
            *self.headers.flags,
            *self.tool.path_flags(directory.parent, maps),
            "-c",
            f"{directory.name}/{path.name}",
            "-o",
            str(temporary),
        ]
        try:
            done = run_tool(command, self.cache, directory.parent)
            text = re.sub(
                rf"(?m)(^|(?<=from )){re.escape(directory.name)}/",
                _HERE,
                done.stderr.decode("utf-8", "replace"),
            )
            if done.returncode != 0:
                return text.replace(_HERE, _folder(path)) or f"{command[0]}: failed"
            if text:
                write(_warnings_file(target), text.encode("utf-8"))
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return None

    def _of_sources(self, text: str, objects: Sequence[Path]) -> str:
        """Return a linker's messages with the user's files in place of objects of the cache."""
        if len(objects) == len(self.files):
            for source, made in zip(self.files, objects, strict=True):
                text = text.replace(str(made), shown(source))
        for source in self.files:
            text = text.replace(f"./{self.place}/{source.name}:", f"{shown(source)}:")
        return text

    def link(self, script_name: str, inputs: Sequence[Path]) -> Path:
        """Link relocatable files to one by a linker script; return its path in the cache.

        Raises ReportedError with the messages of the linker.
        """
        script = resources.directory("kpi") / script_name
        parts = [path.read_bytes() for path in inputs]
        folder = self.cache / "linked"
        folder.mkdir(parents=True, exist_ok=True)
        target = folder / _digest(
            _CACHE_FORMAT, self.tool.identity, *self.tool.link[1:], script.read_bytes(), *parts
        )
        if target.is_file():
            return target
        with tempfile.NamedTemporaryFile(dir=folder, delete=False) as place:
            temporary = Path(place.name)
        command = [*self.tool.link, "-T", str(script), "-o", str(temporary), *map(str, inputs)]
        try:
            done = run_tool(command, self.cache)
            if done.returncode != 0:
                text = done.stderr.decode("utf-8", "replace").rstrip() or f"{command[0]}: failed"
                raise ReportedError(
                    f"cannot link {', '.join(map(shown, self.files))}:\n"
                    f"{self._of_sources(text, inputs)}",
                )
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return target


def _from(directory: Path, flags: Sequence[str]) -> list[str]:
    """Return a Makefile's flags with absolute directories: -Isub, -I sub."""
    found: list[str] = []
    for flag in flags:
        before = found[-1] if found else ""
        if before in _DIRECTORY_FLAGS:
            found.append(str(directory / flag))
        elif flag.startswith("-I") and flag != "-I":
            found.append(f"-I{directory / flag[2:]}")
        else:
            found.append(flag)
    return found


def _warnings_file(target: Path) -> Path:
    """Return the file beside an object that holds its compiler warnings."""
    return target.with_suffix(".warnings")


def _folder(source: Path) -> str:
    """Return the directory with which messages show the name of a source."""
    there = shown(source.parent)
    return "" if there == "." else f"{there}/"


def _generated_hint(text: str, files: Iterable[Path]) -> str | None:
    """Return a hint for an error in a generated file beside `files`: what to edit instead."""
    for name in re.findall(r"([\w.-]+\.[ch]):\d+:\d+: (?:fatal )?error", text):
        for path in {file.parent / name for file in files}:
            if is_generated(path):
                return f"{name} is generated: change specs/ or templates/, then vmtgen generate"
    return None


def run_tool(
    command: Sequence[str], cache: Path, directory: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a tool in `directory`, with an environment that cannot change its output.

    Raises ReportedError where it cannot be started.
    """
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "LC_ALL": "C",
        "TZ": "UTC",
        "HOME": str(cache),
    }
    try:
        return subprocess.run(
            command, capture_output=True, check=False, env=environment, cwd=directory
        )
    except OSError as error:
        raise from_os_error(error, f"run {command[0]}") from error
