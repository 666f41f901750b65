"""Every model of a kernel function names its NetBSD source file and revision."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from vmtsim import cli
from vmtsim.kernel.rule_table import RULES
from vmtsim.kernel.subjects import load_subjects

# Models without a source so far.  This list may only become shorter.
WITHOUT: frozenset[str] = frozenset()
# The tree of these revisions: 10.99.12 of January 2025.
# Where common/ is beside sys/, it is compared, too.
SYS = os.environ.get("NETBSD_SYS", "")

MODELS = {
    prototype.name: (cls, cls.source(prototype.name))
    for cls in load_subjects()
    for prototype, _machines, _method in cls.functions()
}


def test_every_model_names_its_source() -> None:
    """An installed header has a year and no revision."""
    missing = {
        name
        for name, (_, source) in MODELS.items()
        if not re.fullmatch(r"(sys|common)/[\w./]+\.([chS] \d+(\.\d+)+|h of \d{4})", source)
    }
    assert missing == WITHOUT, (
        f"give the class of these models a SOURCES row: {', '.join(sorted(missing - WITHOUT))}"
    )


def test_every_name_in_source_tables_is_a_model() -> None:
    named = {
        name
        for cls in load_subjects()
        for names in cls.SOURCES.values()
        for name in names.split()
        if names != "*"
    }
    assert named <= set(MODELS)


def test_models_are_listed_with_sources(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    listed = capsys.readouterr().out
    assert "\n  after sys/kern/kern_synch.c 1.366:\n    int kpause(" in listed


@pytest.mark.skipif(not SYS, reason="NETBSD_SYS does not name a sys/ directory of 10.99.12")
def test_sources_have_revision_and_define_functions() -> None:
    wrong = []
    for name, (_, source) in MODELS.items():
        path, revision = source.split(" ", 1)
        file = Path(SYS).parent / path
        if path.startswith("common/") and not file.exists():
            continue
        text = file.read_text(encoding="utf-8", errors="replace")
        places = rf"^(.*[ *])?{name}\(|(ENTRY|ALIAS|alias)\w*\({name}\b"
        defined = re.search(places, text, re.MULTILINE)
        if f",v {revision} " not in text or not defined:
            wrong.append(f"{name}: {source}")
    assert wrong == []


@pytest.mark.skipif(not SYS, reason="NETBSD_SYS does not name a sys/ directory of 10.99.12")
def test_rule_sources_define_named_functions() -> None:
    wrong = []
    for source in {rule.source for rule in RULES.values()}:
        for path, functions in re.findall(r"(sys/[\w./]+\.c)(?: \(([\w, ]+)\))?", source):
            file = Path(SYS).parent / path
            text = file.read_text(encoding="utf-8", errors="replace") if file.exists() else ""
            wrong += [
                f"{path}: {name or 'no such file'}"
                for name in functions.split(", ")
                if not text or (name and not re.search(rf"^(.*[ *])?{name}\(", text, re.MULTILINE))
            ]
    assert sorted(wrong) == []


# -- the race detector's data of each model: Subject.SERIALIZED, ACCESSES_DATA --------------------


def _marks() -> list[tuple[str, str, str]]:
    """Return (class, mark, name of a function) of all names in the tables of the marks."""
    return [
        (cls.__name__, mark, name)
        for cls in load_subjects()
        for mark, listed in [*cls.SERIALIZED.items(), ("ACCESSES_DATA", cls.ACCESSES_DATA)]
        for name in listed.split()
        if name != "*"
    ]


def test_every_class_with_models_says_what_orders_and_accesses_them() -> None:
    silent = [
        cls.__name__
        for cls in load_subjects()
        if cls.models() and not {"SERIALIZED", "ACCESSES_DATA"} <= vars(cls).keys()
    ]
    assert silent == [], "give these classes SERIALIZED and ACCESSES_DATA, from NetBSD's source"


def test_every_name_in_the_marks_is_a_model_of_that_class() -> None:
    assert [each for each in _marks() if MODELS[each[2]][0].__name__ != each[0]] == []


@pytest.mark.skipif(not SYS, reason="NETBSD_SYS does not name a sys/ directory of 10.99.12")
def test_the_source_of_a_function_takes_its_lock() -> None:
    """The file that the model follows names the lock, or the function that takes it."""
    wrong = []
    for name, (cls, source) in MODELS.items():
        for lock in cls.locks(name):
            word, _, reads = lock.partition(" ")
            file = Path(SYS).parent / source.split(" ", 1)[0]
            text = file.read_text(encoding="utf-8", errors="replace")
            takes = r"\b(mutex_enter|mutex_spin_enter|rw_enter)\([^;]*" + re.escape(word)
            takes += ", RW_READER" if reads else rf"|\block = [^;]*{word}\b|\b{word}\(\)"
            if not re.search(takes, text):
                wrong.append(f"{name}: {file.name} does not take {lock}")
    assert wrong == []
