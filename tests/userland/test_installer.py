"""The installer: atomic, through no symbolic link, and back to every byte."""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vmtctl import exits, hooks
from vmtctl.install import block, hookplan
from vmtctl.install.calls import Calls
from vmtctl.install.plan import Plan
from vmtctl.install.tree import Tree

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


class Crash(BaseException):
    """The machine stops: no call after this one happens."""


class Failing(Calls):
    """Calls of which the ``number``-th fails, or stops the machine."""

    def __init__(self, number: int, *, crash: bool) -> None:
        self.count = 0
        self.number = number
        self.crash = crash

    def __getattribute__(self, name: str) -> Any:
        found = super().__getattribute__(name)
        if name in {"count", "number", "crash"} or not callable(found):
            return found

        def call(*arguments: Any, **named: Any) -> Any:
            self.count += 1
            if self.crash and self.count >= self.number:
                raise Crash
            if self.count == self.number:
                raise OSError(5, "Input/output error")
            return found(*arguments, **named)

        return call


def picture(root: Path) -> dict[str, Any]:
    """Everything below ``root`` but temporary files: what, and for files mode and bytes."""
    seen: dict[str, Any] = {}
    for path in sorted(root.rglob("*")):
        name = str(path.relative_to(root))
        mode = stat.S_IMODE(path.lstat().st_mode)
        if path.is_symlink():
            seen[name] = ("link", path.readlink())
        elif path.is_dir():
            seen[name] = ("directory", mode)
        elif not name.endswith(".vmtctl~"):
            seen[name] = ("file", mode, path.read_bytes())
    return seen


# Half markers are another test's subject.
PLAIN = st.binary(max_size=60).filter(lambda data: b"vmtctl" not in data)
CONTENT = st.one_of(
    PLAIN,
    st.sampled_from(
        [
            b"",
            b"#!/bin/sh",
            b"#!/bin/sh\nexit 0\n",
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
    """Directories and scripts as somebody may have them in /etc/powerd."""
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


@contextmanager
def built(files: dict[str, Any]) -> Iterator[Path]:
    root = Path(tempfile.mkdtemp())
    try:
        base = root / "etc/powerd"
        for name, entry in files.items():
            path = base / name
            if entry is None:
                path.mkdir(parents=True, exist_ok=True)
                continue
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(entry[0])
            path.chmod(entry[1])
        (root / "etc").mkdir(exist_ok=True)
        yield root
    finally:
        shutil.rmtree(root)


def carry_out(plan: Plan) -> None:
    plan.carry_out(lambda _: None)


@settings(max_examples=60, deadline=None)
@given(systems(), st.booleans())
def test_uninstall_gives_back_every_byte(files: dict[str, Any], typed: bool) -> None:
    with built(files) as root:
        tree = Tree(str(root))
        before = picture(root)
        carry_out(hookplan.install(tree, typed=typed, force=False))
        assert not hookplan.install(tree, typed=typed, force=False)
        for name in hooks.SCRIPTS:
            script = root / "etc/powerd/scripts" / ("acpi" if typed else "") / name
            assert hooks.MARK.encode() in script.read_bytes()
        carry_out(hookplan.uninstall(tree, force=False))
        after = picture(root)
        if "etc/powerd" not in before:
            # made before the record could be; every NetBSD has it
            after.pop("etc/powerd", None)
        assert after == before
        assert not hookplan.uninstall(tree, force=False)


FOREIGN: dict[str, Any] = {
    "scripts/power_button": (b"#!/bin/sh\nexit 0", 0o755),
    "scripts/acpi/power_button": (b"#!/bin/sh\r\necho mine\r\n", 0o750),
    "scripts/sleep_button": (b"#!/bin/sh\nexit 0\n", 0o555),
}


def _install(typed: bool) -> Callable[[Tree], Plan]:
    return lambda tree: hookplan.install(tree, typed=typed, force=False)


def _uninstall(tree: Tree) -> Plan:
    return hookplan.uninstall(tree, force=False)


@pytest.mark.parametrize("crash", [False, True], ids=["error", "crash"])
@pytest.mark.parametrize("verb", ["install", "install blocks", "uninstall", "uninstall blocks"])
def test_whichever_call_fails_every_file_is_old_or_new(verb: str, crash: bool) -> None:
    typed = "blocks" not in verb
    make = _install(typed) if verb.startswith("install") else _uninstall
    number = 0
    while True:
        number += 1
        with built(FOREIGN) as root:
            tree = Tree(str(root))
            if verb.startswith("uninstall"):
                carry_out(hookplan.install(tree, typed=typed, force=False))
            old = picture(root)
            with built(FOREIGN) as other:
                # the same, undisturbed
                shutil.rmtree(other)
                shutil.copytree(root, other, symlinks=True)
                carry_out(make(Tree(str(other))))
                new = picture(other)
            calls = Failing(number, crash=crash)
            failed = False
            try:
                carry_out(make(Tree(str(root), calls)))
            except (Crash, exits.Failure):
                failed = True
            now = picture(root)
            if calls.count < number:
                assert now == new
                break
            if not crash:
                # A failure takes everything back, and the last calls do not matter any more.
                assert now == (old if failed else new), number
            else:
                for name in {*old, *new, *now}:
                    kept = name.endswith(hooks.KEPT)
                    assert kept or now.get(name) in {old.get(name), new.get(name)}, name
                    if kept and name in now:
                        original = old.get(name, old.get(name.removesuffix(hooks.KEPT)))
                        assert now[name] == original, name
            if failed and crash:
                # Every beginning can be finished, and can be taken back.
                carry_out(make(tree))
                assert picture(root) == new, number
                assert not list(root.rglob("*.vmtctl~"))
    assert number > 40


def test_nothing_is_followed_through_a_symbolic_link(tmp_path: Path) -> None:
    for link in ("etc", "etc/powerd", "etc/powerd/scripts", "etc/powerd/scripts/acpi"):
        root = tmp_path / link.replace("/", "-")
        (root / link).parent.mkdir(parents=True)
        elsewhere = root / "elsewhere"
        elsewhere.mkdir()
        (root / link).symlink_to(elsewhere)
        with pytest.raises(exits.Failure) as caught:
            carry_out(hookplan.install(Tree(str(root)), typed=True, force=True))
        assert caught.value.status == exits.DATA
        assert list(elsewhere.iterdir()) == []


@pytest.mark.parametrize("name", ["scripts/acpi/power_button", "vmt-event", "vmt.installed"])
def test_a_link_in_the_place_of_a_script_is_left_alone(tmp_path: Path, name: str) -> None:
    target = tmp_path / "target"
    target.write_text("precious")
    path = tmp_path / "etc/powerd" / name
    path.parent.mkdir(parents=True)
    path.symlink_to(target)
    before = picture(tmp_path)
    with pytest.raises(exits.Failure, match="symbolic link"):
        carry_out(hookplan.install(Tree(str(tmp_path)), typed=True, force=True))
    assert picture(tmp_path) == before


def test_a_change_between_plan_and_deed_is_noticed(tmp_path: Path) -> None:
    with built(FOREIGN) as root:
        tree = Tree(str(root))
        plan = hookplan.install(tree, typed=False, force=False)
        script = root / "etc/powerd/scripts/sleep_button"
        script.chmod(0o755)
        script.write_bytes(b"#!/bin/sh\nexit 1\n")
        before = picture(root)
        with pytest.raises(exits.Failure) as caught:
            carry_out(plan)
        assert caught.value.status == exits.TEMPORARY
        assert picture(root) == before


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    with built({}) as root:
        tree = Tree(str(root))
        before = tree.look("/etc/new")
        (root / "etc/new").write_text("theirs")
        plan = Plan(tree)
        plan.put(before, b"ours")
        with pytest.raises(exits.Failure):
            carry_out(plan)
        assert (root / "etc/new").read_text() == "theirs"


def test_the_mode_of_an_edited_file_stays(tmp_path: Path) -> None:
    with built(FOREIGN) as root:
        carry_out(hookplan.install(Tree(str(root)), typed=False, force=False))
        script = root / "etc/powerd/scripts/sleep_button"
        assert stat.S_IMODE(script.stat().st_mode) == 0o555


def test_our_scripts_are_not_writable_by_others() -> None:
    mask = os.umask(0)
    try:
        with built({}) as root:
            carry_out(hookplan.install(Tree(str(root)), typed=True, force=False))
            for path in (root / "etc/powerd").rglob("*"):
                if path.name != "vmt.installed":
                    assert stat.S_IMODE(path.stat().st_mode) & 0o022 == 0 or path.is_dir()
    finally:
        os.umask(mask)


def test_a_script_of_ours_that_was_edited_is_kept_without_force() -> None:
    with built({}) as root:
        tree = Tree(str(root))
        carry_out(hookplan.install(tree, typed=True, force=False))
        script = root / "etc/powerd/scripts/acpi/power_button"
        script.write_bytes(script.read_bytes() + b"# mine\n")
        for make in (_install(True), _uninstall):
            with pytest.raises(exits.Failure, match="edited"):
                make(tree)
        carry_out(hookplan.install(tree, typed=True, force=True))
        assert b"# mine" not in script.read_bytes()


def test_an_older_version_of_ours_is_known_and_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    from hashlib import sha256

    from vmtctl import data

    old = b"#!/bin/sh\n# as 0.0.9 had it\n"
    real = data.read

    def read(name: str) -> bytes:
        if name == "powerd/versions":
            return real(name) + f"{sha256(old).hexdigest()} hook\n".encode()
        return real(name)

    monkeypatch.setattr(data, "read", read)
    with built({"scripts/acpi/power_button": (old, 0o755)}) as root:
        carry_out(hookplan.install(Tree(str(root)), typed=True, force=False))
        script = root / "etc/powerd/scripts/acpi/power_button"
        assert script.read_bytes() == real("powerd/hook")
        assert not script.with_name(f"power_button{hooks.KEPT}").exists()


def test_the_versions_list_holds_what_is_shipped() -> None:
    from vmtctl import data
    from vmtctl.install.tree import Snapshot

    listed = data.read("powerd/versions").decode().split("\n")
    from hashlib import sha256

    for name in ("hook", "vmt-event"):
        digest = sha256(data.read(f"powerd/{name}")).hexdigest()
        assert f"{digest} {name}" in listed, "add the new hash; keep the old ones"
    absent = Snapshot("/x", "absent", None, b"")
    assert hookplan.classify(absent, "hook") == "absent"


@given(CONTENT, PLAIN, st.booleans())
def test_a_block_comes_and_goes_without_a_trace(old: bytes, inside: bytes, top: bool) -> None:
    new = block.with_block(old, inside, "/x", top=top)
    assert block.without_block(new, "/x") == old
    assert block.with_block(new, inside, "/x", top=top) == new


@given(st.booleans())
def test_a_file_made_for_the_block_goes_with_it(top: bool) -> None:
    assert block.without_block(block.with_block(None, b"x\n", "/x", top=top), "/x") is None


@given(CONTENT, CONTENT)
def test_what_others_add_around_the_block_stays(before: bytes, after: bytes) -> None:
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
def test_half_a_block_is_refused_with_its_line(text: bytes, line: int) -> None:
    for act in (
        lambda: block.with_block(text, b"x", "/x", top=False),
        lambda: block.without_block(text, "/x"),
    ):
        with pytest.raises(exits.Failure, match=f"/x:{line}:"):
            act()


def test_a_read_only_directory_says_so(tmp_path: Path) -> None:
    class ReadOnly(Calls):
        @staticmethod
        def mkdir(*_: Any, **__: Any) -> None:
            raise OSError(30, "Read-only file system")

    with built(FOREIGN) as root:
        before = picture(root)
        plan = hookplan.install(Tree(str(root), ReadOnly()), typed=True, force=False)
        with pytest.raises(exits.Failure) as caught:
            carry_out(plan)
        assert "mount -u" in caught.value.hint
        assert picture(root) == before
