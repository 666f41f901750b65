"""Writes docs/bench.md: the meaning of the figures, and those of one real run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.files import write

from bench.table import figures_table, growth_text, sources, where

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Growth, Result

_HEAD = """\
# Figures

`make bench` measures the figures below, prints them as Markdown, and writes to `build/bench/`:
`bench.json` with every number, and a picture for each growth. The bench wrote this page from one
run; no figure was typed in.

```sh
make bench                          # some minutes
make bench QUICK=1                  # a small run of each part, seconds
make bench LARGEST=10000            # campaigns of up to that many seeds; hours
make bench BASE=06f3541             # compare with the simulator of that commit, in one run
make bench PAGE=docs/bench.md       # and write this page
```

The pictures need matplotlib, which `make bench` installs (the extra `bench`); without a network
it prints the numbers alone.

## What they mean

- **CPU s** are seconds of a processor, children included: the minimum of several runs, in turn
  with the command of the comparison. A long measurement, such as an idle day, runs once.
  CPU seconds depend on the machine; the *ratio* to a value of the same run depends on it much
  less. Other programs on the same processors increase all of them.
- **A goal** is the required maximum (≤) or minimum (≥). The table shows whether the
  measured value meets it.
- **Making the driver** is compared with `python -c pass`, the minimum of any Python program. A
  build from nothing has an empty object cache and is compared with the same calls of clang alone,
  without links, checks and Python.
- **Calls to the host** are traps into the hypervisor; each stops the guest for some microseconds.
  The simulator counts them, so they are the same on every machine. So are *virtual* delays: in the
  guest's time, at many phases of the driver's polling.
- **The stock driver's figures** are not measured here: the footnote has their source.
- **The simulator's speed** is virtual seconds of an idle guest, and backdoor calls of that guest,
  for each second of one processor. The bare loop of the comparison stops Unicorn as often,
  reads the registers of each call and trap in one batch, and does nothing else (`bench/bare.py`).
- **A profile** is the result of cProfile: the share of the time that is spent in a function itself.
  Unicorn's own time counts for `resume`, which calls it.
- **`vmtsim host`** serves a guest in QEMU that sends requests as fast as it can; the seconds are
  those of the wall clock.
- **Growth** is the same measurement at many sizes; the last row has the ratio of the last value to
  the first. *Not measured* marks values that this run omitted.

## The run
"""


def picture(growth: Growth) -> str:
    """Return the name of a growth's picture."""
    return f"{growth.key}.svg"


def text(result: Result, pictures: str) -> str:
    """Return the page; ``pictures`` is where the SVG files are, as the page names it."""
    parts = [_HEAD, where(result) + "\n", figures_table(result.figures), sources(result.figures)]
    if result.growth:
        parts.append("## Growth\n")
    for growth in result.growth:
        units = ", ".join(growth.units)
        parts.append(growth_text(growth))
        parts.append(f"![{growth.title}: {units} by {growth.of}]({pictures}/{picture(growth)})\n")
    return "\n".join(part for part in parts if part)


def draw(result: Result, folder: Path) -> None:
    """Write the picture of each growth; ModuleNotFoundError without matplotlib."""
    from bench import plots  # noqa: PLC0415 - matplotlib is optional

    for growth in result.growth:
        write(folder / picture(growth), plots.svg(growth).encode())


def write_page(result: Result, path: Path) -> None:
    """Write the page, and the pictures into a directory beside it that has its name."""
    folder = path.with_suffix("")
    draw(result, folder)
    write(path, text(result, folder.name).encode())
