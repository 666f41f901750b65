"""Events of a run: one dataclass in memory, one JSON line in a file.

Text, SVG, reports and replays are all made from these events and from nothing else.  Emitting is
cheap when there is no listener for the kind: one dictionary look-up.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vmtgen.common.dataclass import dataclass, field
from vmtgen.common.errors import ReportedError

from vmtsim.core.output import Output

if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import TracebackType

FORMAT = "vmtsim-trace"
VERSION = 3  # 3: the close reason 'client left'; 2: the place of a step is NAME:LINE


class TraceError(ReportedError):
    """A file that is not a trace, or one of a version that this program does not know."""


# The text for an unprintable byte.
_ESCAPES = {byte: f"\\x{byte:02x}" for byte in range(256) if not 0x20 <= byte < 0x7F}
_ESCAPES[0x5C] = "\\\\"


def printable(data: bytes | str) -> str:
    r"""Return bytes as readable ASCII: ``\xNN`` for unprintable bytes, ``\\`` for a backslash.

    Nothing is lost (see ``unprintable``).  Text that is a ``str`` already is returned unchanged.
    """
    if isinstance(data, str):
        return data
    return data.decode("latin-1").translate(_ESCAPES)


def unprintable(text: str) -> bytes:
    """Return the bytes that ``printable`` wrote as ``text``; the inverse of it."""
    out = bytearray()
    position = 0
    while (at := text.find("\\", position)) >= 0:
        out += text[position:at].encode("latin-1")
        if text[at + 1] == "\\":
            out.append(0x5C)
            position = at + 2
        else:
            out.append(int(text[at + 2 : at + 4], 16))
            position = at + 4
    out += text[position:].encode("latin-1")
    return bytes(out)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of a run.

    ``sequence`` counts from 0 over the whole run, ``at`` is virtual time in nanoseconds since the
    guest's power-on, ``kind`` is a dotted name (``rpci``, ``tclo.reply``, ``violation`` ...),
    ``fields`` are plain values: int, str, bytes, bool, None, lists of these.
    """

    sequence: int
    at: int
    kind: str
    fields: Mapping[str, Any] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Any:
        return self.fields[name]

    def get(self, name: str, default: Any = None) -> Any:
        """Return the field ``name``, or ``default``."""
        return self.fields.get(name, default)

    def json(self) -> str:
        """Return the event as one line of JSON, without the newline; bytes as ``printable``."""
        record = {"n": self.sequence, "t": self.at, "k": self.kind, **self.fields}
        return json.dumps(record, default=_plain, separators=(",", ":"))


def _plain(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return printable(bytes(value))
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    return str(value)


class Trace:
    """Takes events from all packages and passes them to the subscribers.

    ``now`` returns virtual nanoseconds; it may be set after construction, when the clock exists.
    ``keep=True`` keeps every event in ``events``; an integer keeps only this many of the last ones.
    """

    def __init__(self, now: Callable[[], int] | None = None, *, keep: bool | int = False) -> None:
        self.now: Callable[[], int] = now or (lambda: 0)
        self.events: list[Event] = []
        self._sequence = 0
        self._all: list[Callable[[Event], None]] = []
        self._some: dict[str, list[Callable[[Event], None]]] = {}
        self._cache: dict[str, tuple[Callable[[Event], None], ...]] = {}
        if keep is True:
            self.subscribe(self.events.append)
        elif keep:
            limit = int(keep)

            def remember(event: Event) -> None:
                self.events.append(event)
                if len(self.events) > 2 * limit:
                    del self.events[:-limit]

            self.subscribe(remember)

    def subscribe(
        self, listener: Callable[[Event], None], kinds: Iterable[str] | None = None
    ) -> Callable[[], None]:
        """Call ``listener`` for each event (of these ``kinds``); returns a function that stops it.

        Listeners are called in the order in which they came, those for all kinds first.
        """
        lists = (
            [self._all] if kinds is None else [self._some.setdefault(kind, []) for kind in kinds]
        )
        for each in lists:
            each.append(listener)
        self._cache.clear()

        def cancel() -> None:
            for each in lists:
                if listener in each:
                    each.remove(listener)
            self._cache.clear()

        return cancel

    def has_listener(self, kind: str) -> bool:
        """Return whether there is a listener for ``kind``; for events that are costly to build."""
        return bool(self._listeners(kind))

    def _listeners(self, kind: str) -> tuple[Callable[[Event], None], ...]:
        found = self._cache.get(kind)
        if found is None:
            found = self._cache[kind] = (*self._all, *self._some.get(kind, ()))
        return found

    def emit(self, kind: str, /, **fields: Any) -> None:
        """Report an event to the listeners, with the current time."""
        sequence = self._sequence
        self._sequence = sequence + 1
        listeners = self._cache.get(kind)
        if listeners is None:
            listeners = self._listeners(kind)
        if listeners:
            event = Event(sequence, self.now(), kind, fields)
            for listener in listeners:
                listener(event)


class TraceFile:
    """A subscriber that writes JSON lines: a header, then one event per line.

    The file appears under its name only if ``close`` is reached without an exception; see
    vmtsim.core.output, which also defines the errors.
    """

    def __init__(self, path: str | os.PathLike[str], **header: Any) -> None:
        self.path = Path(path)
        self._file = Output(path)
        self._write({"format": FORMAT, "version": VERSION, **header})

    def _write(self, record: Mapping[str, Any]) -> None:
        self._file.write(json.dumps(record, default=_plain, separators=(",", ":")) + "\n")

    def __call__(self, event: Event) -> None:
        """Write one event; a TraceFile itself can be a subscriber."""
        self._file.write(event.json() + "\n")

    def close(self) -> None:
        """Finish the file and give it its name."""
        self._file.close()

    def discard(self) -> None:
        """Discard the file; an older one of the same name stays as it was."""
        self._file.discard()

    def __enter__(self) -> TraceFile:  # noqa: PYI034 - typing.Self needs Python 3.11
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._file.__exit__(kind, error, traceback)


def read_events(path: str | os.PathLike[str]) -> Iterator[Event]:
    """Yield the events of a trace file.  Bytes come back as ``printable`` text.

    Raises TraceError with file and line for anything else.
    """
    where = Path(path)
    with where.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                record = json.loads(line)
            except ValueError:
                raise TraceError(f"{where}:{number}: not a line of JSON") from None
            if number == 1:
                _check_header(where, record)
                continue
            try:
                sequence, at, kind = record.pop("n"), record.pop("t"), record.pop("k")
            except (KeyError, AttributeError, TypeError):
                raise TraceError(f"{where}:{number}: not an event: n, t or k is missing") from None
            yield Event(sequence, at, kind, record)


def _check_header(where: Path, record: Any) -> None:
    if not isinstance(record, dict) or record.get("format") != FORMAT:
        raise TraceError(f"{where}:1: not a vmtsim trace (no format line)")
    if record.get("version") != VERSION:
        raise TraceError(
            f"{where}:1: trace version {record.get('version')}, this vmtsim reads {VERSION}: "
            "write the trace again with this version"
        )
