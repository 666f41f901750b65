"""Plans for powerd's hooks: what to change so that they are there, or gone.

Every beginning of a plan works: the handler comes before the scripts that call it, and a script
without a handler falls back to the standard one.
"""

from __future__ import annotations

from vmtctl import data
from vmtctl.exits import DATA, Failure
from vmtctl.hooks import DIRECTORY, HANDLER, KEPT, MARK, RECORD, SCRIPTS, SITE, TYPED
from vmtctl.install import block
from vmtctl.install.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.install.tree import Snapshot, Tree

_RECORD_HEAD = "# Made by `vmtctl powerd install`; `vmtctl powerd uninstall` needs it.\n"

_SWEPT = ("/etc/powerd", DIRECTORY, TYPED)


def classify(found: Snapshot, name: str) -> str:
    """Tell what a file is: absent, current, older, edited (all three ours) or foreign."""
    if not found.exists:
        return "absent"
    if found.kind != "file":
        return "foreign"
    if found.data == data.read(f"powerd/{name}"):
        return "current"
    from hashlib import sha256

    if f"{sha256(found.data).hexdigest()} {name}" in data.read("powerd/versions").decode().split(
        "\n"
    ):
        return "older"
    return "edited" if MARK.encode() in found.data else "foreign"


def install(tree: Tree, *, typed: bool, force: bool) -> Plan:
    """Plan the installation; ``typed`` for a machine with ACPI. Raises Failure."""
    plan = Plan(tree)
    for directory in _SWEPT:
        plan.sweep(directory)
    wanted = ["/etc/powerd", DIRECTORY, *([TYPED] if typed else []), SITE]
    missing = [path for path in wanted if tree.look(path).kind == "absent"]
    _record(plan, tree, missing)
    for path in missing:
        plan.make_directory(path)
    _own_file(plan, tree.look(HANDLER), "vmt-event", force=force)
    for name in SCRIPTS:
        if typed:
            _typed_script(plan, tree, name, force=force)
        else:
            _standard_script(plan, tree, name)
    return plan


def _record(plan: Plan, tree: Tree, missing: list[str]) -> None:
    """Note the directories that we make, before they are made."""
    found = tree.look(RECORD)
    known = _recorded(found)
    new = [path for path in missing if path not in known]
    if found.exists and not new:
        return
    if "/etc/powerd" in missing:
        # The record cannot come before its directory. A crash in between leaves an empty
        # /etc/powerd behind, which every NetBSD has.
        missing.remove("/etc/powerd")
        plan.make_directory("/etc/powerd")
    text = _RECORD_HEAD + "".join(f"{path}\n" for path in [*known, *new])
    plan.put(found, text.encode())


def _recorded(found: Snapshot) -> list[str]:
    if found.kind != "file":
        return []
    lines = found.data.decode("utf-8", "replace").splitlines()
    return [line for line in lines if line in {"/etc/powerd", DIRECTORY, TYPED, SITE}]


def _own_file(plan: Plan, found: Snapshot, name: str, *, force: bool) -> None:
    found.need_file_or_nothing()
    kind = classify(found, name)
    if kind == "foreign":
        raise Failure(
            f"{found.path} belongs to somebody else, and vmtctl needs the name",
            hint=f"move it away: mv {found.path} {found.path}.orig",
            status=DATA,
        )
    if kind == "edited" and not force:
        raise _edited(found)
    plan.put(found, data.read(f"powerd/{name}"), mode=0o755, keep=found.exists)


def _edited(found: Snapshot) -> Failure:
    return Failure(
        f"{found.path} is vmtctl's, but somebody edited it",
        hint="see `vmtctl powerd diff --force` and keep what you need, e.g. in /etc/powerd/vmt.d; "
        "then use --force",
        status=DATA,
    )


def _typed_script(plan: Plan, tree: Tree, name: str, *, force: bool) -> None:
    found = tree.look(f"{TYPED}/{name}")
    found.need_file_or_nothing()
    kind = classify(found, "hook")
    if kind == "edited" and not force:
        raise _edited(found)
    if kind == "foreign":
        kept = tree.look(f"{found.path}{KEPT}")
        if kept.exists and kept.identity != found.identity:
            raise Failure(
                f"{found.path} is not vmtctl's, and {kept.path} is taken",
                hint="somebody replaced the script after an installation; remove the one that is "
                "not wanted",
                status=DATA,
            )
        if not kept.exists:
            plan.keep_aside(found, kept.path)
    plan.put(found, data.read("powerd/hook"), mode=0o755, keep=found.exists and kind != "foreign")


def _standard_script(plan: Plan, tree: Tree, name: str) -> None:
    found = tree.look(f"{DIRECTORY}/{name}")
    found.need_file_or_nothing()
    old = found.data if found.exists else None
    new = block.with_block(old, data.read("powerd/block"), found.path, top=True)
    plan.put(found, new, mode=0o755)


def uninstall(tree: Tree, *, force: bool) -> Plan:
    """Plan the removal of everything that any install made. Raises Failure."""
    plan = Plan(tree)
    for directory in _SWEPT:
        plan.sweep(directory)
    # What will be gone and what will be there again, to know which directories end up empty
    gone: set[str] = {change.path for change in plan.changes}
    again: set[str] = set()
    for name in SCRIPTS:
        found = tree.look(f"{TYPED}/{name}")
        kept = tree.look(f"{TYPED}/{name}{KEPT}")
        kind = classify(found, "hook") if found.kind in {"file", "absent"} else "foreign"
        if kind == "edited" and not force:
            raise _edited(found)
        if kept.kind == "file" and kept.identity == found.identity:
            plan.remove(kept)  # an installation was cut off after it kept the script
            gone.add(kept.path)
        elif kept.kind == "file" and kind != "foreign":
            plan.put_back(kept, found)
            gone.add(kept.path)
            again.add(found.path)
        elif kind not in {"foreign", "absent"}:
            plan.remove(found)
            gone.add(found.path)
        _without_block(plan, tree.look(f"{DIRECTORY}/{name}"), gone)
    _remove_handler(plan, tree.look(HANDLER), gone, force=force)
    _remove_record(plan, tree, gone - again)
    return plan


def _without_block(plan: Plan, found: Snapshot, gone: set[str]) -> None:
    if found.kind != "file":
        return
    left = block.without_block(found.data, found.path)
    if left is None:
        plan.remove(found)
        gone.add(found.path)
    elif left != found.data:
        plan.put(found, left)


def _remove_handler(plan: Plan, found: Snapshot, gone: set[str], *, force: bool) -> None:
    kind = classify(found, "vmt-event")
    if kind == "edited" and not force:
        raise _edited(found)
    if kind in {"current", "older", "edited"}:
        plan.remove(found)
        gone.add(found.path)


def _remove_record(plan: Plan, tree: Tree, gone: set[str]) -> None:
    """Remove the directories that install made, then the record of them."""
    record = tree.look(RECORD)
    recorded = _recorded(record)
    gone = {*gone, RECORD}
    empty = []
    for path in (SITE, TYPED, DIRECTORY, "/etc/powerd"):
        left = [name for name in tree.names(path) if f"{path}/{name}" not in gone]
        if path in recorded and not left and tree.look(path).kind == "directory":
            empty.append(path)
            gone.add(path)
    for path in empty:
        # The record is in /etc/powerd, which therefore goes after it.
        if path != "/etc/powerd":
            plan.remove_directory(path)
    if record.kind == "file":
        plan.remove(record)
    if "/etc/powerd" in empty:
        plan.remove_directory("/etc/powerd")
