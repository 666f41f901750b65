"""Finds the variables that a file of shell assignments sets, without running it.

rc.conf(5) is a shell script.  This module reads the part of the language that such files use:
assignments, export, ``: ${name:=value}``, the file of defaults, and conditions.  A variable that
any other command may set becomes UNKNOWN.  The grammar is that
of POSIX, Shell Command Language 2.2 to 2.10, which sh(1) of NetBSD follows.
"""

from __future__ import annotations

from vmtctl.checks.shellwords import Unreadable, Word, tokens

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

# The value of a variable that depends on more than the text of the files.
UNKNOWN = "\0"

_NAME = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789"
_REDIRECTIONS = {">>", ">&", "<&", ">|", "<>", "<", ">"}
# Commands that run other shell code, or change the meaning of later words.
_ANYTHING = {"eval", "source", "alias"}
# Commands after which the rest of the file may not be read.
_ENDING = {"exit", "return", "exec", "set"}
_YES, _MAYBE, _NO = 2, 1, 0


class Variables:
    """The variables of a shell that reads file after file.

    ``read_file`` returns the text of a file that may be read in by ``.``, or None; ``condition``
    returns whether the condition of an ``if`` holds, or None.
    """

    def __init__(
        self,
        read_file: Callable[[str], str | None],
        condition: Callable[[list[str]], bool | None],
    ) -> None:
        self.read_file = read_file
        self.condition = condition
        self._values: dict[str, str | None] = {}
        self.functions: set[str] = set()
        self._otherwise: str | None = None

    def get(self, name: str) -> str | None:
        """Return the value of a variable, None when it is not set, or UNKNOWN."""
        return self._values.get(name, self._otherwise)

    def read(self, text: str) -> None:
        """Read a file."""
        try:
            found = list(tokens(text))
        except Unreadable:
            self._read_readable_lines(text)
            return
        _Reader(self, found).run()

    def _read_readable_lines(self, text: str) -> None:
        """Read a file that cannot be parsed as a whole: each variable that it names is unknown."""
        import re

        for name in re.findall(r"(?:^|[^A-Za-z0-9_$])\$?\{?([A-Za-z_][A-Za-z0-9_]*):?=", text):
            self._values[name] = UNKNOWN
        if re.search(r"(?m)(?:^|[;&|({`]|\b(?:then|do|else)\b)\s*(?:\.|eval|source)\s", text):
            self.lose_all()

    def lose_all(self) -> None:
        """Mark all variables as unknown."""
        self._values.clear()
        self._otherwise = UNKNOWN

    def assign(self, name: str, value: str | None, certainty: int) -> None:
        """Set a variable; a ``value`` of None means an unknown value."""
        if certainty == _NO:
            return
        new = UNKNOWN if value is None else value
        if certainty == _MAYBE and self.get(name) != new:
            new = UNKNOWN
        self._values[name] = new

    def unset(self, name: str, certainty: int) -> None:
        """Unset a variable."""
        if certainty == _YES:
            self._values[name] = None
        elif certainty == _MAYBE:
            self._values[name] = UNKNOWN


class _Reader:
    """Reads the tokens of one file."""

    def __init__(self, variables: Variables, found: list[Word]) -> None:
        self._variables = variables
        self._tokens = found
        self._at = 0
        # Whether the commands of each open compound command are run: _YES, _NO or uncertain.
        self._open: list[tuple[str, int]] = []
        self._joined = False  # after &&, || or |

    def run(self) -> None:
        """Read to the end."""
        try:
            while self._at < len(self._tokens):
                self._step()
        except Unreadable:
            self._variables.lose_all()
        if self._open:
            self._variables.lose_all()

    def _step(self) -> None:
        token = self._tokens[self._at]
        if not token.operator:
            words, after = self._simple()
            certainty = self._certainty()
            if self._joined or after in {"|", "&"}:
                certainty = min(certainty, _MAYBE)
            self._command(words, certainty)
            return
        self._at += 1
        if token.text == "(":
            self._begin("(", _NO)
        elif token.text == ")":
            self._close("(")
        if token.text != "\n" or not self._joined:
            self._joined = token.text in {"&&", "||", "|"}

    def _begin(self, kind: str, certainty: int) -> None:
        """Open a compound command."""
        if self._joined:
            self._open.append(("joined", _MAYBE))
        self._open.append((kind, certainty))
        self._joined = False

    def _certainty(self) -> int:
        return min((certainty for _, certainty in self._open), default=_YES)

    def _simple(self) -> tuple[list[Word], str]:
        """Return the words up to the next operator, and that operator."""
        words: list[Word] = []
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            if token.operator and token.text in _REDIRECTIONS:
                self._at += 2
                continue
            if token.operator:
                return words, token.text
            words.append(token)
            self._at += 1
            if len(words) == 1 and token.bare and token.text in _RESERVED:
                return words, ""
        return words, ""

    def _command(self, words: list[Word], certainty: int) -> None:
        if not words:
            return
        first = words[0]
        if first.bare and first.text in _RESERVED:
            self._reserved(first.text)
            return
        after = self._tokens[self._at] if self._at < len(self._tokens) else None
        if len(words) == 1 and after is not None and after.operator and after.text == "(":
            self._function(first.text)
            return
        assignments = 0
        for word in words:
            if _name_of(word.text) is None:
                break
            assignments += 1
        if assignments == len(words):
            for word in words:
                self._assign(word, certainty)
            return
        self._run(words[assignments:], certainty)

    def _run(self, words: list[Word], certainty: int) -> None:
        """Apply the effect of a command on the variables."""
        name, arguments = words[0], words[1:]
        if name.text in {"export", "readonly", "local"}:
            for word in arguments:
                if _name_of(word.text) is not None:
                    self._assign(word, certainty)
        elif name.text == ":":
            for word in arguments:
                self._default(word, certainty)
        elif name.text == ".":
            text = self._variables.read_file(arguments[0].text) if arguments else None
            if text is None or certainty == _MAYBE:
                self._lose(certainty)
            elif certainty == _YES:
                self._variables.read(text)
        elif name.text in _ENDING and certainty != _NO:
            raise Unreadable
        elif name.text == "unset":
            for word in arguments:
                self._variables.unset(word.text, certainty)
        elif name.text == "read":
            for word in arguments:
                self._variables.assign(word.text, None, certainty)
        elif name.text in _ANYTHING or name.text in self._variables.functions or not name.fixed:
            self._lose(certainty)

    def _lose(self, certainty: int) -> None:
        if certainty != _NO:
            self._variables.lose_all()

    def _assign(self, word: Word, certainty: int) -> None:
        name = _name_of(word.text) or ""
        value = word.text[len(name) + 1 :]
        self._variables.assign(name, value if word.fixed else None, certainty)

    def _default(self, word: Word, certainty: int) -> None:
        """Apply ``${name:=value}`` and ``${name=value}``."""
        if not (word.text.startswith("${") and word.text.endswith("}")):
            return
        name, equals, value = word.text[2:-1].partition("=")
        empty_too = name.endswith(":")
        name = name.rstrip(":")
        if not equals or _name_of(f"{name}=") is None:
            return
        old = self._variables.get(name)
        if old == UNKNOWN:
            return
        if old is None or (empty_too and not old):
            plain = value.strip("'\"")
            self._variables.assign(name, None if "$" in plain else plain, certainty)

    # Compound commands.

    def _reserved(self, word: str) -> None:
        if word in {"if", "elif"}:
            held = self._test()
            if word == "if":
                self._begin("if", held)
            else:
                kind, earlier = self._innermost_if()
                if earlier == _YES or kind == "if over":
                    self._open[-1] = ("if over", _NO)
                else:
                    self._open[-1] = ("if", min(held, _MAYBE))
        elif word == "else":
            kind, earlier = self._innermost_if()
            self._open[-1] = (kind, _NO if kind == "if over" else _YES - earlier)
        elif word in {"while", "until", "for", "case"}:
            self._begin(word, _MAYBE)
            if word in {"for", "case"}:
                self._skip_to({"in", "do"})
        elif word == "{":
            self._begin("{", _YES)
        elif word in _CLOSES:
            self._close(*_CLOSES[word])

    def _test(self) -> int:
        """Read the condition of an if; returns whether it holds."""
        words: list[str] = []
        simple = True
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if not token.operator and token.bare and token.text == "then":
                held = self._variables.condition(words) if simple else None
                return _MAYBE if held is None else (_YES if held else _NO)
            if token.operator:
                simple = simple and token.text in {";", "\n", ">", "<"}
            else:
                words.append(token.text)
                simple = simple and token.fixed
        return _MAYBE

    def _skip_to(self, ends: set[str]) -> None:
        while self._at < len(self._tokens):
            token = self._tokens[self._at]
            self._at += 1
            if not token.operator and token.text in ends:
                return

    def _innermost_if(self) -> tuple[str, int]:
        if not self._open or self._open[-1][0] not in {"if", "if over"}:
            raise Unreadable
        return self._open[-1]

    def _close(self, *what: str) -> None:
        """Close a compound command. Raises Unreadable when none of this kind is open."""
        innermost = self._open[-1][0] if self._open else ""
        if innermost == "case" and what == ("(",):
            return  # after a pattern
        if innermost not in what:
            raise Unreadable
        self._open.pop()
        if self._open and self._open[-1][0] == "joined":
            self._open.pop()
        after = self._tokens[self._at].text if self._at < len(self._tokens) else ""
        if after in {"|", "&"} and what != ("(",):
            raise Unreadable  # all of it ran in a subshell

    def _function(self, name: str) -> None:
        """Skip the body of a function: a call has its effect."""
        self._variables.functions.add(name)
        while self._at < len(self._tokens) and self._tokens[self._at].text != ")":
            self._at += 1
        self._at += 1
        while self._at < len(self._tokens) and self._tokens[self._at].text == "\n":
            self._at += 1
        if self._at < len(self._tokens) and self._tokens[self._at].text == "{":
            self._begin("{", _NO)
            self._at += 1


_RESERVED = {
    "if", "then", "elif", "else", "fi", "while", "until", "for", "do", "done", "case", "esac",
    "{", "}", "!",
}  # fmt: skip
_CLOSES = {
    "fi": ("if", "if over"),
    "done": ("while", "until", "for"),
    "esac": ("case",),
    "}": ("{",),
}


def _name_of(word: str) -> str | None:
    """Return the name in ``name=value``, or None for another word."""
    name, equals, _ = word.partition("=")
    if not equals or not name or name[0].isdigit() or any(c not in _NAME for c in name):
        return None
    return name
