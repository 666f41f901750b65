"""The pages of the documentation as data: fenced blocks, code spans, links and anchors.

What the info string of a fenced block says:

=================  =============================================================================
``sh``             commands that run in a checkout after ``make``, one block after the other
nothing            what the commands before it print; ``...`` stands for any text
``diff``           an edit of the checkout, made before the next block
``console guest``  commands after ``# `` on the simulated guest, and what they print
``sh netbsd``      commands for another system (also ``macos`` and ``console``): checked, not run
``text``           a picture
=================  =============================================================================

and ``yaml``, ``c``, ``python`` and ``json`` show a piece of a file.
"""

from __future__ import annotations

import re
import shlex
import textwrap
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

KINDS = frozenset(
    {"sh", "", "diff", "console guest", "sh netbsd", "console netbsd", "sh macos", "text", "yaml",
     "c", "python", "json"}
)  # fmt: skip
_FENCE = re.compile(r"^( *)```([^\n`]*)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\[(?:[^\[\]]|\[[^\]]*\])*\]\(([^()\s]+)(?:\s+\"([^\"]*)\")?\)")
_DEFINITION = re.compile(r"^\[([^\]]+)\]:\s+(\S+)(?:\s+\"([^\"]*)\")?$", re.MULTILINE)
_REFERENCE = re.compile(r"\[[^\[\]]+\]\[([^\]]+)\]")
_HEADING = re.compile(r"^#+ +(.*?)(?: +#+)?$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: ``kind`` is its info string, ``place`` its file and line."""

    kind: str
    text: str
    place: str

    @property
    def elsewhere(self) -> bool:
        """Whether its commands are for a system that the tests do not have."""
        return self.kind.endswith((" netbsd", " macos"))

    @property
    def commands(self) -> list[str]:
        """The commands as they are typed, without prompts and output."""
        joined = self.text.replace("\\\n", " ").splitlines()
        if self.kind.startswith("console"):
            return [line[2:] for line in joined if line.startswith(("$ ", "# "))]
        return [line for line in joined if line.strip() and not line.lstrip().startswith("#")]

    @property
    def words(self) -> Iterator[list[str]]:
        """The words of each simple command, without redirections."""
        for line in self.commands:
            lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
            lexer.whitespace_split = True
            command: list[str] = []
            skip = False
            for word in lexer:
                if word in {";", "&", "&&", "|", "||"}:
                    if command:
                        yield command
                    command = []
                elif set(word) <= set("<>&"):
                    skip = True
                elif skip:
                    skip = False
                else:
                    command.append(word)
            if command:
                yield command


@dataclass(frozen=True)
class Link:
    """A link's target and its title, which names a test where the target is a file of tests."""

    target: str
    title: str


@dataclass(frozen=True)
class Page:
    """A page of the documentation."""

    path: Path
    name: str

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        """The fenced blocks in their order."""
        found = [
            Block(
                info.strip(),
                textwrap.dedent(body),
                f"{self.name}:{self.text.count(chr(10), 0, match.start()) + 1}",
            )
            for match in _FENCE.finditer(self.text)
            for _, info, body in [match.groups()]
        ]
        assert 2 * len(found) == len(re.findall(r"^ *```", self.text, re.MULTILINE)), self.name
        return found

    @cached_property
    def prose(self) -> str:
        """The text without its fenced blocks."""
        return _FENCE.sub("", self.text)

    @property
    def spans(self) -> list[str]:
        """The texts in backquotes, each on one line."""
        return [" ".join(span.split()) for span in _SPAN.findall(self.prose)]

    @property
    def links(self) -> list[Link]:
        """All links, those that are used by a name too."""
        prose = _SPAN.sub("", self.prose)
        return [
            *(Link(target, title) for target, title in _LINK.findall(prose)),
            *(Link(target, title) for _, target, title in _DEFINITION.findall(prose)),
        ]

    @property
    def definitions(self) -> dict[str, Link]:
        """Links by the names under which the page uses them."""
        return {
            name: Link(target, title) for name, target, title in _DEFINITION.findall(self.prose)
        }

    @property
    def references(self) -> set[str]:
        """The names of links that the page uses."""
        return set(_REFERENCE.findall(_SPAN.sub("", self.prose)))

    @property
    def anchors(self) -> set[str]:
        """The names that its headings have as targets of links, as GitHub makes them."""
        plain = (
            re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", each) for each in _HEADING.findall(self.prose)
        )
        return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in plain}


def pages(root: Path) -> list[Page]:
    """Every page at the top and in docs/."""
    paths = sorted([*root.glob("*.md"), *(root / "docs").rglob("*.md")])
    return [Page(path, str(path.relative_to(root))) for path in paths]


# Values that change with every line of C: sizes, line numbers, microseconds, schedule lengths.
_VOLATILE = re.compile(
    r"\d+(?= bytes| faults and actions)"
    r"|(?<=\.[chS]:)\d+|(?<=\.yaml:)\d+|(?<= in line )\d+|(?m:^[ >]+\d+(?=  ))"
    r"|(?<=\d\.)\d{6}\b"
)


def shows(expected: str, printed: str) -> bool:
    """Whether ``printed`` matches the page, except for figures that change with every build.

    ``...`` on the page stands for any text.
    """
    pieces = _VOLATILE.sub("#", expected.strip()).split("...")
    pattern = ".*?".join(re.escape(piece) for piece in pieces)
    return re.search(pattern, _VOLATILE.sub("#", printed), re.DOTALL) is not None
