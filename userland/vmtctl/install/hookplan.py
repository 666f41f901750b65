"""Plans for powerd's hooks: the changes that install or remove them.

The system works after each step of a plan: the handler comes before the scripts that call it, and
a script without a handler falls back to the standard one.
"""

from __future__ import annotations

from vmtctl import data
from vmtctl.exits import DATA, Failure
from vmtctl.hooks import DIRECTORY, EDITED, HANDLER, MARK, RECORD, SCRIPTS, SITE, TYPED
from vmtctl.install import block, shell
from vmtctl.install.plan import Plan

TYPE_CHECKING = False
if TYPE_CHECKING:
    from vmtctl.install.tree import Snapshot, Tree

_RECORD_HEAD = "# Made by `vmtctl powerd install`; `vmtctl powerd uninstall` needs it.\n"

# The results of classify() for files that vmtctl wrote, and for blocks.
OURS = frozenset({"current", "other version", "edited"})
BLOCKS = frozenset({"block", "block of another version", "edited block"})


def shipped(name: str) -> bytes:
    """Return vmtctl's file ``name`` ("hook", "vmt-event") as it is installed."""
    return block.sealed(data.read(f"powerd/{name}"))


def classify(found: Snapshot, name: str) -> str:
    """Return the kind of a file.

    absent; current, other version or edited: a file of vmtctl; block, block of another version or
    edited block: a script of the site with vmtctl's block; foreign.
    """
    if not found.exists:
        return "absent"
    if found.kind != "file":
        return "foreign"
    if found.data == shipped(name):
        return "current"
    if (body := block.unsealed(found.data)) is not None and MARK.encode() in body:
        return "other version"
    parts = block.split(found.data, found.path)
    if parts.inside is not None:
        if parts.edited:
            return "edited block"
        current = parts.inside == data.read("powerd/block")
        return "block" if current else "block of another version"
    return "edited" if MARK.encode() in found.data else "foreign"


def places(name: str) -> tuple[str, str]:
    """Return the places of the script ``name`` for powerd(8): first with ACPI, then without."""
    return f"{TYPED}/{name}", f"{DIRECTORY}/{name}"


def _sweep(plan: Plan) -> None:
    plan.sweep(HANDLER, lambda was: classify(was, "vmt-event") in OURS)
    plan.sweep(RECORD, lambda was: was.data.startswith(_RECORD_HEAD.encode()))
    for name in SCRIPTS:
        for path in places(name):
            plan.sweep(path, lambda was: classify(was, "hook") in OURS - {"edited"})


def install(tree: Tree, *, typed: bool, force: bool) -> Plan:
    """Plan the installation; ``typed`` for a machine with ACPI. Raises Failure."""
    plan = Plan(tree)
    _sweep(plan)
    site = tree.look(SITE)
    if site.kind not in {"directory", "absent"}:
        what = "a symbolic link" if site.kind == "link" else "no directory"
        raise Failure(
            f"{SITE} is {what}, and powerd's hooks run what is in it",
            hint=f"make it a directory: mv {SITE} {SITE}.orig; mkdir {SITE}; "
            "symbolic links to scripts may be in it",
            status=DATA,
        )
    needed = ["/etc/powerd", DIRECTORY, *([TYPED] if typed else []), SITE]
    missing = [path for path in needed if tree.look(path).kind == "absent"]
    _record(plan, tree, missing)
    for path in missing:
        plan.make_directory(path)
    _own_file(plan, tree.look(HANDLER), "vmt-event", force=force)
    for name in SCRIPTS:
        _script(plan, tree.look(places(name)[0 if typed else 1]), force=force)
    return plan


def _record(plan: Plan, tree: Tree, missing: list[str]) -> None:
    """Record the directories that vmtctl creates, before it creates them."""
    found = tree.look(RECORD)
    known = _recorded(found)
    new = [path for path in missing if path not in known]
    if found.exists and not new:
        return
    if "/etc/powerd" in missing:
        # The record cannot come before its directory. A crash in between leaves an empty
        # /etc/powerd, which every NetBSD has.
        missing.remove("/etc/powerd")
        plan.make_directory("/etc/powerd")
    text = _RECORD_HEAD + "".join(f"{path}\n" for path in [*known, *new])
    plan.put(found, text.encode())


def _recorded(found: Snapshot) -> list[str]:
    """Return the directories that install created. Raises Failure for a foreign record."""
    found.need_file_or_nothing()
    if not found.exists:
        return []
    text = found.data.decode("utf-8", "replace")
    if not text.startswith(_RECORD_HEAD):
        raise _taken(found)
    return [line for line in text.splitlines() if line in {"/etc/powerd", DIRECTORY, TYPED, SITE}]


def _taken(found: Snapshot) -> Failure:
    return Failure(
        f"{found.path} is not vmtctl's file, and vmtctl needs the name",
        hint=f"move it away: mv {found.path} {found.path}.orig",
        status=DATA,
    )


def _own_file(plan: Plan, found: Snapshot, name: str, *, force: bool) -> None:
    found.need_file_or_nothing()
    kind = classify(found, name)
    if kind in BLOCKS or kind == "foreign":
        raise _taken(found)
    if kind == "edited":
        _edited(plan, found, force=force)
    plan.put(found, shipped(name), mode=0o755, keep=bool(found.mode & 0o100))


def _edited(plan: Plan, found: Snapshot, *, force: bool) -> None:
    """Refuse to lose an edited file; with ``force`` keep it under another name."""
    if not force:
        raise Failure(
            f"{found.path} is vmtctl's, but was edited",
            hint="`vmtctl powerd diff` shows how; put what you need into a script in "
            f"{SITE}, then use --force, which keeps the file as {found.path}{EDITED}",
            status=DATA,
        )
    keep_edited(plan, found)


def keep_edited(plan: Plan, found: Snapshot) -> None:
    """Keep ``found`` under another name, unless it is kept already."""
    number = 1
    while True:
        kept = plan.tree.look(f"{found.path}{EDITED}{'' if number == 1 else number}")
        if not kept.exists:
            plan.keep_aside(found, kept.path)
            return
        if kept.kind == "file" and kept.data == found.data:
            return
        number += 1


def _script(plan: Plan, found: Snapshot, *, force: bool) -> None:
    """Plan the hook where there is no script, else the block in the existing script."""
    found.need_file_or_nothing()
    kind = classify(found, "hook")
    if kind in OURS or kind == "absent":
        _own_file(plan, found, "hook", force=force)
        return
    if objection := shell.objection(found.data):
        kept = f"{found.path}.site"
        raise Failure(
            f"{found.path} is a script of the site that vmtctl cannot extend: {objection}",
            hint=f"let a shell script call it: mv {found.path} {kept} && "
            f"printf '#!/bin/sh\\nexec {kept} \"$@\"\\n' > {found.path} && chmod 755 {found.path}",
            status=DATA,
        )
    if not found.mode & 0o111:
        raise Failure(
            f"{found.path} is a script of the site that is not executable, so powerd skips it",
            hint=f"chmod 755 {found.path}, or remove it",
            status=DATA,
        )
    if kind == "edited block":
        _edited(plan, found, force=force)
    text = block.with_block(found.data, data.read("powerd/block"), found.path, top=True)
    plan.put(found, text, mode=0o755)


def uninstall(tree: Tree, *, force: bool) -> Plan:
    """Plan the removal of everything that any install created. Raises Failure."""
    plan = Plan(tree)
    _sweep(plan)
    # The removed files, to find the directories that become empty
    gone = {change.path for change in plan.changes}
    for name in SCRIPTS:
        for path in places(name):
            _without_script(plan, tree.look(path), gone, force=force)
    found = tree.look(HANDLER)
    if classify(found, "vmt-event") in OURS:
        _remove(plan, found, "vmt-event", gone, force=force)
    _remove_record(plan, tree, gone)
    return plan


def _remove(plan: Plan, found: Snapshot, name: str, gone: set[str], *, force: bool) -> None:
    if classify(found, name) == "edited":
        _edited(plan, found, force=force)
    plan.remove(found)
    gone.add(found.path)


def _without_script(plan: Plan, found: Snapshot, gone: set[str], *, force: bool) -> None:
    kind = classify(found, "hook")
    if kind in OURS:
        _remove(plan, found, "hook", gone, force=force)
    elif kind in BLOCKS:
        if kind == "edited block":
            _edited(plan, found, force=force)
        left = block.without_block(found.data, found.path)
        plan.put(found, left or b"")


def _remove_record(plan: Plan, tree: Tree, gone: set[str]) -> None:
    """Remove the directories that install made, then the record of them."""
    record = tree.look(RECORD)
    try:
        recorded = _recorded(record)
    except Failure:
        return  # it is not vmtctl's
    gone = {*gone, RECORD}
    kept = {change.path for change in plan.changes} - gone
    empty = []
    for path in (SITE, TYPED, DIRECTORY, "/etc/powerd"):
        if path not in recorded or tree.look(path).kind != "directory":
            continue
        left = {f"{path}/{name}" for name in tree.names(path)} - gone
        if not left and not any(each.startswith(f"{path}/") for each in kept):
            empty.append(path)
            gone.add(path)
    for path in empty:
        # The record is in /etc/powerd, which is therefore removed after it.
        if path != "/etc/powerd":
            plan.remove_directory(path)
    if record.kind == "file":
        plan.remove(record)
    if "/etc/powerd" in empty:
        plan.remove_directory("/etc/powerd")
