"""Cells of the race detector against a plain model: a set of bytes for each byte."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from vmtsim.kernel.cells import Cells

_BYTES = 40
_RANGES = st.tuples(st.booleans(), st.integers(0, _BYTES - 1), st.integers(1, _BYTES))


@given(st.lists(_RANGES, max_size=30))
def test_bytes_share_a_cell_until_an_access_splits_them(
    steps: list[tuple[bool, int, int]],
) -> None:
    cells = Cells()
    # Byte -> the bytes of its cell, and which access has marked them last.
    together: dict[int, frozenset[int]] = {}
    marks: dict[int, object] = {}
    for freed, start, size in steps:
        touched = frozenset(range(start, start + size))
        new = frozenset(touched - together.keys())
        for byte in touched | together.keys():
            group = together.get(byte, new)
            part = group & touched if byte in touched else group - touched
            together[byte] = _run(byte, part)
        if freed:
            cells.forget(start, start + size)
            for byte in touched:
                together.pop(byte)
                marks.pop(byte, None)
        else:
            found = cells.fit(start, size)
            assert sum(cell.size for cell in found) == size
            mark = object()
            for cell in found:
                cell.write = mark  # type: ignore[assignment]
            marks.update(dict.fromkeys(touched, mark))
        ranges = {
            byte: cell
            for cell in cells.at.values()
            for byte in range(cell.start, cell.start + cell.size)
        }
        assert {byte: (cell.start, cell.size) for byte, cell in ranges.items()} == {
            byte: (min(group), len(group)) for byte, group in together.items()
        }
        assert {byte: cell.write for byte, cell in ranges.items()} == marks


def _run(byte: int, group: frozenset[int]) -> frozenset[int]:
    """Return the neighbours of a byte in a group, without a gap."""
    first = last = byte
    while first - 1 in group:
        first -= 1
    while last + 1 in group:
        last += 1
    return frozenset(range(first, last + 1))
