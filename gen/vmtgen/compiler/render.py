"""Renders templates with the specs; errors are reported with the template's file and line."""

from __future__ import annotations

import re
import sys
from typing import TYPE_CHECKING

import jinja2

from vmtgen import __version__
from vmtgen.common.errors import MissingInputError
from vmtgen.common.files import GENERATED, shown
from vmtgen.common.located import LocatedErrors, Problem, listed, nearest
from vmtgen.common.schema import Entries, Record, keys_of
from vmtgen.compiler.filters import FILTERS
from vmtgen.compiler.knf import fold
from vmtgen.compiler.spec.load import FILES, SHARED

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path
    from types import CodeType, TracebackType

    from jinja2.bccache import Bucket

    from vmtgen.compiler.model import Specs

SUFFIX = ".j2"

_HINT = "--templates names the directory that holds _macros.j2 and one of each module's templates"


class Undefined(jinja2.StrictUndefined):
    """Refuses names that the specs do not have, and suggests the nearest one."""

    @property
    def _undefined_message(self) -> str:
        name = str(self._undefined_name)
        if self._undefined_obj is jinja2.utils.missing:
            return _with_hint(f"there is no variable {name!r}", name, [*FILES, "version"])
        owner = self._undefined_obj
        kind = type(owner).__name__
        if isinstance(owner, Entries):
            return _with_hint(f"there is no entry {name!r}", name, owner.names)
        if isinstance(owner, Record):
            kind_of = type(owner)
            known = [key.name for key in keys_of(kind_of)]
            known += [n for n, value in vars(kind_of).items() if isinstance(value, property)]
            return _with_hint(f"{kind} has no key {name!r}", name, known)
        return f"a value of type {kind} has no {name!r}"


def _with_hint(message: str, name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = nearest(name, names)
    return (
        f"{message} (did you mean {near!r}?)" if near else f"{message}: there are {listed(names)}"
    )


class _CompiledTemplates(jinja2.BytecodeCache):
    """Caches the compiled templates of the process, by name and text.

    The directory is no part of the key: error messages take only the name from the code.
    """

    def __init__(self) -> None:
        self._code: dict[tuple[str, str], CodeType] = {}

    def get_cache_key(self, name: str, filename: str | None = None) -> str:  # noqa: ARG002
        return name

    def load_bytecode(self, bucket: Bucket) -> None:
        bucket.code = self._code.get((bucket.key, bucket.checksum))

    def dump_bytecode(self, bucket: Bucket) -> None:
        if bucket.code is not None:
            self._code[bucket.key, bucket.checksum] = bucket.code


_COMPILED = _CompiledTemplates()


class Renderer:
    """Renders the templates of a module with its specs.

    The templates are those in ``directory``, which all modules share, and in its directory there.
    """

    def __init__(self, directory: Path, specs: Specs) -> None:
        own = directory / specs.module
        for place in (directory, own):
            if not place.is_dir():
                raise MissingInputError(f"{shown(place)}: no such directory", hint=_HINT)
        if not _outputs_of(own):
            raise MissingInputError(
                f"{shown(own)}: no template: no file *{SUFFIX} that makes an output",
                hint=_HINT,
            )
        self.directory = directory
        self.module = specs.module
        self._places = (own, directory)  # in this order
        self.environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(self._places),
            undefined=Undefined,
            trim_blocks=True,
            lstrip_blocks=True,
            keep_trailing_newline=True,
            autoescape=False,  # C and roff, not HTML
            bytecode_cache=_COMPILED,
        )
        self.environment.filters.update(FILTERS)
        self.environment.globals.update(
            vars(specs),
            version=__version__,
            marker=GENERATED,
            spec_path=self._spec_path,
        )

    def templates(self) -> list[str]:
        """Return the names of the templates that make outputs; those with _ are includes."""
        return sorted({name for place in self._places for name in _outputs_of(place)})

    def render_all(self) -> dict[str, str]:
        """Return the text of every output by its file name.

        Raises LocatedErrors with the errors of all templates.
        """
        outputs: dict[str, str] = {}
        problems: list[Problem] = []
        for name in self.templates():
            try:
                outputs[name.removesuffix(SUFFIX)] = self.render(name)
            except LocatedErrors as errors:  # noqa: PERF203 - all of them are reported
                problems += errors.problems
        if problems:
            raise LocatedErrors(problems)
        return outputs

    def render(self, name: str) -> str:
        """Return the output of the template ``name``. Raises LocatedErrors."""
        output = name.removesuffix(SUFFIX)
        try:
            text = self.environment.get_template(name).render(
                template=self._path(name).relative_to(self.directory).as_posix(), output=output
            )
            return fold(text) if output.endswith((".c", ".h")) else text
        except jinja2.TemplateSyntaxError as error:
            message = error.message or "not a template"
            raise LocatedErrors(
                [self._reported(error.name or name, error.lineno, message)]
            ) from None
        except jinja2.TemplateNotFound as error:
            line, place = self._place(name, sys.exc_info()[2])
            missing = str(error.name)
            known = sorted(p.name for place in self._places for p in place.glob(f"*{SUFFIX}"))
            message = f"there is no template {missing!r}"
            raise LocatedErrors([self._problem(place, line, message, missing, known)]) from None
        except RecursionError:
            traceback = sys.exc_info()[2]
            line, place = self._place(name, traceback)
            if not line:
                raise
            message = "the template includes itself, directly or through others"
            if _templates_begun(traceback) < 3:  # rather than hundreds
                message = "the macro calls itself without end"
            raise LocatedErrors([self._problem(place, line, message)]) from None
        except Exception as error:
            # Any exception of a template's expression is reported at the template's line.
            line, place = self._place(name, sys.exc_info()[2])
            if not line:
                raise
            message = str(error)
            if not isinstance(error, jinja2.TemplateError):
                message = f"{type(error).__name__}: {message}"
            raise LocatedErrors([self._reported(place, line, message)]) from error

    def _reported(self, name: str, line: int, message: str) -> Problem:
        """Return jinja2's message as a problem; it has no suggestion."""
        unknown = re.match(r"No (filter|test) named '([^']*)'", message)
        if unknown is None:
            return self._problem(name, line, message.rstrip("."))
        kind, missing = unknown.groups()
        known = self.environment.filters if kind == "filter" else self.environment.tests
        return self._problem(name, line, f"there is no {kind} {missing!r}", missing, list(known))

    def _place(self, name: str, traceback: TracebackType | None) -> tuple[int, str]:
        """Return the innermost template line of a traceback, and that template."""
        line, place = 0, name
        while traceback is not None:
            file = traceback.tb_frame.f_code.co_filename
            if file.endswith(SUFFIX):
                line, place = traceback.tb_lineno, file.replace("\\", "/").rpartition("/")[2]
            traceback = traceback.tb_next
        return line, place

    def _problem(
        self, name: str, line: int, message: str, missing: str = "", known: Iterable[str] = ()
    ) -> Problem:
        near = nearest(missing, known) if missing else None
        return Problem(shown(self._path(name)), line, 0, "", message, near)

    def _path(self, name: str) -> Path:
        """Return the file of the template ``name``."""
        found = [place / name for place in self._places if (place / name).is_file()]
        return found[0] if found else self._places[0] / name

    def _spec_path(self, name: str) -> str:
        """Return the path of a spec as the header shows it; for the templates."""
        stem = name.removesuffix(".yaml")
        if stem not in FILES:
            raise jinja2.TemplateRuntimeError(_with_hint(f"there is no spec {name!r}", stem, FILES))
        return f"specs/{stem}.yaml" if stem in SHARED else f"specs/{self.module}/{stem}.yaml"


def _outputs_of(directory: Path) -> list[str]:
    found = [path.name for path in directory.glob(f"*{SUFFIX}")]
    return sorted(name for name in found if not name.startswith("_"))


def _templates_begun(traceback: TracebackType | None) -> int:
    """Return how many templates were being rendered, by jinja2's name for their outermost code."""
    count = 0
    while traceback is not None:
        count += traceback.tb_frame.f_code.co_name == "top-level template code"
        traceback = traceback.tb_next
    return count
