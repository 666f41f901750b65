"""Facts about an address, as values: its owner, and the code it is in.

Messages are made from these values, and no code parses a message.
"""

from __future__ import annotations

import enum

from vmtgen.common.dataclass import dataclass, replace


class Kind(enum.Enum):
    """The object to which an address belongs."""

    UNKNOWN = enum.auto()
    NULL = enum.auto()  # the first page, at which nothing is ever mapped
    OBJECT = enum.auto()  # allocated memory, and objects of the kernel
    KERNEL = enum.auto()  # a function or variable of the kernel
    MISSING = enum.auto()  # a symbol of the kernel that has no model
    MODULE = enum.auto()
    STACK = enum.auto()
    GUARD = enum.auto()  # the page below a stack
    USER = enum.auto()  # memory of a user process


class Side(enum.Enum):
    """The position of an address relative to the object that it is nearest to."""

    INSIDE = enum.auto()
    BEFORE = enum.auto()
    BEHIND = enum.auto()


@dataclass(frozen=True, slots=True)
class Owner:
    """The owner of an address; ``text`` describes it in a message.

    ``gone``: the object was freed, and the address must no longer be used.
    """

    kind: Kind
    text: str
    side: Side = Side.INSIDE
    gone: bool = False

    def __str__(self) -> str:
        return self.text

    def unloaded(self) -> Owner:
        """Return the same for an unloaded module."""
        return replace(self, text=f"{self.text}, unloaded")


@dataclass(frozen=True, slots=True)
class Place:
    """A place in code; ``text`` describes it in a message: 'function (file.c:12)' if known.

    ``file`` is the source's path as the compiler recorded it, ``line`` counts from 1; "" and 0 if
    there is no debug twin.
    """

    text: str
    file: str = ""
    line: int = 0

    def __str__(self) -> str:
        return self.text

    @property
    def known(self) -> bool:
        """Whether the line of the source is known."""
        return bool(self.file)
