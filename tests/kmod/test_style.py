"""The driver's C follows the rules of NetBSD's style(9) that a program can check.

The rules are those of share/misc/style in NetBSD's tree.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

KMOD = Path(__file__).resolve().parents[2] / "kmod"
SOURCES = sorted(KMOD.glob("*/*.c"))
ALL = sorted(KMOD.glob("*/*.[ch]"))

# Patterns that no line may have, with the reasons.
WRONG = {
    r"[ \t]$": "blanks at the end",
    r" \t": "a blank before a tab",
    r"\b(if|for|while|switch|return)\(": "no blank after a keyword",
    r"\bsizeof [(\w]": "a blank after sizeof",
    r"\breturn \([^()]*\);": "parentheses around what is returned",
    r"^\t* {5,}[^ *:\"+\[]": "a continuation of other than four blanks",
    r"\)\{": "no blank before a brace",
    r"^\t* else\b": "else on a line of its own",
    r"\bu_int(8|16|32|64)_t\b": "a type that is older than C99",
    r"(?<!:)//": "a comment of C++",
    r"\bunsigned\b(?! long)": "unsigned where the driver says u_int",
}


def _code(path: Path) -> list[tuple[int, str]]:
    """The lines outside block comments, string literals emptied, with their numbers."""
    kept = []
    inside = False
    for number, line in enumerate(path.read_text("ascii").split("\n"), 1):
        if line.lstrip().startswith("/*"):
            inside = True
        if not inside:
            kept.append((number, re.sub(r'"(?:[^"\\]|\\.)*"', '""', line)))
        if "*/" in line:
            inside = False
    return kept


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_lines_follow_style(path: Path) -> None:
    found = [
        f"{path.name}:{number}: {why}: {line.strip()}"
        for number, line in _code(path)
        for pattern, why in WRONG.items()
        if re.search(pattern, line)
    ]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_only_strings_exceed_80_columns(path: Path) -> None:
    """A string literal stays on one line, so that it can be searched for."""
    wide = [
        f"{path.name}:{number}: {line}"
        for number, line in enumerate(path.read_text("ascii").split("\n"), 1)
        if len(line.expandtabs(8)) > 80
        and not re.match(r'\t+ {4}[\w(]*"', line)
        and not re.match(r'\t+"', line)
    ]
    assert not wide, "\n".join(wide)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_headers_are_ordered_as_in_style(path: Path) -> None:
    """<sys/cdefs.h> and the revision, <sys/param.h>, the rest sorted, the driver's at the end."""
    text = path.read_text("ascii")
    assert (
        '#include <sys/cdefs.h>\n__KERNEL_RCSID(0, "$NetBSD$");\n\n#include <sys/param.h>' in text
    )
    names = re.findall(r"#include <(sys/.*)>", text)
    assert names[:2] == ["sys/cdefs.h", "sys/param.h"]
    assert names[2:] == sorted(names[2:])
    first_own = text.index('#include "')
    assert "#include <" not in text[first_own:]


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_function_name_starts_its_own_line(path: Path) -> None:
    lines = path.read_text("ascii").split("\n")
    bodies = [n for n, line in enumerate(lines) if line == "{" and not lines[n - 1].endswith("=")]
    assert bodies or path.name.endswith("_tables.c")
    for brace in bodies:
        start = brace - 1
        while lines[start].startswith((" ", "\t")):
            start -= 1
        assert re.match(r"\w+\(", lines[start]), f"{path.name}:{start + 1}: {lines[start]}"
        assert re.fullmatch(r"(?:static )?(?:const )?[\w ]+(?: \*| __noinline)?", lines[start - 1])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.name)
def test_function_without_variables_starts_with_empty_line(path: Path) -> None:
    lines = path.read_text("ascii").split("\n")
    declaration = re.compile(r"\t(?!return )(?:\w+ )+(?:\**\w+(?:\[\w+\])?[,; ]|{)")
    for number, line in enumerate(lines):
        if line == "{":
            after = lines[number + 1]
            assert after == "" or after.startswith("#") or declaration.match(after), (
                f"{path.name}:{number + 2}: {after}"
            )


def _late_declarations(text: str) -> list[str]:
    """Declarations of a function after an empty line below its others."""
    plain = re.compile(r"\t(?!return |goto )(?:\w+ )+\**\w+(?:\[\w+\])?(?: = [^;]*)?;")
    found = []
    for body in re.findall(r"^\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL):
        first, _, rest = body.partition("\n\n")
        if plain.search(first) and plain.fullmatch(line := rest.partition("\n")[0]):
            found.append(line.strip())
    return found


@pytest.mark.parametrize("path", ALL, ids=lambda path: path.name)
def test_no_empty_line_between_declarations_or_doubled(path: Path) -> None:
    text = path.read_text("ascii")
    assert _late_declarations(text) == []
    assert "\n\n\n" not in text


def test_empty_line_between_declarations_is_detected() -> None:
    assert _late_declarations("{\n\tint a = b;\n\n\tstruct x *c;\n\n\ta++;\n}\n") == [
        "struct x *c;"
    ]
    assert _late_declarations("{\n\tint a;\n\n\tc = d;\n}\n") == []


def test_static_functions_are_declared_at_the_top() -> None:
    for path in SOURCES:
        text = path.read_text("ascii")
        defined = re.findall(r"^static [^\n;=]*\n(\w+)\(", text, re.MULTILINE)
        for name in defined:
            if name.startswith("vmt_trap_"):
                continue  # used right below
            declared = re.search(rf"^static [^;{{]*\b{name}\([^{{]*?;", text, re.MULTILINE)
            assert declared or name.endswith("_MODCMD"), f"{path.name}: {name}"
