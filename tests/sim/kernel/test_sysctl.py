"""Creation of sysctl nodes: accepted arguments, and the kernel's errors."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.cpu import CpuFault
from vmtsim.kernel.api import Block, Call
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.console import Console
from vmtsim.kernel.process import Processes
from vmtsim.kernel.sysctl import Reply, Sysctl
from vmtsim.kernel.sysctllock import SysctlLock
from vmtsim.kernel.sysctltree import SysctlTree

from .guestcode import line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from vmtsim.kernel.api import Model

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/kmem.h>
    #include <sys/sysctl.h>
    #include <sys/systm.h>

    static struct sysctllog *made;
    static const struct sysctlnode *top, *found;
    int value, seen, seen_rest, seen_first;
    static char whole[16], after[8];
    static char text[] = "text";

    int
    start_up(void)
    {
            return sysctl_createv(&made, 0, NULL, &top, 0, CTLTYPE_NODE, "tried", NULL,
                NULL, 0, NULL, 0, CTL_HW, CTL_CREATE, CTL_EOL);
    }

    int
    good(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT, "good", NULL,
                NULL, 0, &value, 0, 7, CTL_EOL);
    }

    /* The same once more is the same node. */
    int
    node_again(void)
    {
            int error = sysctl_createv(&made, 0, NULL, &found, 0, CTLTYPE_NODE, "tried", NULL,
                NULL, 0, NULL, 0, CTL_HW, CTL_CREATE, CTL_EOL);

            return error != 0 ? error : found == top ? 0 : -1;
    }

    int
    same_number(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT, "other", NULL,
                NULL, 0, &value, 0, 7, CTL_EOL);
    }

    int
    same_name(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_NODE, "good", NULL,
                NULL, 0, NULL, 0, CTL_CREATE, CTL_EOL);
    }

    int
    bad_name(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT, "has a blank", NULL,
                NULL, 0, &value, 0, CTL_CREATE, CTL_EOL);
    }

    int
    no_data(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT, "empty", NULL,
                NULL, 0, NULL, 0, CTL_CREATE, CTL_EOL);
    }

    int
    wrong_size(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT, "wide", NULL,
                NULL, 0, &value, 2, CTL_CREATE, CTL_EOL);
    }

    int
    string_without_size(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_STRING, "text", NULL,
                NULL, 0, text, 0, CTL_CREATE, CTL_EOL);
    }

    int
    struct_without_size(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_STRUCT, "thing", NULL,
                NULL, 0, &value, 0, CTL_CREATE, CTL_EOL);
    }

    int
    no_such_parent(void)
    {
            return sysctl_createv(&made, 0, NULL, NULL, 0, CTLTYPE_INT, "lost", NULL,
                NULL, 0, &value, 0, CTL_HW, 4711, CTL_CREATE, CTL_EOL);
    }

    int
    below_a_leaf(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT, "leaf", NULL,
                NULL, 0, &value, 0, 7, CTL_CREATE, CTL_EOL);
    }

    int
    no_place(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT, "placeless", NULL,
                NULL, 0, &value, 0, CTL_EOL);
    }

    static int
    anything(SYSCTLFN_ARGS)
    {
            seen = (int)namelen;
            seen_rest = namelen > 0 ? name[0] : -1;
            seen_first = oname[0];
            return 0;
    }

    int
    other_function(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT, "good", NULL,
                anything, 0, NULL, 0, 7, CTL_EOL);
    }

    int
    long_name(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, 0, CTLTYPE_INT,
                "a_name_of_thirty_three_characters", NULL, NULL, 0, &value, 0, CTL_CREATE, CTL_EOL);
    }

    int
    creation_flags(void)
    {
            return sysctl_createv(&made, 1, &top, NULL, 0, CTLTYPE_INT, "flags", NULL,
                NULL, 0, &value, 0, CTL_CREATE, CTL_EOL);
    }

    int
    null_parent(void)
    {
            const struct sysctlnode *none = NULL;

            found = top;
            value = sysctl_createv(&made, 0, &none, &found, 0, CTLTYPE_INT, "x", NULL,
                NULL, 0, &value, 0, CTL_CREATE, CTL_EOL);
            return found == top ? value : -1;
    }

    int
    node_with_size(void)
    {
            found = top;
            value = sysctl_createv(&made, 0, &top, &found, 0, CTLTYPE_NODE, "sized", NULL,
                NULL, 0, NULL, 4, CTL_CREATE, CTL_EOL);
            return found == NULL ? value : -1;
    }

    int
    unknown_kind(void)
    {
            return (sysctl_createv)(&made, 0, &top, NULL, 0, 9, "kind", NULL,
                NULL, 0, &value, 4, CTL_CREATE, CTL_EOL);
    }

    int
    permanent(void)
    {
            return sysctl_createv(NULL, 0, &top, NULL, CTLFLAG_PERMANENT, CTLTYPE_INT, "stays",
                NULL, NULL, 0, &value, 0, CTL_CREATE, CTL_EOL);
    }

    int
    permanent_with_log(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, CTLFLAG_PERMANENT, CTLTYPE_INT, "goes",
                NULL, NULL, 0, &value, 0, CTL_CREATE, CTL_EOL);
    }

    /* The first child, while seven and then eight others come. */
    int
    first_child(int others)
    {
            static const char *const names[] = {
                    "a", "b", "c", "d", "e", "f", "g", "h", "i"
            };
            const struct sysctlnode *first, *parent;
            int i;

            (void)sysctl_createv(&made, 0, NULL, &parent, 0, CTLTYPE_NODE, "many", NULL,
                NULL, 0, NULL, 0, CTL_HW, CTL_CREATE, CTL_EOL);
            (void)sysctl_createv(&made, 0, &parent, &first, 0, CTLTYPE_NODE, "first", NULL,
                NULL, 0, NULL, 0, 500, CTL_EOL);
            for (i = 0; i < others; i++)
                    (void)sysctl_createv(&made, 0, &parent, NULL, 0, CTLTYPE_INT, names[i], NULL,
                        NULL, 0, &value, 0, CTL_CREATE, CTL_EOL);
            return first->sysctl_num;                        /* where it was */
    }

    /* A node before it moves it: what is found there is the other. */
    int
    moved_child(void)
    {
            const struct sysctlnode *first, *parent;

            (void)sysctl_createv(&made, 0, NULL, &parent, 0, CTLTYPE_NODE, "few", NULL,
                NULL, 0, NULL, 0, CTL_HW, CTL_CREATE, CTL_EOL);
            (void)sysctl_createv(&made, 0, &parent, &first, 0, CTLTYPE_NODE, "first", NULL,
                NULL, 0, NULL, 0, 500, CTL_EOL);
            (void)sysctl_createv(&made, 0, &parent, NULL, 0, CTLTYPE_NODE, "before", NULL,
                NULL, 0, NULL, 0, 400, CTL_EOL);
            return first->sysctl_num;
    }

    int
    with_handler(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, CTLFLAG_READWRITE, CTLTYPE_NODE, "any",
                NULL, anything, 0, NULL, 0, CTL_CREATE, CTL_EOL);
    }

    static int
    without_version(SYSCTLFN_ARGS)
    {
            struct sysctlnode node;

            memset(&node, 0, sizeof(node));
            node.sysctl_flags = CTLTYPE_INT;
            node.sysctl_data = &value;
            node.sysctl_size = sizeof(value);
            return sysctl_lookup(SYSCTLFN_CALL(&node));
    }

    int
    with_versions(void)
    {
            return sysctl_createv(&made, 0, &top, NULL, CTLFLAG_READWRITE, CTLTYPE_INT, "bare",
                NULL, without_version, 0, NULL, 0, CTL_CREATE, CTL_EOL);
    }

    int
    lookup_outside(void)
    {
            size_t size = 0;

            return sysctl_lookup(NULL, 0, NULL, &size, NULL, 0, NULL, NULL, top); /* no handler */
    }

    /* An array without an end, and words that are gone. */
    int
    strings(void)
    {
            static char endless[8] = { 'e', 'n', 'd', 'l', 'e', 's', 's', '!' };
            char *words = kmem_alloc(16, KM_SLEEP);
            char *mine = kmem_alloc(16, KM_SLEEP);
            int error;

            memcpy(after, "more", 5);
            strlcpy(words, "described", 16);
            strlcpy(mine, "mine", 16);
            error = sysctl_createv(&made, 0, &top, NULL, CTLFLAG_READWRITE, CTLTYPE_STRING,
                "endless", words, NULL, 0, whole, 8, CTL_CREATE, CTL_EOL);
            memcpy(whole, endless, 8);
            memcpy(whole + 8, "...", 4);
            if (error == 0)
                    error = sysctl_createv(&made, 0, &top, NULL,
                        CTLFLAG_READWRITE | CTLFLAG_OWNDATA, CTLTYPE_STRING, "owned", NULL,
                        NULL, 0, mine, 16, CTL_CREATE, CTL_EOL);
            if (error == 0)
                    error = sysctl_createv(&made, 0, &top, NULL, CTLFLAG_READWRITE,
                        CTLTYPE_STRING, "sizeless", NULL, anything, 0, whole, 0, CTL_CREATE,
                        CTL_EOL);
            kmem_free(words, 16);
            kmem_free(mine, 16);
            return error;
    }

    int
    take_down(void)
    {
            sysctl_teardown(&made);
            return made != NULL;
    }

    int
    take_down_nothing(void)
    {
            static struct sysctllog *never;

            never = (struct sysctllog *)&value;
            sysctl_teardown(&never);
            return 0;
    }
"""


@pytest.fixture
def code(load: Callable[..., Code]) -> Code:
    """The module, with hw.tried and an integer below it."""
    code = load(SOURCE)
    assert code.call("start_up") == 0
    assert code.call("good") == 0
    return code


@pytest.mark.parametrize(
    ("function", "error"),
    [
        ("node_again", 0),
        ("string_without_size", 0),
        ("same_number", errno.EEXIST),
        ("same_name", 0),  # its kind is not compared
        ("other_function", errno.EEXIST),
        ("long_name", 63),
        ("creation_flags", errno.EINVAL),
        ("null_parent", errno.EINVAL),
        ("node_with_size", errno.EINVAL),
        ("unknown_kind", errno.EINVAL),
        ("permanent", errno.EPERM),
        ("permanent_with_log", 0),
        ("bad_name", errno.EINVAL),
        ("no_data", errno.EINVAL),
        ("wrong_size", errno.EINVAL),
        ("struct_without_size", errno.EINVAL),
        ("no_place", errno.EINVAL),
        ("no_such_parent", errno.ENOENT),
        ("below_a_leaf", errno.ENOTDIR),
    ],
)
def test_node_is_created_or_refused_with_kernel_errno(
    code: Code, function: str, error: int
) -> None:
    assert code.call(function) == error
    assert code.call("take_down") == 0
    assert code.unload() == []


def test_unknown_log_cannot_be_torn_down(code: Code) -> None:
    assert ": sysctl_teardown by take_down_nothing" in code.panic("take_down_nothing")


def call(code: Code, name: str, **how: Any) -> Reply:
    uid = how.pop("uid", 0)
    lwp = code.kernel.subject(Processes).spawn(
        "sysctl", code.kernel.subject(Sysctl).call(name, **how), uid=uid
    )
    code.finish(lwp)
    assert isinstance(lwp.result, Reply)
    return lwp.result


def panic_text(code: Code) -> str:
    return code.kernel.subject(Console).lines[-1].text


def test_creation_failure_is_logged(code: Code) -> None:
    code.call("null_parent")
    assert panic_text(code) == "sysctl_createv: rnode NULL"
    code.call("wrong_size")
    assert panic_text(code) == "sysctl_createv: sysctl_create(wide) returned 22"
    code.call("no_such_parent")
    assert panic_text(code) == "sysctl_createv: sysctl_locate(lost) returned 2"


def test_existing_node_joins_callers_log(code: Code) -> None:
    """The first teardown removes it if it is empty."""
    tree = code.kernel.subject(SysctlTree)
    assert code.call("same_name") == 0
    code.call("take_down")
    assert tree.find("hw.tried") is None


def test_children_are_in_reallocated_array(code: Code) -> None:
    assert code.call("first_child", 7) == 500
    assert code.call("moved_child") == 400
    code.call("take_down")
    text = code.panic("first_child", 8)
    assert text.startswith("use-after-free: page fault: read of 4 bytes")
    assert "the freed sysctl nodes of hw.many, which was removed" in text
    assert f"tried.c:{line_of(SOURCE, '/* where it was */')}" in text


def test_zero_length_new_value_is_a_read(code: Code) -> None:
    assert call(code, "hw.tried.good", new=b"", uid=1000).error == 0
    assert call(code, "hw.tried.good", new=bytes(4), uid=1000).error == errno.EPERM


def test_longer_name_ends_at_handler(code: Code) -> None:
    assert code.call("with_handler") == 0
    assert call(code, "hw.tried.any", extra=(77, 3)).error == 0
    assert [code.number(name) for name in ("seen", "seen_rest", "seen_first")] == [2, 77, 6]
    assert call(code, "hw.tried.any").error == 0
    assert [code.number(name) for name in ("seen", "seen_rest")] == [0, -1]
    assert call(code, "hw.tried.good", extra=(1,)).error == errno.ENOTDIR
    assert call(code, "hw.tried", extra=(1,)).error == errno.ENOENT
    assert call(code, "hw.tried").error == errno.EINVAL


def test_hand_made_node_needs_version(code: Code) -> None:
    assert code.call("with_versions") == 0
    assert call(code, "hw.tried.bare").error == errno.EINVAL
    assert panic_text(code).startswith("sysctl_lookup: rnode 0x")
    assert panic_text(code).endswith(" wrong version")


def test_only_handlers_look_up_nodes(code: Code) -> None:
    text = code.panic("lookup_outside")
    assert text.startswith("sysctl-unlocked: sysctl_lookup by lookup_outside")
    assert f"tried.c:{line_of(SOURCE, '/* no handler */')}" in text


def test_strings_are_read_to_nul_and_written_to_size(code: Code) -> None:
    assert code.call("strings") == 0
    assert call(code, "hw.tried.endless").text == "endless!..."
    assert call(code, "hw.tried.endless", new=b"a\0b").error == 0
    at = code.address("whole")
    assert code.kernel.memory.read(at, 8) == b"a\0b\0\0\0\0\0"
    assert call(code, "hw.tried.endless", new=b"12345678").error == errno.EINVAL
    assert call(code, "hw.tried.owned").text == "mine"
    tree = code.kernel.subject(SysctlTree)
    sizeless, endless = tree.find("hw.tried.sizeless"), tree.find("hw.tried.endless")
    assert sizeless is not None
    assert endless is not None
    assert sizeless.size == 0
    with pytest.raises(CpuFault):
        tree.describe(endless)
    code.call("take_down")
    assert code.unload() == []


def test_reader_queues_behind_waiting_writer(code: Code) -> None:
    kernel, lock = code.kernel, code.kernel.subject(SysctlLock)

    def hold(seconds: int, *, write: bool) -> Model:
        yield from lock.lock("test", write=write)
        yield Block(deadline=kernel.clock.now + seconds * SECOND, what="test")
        lock.unlock()

    first = kernel.spawn("reader", "user", hold(2, write=False))
    kernel.run_for(SECOND // 2)
    writer = kernel.spawn("writer", "user", hold(1, write=True))
    kernel.run_for(SECOND // 2)
    second = kernel.spawn("second reader", "user", hold(1, write=False))
    kernel.run_for(SECOND // 2)
    assert (writer.what, second.what) == ("sysctl", "sysctl")
    code.finish(first, writer, second)


CREDENTIALS = """
    #include <sys/param.h>
    #include <sys/kauth.h>
    #include <sys/proc.h>

    int
    ask_mine(void)
    {

            return kauth_authorize_system(kauth_cred_get(), KAUTH_SYSTEM_SYSCTL,
                KAUTH_REQ_SYSTEM_SYSCTL_MODIFY, NULL, NULL, NULL);
    }

    int
    ask_kernel(void)
    {

            return kauth_authorize_system((kauth_cred_t)-1, KAUTH_SYSTEM_SYSCTL,
                KAUTH_REQ_SYSTEM_SYSCTL_MODIFY, NULL, NULL, NULL);
    }

    int
    ask_without_credentials(void)
    {

            return 1 + kauth_authorize_system(NULL, KAUTH_SYSTEM_SYSCTL,    /* whose? */
                KAUTH_REQ_SYSTEM_SYSCTL_MODIFY, NULL, NULL, NULL);
    }
"""


def test_permissions_follow_credentials(load: Callable[..., Code]) -> None:
    code = load(CREDENTIALS)

    def ask(name: str, uid: int) -> int:
        def main() -> Model:
            return (yield Call(code.address(name), ()))

        lwp = code.kernel.subject(Processes).spawn("user", main(), uid=uid)
        code.finish(lwp)
        return int(lwp.result) & 0xFFFFFFFF

    assert ask("ask_mine", 1000) == errno.EPERM
    assert ask("ask_mine", 0) == 0
    assert ask("ask_kernel", 1000) == 0
    text = code.panic("ask_without_credentials")
    assert text.startswith("kauth-credentials: kauth_authorize_system by ask_without_credentials")
    assert f"tried.c:{line_of(CREDENTIALS, '/* whose? */')}" in text
