"""The page of a campaign: bars on a scale that is drawn above them."""

from __future__ import annotations

import re
from itertools import pairwise

from vmtsim.campaign.record import Record
from vmtsim.report.campaign_page import html


def page(**counts: int) -> str:
    record = Record(file="vmt.kmod", expected=list(counts))
    record.reached = {name: count for name, count in counts.items() if count}
    record.first = dict.fromkeys(record.reached, 1)
    return html(record)


def widths(text: str) -> dict[str, float]:
    return {
        name: float(width)
        for name, width in re.findall(r'<td>(\w+)</td>.*?<i style="width:([\d.]+)%"></i>', text)
    }


def scale(text: str) -> dict[int, float]:
    """Scale mark -> position, of the first table with more than one mark."""
    heads = re.findall(r'<th class="bar">(.*?)</th>', text)
    marks = [re.findall(r'<i style="left:([\d.]+)%">(\d+)</i>', head) for head in heads]
    return {int(mark): float(place) for place, mark in max(marks, key=len)}


def test_bar_length_matches_scale() -> None:
    text = page(most=2000, thousand=1000, hundred=100, ten=10, one=1, never=0)
    bars, marks = widths(text), scale(text)
    assert marks == {10: bars["ten"], 100: bars["hundred"], 2000: bars["most"]}
    assert bars["most"] == 100
    assert "Bars have a logarithmic scale." in text


def test_bars_of_different_counts_differ() -> None:
    bars = widths(page(a=186, b=146, c=10, d=1))
    assert sorted(bars.values(), reverse=True) == [bars[name] for name in "abcd"]
    assert len(set(bars.values())) == 4


def test_scale_marks_do_not_overlap() -> None:
    for most in (1, 2, 9, 10, 11, 99, 100, 101, 999, 1001, 5000, 10**6 + 1):
        places = list(scale(page(most=most, other=1)).values())
        assert places[-1] == 100
        assert all(two - one >= 14 for one, two in pairwise(places)), most
