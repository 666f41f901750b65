"""Formats a run as Markdown: one table of figures, and one for each growth."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from bench.figures import Figure, Growth, Result

NOT_MEASURED = "not measured"
_HEAD = ("", "what", "measured", "beside it", "ratio", "goal", "")
_RIGHT = frozenset({"measured", "ratio", "goal"})


def number(value: float) -> str:
    """Return a number with three significant digits: 0.0123, 4.56, 78.9, 12,345."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}" if abs(value) >= 0.001 else f"{value:.6f}"


def amount(value: float | None, unit: str) -> str:
    """Return a value with its unit."""
    if value is None:
        return NOT_MEASURED
    return f"{number(value)} {unit}".rstrip()


def figure_row(figure: Figure) -> tuple[str, ...]:
    """Return a figure as the columns of the table, without the first."""
    goal = ""
    if figure.goal is not None:
        unit = "times" if figure.of_ratio else figure.unit
        goal = f"{'≥' if figure.at_least else '≤'} {amount(figure.goal, unit)}"
    beside = ""
    if figure.base is not None:
        beside = f"{figure.beside}: {amount(figure.base, figure.unit)}"
        beside += " [^stock]" if figure.source else ""
    measured = amount(figure.value, figure.unit)
    if figure.value is None and figure.note:
        measured += f": {figure.note}"
    return (
        figure.name,
        measured,
        beside,
        "" if figure.ratio is None else f"{figure.ratio:.2f}",
        goal,
        {True: "met", False: "**missed**", None: ""}[figure.met],
    )


def markdown(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], right: frozenset[str]) -> str:
    """Return a table; the columns named in ``right`` are right-aligned."""
    lines = ["| " + " | ".join(head) + " |"]
    lines.append("|" + "|".join("---:" if name in right else "---" for name in head) + "|")
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def figures_table(figures: Iterable[Figure]) -> str:
    """Return the table of all figures; a group is named in its first row."""
    rows, before = [], ""
    for figure in figures:
        group = figure.group if figure.group != before else ""
        rows.append((group, *figure_row(figure)))
        before = figure.group
    return markdown(_HEAD, rows, _RIGHT)


def growth_table(growth: Growth) -> str:
    """Return the values for each size, and the ratio of the last measured one to the first."""
    names = tuple(f"{series.name} ({series.unit})" for series in growth.series)
    head = (growth.of, *names)
    rows = [
        (number(size), *(amount(series.values[at], "") for series in growth.series))
        for at, size in enumerate(growth.sizes)
    ]
    spans = [span(growth.sizes, series.values) for series in growth.series]
    longest = max((sizes for sizes, _ in spans), default=0)
    if longest > 1:
        lines = [
            "" if values is None
            else f"{number(values)}x" + ("" if sizes == longest else f" over {number(sizes)}x")
            for sizes, values in spans
        ]  # fmt: skip
        rows.append((f"growth over {number(longest)}x", *lines))
    return markdown(head, rows, frozenset(head))


def span(sizes: tuple[int, ...], values: tuple[float | None, ...]) -> tuple[float, float | None]:
    """Return the ratio of the last measured size to the first, and that of their values."""
    known = [(size, value) for size, value in zip(sizes, values, strict=True) if value is not None]
    if len(known) < 2:
        return 0, None
    (first, low), (last, high) = known[0], known[-1]
    return last / first, high / low if low else None


def growth_text(growth: Growth) -> str:
    """Return a growth with its title, description, table and note."""
    text = f"### {growth.title}\n\n{growth.about}\n\n{growth_table(growth)}"
    return text + (f"\n{growth.note}\n" if growth.note else "")


def where(result: Result) -> str:
    """Return the kind of machine and the duration of the run."""
    machine = result.machine
    kind = f"{machine['cores']} cores of {machine['cpu']}, Python {machine['python']}"
    lines = [f"Measured on {kind}, in {result.seconds:.0f} s."]
    lines += [f"{part} was not measured: {why}" for part, why in result.failed.items()]
    return "\n\n".join(lines)


def sources(figures: Iterable[Figure]) -> str:
    """Return the footnote about figures that were not measured in this run."""
    lines = dict.fromkeys(figure.source for figure in figures if figure.source)
    return f"[^stock]: {' '.join(lines)}\n" if lines else ""


def whole(result: Result) -> str:
    """Return the complete output of a run."""
    parts = [figures_table(result.figures), sources(result.figures)]
    parts += [growth_text(growth) for growth in result.growth]
    parts.append(where(result) + "\n")
    return "\n".join(part for part in parts if part)
