"""What was found in a module's code, kept by content for the next start of the linter.

The look at the code loads a disassembler and goes through every instruction: half of the time that
a lint takes.  The answer follows from the module's file, from where it is placed and from what
looks, so all three are part of the name of what is kept; see common.cache.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common import cache

if TYPE_CHECKING:
    from vmtgen.kobj import Loading, Module

# The directories of vmtgen whose code decides what is found.
_MAKERS = tuple(Path(__file__).parent.parent / room for room in ("common", "kobj", "lint"))


def kept_code_problems(
    module: Module, loading: Loading, *, may_use_fpu: bool
) -> list[tuple[str, str, str]]:
    """Return (rule, where, message) of all that vmtgen.lint.code.code_problems() yields."""
    content = _content(module, loading, may_use_fpu=may_use_fpu)
    kept = None if content is None else _read(cache.get("code", content))
    if kept is None:
        from vmtgen.lint.code import code_problems  # noqa: PLC0415 - slow to import

        found = code_problems(module, loading, may_use_fpu=may_use_fpu)
        kept = [(problem.rule, problem.where, problem.message) for problem in found]
        if content is not None:
            cache.put("code", content, kept)
    return kept


def _read(entry: Any) -> list[tuple[str, str, str]] | None:
    """Return what an entry holds, None where it holds something else."""
    if not isinstance(entry, list):
        return None
    for each in entry:
        if not (isinstance(each, list) and [type(word) for word in each] == [str] * 3):
            return None
    return [(rule, where, message) for rule, where, message in entry]


def _content(module: Module, loading: Loading, *, may_use_fpu: bool) -> bytes | None:
    """Return all that the answer depends on; None where that cannot be said."""
    capstone = importlib.util.find_spec("capstone")
    if capstone is None or capstone.origin is None or not module.sections:
        return None
    makers = [Path(capstone.origin)]
    for directory in _MAKERS:
        makers += sorted(directory.glob("*.py"))
    try:
        marks = [(str(path), *_mark(path)) for path in makers]
    except OSError:
        return None
    placed = (module.machine.value, sorted(loading.bases.items()), may_use_fpu)
    return repr((marks, placed)).encode() + module.sections[0].file


def _mark(path: Path) -> tuple[int, int]:
    """Return what changes when a file of code does."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
