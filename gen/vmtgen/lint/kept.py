"""Caches the findings in a module's code, by content, for the next run of the linter.

The check of the code loads a disassembler and reads every instruction: half of the time of a lint.
Its result depends on the module's file, on the load address and on the linter's code, so all three
are part of the entry's name; see common.cache.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common import cache

if TYPE_CHECKING:
    from vmtgen.kobj import Loading, Module

# The directories of vmtgen whose code decides the findings.
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
    """Return the findings in an entry, None where the entry is invalid."""
    if not isinstance(entry, list):
        return None
    for each in entry:
        if not (isinstance(each, list) and [type(word) for word in each] == [str] * 3):
            return None
    return [(rule, where, message) for rule, where, message in entry]


def _content(module: Module, loading: Loading, *, may_use_fpu: bool) -> bytes | None:
    """Return all that the result depends on; None where that is unknown."""
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
    """Return a mark that changes with a file of code."""
    status = path.stat()
    return status.st_size, status.st_mtime_ns
