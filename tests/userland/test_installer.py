"""The installer: atomic, follows no symbolic link, and restores every byte."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vmtctl import exits, hooks
from vmtctl.install import block, hookplan
from vmtctl.install.calls import Calls
from vmtctl.install.plan import Plan
from vmtctl.install.tree import Tree

from tests.userland.trees import SITE, VERBS, Unsynced, built, picture, prepare, refusal, temporary

if TYPE_CHECKING:
    from pathlib import Path


class Crash(BaseException):
    """The machine stops: no later call happens."""


class Crashing(Unsynced):
    """Drops the ``number``-th call that changes something, and all later ones."""

    def __init__(self, number: int) -> None:
        self.count = 0
        self.number = number

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in {"count", "number"} or not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self.count += name not in {"open", "close", "read", "stat", "fstat", "listdir"}
            if self.count >= self.number:
                raise Crash
            return found(*arguments, **named)

        return call


# Another test covers incomplete markers.
PLAIN = st.binary(max_size=60).filter(lambda data: b"vmtctl" not in data)
CONTENT = st.one_of(
    PLAIN,
    st.sampled_from(
        [
            b"",
            b"#!/bin/sh",
            b"#!/bin/sh\nexit 0\n",
            b"#!/bin/sh\n\nexit 0",
            b"#!/bin/ksh -\n# mine\n",
            b"#!/bin/sh\r\nexit 0\r\n",
            b"echo no newline",
            b"# >>> other >>>\n# <<< other <<<\n",
            b"\n\n",
        ]
    ),
)
MODES = st.sampled_from([0o755, 0o700, 0o644, 0o550])


@st.composite
def systems(draw: st.DrawFn) -> dict[str, Any]:
    """Directories and scripts as an administrator may have them in /etc/powerd."""
    files = {}
    for directory in ("scripts", "scripts/acpi", "vmt.d"):
        if draw(st.booleans()):
            files[directory] = None
    for name in (*hooks.SCRIPTS, "lid_switch"):
        for directory in ("scripts", "scripts/acpi"):
            if draw(st.booleans()):
                files[f"{directory}/{name}"] = (draw(CONTENT), draw(MODES))
    if draw(st.booleans()):
        files["vmt.d/10-site"] = (b"#!/bin/sh\n", 0o755)
    return files


def times(root: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in root.rglob("*") if path.is_file()}


@settings(max_examples=60, deadline=None)
@given(systems(), st.booleans())
def test_uninstall_restores_every_byte_and_time(files: dict[str, Any], typed: bool) -> None:
    with built(files) as root:
        tree = Tree(str(root))
        before, edited = picture(root), times(root)
        if refusal(partial(hookplan.install, tree, typed=typed, force=False)) is not None:
            # It has a script that cannot get a block.
            assert picture(root) == before
            return
        assert not hookplan.install(tree, typed=typed, force=False)
        for name in hooks.SCRIPTS:
            script = root / "etc/powerd/scripts" / ("acpi" if typed else "") / name
            assert hooks.MARK.encode() in script.read_bytes()
        hookplan.uninstall(tree, force=False).carry_out()
        after = picture(root)
        if "etc/powerd" not in before:
            # made before the record could be; every NetBSD has it
            after.pop("etc/powerd", None)
        assert after == before
        assert times(root) == edited
        assert not hookplan.uninstall(tree, force=False)


@pytest.mark.parametrize("verb", VERBS)
def test_after_crash_every_file_is_old_or_new(verb: str) -> None:
    make, before = VERBS[verb]
    number = 0
    with built(SITE) as model:
        prepare(model, before)
        old = picture(model)
        with built({}) as other:
            shutil.copytree(model, other, symlinks=True, dirs_exist_ok=True)
            make(Tree(str(other), Unsynced())).carry_out()
            new = picture(other)
        while True:
            number += 1
            with built({}) as root:
                shutil.copytree(model, root, symlinks=True, dirs_exist_ok=True)
                calls = Crashing(number)
                with suppress(Crash):
                    make(Tree(str(root), calls)).carry_out()
                now = picture(root)
                if calls.count < number:
                    assert now == new
                    break
                for name in {*old, *new, *now}:
                    assert now.get(name) in {old.get(name), new.get(name)}, (number, name)
                # Every interrupted run can be completed and cleaned up.
                make(Tree(str(root), Unsynced())).carry_out()
                make(Tree(str(root), Unsynced())).carry_out()
                assert picture(root) == new, number
                assert not [path for path in root.rglob("*") if temporary(path.name)]
    assert number > 20


def test_symbolic_links_are_not_followed(tmp_path: Path) -> None:
    for link in ("etc", "etc/powerd", "etc/powerd/scripts", "etc/powerd/scripts/acpi"):
        root = tmp_path / link.replace("/", "-")
        (root / link).parent.mkdir(parents=True)
        elsewhere = root / "elsewhere"
        elsewhere.mkdir()
        (root / link).symlink_to(elsewhere)
        with pytest.raises(exits.Failure) as caught:
            hookplan.install(Tree(str(root)), typed=True, force=True).carry_out()
        assert caught.value.status == exits.DATA
        assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["scripts/acpi/power_button", "vmt-event", "vmt.installed"])
def test_symbolic_link_in_place_of_script_is_kept(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    path = tmp_path / "etc/powerd" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    before = picture(tmp_path)
    with pytest.raises(exits.Failure, match="symbolic link"):
        hookplan.install(Tree(str(tmp_path)), typed=True, force=True).carry_out()
    assert picture(tmp_path) == before


def test_change_between_plan_and_apply_is_detected(tmp_path: Path) -> None:
    with built(SITE) as root:
        tree = Tree(str(root))
        plan = hookplan.install(tree, typed=False, force=False)
        script = root / "etc/powerd/scripts/sleep_button"
        script.chmod(0o755)
        script.write_bytes(b"#!/bin/sh\nexit 1\n")
        before = picture(root)
        with pytest.raises(exits.Failure) as caught:
            plan.carry_out()
        assert caught.value.status == exits.TEMPORARY
        assert picture(root) == before


def test_file_created_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with built({}) as root:
        tree = Tree(str(root))
        before = tree.look("/etc/new")
        (root / "etc/new").write_text("theirs")
        plan = Plan(tree)
        plan.put(before, b"ours")
        with pytest.raises(exits.Failure):
            plan.carry_out()
        assert (root / "etc/new").read_text() == "theirs"


def test_mode_of_edited_file_is_kept(tmp_path: Path) -> None:
    with built(SITE) as root:
        hookplan.install(Tree(str(root)), typed=False, force=False).carry_out()
        script = root / "etc/powerd/scripts/sleep_button"
        assert stat.S_IMODE(script.stat().st_mode) == 0o555


@pytest.mark.parametrize("typed", [True, False])
def test_edited_installed_file_is_refused_or_kept_with_force(typed: bool) -> None:
    with built(SITE) as root:
        tree = Tree(str(root))
        hookplan.install(tree, typed=typed, force=False).carry_out()
        script = root / f"etc/powerd/scripts/{'acpi/' * typed}power_button"
        edited = script.read_bytes().replace(b"vmt[0-9] |", b"vmt[0-9] | mine |")
        assert edited != script.read_bytes()
        for number, name in enumerate(("power_button.edited", "power_button.edited2")):
            script.write_bytes(edited + b"# mine\n" * number)
            for make in (hookplan.uninstall, partial(hookplan.install, typed=typed)):
                with pytest.raises(exits.Failure, match="edited"):
                    make(tree, force=False)
            before = script.read_bytes()
            hookplan.install(tree, typed=typed, force=True).carry_out()
            assert b"| mine |" not in script.read_bytes()
            assert script.with_name(name).read_bytes() == before
        script.write_bytes(edited)
        hookplan.uninstall(tree, force=True).carry_out()
        # It was backed up before; the installer backs up no file twice.
        assert len(list(script.parent.glob("power_button.*"))) == 2


@pytest.mark.parametrize("typed", [True, False])
def test_other_version_of_vmtctl_file_is_replaced(typed: bool) -> None:
    """Older or newer: an upgrade and its way back need no --force."""
    other = b"# of another version"
    with built(SITE) as root:
        prepare(root, "other version" if typed else "other version of blocks")
        scripts = [path for path in root.rglob("*") if path.is_file()]
        ours = [path for path in scripts if other in path.read_bytes()]
        assert len(ours) == 5
        hookplan.install(Tree(str(root)), typed=typed, force=False).carry_out()
        assert [path for path in ours if other in path.read_bytes()] == []
        hookplan.uninstall(Tree(str(root)), force=False).carry_out()
        assert (root / "etc/powerd/scripts/power_button").read_bytes() == b"#!/bin/sh\nexit 0"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"#!/usr/bin/perl\nexit 0;\n", "its interpreter is perl, not sh"),
        (b"#!/bin/csh -f\nexit 0\n", "its interpreter is csh, not sh"),
        (b"#! /usr/bin/env python3.13\nimport sys\n", "its interpreter is python3.13, not sh"),
        (b"#!/bin/sh\neval 'exec perl -x -wS $0 ${1+\"$@\"}'\n", "another interpreter than sh"),
        (b'#!/bin/sh\n"""exec" python3 "$0" "$@"\n"""\n', "another interpreter than sh"),
        (b"#!/bin/sh\r\nexit 0\r\n", "carriage return"),
        (b"#!/bin/sh\rexit 0\r", "carriage return"),
        (b"\x7fELF\x02\x01\x01", "does not begin with #!"),
        (b"exit 0\n", "does not begin with #!"),
        (b"", "does not begin with #!"),
    ],
)
@pytest.mark.parametrize("typed", [True, False])
def test_non_sh_script_is_never_edited(content: bytes, reason: str, typed: bool) -> None:
    name = f"scripts/{'acpi/' * typed}power_button"
    with built({name: (content, 0o755)}) as root:
        before = picture(root)
        with pytest.raises(exits.Failure) as caught:
            hookplan.install(Tree(str(root)), typed=typed, force=True)
        assert caught.value.status == exits.DATA
        assert reason in str(caught.value)
        assert picture(root) == before
        # The recommended command works.
        done = caught.value.hint.partition(": ")[2].replace("/etc/", f"{root}/etc/")
        subprocess.run(["sh", "-c", done], check=True)
        hookplan.install(Tree(str(root)), typed=typed, force=False).carry_out()
        assert (root / f"etc/powerd/{name}.site").read_bytes() == content


@pytest.mark.parametrize(
    "line", [b"#!/bin/sh -", b"#! /bin/ksh", b"#!/usr/pkg/bin/bash", b"#!/usr/bin/env sh"]
)
def test_sh_script_gets_block(line: bytes) -> None:
    with built({"scripts/acpi/power_button": (line + b"\nexit 0\n", 0o755)}) as root:
        hookplan.install(Tree(str(root)), typed=True, force=False).carry_out()
        text = (root / "etc/powerd/scripts/acpi/power_button").read_bytes()
        assert text.startswith(line + b"\n# >>> vmtctl")


def test_script_that_powerd_would_skip_is_refused() -> None:
    with (
        built({"scripts/acpi/power_button": (b"#!/bin/sh\n", 0o644)}) as root,
        pytest.raises(exits.Failure, match="not executable"),
    ):
        hookplan.install(Tree(str(root)), typed=True, force=False)


@pytest.mark.parametrize("kind", ["link", "file"])
def test_vmt_d_that_is_no_directory_is_refused(kind: str) -> None:
    with built(SITE) as root:
        tree = Tree(str(root))
        (root / "elsewhere").mkdir()
        site = root / "etc/powerd/vmt.d"

        def plant() -> None:
            if kind == "link":
                site.symlink_to(root / "elsewhere")
            else:
                site.write_text("")

        plant()
        with pytest.raises(exits.Failure) as caught:
            hookplan.install(tree, typed=True, force=True)
        assert caught.value.status == exits.DATA
        assert "mkdir /etc/powerd/vmt.d" in caught.value.hint
        site.unlink()
        hookplan.install(tree, typed=True, force=False).carry_out()
        site.rmdir()
        plant()
        hookplan.uninstall(tree, force=False).carry_out()
        assert not (root / "etc/powerd/vmt-event").exists()
        assert os.path.lexists(site)


def test_foreign_record_is_not_changed() -> None:
    theirs = (b"something else\n", 0o644)
    with built({**SITE, "vmt.installed": theirs}) as root:
        tree = Tree(str(root))
        with pytest.raises(exits.Failure, match=r"vmt\.installed is not vmtctl's file"):
            hookplan.install(tree, typed=True, force=True)
        hookplan.uninstall(tree, force=True).carry_out()
        assert (root / "etc/powerd/vmt.installed").read_bytes() == theirs[0]


def test_only_own_temporary_files_are_removed() -> None:
    names = (".power_button.vmtctl-new~", ".mine.vmtctl-new~", ".lid_switch.vmtctl-old~")
    with built({f"scripts/{name}": (b"x", 0o644) for name in names}) as root:
        hookplan.install(Tree(str(root)), typed=True, force=False).carry_out()
        left = [path.name for path in (root / "etc/powerd/scripts").iterdir() if path.is_file()]
        assert sorted(left) == sorted(names[1:])


def test_possible_last_copy_is_not_removed() -> None:
    with built({"scripts/.power_button.vmtctl-old~": (b"#!/bin/sh\n# mine\n", 0o755)}) as root:
        old = root / "etc/powerd/scripts/.power_button.vmtctl-old~"
        with pytest.raises(exits.Failure) as caught:
            hookplan.install(Tree(str(root)), typed=True, force=True)
        assert "mv /etc/powerd/scripts/.power_button.vmtctl-old~ " in caught.value.hint
        assert old.read_bytes() == b"#!/bin/sh\n# mine\n"


@pytest.mark.parametrize("mask", [0, 0o077])
def test_modes_do_not_depend_on_umask(mask: int) -> None:
    found = os.umask(mask)
    try:
        with built({"scripts": None}) as root:
            hookplan.install(Tree(str(root)), typed=True, force=False).carry_out()
            made = root / "etc/powerd/scripts"
            for path in [*(root / "etc/powerd").iterdir(), *made.rglob("*")]:
                if path != made:
                    expected = 0o644 if path.name == "vmt.installed" else 0o755
                    assert stat.S_IMODE(path.stat().st_mode) == expected, path
    finally:
        os.umask(found)


def test_non_executable_handler_becomes_executable() -> None:
    with built({}) as root:
        tree = Tree(str(root))
        hookplan.install(tree, typed=True, force=False).carry_out()
        (root / "etc/powerd/vmt-event").chmod(0o644)
        hookplan.install(tree, typed=True, force=False).carry_out()
        assert stat.S_IMODE((root / "etc/powerd/vmt-event").stat().st_mode) == 0o755


@given(CONTENT, PLAIN, st.booleans())
def test_block_is_added_and_removed_without_trace(old: bytes, inside: bytes, top: bool) -> None:
    new = block.with_block(old, inside, "/x", top=top)
    assert block.without_block(new, "/x") == old
    assert block.with_block(new, inside, "/x", top=top) == new


@given(st.booleans())
def test_file_created_for_block_is_removed_with_it(top: bool) -> None:
    assert block.without_block(block.with_block(None, b"x\n", "/x", top=top), "/x") is None


@pytest.mark.parametrize("old", [b"a\rb\rc", b"a\r", b"\r", b"a\x0bb", b"#!/bin/sh\rexit 0\r"])
@pytest.mark.parametrize("top", [True, False])
def test_line_end_unknown_to_sh_is_not_one(old: bytes, top: bool) -> None:
    new = block.with_block(old, b"x\n", "/x", top=top)
    assert block.without_block(new, "/x") == old


@given(CONTENT, CONTENT)
def test_text_added_around_block_is_kept(before: bytes, after: bytes) -> None:
    new = block.with_block(b"old\n", b"x\n", "/x", top=False)
    around = before + b"\n" + new + after
    left = block.without_block(around, "/x")
    assert left == before + b"\nold\n" + after


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (b"a\n# >>> vmtctl >>>\nb\n", 2),
        (b"# <<< vmtctl <<<\n", 1),
        (b"# >>> vmtctl >>>\n# >>> vmtctl >>>\n# <<< vmtctl <<<\n", 2),
        (b"# >>> vmtctl >>>\n# <<< vmtctl <<<\n# <<< vmtctl <<<\n", 3),
    ],
)
def test_incomplete_block_is_refused_with_line(text: bytes, line: int) -> None:
    for act in (
        lambda: block.with_block(text, b"x", "/x", top=False),
        lambda: block.without_block(text, "/x"),
    ):
        with pytest.raises(exits.Failure, match=f"/x:{line}:"):
            act()


def test_read_only_directory_is_reported(tmp_path: Path) -> None:
    class ReadOnly(Calls):
        @staticmethod
        def mkdir(*_: Any, **__: Any) -> None:
            raise OSError(30, "Read-only file system")

    with built(SITE) as root:
        before = picture(root)
        plan = hookplan.install(Tree(str(root), ReadOnly()), typed=True, force=False)
        with pytest.raises(exits.Failure) as caught:
            plan.carry_out()
        assert "mount -u" in caught.value.hint
        assert picture(root) == before
