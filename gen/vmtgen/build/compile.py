"""The builder: C files to NAME.kmod and its debug twin NAME.kmod.debug.

The files are compiled with debug information and joined to the twin, from which line numbers
come. The module is the twin without its debug sections, because the loader would put them into
kernel memory; the builder checks that the loader would load the same from both. The same
sources, headers, flags and compiler give the same bytes in every directory and on every machine.
"""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import tempfile
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen import resources
from vmtgen.build.sysroot import Headers, own_headers, tree_headers, tree_version
from vmtgen.build.toolchain import CompilerName, Toolchain, toolchain
from vmtgen.common.errors import (
    CannotCreateError,
    MissingInputError,
    ReportedError,
    UsageError,
    from_os_error,
)
from vmtgen.common.files import expect_file, shown, write
from vmtgen.kobj import KobjError, Module, read_module
from vmtgen.targets import Release, Targets, load_targets

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_CACHE_FORMAT = "1"  # part of every key: raise it when keys or contents change their meaning
_INCLUDED = re.compile(rb'^[ \t]*#[ \t]*include[ \t]*"([^"\n]+)"', re.MULTILINE)
# As clang and as gcc say it.
_MISSING = re.compile(r"'([^'\n]+)' file not found|fatal error: (\S+): No such file")
_DEBUG_SECTIONS = (".debug", ".rela.debug", ".rel.debug")
_BUILT = (".c", ".S", ".s")  # what the compiler driver takes; .S goes through the preprocessor
CANONICAL_SOURCE = "kmod"  # what the sources' directory is called in __FILE__ and DWARF


@dataclass(frozen=True)
class Built:
    """What a build made.

    `compiled` objects were compiled now, `reused` ones came from the cache; `written` tells
    whether a file changed.
    """

    module: Module
    debug: Path
    release: str
    machine: str
    compiler: str
    compiled: int
    reused: int
    written: bool

    @property
    def path(self) -> Path:
        """The module's file."""
        return self.module.path

    @cached_property
    def size(self) -> int:
        """Size of the module's file in bytes."""
        return self.path.stat().st_size


def build_module(
    source: Path | Sequence[Path],
    *,
    release: str | None = None,
    machine: str | None = None,
    out: Path,
    name: str | None = None,
    compiler: CompilerName = "zig",
    sys: Path | None = None,
    diagnostic: bool = False,
    cache: Path | None = None,
    extra_flags: Sequence[str] = (),
    targets: Targets | None = None,
) -> Built:
    """Compile `source` and write `out`/NAME.kmod and `out`/NAME.kmod.debug.

    `source` is a directory (its Makefile's KMOD and SRCS say what to build, without one every
    .c file) or a list of .c files; `name` overrides KMOD. `sys` is a NetBSD sys/ tree to build
    with instead of the project's own headers; such builds are not cached, and are for the tree's
    own release unless `release` says the same. `cache` is the
    directory of the object cache. Raises ReportedError for anything that the user can put right.
    """
    targets = targets or load_targets()
    chosen_release = choose_release(targets, release, sys)
    chosen_machine = targets.machine(machine or targets.default.machine)
    files, listed_name = _sources(source)
    name = name or listed_name
    cache = (cache or default_output() / ".cache").resolve()
    tool = toolchain(compiler, chosen_machine, targets)
    headers = (
        own_headers(chosen_machine.name)
        if sys is None
        else tree_headers(sys, chosen_machine, cache / "links")
    )
    version = chosen_release.version
    flags = (
        "-U__NetBSD_Version__",
        f"-D__NetBSD_Version__={version}",
        *(("-DDIAGNOSTIC",) if diagnostic else ()),
        *extra_flags,
    )
    builder = _Builder(tool, headers, flags, files, cache)
    with builder.folder() as folder:
        objects, compiled = builder.objects(folder)
        joined = builder.link("kmodule.ld", objects)
    stripped = builder.link("strip.ld", [joined])
    path, twin = out / f"{name}.kmod", out / f"{name}.kmod.debug"
    written = write(path, stripped.read_bytes())
    written |= write(twin, joined.read_bytes())
    try:
        module = read_module(path)
        _compare(module, read_module(twin))
    except KobjError as error:
        raise ReportedError(
            f"{shown(path)}: the kernel would refuse it: {error}",
            hint=f"vmtgen lint {shown(path)} tells more",
        ) from error
    return Built(
        module,
        twin,
        chosen_release.name,
        chosen_machine.name,
        tool.identity if compiler == "zig" else compiler,
        compiled,
        len(files) - compiled,
        written,
    )


def choose_release(targets: Targets, name: str | None, sys: Path | None) -> Release:
    """Return the release to build for: `name`'s, else the tree's at `sys`, else the default.

    Raises UsageError where both are given and differ: the tree's sys/param.h decides what the
    module says of itself, and only that kernel takes it.
    """
    if sys is None:
        return targets.release(name or targets.default.release)
    of_tree = targets.release_of(tree_version(sys))
    if name is not None and targets.release(name).version != of_tree.version:
        raise UsageError(
            f"--release {name}, but the tree at {sys} is NetBSD {of_tree.name}",
            hint="leave --release out: with --sys the tree's own release is built",
        )
    return of_tree


def default_output() -> Path:
    """Return the directory `build` of the checkout, outside one that of the working directory."""
    return (resources.root() or Path.cwd()) / "build"


def driver_source() -> Path:
    """Return kmod/ of the checkout, else of the working directory.

    Raises MissingInputError, which tells how to come by one, where there is none.
    """
    top = resources.root()
    source = (top or Path()) / CANONICAL_SOURCE
    if source.is_dir():
        return source
    if source.exists():
        raise MissingInputError(
            f"{shown(source)}: is not a directory",
            hint="remove it, and vmtgen generate writes the driver's files there",
        )
    if top is not None:
        hint = "vmtgen generate writes it"
    elif made := next(iter(sorted(Path().glob("*/kmod/vmt.c"))), None):
        # What `vmtgen generate --out DIR` has written.
        hint = f"cd {made.parent.parent}, or: vmtgen build --source {made.parent}"
    else:
        hint = "vmtgen generate --out . writes it; vmtgen build --source DIR names another place"
    raise MissingInputError(f"{shown(source)}: no such directory", hint=hint)


def _sources(source: Path | Sequence[Path]) -> tuple[tuple[Path, ...], str]:
    if not isinstance(source, Path):
        files = tuple(Path(file) for file in source)
        if not files:
            raise MissingInputError("no source files given")
        for file in files:
            expect_file(file)
        return files, files[0].stem
    if source.suffix in _BUILT and source.is_file():
        return (source,), source.stem
    if not source.is_dir():
        wrong = "is not a directory" if source.exists() else "no such directory"
        raise MissingInputError(
            f"{shown(source)}: {wrong}", hint="the source is a directory with C files, or one .c"
        )
    makefile = source / "Makefile"
    name = source.resolve().name
    if makefile.is_file():
        text = makefile.read_text(encoding="utf-8").replace("\\\n", " ")
        names = [word for line in _assigned(text, "SRCS") for word in line.split()]
        _expect_known_kinds(makefile, names)
        names = [word for word in names if word.endswith(_BUILT)]
        name = next(iter(_assigned(text, "KMOD")), name).strip()
        where = f"SRCS in {shown(makefile)}"
    else:
        names = sorted(_alone(source))
        where = shown(source)
    if not names:
        raise MissingInputError(
            f"{where}: no C file to build",
            hint="vmtgen generate writes the driver's files; --source DIR is for your own",
        )
    missing = [file for file in names if not (source / file).is_file()]
    if missing:
        raise MissingInputError(
            f"{where}: no such file: {', '.join(missing)}",
            hint="vmtgen generate writes the driver's files",
        )
    return tuple(source / file for file in names), name


def _expect_known_kinds(makefile: Path, names: Sequence[str]) -> None:
    """Refuse a source that is in another language: the module would lack what it defines."""
    unknown = [name for name in names if not name.endswith((*_BUILT, ".h")) and "$" not in name]
    if not unknown:
        return
    lines = makefile.read_text(encoding="utf-8").splitlines()
    word = re.compile(rf"(?:^|[\s=]){re.escape(unknown[0])}(?:\s|$)")
    line = next((number for number, text in enumerate(lines, 1) if word.search(text)), 1)
    raise ReportedError(
        f"{shown(makefile)}:{line}: SRCS: no way to build {', '.join(unknown)}",
        hint="C (.c) and assembly for the compiler (.S, .s) can be built; write it as one of these",
    )


def _alone(source: Path) -> set[str]:
    """Return the sources of a directory, without those that another one includes: ioconf.c."""
    files = [file for file in source.iterdir() if file.suffix in _BUILT]
    included = {
        os.fsdecode(name)
        for file in files
        for name in _INCLUDED.findall(file.read_bytes())
        if os.fsdecode(name) != file.name
    }
    names = {file.name for file in files}
    return names - included or names


def _assigned(text: str, variable: str) -> list[str]:
    """Return what a Makefile assigns to a variable, with = or +=, without comments."""
    pattern = rf"^{variable}[ \t]*\+?=([^\n#]*)"
    return [match.group(1) for match in re.finditer(pattern, text, re.MULTILINE)]


def _digest(*parts: bytes | str) -> str:
    total = hashlib.sha256()
    for part in parts:
        data = part.encode() if isinstance(part, str) else part
        total.update(len(data).to_bytes(8, "little"))
        total.update(data)
    return total.hexdigest()


def _texts(source: Path) -> list[bytes]:
    """Return the source and every file that it includes by a path from its own directory.

    The headers beside it are part of each object's key anyway; this finds an ioconf.c, too.
    """
    first = source.resolve()
    waiting, seen = [first], {first: source.read_bytes()}
    while waiting:
        path = waiting.pop()
        for name in _INCLUDED.findall(seen[path]):
            found = (path.parent / os.fsdecode(name)).resolve()
            if found not in seen and found.is_file():
                seen[found] = found.read_bytes()
                waiting.append(found)
    return list(seen.values())


@dataclass(frozen=True)
class _Builder:
    """The compilations and the two links of one module for one target."""

    tool: Toolchain
    headers: Headers
    flags: tuple[str, ...]
    files: tuple[Path, ...]
    cache: Path

    @cached_property
    def _common_key(self) -> str:
        """Everything but the source itself that an object depends on, without directories."""
        directories = sorted({file.parent for file in self.files})
        local = [
            part
            for directory in directories
            for header in sorted(directory.glob("*.h"))
            for part in (header.name, header.read_bytes())
        ]
        return _digest(
            _CACHE_FORMAT,
            self.tool.identity,
            *self.tool.compile[1:],
            *self.flags,
            self.headers.digest,
            *local,
        )

    @contextmanager
    def folder(self) -> Iterator[Path]:
        """Give the directory of the objects.

        Those that cannot be used again lie in one of their own: another build at the same time
        has the same names for them.
        """
        folder = self.cache / "objects"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise CannotCreateError(f"cannot make {shown(folder)}: {error.strerror}") from error
        if self.headers.cacheable:
            yield folder
            return
        with tempfile.TemporaryDirectory(dir=folder) as own:
            yield Path(own)

    def objects(self, folder: Path) -> tuple[list[Path], int]:
        """Return the object of every source in order, and how many had to be compiled."""
        found = [
            folder / f"{_digest(self._common_key, source.name, *_texts(source))}.o"
            for source in self.files
        ]
        missing = [
            (source, target)
            for source, target in zip(self.files, found, strict=True)
            if not target.is_file()
        ]
        if missing:
            self._compile_all(missing)
        return found, len(missing)

    def _compile_all(self, missing: Sequence[tuple[Path, Path]]) -> None:
        """Compile in parallel; one error tells what every failing file has to say."""
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            texts = list(pool.map(lambda item: self._compile(*item), missing))
        failed: dict[Path, str] = {}
        for (source, _), text in zip(missing, texts, strict=True):
            if text is not None:
                failed[source] = text
        if failed:
            names = ", ".join(shown(source) for source in failed)
            text = "\n".join(text.rstrip() for text in failed.values())
            raise ReportedError(
                f"cannot compile {names}:\n{text}",
                hint=_generated_hint(text, failed) or self._missing_hint(text),
            )

    def _missing_hint(self, text: str) -> str | None:
        """Say where a header comes from that the compiler has not found."""
        missing = _MISSING.search(text)
        if missing is None:
            return None
        name = missing[1] or missing[2]
        if "/" not in name and name.startswith("ioconf"):
            return (
                f"config(1) makes {name} from the driver's .ioconf on NetBSD: copy it here, or "
                "write its tables by hand, as docs/your-driver.md tells"
            )
        if self.headers.cacheable:  # our own
            return f"gen/kpi has no {name}: --sys DIR builds with a NetBSD source tree's headers"
        return None

    def _compile(self, source: Path, target: Path) -> str | None:
        """Compile one file; return the compiler's words where it fails."""
        # Always DIRECTORY/FILE from the directory above: how a compiler shortens a name must not
        # depend on where the user stands.
        directory = source.parent.resolve()
        maps = ((f"{directory.name}/", f"{CANONICAL_SOURCE}/"), *self.headers.maps)
        with tempfile.NamedTemporaryFile(dir=target.parent, suffix=".o", delete=False) as place:
            pass
        temporary = Path(place.name)
        command = [
            *self.tool.compile,
            *self.flags,
            # An assembler has no use for most flags, and clang would say so of each.
            *(() if source.suffix == ".c" else ("-Wno-unused-command-line-argument",)),
            "-nostdinc",
            f"-I{directory.name}",
            *self.headers.flags,
            *self.tool.path_flags(directory.parent, maps),
            "-c",
            f"{directory.name}/{source.name}",
            "-o",
            str(temporary),
        ]
        try:
            done = run_tool(command, self.cache, directory.parent)
            if done.returncode != 0:
                text = done.stderr.decode("utf-8", "replace") or f"{command[0]}: failed"
                return re.sub(
                    rf"(?m)(^|(?<=from )){re.escape(directory.name)}/",
                    lambda _: _folder(source),
                    text,
                )
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
        return None

    def _of_sources(self, text: str, objects: Sequence[Path]) -> str:
        """Return a linker's words with the user's files in place of objects of the cache."""
        if len(objects) == len(self.files):
            for source, made in zip(self.files, objects, strict=True):
                text = text.replace(str(made), shown(source))
        for source in self.files:
            text = text.replace(f"./{CANONICAL_SOURCE}/{source.name}:", f"{shown(source)}:")
        return text

    def link(self, script_name: str, inputs: Sequence[Path]) -> Path:
        """Join relocatable files to one by a linker script; return its place in the cache."""
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


def _folder(source: Path) -> str:
    """Return what stands before the name of a source where messages show it."""
    there = shown(source.parent)
    return "" if there == "." else f"{there}/"


def _generated_hint(text: str, files: Iterable[Path]) -> str | None:
    """Say where to correct an error in a file that is generated and lies beside one of `files`."""
    for name in re.findall(r"([\w.-]+\.[ch]):\d+:\d+: (?:fatal )?error", text):
        for path in {file.parent / name for file in files}:
            if path.is_file() and b"Generated by `vmtgen generate`" in path.read_bytes()[:400]:
                return f"{name} is generated: change specs/ or templates/, then vmtgen generate"
    return None


def run_tool(
    command: Sequence[str], cache: Path, directory: Path | None = None
) -> subprocess.CompletedProcess[bytes]:
    """Run a tool in `directory`, with an environment that cannot change what it makes."""
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


def loaded_image(module: Module) -> tuple[list[tuple[object, ...]], Counter[tuple[object, ...]]]:
    """Return what the loader makes of a module but for debug sections: two equal ones load alike.

    The sections in order, as (name, region, alignment, size, bytes), and the relocations.
    """
    sections: list[tuple[object, ...]] = [
        (section.name, section.region, section.align, section.size, section.data)
        for section in module.sections
        if section.loaded and not section.name.startswith(_DEBUG_SECTIONS)
    ]
    relocations: Counter[tuple[object, ...]] = Counter(
        (
            module.sections[relocation.section].name,
            relocation.offset,
            relocation.type,
            module.describe(relocation.symbol),
            relocation.addend,
        )
        for relocation in module.relocations
        if not module.sections[relocation.section].name.startswith(_DEBUG_SECTIONS)
    )
    return sections, relocations


def _compare(module: Module, twin: Module) -> None:
    """Refuse a debug twin that would not be loaded like the module, byte for byte."""
    (ours, our_relocations), (theirs, their_relocations) = map(loaded_image, (module, twin))
    for one, other in zip(ours, theirs, strict=False):
        if one != other:
            raise ReportedError(
                f"{shown(twin.path)}: section {other[0]} differs from the module's "
                f"{one[0]}: line numbers would be wrong",
                hint="the linker took out more than debug sections: try another --cc and report it",
            )
    if len(ours) != len(theirs) or our_relocations != their_relocations:
        raise ReportedError(
            f"{shown(twin.path)}: other sections or relocations than the module's",
            hint="the linker took out more than debug sections: try another --cc and report it",
        )
