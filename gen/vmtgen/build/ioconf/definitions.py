"""The declarations of files.*: attributes, devices and where they attach.

Of gram.y's definitions this module reads those that ioconf.c depends on: define, devclass, device,
attach, defpseudo, defpseudodev and major.  It skips the others (file, defflag, makeoptions ...),
which describe a whole kernel.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.dataclass import dataclass, field

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from vmtgen.build.ioconf.scan import Statement, Token
    from vmtgen.common.located import Problem

PASSED_OVER = frozenset(
    {
        "-no", "buildprefix", "config", "defflag", "deffs", "defopt", "defparam", "device-major",
        "file", "file-system", "ident", "makeoptions", "maxpartitions", "maxusers", "no", "object",
        "obsolete", "options", "select", "version",
    }
)  # fmt: skip


@dataclass(eq=False)
class Locator:
    """A locator of an interface attribute; ``default`` is its text, None where there is none."""

    name: str
    default: str | None
    optional: bool = False


@dataclass(eq=False)
class Attribute:
    """An attribute.  ``locators`` is None for a plain one, a list for an interface attribute."""

    name: str
    locators: list[Locator] | None = None
    depends: list[Attribute] = field(default_factory=list)
    device_class: str | None = None  # DV_DISK and so on
    devices: list[Device] = field(default_factory=list)  # what can attach to it
    defined: bool = False


@dataclass(eq=False)
class Attachment:
    """One way to attach a device: its name (that of the cfattach) and the attributes."""

    name: str
    device: Device
    places: list[Attribute | None]  # None: at root


@dataclass(eq=False)
class Device:
    """A device, its attributes and its attachments; a pseudo-device has no attachment."""

    name: str
    attributes: list[Attribute] = field(default_factory=list)
    attachments: list[Attachment] = field(default_factory=list)
    pseudo: str | None = None  # the word that defined it: defpseudo, defpseudodev
    defined: bool = False

    def device_class(self) -> str:
        """Return the DV_ constant of the device class among its attributes, directly or not."""
        seen: set[str] = set()
        waiting = list(self.attributes)
        while waiting:
            attribute = waiting.pop()
            if attribute.device_class:
                return attribute.device_class
            if attribute.name not in seen:
                seen.add(attribute.name)
                waiting.extend(attribute.depends)
        return "DV_DULL"


class Words:
    """The tokens of a statement, read in order."""

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self._tokens = statement.tokens
        self._at = 0

    def peek(self) -> Token | None:
        """Return the next token without consuming it."""
        return self._tokens[self._at] if self._at < len(self._tokens) else None

    def take(self, expected: str) -> Token:
        """Return the next token; ``expected`` describes it in the error message."""
        token = self.peek()
        if token is None:
            raise GrammarError(f"expected {expected} at the end of the statement")
        self._at += 1
        return token

    def name(self, expected: str) -> str:
        """Consume a word or a string and return it; raises GrammarError for anything else."""
        token = self.take(expected)
        if token.kind not in {"word", "string"}:
            raise GrammarError(f"expected {expected}, not {token.text!r}")
        return token.text

    def accept(self, text: str) -> bool:
        """Consume the next token if it is ``text``; return whether it was."""
        token = self.peek()
        if token is None or token.text != text:
            return False
        self._at += 1
        return True

    def expect(self, text: str) -> None:
        """Consume ``text``, or raise GrammarError."""
        if not self.accept(text):
            token = self.peek()
            found = repr(token.text) if token else "the end of the statement"
            raise GrammarError(f"expected {text!r}, not {found}")

    def end(self) -> None:
        """Raise GrammarError unless all tokens are consumed."""
        token = self.peek()
        if token is not None:
            raise GrammarError(f"expected the end of the statement, not {token.text!r}")

    def value(self) -> str:
        """Return a value: a word, a string or a signed number, as text. Raises GrammarError."""
        sign = "-" if self.accept("-") else ""
        token = self.take("a value")
        if token.kind == "number":
            return sign + token.canonical
        if sign or token.kind == "sign":
            raise GrammarError(f"expected a value, not {token.text!r}")
        return token.text


class GrammarError(Exception):
    """A statement does not follow the grammar; the code that catches it adds the place."""


class Definitions:
    """The attributes, devices and attachments that the statements read so far have declared."""

    def __init__(self) -> None:
        self.attributes: dict[str, Attribute] = {}
        self.devices: dict[str, Device] = {}
        self.attachments: list[Attachment] = []  # in the order of their declaration
        self._names: set[str] = set()  # of attachments
        self.problems: list[Problem] = []

    def is_attribute(self, name: str) -> bool:
        """Return whether ifdef finds ``name``: config(1) makes an attribute of each device, too."""
        return name in self.attributes

    def declare(self, statement: Statement) -> bool:
        """Read a definition; return False where the statement is not one."""
        kinds: dict[str, Callable[[Words], None]] = {
            "define": self._define,
            "devclass": self._devclass,
            "device": self._device,
            "defpseudo": self._device,
            "defpseudodev": self._device,
            "attach": self._attach,
            "major": self._major,
        }
        word = statement.tokens[0].text
        if word in PASSED_OVER:
            return True
        if word not in kinds:
            return False
        words = Words(statement)
        words.take(word)
        try:
            kinds[word](words)
        except GrammarError as error:
            self.problems.append(statement.problem(f"{word}: {error}"))
        return True

    def _attribute(self, name: str) -> Attribute:
        return self.attributes.setdefault(name, Attribute(name))

    def _base(self, words: Words) -> Device:
        name = words.name("a device")
        if not name.replace("_", "a").isalnum() or name[-1].isdigit():
            raise GrammarError(f"bad device name {name!r}")
        return self.devices.setdefault(name, Device(name))

    def _define(self, words: Words) -> None:
        attribute = self._attribute(words.name("an attribute"))
        locators = _locators(words)
        depends = self._depends(words)
        words.end()
        if attribute.defined:
            raise GrammarError(f"attribute {attribute.name!r} is already defined")
        attribute.locators, attribute.depends = locators, depends
        attribute.defined = bool(depends) or locators is not None

    def _devclass(self, words: Words) -> None:
        attribute = self._attribute(words.name("a device class"))
        attribute.device_class, attribute.defined = f"DV_{attribute.name.upper()}", True

    def _device(self, words: Words) -> None:
        kind = words.statement.tokens[0].text
        device = self._base(words)
        locators = _locators(words)
        depends = self._depends(words)
        words.end()
        if device.defined:
            raise GrammarError(f"{device.name!r} is already defined")
        device.attributes = depends
        if locators is not None:
            # sem.c, defdev: braces define an interface attribute of the device's name.
            own = self._attribute(device.name)
            own.locators, own.defined = locators, True
            device.attributes = [own, *depends]
        device.pseudo = None if kind == "device" else kind
        device.defined = True
        self._attribute(device.name)

    def _attach(self, words: Words) -> None:
        device = self._base(words)
        words.expect("at")
        places: list[Attribute | None] = []
        while True:
            name = words.name("an attribute")
            if name == "root":
                places.append(None)
            elif name in self.attributes:
                places.append(self.attributes[name])
            else:
                raise GrammarError(f"undefined attribute {name!r}")
            if not words.accept(","):
                break
        name = words.name("an attachment") if words.accept("with") else device.name
        self._depends(words)
        words.end()
        if not device.defined:
            raise GrammarError(f"undefined device {device.name!r}")
        if device.pseudo:
            raise GrammarError(f"{device.name!r} is a pseudo-device")
        if name in self._names:
            raise GrammarError(f"attachment {name!r} is already defined")
        self._names.add(name)
        self._attribute(name)
        attachment = Attachment(name, device, places)
        device.attachments.append(attachment)
        self.attachments.append(attachment)
        for place in places:
            if place is not None:
                place.devices.append(device)

    def _major(self, words: Words) -> None:
        words.expect("{")
        while not words.accept("}"):
            self._base(words)
            words.expect("=")
            words.value()
            words.accept(",")

    def _depends(self, words: Words) -> list[Attribute]:
        """Return the attributes after a colon; the last one first, as gram.y lists them."""
        depends: list[Attribute] = []
        if words.accept(":"):
            while True:
                depends.insert(0, self._attribute(words.name("an attribute")))
                if not words.accept(","):
                    break
        return depends


def _locators(words: Words) -> list[Locator] | None:
    """Return the locators between braces, or None where there are no braces."""
    if not words.accept("{"):
        return None
    locators: list[Locator] = []
    while not words.accept("}"):
        optional = words.accept("[")
        locators.extend(_locator(words, optional=optional))
        if optional:
            words.expect("]")
        words.accept(",")
    return locators


def _locator(words: Words, *, optional: bool) -> Iterator[Locator]:
    name = words.name("a locator")
    if not words.accept("["):
        default = words.value() if words.accept("=") else None
        # "?" means the default; only a locator in brackets may be omitted.
        yield Locator(name, default, optional)
        return
    count = words.take("a number").number
    words.expect("]")
    defaults: Sequence[str] = ()
    if words.accept("="):
        words.expect("{")
        defaults = values(words)
        words.expect("}")
    for place in range(count):
        default = defaults[place] if place < len(defaults) else "0"  # gram.y, locarray
        yield Locator(array_name(name, place), default, optional or place > 0)


def values(words: Words) -> list[str]:
    """Return a list of values with commas between them."""
    found = [words.value()]
    while words.accept(","):
        found.append(words.value())
    return found


def array_name(name: str, place: int) -> str:
    """Return the name of an element of a locator array: the first has the array's name."""
    return f"{name}#{place}" if place else name
