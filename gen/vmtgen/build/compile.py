"""The builder compiles C files to NAME.kmod and its debug twin NAME.kmod.debug.

The files are compiled with debug information and linked to the twin, which has the line numbers.
The module is the twin without its debug sections, because the loader would put them into kernel
memory. The builder checks that the loader would load the same bytes from both. The same
sources, headers, flags and compiler give the same bytes in every directory and on every machine.
"""

from __future__ import annotations

import os
from collections import Counter
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from vmtgen import resources
from vmtgen.build.makefile import BUILT, Recipe, Source, is_generated, read_makefile
from vmtgen.build.objects import CANONICAL_SOURCE, INCLUDED, Builder
from vmtgen.build.sysroot import own_headers, tree_headers, tree_version
from vmtgen.build.toolchain import CompilerName, toolchain
from vmtgen.common.dataclass import dataclass
from vmtgen.common.errors import (
    MissingInputError,
    ReportedError,
    UsageError,
)
from vmtgen.common.files import expect_file, shown, write
from vmtgen.kobj import KobjError, Module, read_module
from vmtgen.targets import Release, Targets, load_targets

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vmtgen.targets import MachineTarget

_DEBUG_SECTIONS = (".debug", ".rela.debug", ".rel.debug")


@dataclass(frozen=True)
class Built:
    """The result of a build.

    `compiled` objects were compiled now, `reused` ones came from the cache; `written` is
    whether a file changed. `warnings` are those of the compiler and of config(1).
    """

    module: Module
    debug: Path
    release: str
    machine: str
    compiler: str
    compiled: int
    reused: int
    written: bool
    warnings: str = ""

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

    `source` is a directory (its Makefile's KMOD and SRCS name the sources; without a Makefile,
    every .c file is compiled) or a list of .c files; `name` overrides KMOD. `sys` is a NetBSD
    sys/ tree whose headers replace the project's; such builds are not cached, and are for the
    tree's own release, which `release` may repeat. `cache` is the directory of the object cache.
    Raises ReportedError for all errors that the user can correct.
    """
    targets = targets or load_targets()
    chosen_release = choose_release(targets, release, sys)
    chosen_machine = targets.machine(machine or targets.default.machine)
    recipe = _recipe(source, chosen_machine, compiler, sys)
    name = name or recipe.name
    cache = (cache or default_output() / ".cache").resolve()
    warns = None if recipe.ours else recipe.warns
    tool = toolchain(compiler, chosen_machine, targets, warns=warns)
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
    builder = Builder(tool, headers, flags, recipe, cache)
    with builder.folder() as folder:
        made = builder.ioconf(folder, sys)
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
            hint=f"vmtgen lint {shown(path)} explains it",
        ) from error
    return Built(
        module,
        twin,
        chosen_release.name,
        chosen_machine.name,
        tool.identity if compiler == "zig" else compiler,
        compiled,
        len(recipe.sources) - compiled,
        written,
        "\n".join([*map(str, made), *builder.warnings]),
    )


def choose_release(targets: Targets, name: str | None, sys: Path | None) -> Release:
    """Return the release to build for: `name`'s, else the tree's at `sys`, else the default.

    Raises UsageError where both are given and differ: the tree's sys/param.h decides the version
    in the module's modinfo, and only a kernel of that version loads the module.
    """
    if sys is None:
        return targets.release(name or targets.default.release)
    of_tree = targets.release_of(tree_version(sys))
    if name is not None and targets.release(name).version != of_tree.version:
        raise UsageError(
            f"--release {name}, but the tree at {sys} is NetBSD {of_tree.name}",
            hint="omit --release: with --sys the tree's own release is built",
        )
    return of_tree


def default_output() -> Path:
    """Return the directory `build` of the checkout; outside one, of the working directory."""
    return (resources.root() or Path.cwd()) / "build"


def module_source(name: str) -> Path:
    """Return kmod/NAME of the checkout, else of the working directory.

    Raises MissingInputError, whose hint says how to create it, where there is none.
    """
    top = resources.root()
    source = (top or Path()) / CANONICAL_SOURCE / name
    if source.is_dir():
        return source
    if source.exists():
        raise MissingInputError(
            f"{shown(source)}: is not a directory",
            hint="remove it, and vmtgen generate writes the module's files there",
        )
    if top is not None:
        hint = "vmtgen generate writes it"
    elif made := next(iter(sorted(Path().glob(f"*/{CANONICAL_SOURCE}/{name}/*.c"))), None):
        # What `vmtgen generate --out DIR` has written.
        hint = f"cd {made.parents[2]}, or: vmtgen build --source {made.parent}"
    else:
        hint = "vmtgen generate --out . writes it; vmtgen build --source DIR names another place"
    raise MissingInputError(f"{shown(source)}: no such directory", hint=hint)


def _recipe(
    source: Path | Sequence[Path], machine: MachineTarget, compiler: str, sys: Path | None
) -> Recipe:
    """Return what to build: files as given, a directory's Makefile, or all of its sources."""
    if not isinstance(source, Path):
        files = tuple(Path(file) for file in source)
        if not files:
            raise MissingInputError("no source files given")
        for file in files:
            expect_file(file)
        return _plain(files, files[0].stem)
    if source.suffix in BUILT and source.is_file():
        return _plain((source,), source.stem)
    if not source.is_dir():
        wrong = "is not a directory" if source.exists() else "no such directory"
        raise MissingInputError(
            f"{shown(source)}: {wrong}", hint="the source is a directory with C files, or one .c"
        )
    makefile = source / "Makefile"
    if makefile.is_file():
        return read_makefile(makefile, machine, compiler, sys)
    names = sorted(_alone(source))
    if not names:
        raise MissingInputError(
            f"{shown(source)}: no C file to build",
            hint="vmtgen generate writes the driver's files; --source DIR is for your own",
        )
    return _plain([source / name for name in names], source.resolve().name)


def _plain(files: Sequence[Path], name: str) -> Recipe:
    """Return the recipe of files without a Makefile."""
    directory = files[0].resolve().parent
    ours = is_generated(directory / "Makefile")
    return Recipe(name, directory, tuple(map(Source, files)), ours=ours)


def _alone(source: Path) -> set[str]:
    """Return the sources of a directory, without those that another includes, as ioconf.c."""
    files = [file for file in source.iterdir() if file.suffix in BUILT]
    included = {
        os.fsdecode(name)
        for file in files
        for name in INCLUDED.findall(file.read_bytes())
        if os.fsdecode(name) != file.name
    }
    names = {file.name for file in files}
    return names - included or names


def loaded_image(module: Module) -> tuple[list[tuple[object, ...]], Counter[tuple[object, ...]]]:
    """Return what the loader loads of a module without its debug sections, to compare two modules.

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
                hint="the linker removed more than debug sections: try another --cc and report it",
            )
    if len(ours) != len(theirs) or our_relocations != their_relocations:
        raise ReportedError(
            f"{shown(twin.path)}: other sections or relocations than the module's",
            hint="the linker removed more than debug sections: try another --cc and report it",
        )
