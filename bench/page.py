"""docs/bench.md: what the figures mean, and those of one real run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from vmtgen.common.files import write

from bench.table import figures_table, growth_text, sources, where

if TYPE_CHECKING:
    from pathlib import Path

    from bench.figures import Growth, Result

_HEAD = """\
# Figures

`make bench` measures what is below, prints it as Markdown, and keeps it in `build/bench/`:
`bench.json` with every number, and a picture for each growth. This page is one such run, written
by the bench itself; nothing here was typed in.

```sh
make bench                          # some minutes
make bench QUICK=1                  # a look at everything, seconds
make bench LARGEST=10000            # campaigns of up to so many seeds; hours
make bench BASE=06f3541             # beside the simulator of that commit, in one run
make bench PAGE=docs/bench.md       # and write this page
```

The pictures need matplotlib, which `make bench` fetches (the extra `bench`); without a network
there are the numbers alone.

## What they mean

- **CPU s** are seconds of a processor, children included, the least of several runs that took
  turns with what they are compared with; what takes many seconds, such as an idle day, runs once.
  They depend on the machine: the *ratio* to something measured in the same run depends on it
  much less. Others at work on the same processors make everything dearer.
- **A goal** is the required maximum (≤) or minimum (≥). It stands beside what was measured,
  met or not.
- **Making the driver** is beside `python -c pass`, the least that any Python program costs. A
  build from nothing has an empty object cache and is beside the same calls of clang alone, without
  the links, checks and Python around them.
- **Calls to the host** are traps into the hypervisor, each some microseconds in which the guest
  stands still. They are counted in the simulator and are the same everywhere, as is what is
  *virtual*: delays in the guest's time, at many phases of the driver's polling.
- **The stock driver's figures** are not measured here: the footnote says where they are from.
- **The simulator's speed** is virtual seconds of an idle guest, and backdoor calls of that guest,
  for each second of one processor. The bare loop beside it stops Unicorn as often, reads the
  registers of each call and trap in one batch, and does nothing else (`bench/bare.py`).
- **A profile** is what cProfile says: the share of the time that is spent in a function itself.
  Unicorn's own time counts for `resume`, which calls it.
- **`vmtsim host`** serves a guest that runs in QEMU and asks as fast as it can, in seconds of the
  wall clock.
- **Growth** is the same thing at many sizes; the last row says how many times the first value the
  last one is. *Not measured* is what this run left out.

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
