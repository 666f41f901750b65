"""The cache between runs: it returns the same document and never causes a failure."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from vmtgen.common import cache, located
from vmtgen.common.located import LocatedErrors, Node, load_yaml

if TYPE_CHECKING:
    from pathlib import Path

TEXT = """\
# a file
one: 1
two: [a, 2.0, true, ~, "x\\u00e9"]
three:
  four: {five: ''}
  six:
"""


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "netbsd-vmt"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "a.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return path


def restarted(file: Path) -> Node:
    """A new process: without anything in memory."""
    located._kept.cache_clear()
    return load_yaml(file, keep=True)


def same(one: Node, other: Node) -> bool:
    """Whether two documents are the same, with all places."""
    facts = ("kind", "path", "line", "column", "where")
    if any(getattr(one, fact) != getattr(other, fact) for fact in facts):
        return False
    if (one.key is None) != (other.key is None):
        return False
    if one.key is not None and other.key is not None and not same(one.key, other.key):
        return False
    if one.kind == "scalar":
        return one.value == other.value and type(one.value) is type(other.value)
    return list(one.entries) == list(other.entries) and all(
        same(a, b) for a, b in zip(one, other, strict=True)
    )


def test_cached_document_is_identical(
    file: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fresh = load_yaml(file)
    assert not home.exists()
    assert same(load_yaml(file, keep=True), fresh)
    assert len(list(home.iterdir())) == 1
    monkeypatch.setattr(located, "_compose", None)  # not called again
    assert same(restarted(file), fresh)


def test_changed_content_is_read_again(file: Path) -> None:
    load_yaml(file, keep=True)
    file.write_text(TEXT.replace("one: 1", "one: 2"), encoding="utf-8")
    assert restarted(file)["one"].scalar == 2


def test_invalid_document_is_not_cached(file: Path, home: Path) -> None:
    file.write_text("a: 1\na: 2\n", encoding="utf-8")
    for _ in range(2):
        with pytest.raises(LocatedErrors, match="stands here twice"):
            load_yaml(file, keep=True)
    assert not home.exists()


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "[1, 2]", '[1, 1, {"a": 3}]'])
def test_damaged_entry_is_ignored(file: Path, home: Path, content: str) -> None:
    fresh = load_yaml(file, keep=True)
    (entry,) = home.iterdir()
    entry.write_text(content, encoding="utf-8")
    assert same(restarted(file), fresh)


def test_unwritable_cache_changes_nothing(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "no").write_text("a file", encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "no"))
    assert same(load_yaml(file, keep=True), load_yaml(file))
    assert cache.get("yaml", b"x") is None
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    cache.put("yaml", b"x", [1])
    assert (tmp_path / "home" / ".cache" / "netbsd-vmt").is_dir()
    assert cache.get("yaml", b"x") == [1]


def test_one_put_in_many_scans_the_cache(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """To look at thousands of files took longer than most of what an entry keeps."""
    looks: list[Path] = []
    monkeypatch.setattr(cache, "_shrink", looks.append)
    for number in range(1000):
        cache.put("kind", b"%d" % number, [])
    assert 1000 // cache.EVERY // 2 < len(looks) < 1000 // cache.EVERY * 2
    assert set(looks) == {home}
    del looks[:]
    monkeypatch.setattr(cache, "LIMIT", 60 * cache.EVERY)
    for number in range(100, 200):
        cache.put("kind", b"%d" % number, ["x" * 60])
    assert len(looks) == 100, "a large entry always causes a scan"


def test_oldest_entries_are_removed_above_the_limit(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ["x" * 1000]
    cache.put("kind", b"0", kept)
    monkeypatch.setattr(cache, "LIMIT", 5 * 1010)
    for number in range(1, 12):
        cache.put("kind", b"%d" % number, kept)
        # Files of one clock tick have one time.
        for age, entry in enumerate(sorted(home.iterdir(), key=lambda each: each.stat().st_mtime)):
            os.utime(entry, ns=(age, age))
    assert [number for number in range(12) if cache.get("kind", b"%d" % number) == kept] == [
        7, 8, 9, 10, 11,
    ]  # fmt: skip
    assert sum(each.stat().st_size for each in home.iterdir()) <= cache.LIMIT


def test_entry_of_a_killed_writer_is_removed_like_any_other(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache.put("kind", b"1", [])
    left = home / ".kind-1-0.json.99"
    left.write_bytes(bytes(5000))
    monkeypatch.setattr(cache, "EVERY", 1)
    os.utime(left, ns=(0, 0))
    monkeypatch.setattr(cache, "LIMIT", 4000)
    cache.put("kind", b"2", [])
    assert not left.exists()
    assert cache.get("kind", b"1") == cache.get("kind", b"2") == []


def test_entry_larger_than_the_limit_is_not_kept(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "LIMIT", 100)
    cache.put("kind", b"1", ["x" * 1000])
    assert cache.get("kind", b"1") is None
    assert list(home.iterdir()) == []
