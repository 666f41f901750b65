"""Draws each growth as SVG with matplotlib, which only this file imports.

The same numbers give the same file: there is no date, and the names of parts are fixed. Colours
are variables that a style at the head sets for light and for dark pages, as in the pictures of
vmtsim; text is not converted to paths.
"""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, MaxNLocator, NullLocator

from bench.table import number

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes

    from bench.figures import Growth, Series

# Name: on a light page, on a dark page.
COLOURS = {
    "paper": ("#ffffff", "#14181d"),
    "ink": ("#1c2127", "#e6eaee"),
    "faint": ("#6a7480", "#93a0ad"),
    "line": ("#dde2e7", "#2c343d"),
    "one": ("#0b5cad", "#7db8f5"),
    "two": ("#b3501e", "#f0a36a"),
    "three": ("#17703c", "#79cf98"),
    "four": ("#7a3e9d", "#c9a0e8"),
}
_LINES = ("one", "two", "three", "four")
_MARKS = ("o", "s", "^", "D")
_STROKES = ("-", "--", "-.", ":")
_PANEL = (4.6, 3.7)  # inches
_COLUMNS = 2  # more would make the letters small on a page
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "netbsd-vmt",
    "font.family": "DejaVu Sans",
    "font.size": 11,
    "axes.unicode_minus": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def _limits(series: list[Series]) -> tuple[float, float]:
    known = [value for one in series for value in one.values if value is not None]
    return min(known), max(known)


def _set_value_axis(axes: Axes, series: list[Series]) -> None:
    """Choose the axis of values: logarithmic where they span more than a factor of four."""
    low, high = _limits(series)
    if low > 0 and high / low > 4:
        axes.set_yscale("log")
        spread = high / low > 100
        axes.yaxis.set_major_locator(LogLocator(subs=(1,) if spread else (1, 2, 5)))
        axes.yaxis.set_minor_locator(NullLocator())
        axes.set_ylim(low / 1.5, high * 1.5)
    else:
        axes.set_ylim(0, high * 1.25)
        axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _at: number(value)))


def _along(axes: Axes, sizes: list[int]) -> None:
    """Label the axis of sizes with each measured size, unless labels would overlap."""
    axes.set_xscale("log")
    shown: list[int] = sizes[-1:]
    for size in reversed(sizes):
        if size * (sizes[-1] / sizes[0]) ** 0.18 <= shown[0]:
            shown.insert(0, size)
    axes.xaxis.set_major_locator(FixedLocator(shown))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _at: number(round(value))))
    axes.xaxis.set_minor_locator(NullLocator())


def _panel(axes: Axes, growth: Growth, unit: str, colours: dict[str, str]) -> None:
    series = [one for one in growth.series if one.unit == unit]
    measured: set[int] = set()
    for at, one in enumerate(series):
        points = [
            (size, value)
            for size, value in zip(growth.sizes, one.values, strict=True)
            if value is not None
        ]
        measured |= {size for size, _ in points}
        axes.plot(
            [size for size, _ in points],
            [value for _, value in points],
            color=colours[_LINES[at % len(_LINES)]],
            marker=_MARKS[at % len(_MARKS)],
            linestyle=_STROKES[at % len(_STROKES)],
            linewidth=1.8,
            markersize=5,
            label=one.name,
        )
    _along(axes, sorted(measured))
    _set_value_axis(axes, series)
    axes.set_xlabel(growth.of, color=colours["ink"])
    axes.set_ylabel(unit, color=colours["ink"])
    axes.set_facecolor(colours["paper"])
    axes.grid(visible=True, which="major", color=colours["line"], linewidth=0.8)
    axes.tick_params(colors=colours["faint"], labelcolor=colours["ink"], which="both")
    for spine in axes.spines.values():
        spine.set_color(colours["faint"])
    axes.legend(
        loc="lower left",
        bbox_to_anchor=(-0.02, 1.0),
        frameon=False,
        labelcolor=colours["ink"],
        fontsize=10,
        borderaxespad=0.2,
    )


def _drawn(growth: Growth, colours: dict[str, str]) -> Figure:
    units = [
        unit
        for unit in growth.units
        if any(
            value is not None for one in growth.series if one.unit == unit for value in one.values
        )
    ]
    width, height = _PANEL
    columns = min(len(units), _COLUMNS)
    lines = -(-len(units) // _COLUMNS)
    figure = Figure(figsize=(width * columns, height * lines), layout="constrained")
    figure.set_facecolor(colours["paper"])
    figure.suptitle(growth.title, color=colours["ink"], fontsize=14, fontweight="bold")
    for at, unit in enumerate(units):
        axes = figure.add_subplot(lines, columns, at + 1)
        _panel(axes, growth, unit, colours)
    return figure


def svg(growth: Growth) -> str:
    """Return the picture of a growth as SVG; ValueError where no value of it was measured."""
    light = {name: pair[0] for name, pair in COLOURS.items()}
    target = io.StringIO()
    with mpl.rc_context(_SETTINGS):
        figure = _drawn(growth, light)
        FigureCanvasSVG(figure).print_svg(
            target, metadata={"Date": None, "Creator": None, "Title": growth.title}
        )
    text = target.getvalue()
    for name, colour in light.items():
        text = text.replace(colour, f"var(--{name})")
    sets = [
        "".join(f" --{name}: {pair[mode]};" for name, pair in COLOURS.items()) for mode in (0, 1)
    ]
    style = (
        f"  <style>\n   svg {{{sets[0]} }}\n"
        f"   @media (prefers-color-scheme: dark) {{ svg {{{sets[1]} }} }}\n  </style>\n"
    )
    head = re.search(r"<svg [^>]*>\n", text)
    if head is None:
        raise ValueError("matplotlib writes SVG in another way: adapt bench/plots.py")
    return text[: head.end()] + style + text[head.end() :]


def png(growth: Growth, path: Path, *, dark: bool = False) -> None:
    """Write the same picture as PNG, to look at."""
    with mpl.rc_context(_SETTINGS):
        colours = {name: pair[dark] for name, pair in COLOURS.items()}
        FigureCanvasAgg(_drawn(growth, colours)).print_png(path, metadata={"Software": None})
