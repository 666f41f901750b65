"""Rules of mounted file systems, each violated in a line of C."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import KernelPanic

from .guestcode import Code, compile_module, line_of

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
#include <sys/param.h>
#include <sys/fstrans.h>
#include <sys/mount.h>
#include <sys/proc.h>
#include <sys/systm.h>

static struct mount *root;
static char nothing[64];

/* The first of the list, without a reference. */
int
find_root(void)
{
	mount_iterator_t *it;

	mountlist_iterator_init(&it);
	root = mountlist_iterator_trynext(it);
	mountlist_iterator_destroy(it);
	return 0;
}

int
not_busy(void)
{

	vfs_unbusy(root);		/* vfs-unbusy */
	return 0;
}

int
once_too_often(void)
{

	if (vfs_busy(root) != 0)
		return -1;
	vfs_unbusy(root);
	vfs_unbusy(root);		/* vfs-unbusy twice */
	return 0;
}

int
no_mount(void)
{

	return 1 + vfs_busy((struct mount *)nothing);	/* mount-unknown */
}

int
no_iterator(void)
{

	mountlist_iterator_destroy((mount_iterator_t *)nothing); /* mount-iterator-unknown */
	return 0;
}

int
no_state(void)
{

	return 1 + fstrans_setstate(root, 77);	/* fstrans-state */
}

int
continue_other(void)
{

	return fstrans_setstate(root, FSTRANS_SUSPENDED);
}

int
freeze(void)
{

	(void)fstrans_setstate(root, FSTRANS_SUSPENDING);	/* frozen here */
	kpause("frozen", false, 100, NULL);
	return fstrans_setstate(root, FSTRANS_NORMAL);
}

int
thaw(void)
{

	return 1 + fstrans_setstate(root, FSTRANS_NORMAL);	/* fstrans-owner */
}
"""
# function -> start of the message (rule, kernel function), mark of the line, object
PANICS = {
    "not_busy": ("vfs-unbusy: vfs_unbusy", "vfs-unbusy", ": / is not busy by thread not_busy"),
    "once_too_often": (
        "vfs-unbusy: vfs_unbusy",
        "vfs-unbusy twice",
        ": / is not busy by thread once_too_often",
    ),
    "no_mount": (
        "mount-unknown: vfs_busy",
        "mount-unknown",
        ": nothing in data of module tried is not a file system",
    ),
    "no_iterator": (
        "mount-iterator-unknown: mountlist_iterator_destroy",
        "mount-iterator-unknown",
        ": the mount iterator at nothing in data of module tried was never made",
    ),
}
TICK = 10_000_000


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_module(SOURCE, tmp_path_factory.mktemp("mounts"))


@pytest.fixture
def code(module: Path) -> Code:
    code = Code(module, "amd64")
    code.call("find_root")
    return code


@pytest.mark.parametrize("function", PANICS)
def test_rule_violation_panics_at_its_line(code: Code, function: str) -> None:
    begin, mark, what = PANICS[function]
    line = line_of(SOURCE, f"/* {mark} */")
    assert code.panic(function) == f"{begin} by {function} (tried.c:{line}){what}"


def test_unknown_fstrans_state_is_set_and_reported(code: Code) -> None:
    line = line_of(SOURCE, "/* fstrans-state */")
    with pytest.raises(KernelPanic) as left:
        code.call("no_state")
    assert left.value.rule == "vfs-suspended-left"
    assert code.violations()[0] == (
        f"fstrans-state: fstrans_setstate by no_state (tried.c:{line}) of / to unknown state 77"
    )


def test_only_suspending_thread_may_resume(code: Code) -> None:
    code.start("freeze")
    code.kernel.run_for(3 * TICK)
    assert code.call("continue_other") == 0  # another may continue from SUSPENDING
    assert code.panic("thaw") == (
        "fstrans-owner: fstrans_setstate by thaw "
        f"(tried.c:{line_of(SOURCE, '/* fstrans-owner */')}) in thread thaw: / belongs to freeze, "
        f"who suspended it in freeze (tried.c:{line_of(SOURCE, '/* frozen here */')})"
    )
