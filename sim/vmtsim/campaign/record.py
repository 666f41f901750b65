"""What a campaign came to, as one JSON document; shards of it are merged here."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

from vmtgen.common.errors import SOFTWARE, ReportedError

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from vmtsim.campaign.player import Played

FORMAT = "vmtsim-campaign"
VERSION = 2
NONDETERMINISTIC = "not deterministic"
CANARY = "the canary lives"


class RecordError(ReportedError):
    """A file that is no campaign's, or shards that do not belong together."""


@dataclass
class Failure:
    """One kind of failure: the rule, its first seed, and how many seeds broke it."""

    rule: str
    status: int
    message: str
    seed: int
    count: int = 1
    report: list[str] = field(default_factory=list)

    @property
    def seeds(self) -> str:
        """How many seeds broke it, in words."""
        return "1 seed" if self.count == 1 else f"{self.count} seeds"


@dataclass
class Record:
    """Sums over the seeds of a campaign.  Times in virtual ns and real seconds."""

    module: str = ""
    file: str = ""
    digest: str = ""
    commit: str = ""
    # Ranges of seeds, both ends included, ascending.
    seeds: list[list[int]] = field(default_factory=list)
    played: int = 0
    virtual: int = 0
    wall: float = 0.0
    work: float = 0.0
    kernel_calls: int = 0
    traps: int = 0
    switches: int = 0
    events: int = 0
    strikes: int = 0
    actions: int = 0
    failed: int = 0
    status: int = 0
    twice: int = 0
    # What the module was taken for, and what must happen in some run.
    subject: str = ""
    expected: list[str] = field(default_factory=list)
    # Property -> how often, and -> the first seed that reached it.
    reached: dict[str, int] = field(default_factory=dict)
    first: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)
    canary: dict[str, Any] = field(default_factory=dict)
    # Why not all was played that was to be; "" where it was.
    cut: str = ""

    def add(self, played: Played) -> None:
        """Take in one run."""
        self.seeds = _joined([*self.seeds, [played.seed, played.seed]])
        self.module = self.module or played.module
        self.played += 1
        self.virtual += played.virtual
        self.work += played.wall
        self.kernel_calls += played.kernel_calls
        self.traps += played.traps
        self.switches += played.switches
        self.events += played.events
        self.strikes += played.strikes
        self.actions += played.actions
        self.subject = self.subject or played.subject
        self.expect(played.expected)
        for name, count in played.reached.items():
            if count:
                self.reached[name] = self.reached.get(name, 0) + count
                self.first[name] = min(played.seed, self.first.get(name, played.seed))
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
        """Take in what must happen sometimes, in the order in which it is listed."""
        known = set(self.expected)
        self.expected += [name for name in names if name not in known]

    def fail(self, failure: Failure) -> None:
        """Note a failure: one entry for each rule, that of the lowest seed."""
        self.status = max(self.status, failure.status)
        for known in self.failures:
            if (known.rule, known.status) == (failure.rule, failure.status):
                known.count += failure.count
                if failure.seed < known.seed:
                    known.seed, known.message = failure.seed, failure.message
                    known.report = failure.report
                return
        self.failures.append(failure)
        self.failures.sort(key=lambda each: (-each.status, each.rule))

    @property
    def properties(self) -> tuple[str, ...]:
        """The names of everything that must happen sometimes."""
        return tuple(self.expected)

    @property
    def never(self) -> tuple[str, ...]:
        """What never happened."""
        return tuple(name for name in self.properties if not self.reached.get(name))

    @property
    def faults(self) -> Counter[str]:
        """Faults that struck, by kind."""
        mark = "fault: "
        return Counter(
            {n.removeprefix(mark): c for n, c in self.reached.items() if n.startswith(mark)}
        )

    @property
    def speed(self) -> float:
        """Virtual seconds for each second of work on one core."""
        return self.virtual / 1e9 / self.work if self.work else 0.0

    def json(self) -> str:
        """Return the document."""
        record = {"format": FORMAT, "version": VERSION, **asdict(self), "never": list(self.never)}
        return json.dumps(record, indent=1, sort_keys=False) + "\n"


def _joined(ranges: Iterable[Sequence[int]]) -> list[list[int]]:
    """Return ranges in order, neighbours made one."""
    out: list[list[int]] = []
    for first, last in sorted([each[0], each[1]] for each in ranges):
        if out and first <= out[-1][1] + 1:
            out[-1][1] = max(last, out[-1][1])
        else:
            out.append([first, last])
    return out


def read(path: Path) -> Record:
    """Read a document; raises RecordError for anything else."""
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecordError(f"{path}: not JSON: {error}") from None
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
        record = Record(**data)
        record.failures = [Failure(**each) for each in data.get("failures", [])]
    except TypeError as error:
        raise RecordError(f"{path}: {error}") from None
    return record


def merge(paths: Sequence[Path]) -> Record:
    """Return the sum of shards.  Raises RecordError where they overlap or differ in the module."""
    whole: Record | None = None
    seen: list[tuple[Path, list[list[int]]]] = []
    for path in paths:
        part = read(path)
        for other, ranges in seen:
            both = _overlap(ranges, part.seeds)
            if both is not None:
                raise RecordError(
                    f"{path}: seed {both} is in {other} too: a seed must count once",
                    hint="give each shard its own --shard K/N",
                )
        seen.append((path, part.seeds))
        if whole is None:
            whole = part
            whole.cut = part.cut and f"{path}: {part.cut}"
            continue
        if part.digest != whole.digest:
            raise RecordError(
                f"{path}: of another module than {paths[0]} ({part.file}, {part.digest[:12]})",
                hint="shards of one campaign play the same file",
            )
        _sum(whole, part)
        if part.cut:
            whole.cut = f"{whole.cut}; {path}: {part.cut}" if whole.cut else f"{path}: {part.cut}"
    assert whole is not None
    return whole


def _overlap(one: list[list[int]], two: list[list[int]]) -> int | None:
    for first, last in one:
        for start, end in two:
            if max(first, start) <= min(last, end):
                return max(first, start)
    return None


def _sum(whole: Record, part: Record) -> None:
    whole.seeds = _joined([*whole.seeds, *part.seeds])
    for name in ("played", "virtual", "wall", "work", "kernel_calls", "traps", "switches",
                 "events", "strikes", "actions", "failed", "twice"):  # fmt: skip
        setattr(whole, name, getattr(whole, name) + getattr(part, name))
    whole.expect(part.expected)
    for name, count in part.reached.items():
        whole.reached[name] = whole.reached.get(name, 0) + count
        seed = part.first[name]
        whole.first[name] = min(seed, whole.first.get(name, seed))
    for failure in part.failures:
        whole.fail(failure)
    whole.status = max(whole.status, part.status)
    whole.canary = whole.canary or part.canary
