"""Making sysctl nodes: what the kernel takes, and the errors for what it does not."""

from __future__ import annotations

import errno
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable

    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/sysctl.h>

    static struct sysctllog *made;
    static const struct sysctlnode *top, *found;
    static int value;
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
        ("same_name", errno.EEXIST),
        ("bad_name", errno.EINVAL),
        ("no_data", errno.EINVAL),
        ("wrong_size", errno.EINVAL),
        ("struct_without_size", errno.EINVAL),
        ("no_place", errno.EINVAL),
        ("no_such_parent", errno.ENOENT),
        ("below_a_leaf", errno.ENOTDIR),
    ],
)
def test_a_node_is_made_or_refused_with_the_kernels_error(
    code: Code, function: str, error: int
) -> None:
    assert code.call(function) == error
    assert code.call("take_down") == 0
    assert code.unload() == []


def test_a_log_that_nobody_made_cannot_be_torn_down(code: Code) -> None:
    assert ": sysctl_teardown by take_down_nothing" in code.panic("take_down_nothing")
