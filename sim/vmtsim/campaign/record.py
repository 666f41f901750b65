"""The result of a campaign, as one JSON document; this merges shards of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field, fields  # msgspec reads these classes
from typing import TYPE_CHECKING, Any

import msgspec
from vmtgen.common.errors import SOFTWARE, ReportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from vmtsim.campaign.player import Played

FORMAT = "vmtsim-campaign"
VERSION = 5
NONDETERMINISTIC = "not deterministic"
CANARY = "the canary was not caught"
_WHOLE = "vmtsim writes a result whole or not at all: copy the file again from its source"


class RecordError(ReportedError):
    """A file that is not a campaign's result, or shards that do not belong together."""


@dataclass
class Failure:
    """One kind of failure: the rule, its first seed, and how many seeds broke it."""

    rule: str
    status: int
    message: str
    seed: int
    count: int = 1
    # The command that replays it, and, if it was reduced, the whole report.
    replay: str = ""
    report: list[str] = field(default_factory=list)

    @property
    def lines(self) -> list[str]:
        """The report, or only the command if it was not reduced."""
        return self.report or ([self.replay] if self.replay else [])

    @property
    def seeds(self) -> str:
        """The number of seeds that broke it, as text."""
        return "1 seed" if self.count == 1 else f"{self.count} seeds"


@dataclass
class Record:
    """Sums over the seeds of a campaign.  Times in virtual ns and real seconds."""

    module: str = ""
    file: str = ""
    digest: str = ""
    commit: str = ""
    # Digest of the vmtsim that ran: for another one, a seed means something else.
    vmtsim: str = ""
    # Options of ``vmtsim replay`` that the seeds were played with.
    setup: list[str] = field(default_factory=list)
    # Ranges of seeds, both ends included, ascending: the planned ones ([] if real time was the
    # limit), and those that count.
    planned: list[list[int]] = field(default_factory=list)
    seeds: list[list[int]] = field(default_factory=list)
    played: int = 0
    virtual: int = 0
    wall: float = 0.0
    work: float = 0.0
    kernel_calls: int = 0
    traps: int = 0
    switches: int = 0
    events: int = 0
    injections: int = 0
    actions: int = 0
    failed: int = 0
    status: int = 0
    replayed: int = 0
    # Description of the module, and the "sometimes" properties.
    subject: str = ""
    expected: list[str] = field(default_factory=list)
    # Property -> how often, and -> the first seed that reached it.
    reached: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    # Order of two accesses to shared memory (with --races) -> the first seed that showed it.
    orders: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    canary: dict[str, Any] = field(default_factory=dict)
    # Why the campaign is incomplete; "" if it is complete.
    cut: str = ""

    def add(self, played: Played) -> None:
        """Add one run."""
        self.seeds = joined([*self.seeds, [played.seed, played.seed]])
        self.module = self.module or played.module
        self.played += 1
        self.virtual += played.virtual
        self.work += played.wall
        self.kernel_calls += played.kernel_calls
        self.traps += played.traps
        self.switches += played.switches
        self.events += played.events
        self.injections += played.injections
        self.actions += played.actions
        self.subject = self.subject or played.subject
        self.expect(played.expected)
        for name, count in played.reached.items():
            if count:
                self.reached[name] = self.reached.get(name, 0) + count
                self.first[name] = min(played.seed, self.first.get(name, played.seed))
        for order in sorted(played.orders):
            self.orders[order] = min(played.seed, self.orders.get(order, played.seed))
        if played.status:
            self.failed += 1
        for rule in dict.fromkeys(finding.rule for finding in played.findings):
            finding = next(each for each in played.findings if each.rule == rule)
            self.fail(Failure(rule, finding.status, finding.message, played.seed))
        if played.trouble:
            last = played.trouble.strip().splitlines()[-1]
            self.fail(Failure("simulator", SOFTWARE, last, played.seed,
                              report=played.trouble.splitlines()))  # fmt: skip

    def expect(self, names: Iterable[str]) -> None:
        """Add names of "sometimes" properties, in the order in which they are listed."""
        known = set(self.expected)
        self.expected += [name for name in names if name not in known]

    def fail(self, failure: Failure) -> None:
        """Add a failure: one entry for each rule, that of the lowest seed."""
        self.status = max(self.status, failure.status)
        for known in self.failures:
            if (known.rule, known.status) == (failure.rule, failure.status):
                known.count += failure.count
                if failure.seed < known.seed:
                    known.seed, known.message = failure.seed, failure.message
                    known.replay, known.report = failure.replay, failure.report
                return
        self.failures.append(failure)
        self.failures.sort(key=lambda each: (-each.status, each.rule))

    @property
    def properties(self) -> tuple[str, ...]:
        """The names of everything that must happen in some run."""
        return tuple(self.expected)

    @property
    def never(self) -> tuple[str, ...]:
        """The properties that no run reached."""
        return tuple(name for name in self.properties if not self.reached.get(name))

    def stale(self, first: int) -> int:
        """Return how many consecutive seeds, the last ones, showed no new order.

        It counts seeds from ``first`` on, up to the first missing one: so it does not depend on the
        order in which they ran.
        """
        last = next((end for start, end in self.seeds if start <= first <= end), first - 1)
        newest = max((seed for seed in self.orders.values() if first <= seed <= last), default=0)
        return last - max(newest, first - 1)

    @property
    def faults(self) -> Counter[str]:
        """Injected faults, by kind."""
        mark = "fault: "
        return Counter(
            {n.removeprefix(mark): c for n, c in self.reached.items() if n.startswith(mark)}
        )

    @property
    def speed(self) -> float:
        """Virtual seconds per second of work on one core."""
        return self.virtual / 1e9 / self.work if self.work else 0.0

    def json(self) -> str:
        """Return the document."""
        record = {"format": FORMAT, "version": VERSION, **asdict(self), "never": list(self.never)}
        return json.dumps(record, indent=1, sort_keys=False) + "\n"


def joined(ranges: Iterable[Sequence[int]]) -> list[list[int]]:
    """Return ranges in order, adjacent ones joined."""
    out: list[list[int]] = []
    for first, last in sorted([each[0], each[1]] for each in ranges):
        if out and first <= out[-1][1] + 1:
            out[-1][1] = max(last, out[-1][1])
        else:
            out.append([first, last])
    return out


def count(ranges: Iterable[Sequence[int]]) -> int:
    """Return how many seeds are in ``ranges``, which do not overlap."""
    return sum(last - first + 1 for first, last in ranges)


def missing(
    ranges: Iterable[Sequence[int]], first: int, last: int | None
) -> Iterator[tuple[int, int | None]]:
    """Yield the parts of ``first`` to ``last`` (None: no end) not in ``ranges``, ascending."""
    for start, end in list(ranges):
        if last is not None and start > last:
            break
        if start > first:
            yield first, start - 1
        first = max(first, end + 1)
    if last is None or first <= last:
        yield first, last


def read(path: Path) -> Record:
    """Read a document; raises RecordError for anything else, with the place in it."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path}: not JSON: {error}", hint=_WHOLE) from None
    if not isinstance(data, dict) or data.pop("format", None) != FORMAT:
        raise RecordError(
            f"{path}: not the result of a campaign",
            hint="`vmtsim campaign FILE --json RESULT` writes one",
        )
    version = data.pop("version", None)
    if version != VERSION:
        raise RecordError(f"{path}: version {version}, this vmtsim reads {VERSION}")
    data.pop("never", None)
    try:
        _complete(data, Record, "$")
        record = msgspec.convert(data, Record)
        for number, failure in enumerate(data["failures"]):
            _complete(failure, Failure, f"$.failures[{number}]")
        _consistent(record)
    except ValueError as error:  # msgspec.ValidationError is one
        raise RecordError(f"{path}: damaged: {error}", hint=_WHOLE) from None
    return record


def _complete(data: Mapping[str, Any], kind: type[Record | Failure], place: str) -> None:
    """Raise ValueError unless ``data`` has each field of ``kind`` and no other."""
    names = {each.name for each in fields(kind)}
    for text, odd in (("is missing", names - set(data)), ("is unknown", set(data) - names)):
        if odd:
            raise ValueError(f"`{place}.{min(odd)}` {text}")


def _consistent(record: Record) -> None:
    """Raise ValueError where the parts of a record contradict each other."""
    for name in ("planned", "seeds"):
        ranges = getattr(record, name)
        if any(len(each) != 2 or each[0] > each[1] for each in ranges):
            raise ValueError(f"`$.{name}`: {ranges} are not ranges of seeds")
        if joined(ranges) != ranges:
            raise ValueError(f"`$.{name}`: {ranges} are not in order")
    if record.played != count(record.seeds):
        raise ValueError(
            f"`$.played`: {record.played} seeds, and `$.seeds` lists {count(record.seeds)}"
        )
    if record.failed > record.played:
        raise ValueError(f"`$.failed`: {record.failed} of {record.played} seeds")
    if record.reached.keys() != record.first.keys():
        odd = min(record.reached.keys() ^ record.first.keys())
        raise ValueError(f"`$.reached` and `$.first`: {odd!r} is in one of them")
    status = max((failure.status for failure in record.failures), default=0)
    if record.status != status:
        raise ValueError(f"`$.status`: {record.status}, and that of the failures is {status}")


def same_campaign(record: Record, other: Record) -> None:
    """Raise RecordError unless the seeds of the two may be added."""
    if record.digest != other.digest:
        raise RecordError(
            f"not of the same module as {other.file}: {record.file}, sha256 {record.digest[:12]}, "
            f"not {other.digest[:12]}",
            hint="the parts of one campaign run the same file",
        )
    if record.setup != other.setup:
        raise RecordError(
            f"run with {_options(record)}, not with {_options(other)}",
            hint="the parts of one campaign use the same options",
        )
    if record.vmtsim != other.vmtsim:
        raise RecordError(
            f"run by another vmtsim ({record.vmtsim[:12]}, commit {record.commit or 'unknown'}) "
            f"than {other.vmtsim[:12]}, for which a seed has another meaning",
            hint="run the campaign again, or use the vmtsim of that commit",
        )


def _options(record: Record) -> str:
    return " ".join(record.setup) or "no option that changes the meaning of a seed"


def merge(paths: Sequence[Path]) -> Record:
    """Return the sum of shards.

    Raises RecordError, which names the file, if one is damaged, if they overlap, and if they are
    not of one campaign.  A shard that was cut short is completed by others that have its missing
    seeds.
    """
    whole: Record | None = None
    seen: list[tuple[Path, list[list[int]]]] = []
    cuts = []
    for path in paths:
        part = read(path)
        for other, ranges in seen:
            both = _overlap(ranges, part.seeds)
            if both is not None:
                raise RecordError(
                    f"{path}: seed {both} is in {other} too: each seed must count only once",
                    hint="give each shard its own --shard K/N",
                )
        seen.append((path, part.seeds))
        if part.cut:
            cuts.append(f"{path}: {part.cut}")
        if whole is None:
            whole = part
            continue
        try:
            same_campaign(part, whole)
        except RecordError as error:
            raise RecordError(f"{path}: {error} ({paths[0]})", hint=error.hint) from None
        _sum(whole, part)
    assert whole is not None
    lacks = [gap for first, last in whole.planned for gap in missing(whole.seeds, first, last)]
    whole.cut = "; ".join(cuts) if lacks or not whole.planned else ""
    return whole


def _overlap(one: list[list[int]], two: list[list[int]]) -> int | None:
    for first, last in one:
        for start, end in two:
            if max(first, start) <= min(last, end):
                return max(first, start)
    return None


def _sum(whole: Record, part: Record) -> None:
    whole.seeds = joined([*whole.seeds, *part.seeds])
    whole.planned = joined([*whole.planned, *part.planned])
    for name in ("played", "virtual", "wall", "work", "kernel_calls", "traps", "switches",
                 "events", "injections", "actions", "failed", "replayed"):  # fmt: skip
        setattr(whole, name, getattr(whole, name) + getattr(part, name))
    whole.expect(part.expected)
    for name, count in part.reached.items():
        whole.reached[name] = whole.reached.get(name, 0) + count
        seed = part.first[name]
        whole.first[name] = min(seed, whole.first.get(name, seed))
    for order, seed in part.orders.items():
        whole.orders[order] = min(seed, whole.orders.get(order, seed))
    for failure in part.failures:
        whole.fail(failure)
    whole.status = max(whole.status, part.status)
    whole.canary = whole.canary or part.canary
