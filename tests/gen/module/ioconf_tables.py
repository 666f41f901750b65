"""The tables of an ioconf.c as a C compiler sees them: equal tables compare equal."""

from __future__ import annotations

import re
from typing import Any

_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


def _bare(text: str) -> str:
    """Return the text without blanks and without a comma before a closing brace."""
    return re.sub(r",(?=\})", "", re.sub(r"\s", "", text))


def _locators(text: str, rows: list[list[str]]) -> None:
    """Put the values from loc[] into the rows: a row's own end where the next ones begin."""
    match = re.search(r"static int loc\[\d+\] = \{([^}]*)\}", text)
    values = [each.strip() for each in match[1].split(",") if each.strip()] if match else []
    offsets = {}
    for row in rows:
        if found := re.match(r"loc\s*\+\s*(\d+)", row[4]):
            offsets[row[0], row[1], row[2]] = int(found[1])
    ends = [*sorted(set(offsets.values())), len(values)]
    for row in rows:
        start = offsets.get((row[0], row[1], row[2]))
        if start is not None:
            row[4] = " ".join(values[start : ends[ends.index(start) + 1]])


def tables(text: str) -> dict[str, Any]:
    """Return the tables of an ioconf.c by name; cfdata's rows hold their parent and locators."""
    text = _COMMENT.sub("", text)
    text = text.replace("FSTATE_NOTFOUND", "NORM").replace("FSTATE_STAR", "STAR")
    parents = dict(re.findall(r"cfparent (pspec\d+) = (\{[^}]*\})", text))
    cfdata = re.search(r"cfdata_ioconf_(\w+)\[\] = \{(.*?)\n\};", text, re.DOTALL)
    assert cfdata
    rows = [[f.strip() for f in row.split(",")] for row in re.findall(r"\{([^}]*)\}", cfdata[2])]
    _locators(text, rows)
    for row in rows:
        row[5] = str(int(row[5], 0))
        row[6] = _bare(parents.get(row[6].lstrip("&"), row[6]))
    attributes = re.findall(r"cfiattrdata (\w+)cf_iattrdata = (\{.*?\n?\});", text, re.DOTALL)
    used = set(re.findall(r"&(\w+)cf_iattrdata", text))
    return {
        "name": cfdata[1],
        "cfdata": rows,
        "cfdriver": re.findall(r"CFDRIVER_DECL\((\w+), (\w+), (\w+)\)", text),
        "list": re.findall(r"&(\w+)_cd,", text),
        "attributes": {name: _bare(value) for name, value in attributes if name in used},
        "offered": {
            name: _bare(value) for name, value in re.findall(r"(\w+)_attrs\[\] = \{([^}]*)\}", text)
        },
        "cfattach": re.findall(r"extern struct cfattach (\w+);", text),
        "cfattachinit": {
            name: _bare(value)
            for name, value in re.findall(r"(\w+)_cfattachinit\[\] = \{([^}]*)\}", text)
        },
        "inits": re.findall(r'\{ "(\w+)", \w+_cfattachinit \}', text),
    }
