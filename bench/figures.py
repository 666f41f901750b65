"""The results of a run: single figures, and values that grow with a size.

All of them are plain data that can be converted to JSON and back. A value of None was not
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
    """The scope of a run.

    ``quick`` is the smallest run that measures each part, ``runs`` how often noisy measurements are
    repeated, ``seeds`` the largest campaign. ``place`` is the directory for build outputs.
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

    ``base`` is the same value of ``beside``, from this run unless ``source`` names a
    publication. ``goal`` is the maximum of the value, or its minimum with ``at_least``; with
    ``of_ratio`` it limits the ratio to ``base``.
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
        """The value as a multiple of ``base``."""
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
    """How values grow with ``sizes``, in units of ``of``; ``key`` names the plot's file."""

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
    """The measurements of one part of the bench."""

    figures: tuple[Figure, ...] = ()
    growth: tuple[Growth, ...] = ()


@dataclass
class Result:
    """A whole run. ``machine`` describes the machine; ``failed`` names parts that failed."""

    machine: dict[str, Any]
    quick: bool
    seconds: float = 0.0
    figures: list[Figure] = field(default_factory=list)
    growth: list[Growth] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def add(self, found: Found) -> None:
        """Add the measurements of a part."""
        self.figures += found.figures
        self.growth += found.growth

    def to_json(self) -> dict[str, Any]:
        """Return the run as JSON's types; with ``ratio`` and ``met``."""
        figures = [
            {**asdict(figure), "ratio": figure.ratio, "met": figure.met} for figure in self.figures
        ]
        return {"format": FORMAT, "version": VERSION, **asdict(self), "figures": figures}

    @classmethod
    def from_json(cls, given: dict[str, Any]) -> Result:
        """Return the run from the result of ``to_json``; raises ValueError for other data."""
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
