"""What a run finds out: single figures, and what grows with the size of something.

Everything here is plain data that goes to JSON and comes back from it. A value of None was not
measured, and ``note`` says why.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from pathlib import Path

FORMAT = "netbsd-vmt-bench"
VERSION = 2


@dataclass(frozen=True)
class Plan:
    """How much to measure.

    ``quick`` is the smallest run that touches everything, ``runs`` how often what is noisy is
    done again, ``seeds`` the largest campaign. ``place`` is a directory for what is built.
    ``base`` is a commit to compare the simulator with, "" for none.
    """

    place: Path
    quick: bool = False
    runs: int = 5
    seeds: int = 100
    base: str = ""

    def module(self, machine: str) -> Path:
        """Return the driver that was built for this run."""
        return self.place / "11.0" / machine / "vmt.kmod"


@dataclass(frozen=True)
class Figure:
    """One number in ``unit``.

    ``base`` is the same thing of ``beside``, from this run unless ``source`` says where it was
    published. ``goal`` is the most that the value may be: the least, if ``at_least``; of the
    ratio to ``base``, if ``of_ratio``.
    """

    group: str
    name: str
    value: float | None
    unit: str
    beside: str = ""
    base: float | None = None
    source: str = ""
    goal: float | None = None
    at_least: bool = False
    of_ratio: bool = False
    note: str = ""

    @property
    def ratio(self) -> float | None:
        """The value as a multiple of what stands beside it."""
        return None if self.value is None or not self.base else self.value / self.base

    @property
    def met(self) -> bool | None:
        """Whether the goal is reached; None where there is none, or no value."""
        reached = self.ratio if self.of_ratio else self.value
        if self.goal is None or reached is None:
            return None
        return reached >= self.goal if self.at_least else reached <= self.goal


@dataclass(frozen=True)
class Series:
    """One line of a plot: a value for each size."""

    name: str
    unit: str
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Growth:
    """How values grow with ``sizes``, which count ``of``; ``key`` names the plot's file."""

    key: str
    title: str
    about: str
    of: str
    sizes: tuple[int, ...]
    series: tuple[Series, ...]
    note: str = ""

    @property
    def units(self) -> tuple[str, ...]:
        """The units of the series, each once: a plot has an axis for each."""
        return tuple(dict.fromkeys(series.unit for series in self.series))


@dataclass(frozen=True)
class Found:
    """What one part of the bench has measured."""

    figures: tuple[Figure, ...] = ()
    growth: tuple[Growth, ...] = ()


@dataclass
class Result:
    """A whole run. ``machine`` says where; ``failed`` names parts that did not come to an end."""

    machine: dict[str, Any]
    quick: bool
    seconds: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, found: Found) -> None:
        """Take in what a part has measured."""
        self.figures += found.figures
        self.growth += found.growth

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON's types; ``ratio`` and ``met`` are written out as well."""
        figures = [
            {**asdict(figure), "ratio": figure.ratio, "met": figure.met} for figure in self.figures
        ]
        return {"format": FORMAT, "version": VERSION, **asdict(self), "figures": figures}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Result:
        """Return the run that ``to_json`` made this of; raises ValueError for anything else."""
        if (given.get("format"), given.get("version")) != (FORMAT, VERSION):
            raise ValueError(f"not a {FORMAT} of version {VERSION}: run the bench again")
        rest = {key: given[key] for key in ("machine", "quick", "seconds", "failed")}
        figures = [
            Figure(**{key: value for key, value in each.items() if key not in {"ratio", "met"}})
            for each in given["figures"]
        ]
        growth = [
            Growth(
                **{
                    **each,
                    "sizes": tuple(each["sizes"]),
                    "series": tuple(
                        Series(one["name"], one["unit"], tuple(one["values"]))
                        for one in each["series"]
                    ),
                }
            )
            for each in given["growth"]
        ]
        return cls(**rest, figures=figures, growth=growth)
