"""``vmtsim models`` lists the functions that a module can call."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import pytest
from vmtgen.kobj.exported import exported_names
from vmtsim import cli, kernel
from vmtsim.kernel import subjects
from vmtsim.kernel.api import Prototype, PrototypeError
from vmtsim.kernel.i2c import I2c

from .modkit import Machine, built

if TYPE_CHECKING:
    from pathlib import Path


def test_models_are_listed_with_prototypes(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["models"]) == 0
    text = capsys.readouterr().out
    assert "    int cv_timedwait(kcondvar_t *cv, kmutex_t *mtx, int ticks)\n" in text
    assert "x86_curlwp" in text
    assert cli.main(["models", "--machine", "aarch64"]) == 0
    assert "x86_curlwp" not in capsys.readouterr().out


def test_every_prototype_can_be_parsed() -> None:
    for cls in subjects.load_subjects():
        for prototype, _machines, _method in cls.functions():
            assert prototype.returns
            assert f"{prototype.name}(" in prototype.text
            assert len(prototype.parameters) <= prototype.text.count(",") + 1


@pytest.mark.parametrize("text", ["int f", "int f(frobnitz_t x)", "int f(int)"])
def test_wrong_prototype_is_refused(text: str) -> None:
    with pytest.raises(PrototypeError):
        assert Prototype(text).parameters


@pytest.mark.parametrize(
    ("flags", "status", "expected"),
    [
        ((), 0, {"unmodelled": [], "unknown": [], "instructions": []}),
        (
            ("-DUNMODELLED",),
            1,
            {"unmodelled": ["acpi_match_hid"], "unknown": [], "instructions": []},
        ),
        (
            ("-DMISSING",),
            1,
            {"unmodelled": [], "unknown": ["no_such_function", "nor_this_one"], "instructions": []},
        ),
    ],
)
def test_missing_models_are_known_before_run(
    capsys: pytest.CaptureFixture[str],
    flags: tuple[str, ...],
    status: int,
    expected: dict[str, list[str]],
) -> None:
    assert cli.main(["models", "--json", str(built("twin", "amd64", flags))]) == status
    assert json.loads(capsys.readouterr().out) == expected


def test_new_subject_needs_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The directory is searched: no list needs a change."""
    (tmp_path / "zz_ticks.py").write_text(
        "from vmtsim.kernel.api import Subject, kernel_function\n\n\n"
        "class Ticks(Subject):\n"
        '    @kernel_function("int ticks_of_a_test(void)")\n'
        "    def ticks_of_a_test(self) -> int:\n"
        "        return 7\n",
        encoding="utf-8",
    )
    monkeypatch.setattr(kernel, "__path__", [*kernel.__path__, str(tmp_path)])
    subjects.load_subjects.cache_clear()
    try:
        last = subjects.load_subjects()[-1]
    finally:
        subjects.load_subjects.cache_clear()
        sys.modules.pop("vmtsim.kernel.zz_ticks", None)
    assert [prototype.name for prototype, _, _ in last.functions()] == ["ticks_of_a_test"]


# Modelled on amd64 and not in the table of the measured kernel, and why.
NOT_EXPORTED = {
    "securelevel": "of secmodel_securelevel, which the kernel looked at has as a static variable",
    **{
        prototype.name: "of iic and i2cexec, which GENERIC has with piixpm(4) and ichsmb(4), and "
        "the small kernel looked at has not"
        for prototype, _machines, _method in I2c.functions()
    },
}


def test_every_modelled_name_is_exported_by_real_kernel() -> None:
    """An invented name would let a module load here that no kernel loads."""
    modelled = set(Machine(built("twin")).kernel.dispatch.modelled())
    assert modelled - exported_names() == set(NOT_EXPORTED)


def test_ipl_functions_match_each_machine() -> None:
    """splx() is a function on aarch64, splraise() and spllower() are on x86."""
    for machine, names in (
        ("amd64", {"splraise", "spllower"}),
        ("i386", {"splraise", "spllower"}),
        ("aarch64", {"splx", "_splraise", "_spllower"}),
    ):
        modelled = set(Machine(built("twin", machine), machine).kernel.dispatch.modelled())
        assert {name for name in modelled if name.lstrip("_").startswith("spl")} == names


def test_every_model_name_is_in_kernel_symbols() -> None:
    """Names outside the list belong to machines whose kernels were not inspected."""
    foreign = {
        prototype.name: machines
        for cls in subjects.load_subjects()
        for prototype, machines, _method in cls.functions()
        if prototype.name not in {*exported_names(), *NOT_EXPORTED}
    }
    assert [name for name, machines in foreign.items() if not machines or "amd64" in machines] == []


def test_models_needed_by_set_of_modules_are_counted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = [built("seven"), built("twin", "amd64", ("-DUNMODELLED",)), tmp_path / "gone.kmod"]
    assert cli.main(["models", *map(str, files)]) == 66
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert "    1  acpi_match_hid                   twin" in lines
    assert lines[-1] == "1 of 2 modules lack nothing: seven"
    assert "gone.kmod" in printed.err
    assert cli.main(["models", "--json", str(files[0]), str(files[1])]) == 1
    found = json.loads(capsys.readouterr().out)
    assert [each["unmodelled"] for each in found] == [[], ["acpi_match_hid"]]


def test_subjects_on_demand_are_listed_with_all_their_functions() -> None:
    listed = {name: sorted(text.split()) for name, text in subjects.ON_DEMAND.items()}
    found = {
        subjects.subject_name(cls): cls
        for cls in subjects.load_subjects()
        if subjects.subject_name(cls) in listed
    }
    assert listed == {
        name: sorted({prototype.name for prototype, _machines, _method in cls.functions()})
        for name, cls in found.items()
    }
    # Made late, they must not miss anything that the others do at the start.
    assert [name for name, cls in found.items() if {"boot", "data"} & vars(cls).keys()] == []


def test_subjects_made_on_demand_take_their_place_in_boot_order() -> None:
    kernel = Machine(built("twin")).kernel
    assert "percpu_alloc" in kernel.dispatch.modelled()
    assert tuple(kernel._subjects) == subjects.load_subjects()
