"""A module's own bus: config_found(9), its arguments, its children, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.console import Console
from vmtsim.kernel.errors import Errno

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/device.h>
    #include <sys/errno.h>
    #include <sys/systm.h>

    static device_t bus, child;
    int answer, priority = 1, stays, gone, seen, printed, locators[1] = { 7 };

    static int
    yes(device_t parent, cfdata_t data, void *aux)
    {
            return priority;
    }

    static void
    bus_attach(device_t parent, device_t self, void *aux)
    {
    }

    static int
    bus_detach(device_t self, int flags)
    {
            return config_detach_children(self, flags);
    }

    static void
    child_gone(device_t self, device_t which)
    {
            gone++;
    }

    static void
    leaf_attach(device_t parent, device_t self, void *aux)
    {
            seen = *(int *)aux;
            aprint_normal(": a leaf\\n");
    }

    static int
    leaf_detach(device_t self, int flags)
    {
            return stays ? EBUSY : 0;
    }

    static const struct cfiattrdata branch = { "branch", 1, { { "slot", "-1", -1 } } };
    static const struct cfiattrdata other = { "other", 0, { { NULL, NULL, 0 } } };
    static const struct cfiattrdata * const attributes[] = { &branch, NULL };
    static const struct cfiattrdata * const both[] = { &branch, &other, NULL };
    CFDRIVER_DECL(tree, DV_DULL, attributes);
    CFDRIVER_DECL(leaf, DV_DULL, NULL);
    CFATTACH_DECL2_NEW(tree, 0, yes, bus_attach, bus_detach, NULL, NULL, child_gone);
    CFATTACH_DECL_NEW(leaf, 0, yes, leaf_attach, leaf_detach, NULL);
    static struct cfdriver * const drivers[] = { &tree_cd, &leaf_cd, NULL };
    static struct cfattach * const tree_list[] = { &tree_ca, NULL };
    static struct cfattach * const leaf_list[] = { &leaf_ca, NULL };
    static const struct cfattachinit table[] = {
            { "tree", tree_list }, { "leaf", leaf_list }, { NULL, NULL }
    };
    static const struct cfparent parent = { "branch", "tree", DVUNIT_ANY };
    int slot[] = { 7 };
    static struct cfdata data[] = {
            { "leaf", "leaf", 0, FSTATE_STAR, slot, 0, &parent },
            { .cf_name = NULL }
    };
    static struct cfdata root = {
            .cf_name = "tree", .cf_atname = "tree", .cf_fstate = FSTATE_STAR
    };

    static int
    print(void *aux, const char *name)
    {
            printed = name == NULL ? 1 : 2;
            if (name != NULL)
                    aprint_normal("leaf at %s", name);
            return answer;
    }

    static int
    submatch(device_t device, cfdata_t cf, const int *locators, void *aux)
    {
            return locators[0] == cf->cf_loc[0] ? config_match(device, cf, aux) : 0;
    }

    static int
    search(device_t device, cfdata_t cf, const int *locators, void *aux)
    {
            if (config_probe(device, cf, aux))
                    config_attach(device, cf, aux, NULL, CFARGS_NONE);
            return 0;
    }

    int
    plant(int two)
    {
            int error;

            if (two)
                    tree_cd.cd_attrs = both;
            error = config_init_component(drivers, table, data);
            KERNEL_LOCK(1, NULL);
            bus = config_attach_pseudo(&root);
            KERNEL_UNLOCK_ONE(NULL);
            return error;
    }

    int
    fell(void)
    {
            return config_fini_component(drivers, table, data);
    }

    int
    find(int what, int aux)
    {
            static int given;
            cfdata_t found;

            given = aux;
            if (what != 9)
                    KERNEL_LOCK(1, NULL);
            switch (what) {
            case 1:
                    child = config_found(bus, &given, print, CFARGS(.submatch = submatch,
                        .iattr = "branch", .locators = locators));
                    break;
            case 10:
                    child = config_found(bus, &given, print, CFARGS(.iattr = "branch",
                        .submatch = config_stdsubmatch, .locators = locators));
                    break;
            case 11:
                    child = config_found(bus, &given, print, CFARGS(.iattr = "branch",
                        .submatch = config_stdsubmatch));
                    break;
            case 2:
                    child = config_found(bus, &given, print, CFARGS(.iattr = "nowhere"));
                    break;
            case 3:
                    child = config_found(bus, &given, print, &(struct cfargs){ 2 });
                    break;
            case 4:
                    child = config_found(bus, &given, print, CFARGS(.search = search));
                    break;
            case 5:
                    found = config_search(bus, &given, CFARGS_NONE);
                    child = NULL;
                    if (found != NULL)
                            child = config_attach(bus, found, &given, NULL, CFARGS_NONE);
                    break;
            case 6:
                    child = config_attach(bus, &root, &given, NULL, CFARGS_NONE);
                    break;
            case 7:
                    child = config_found(bus, &given, NULL,
                        CFARGS(.search = search, .submatch = submatch));
                    break;
            default:
                    child = config_found(bus, &given, print, CFARGS_NONE);
            }
            if (what != 9)
                    KERNEL_UNLOCK_ONE(NULL);
            return child != NULL;
    }

    int
    drop(void)
    {
            int error;

            KERNEL_LOCK(1, NULL);
            error = config_detach(bus, 0);
            KERNEL_UNLOCK_ONE(NULL);
            return error;
    }

    int
    drop_children(void)
    {
            return config_detach_children(bus, 0);
    }
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    loaded = load(SOURCE, request.param)
    assert loaded.call("plant", 0) == 0
    return loaded


@pytest.fixture
def tree(load: Any) -> Code:
    loaded = load(SOURCE)
    loaded.call("plant", 0)
    return loaded


def device_lines(code: Code) -> list[str]:
    return [line.text for line in code.kernel.subject(Console).lines]


def put(code: Code, name: str, value: int) -> None:
    code.kernel.memory.put_u32(code.address(name), value)


def test_children_attach_and_detach_with_bus(code: Code) -> None:
    assert code.call("find", 0, 5) == code.call("find", 1, 6) == 1
    assert (code.number("seen"), code.number("printed")) == (6, 1)
    assert [line for line in device_lines(code) if "leaf" in line] == [
        "leaf0 at tree0: a leaf", "leaf1 at tree0: a leaf"
    ]  # fmt: skip
    assert code.call("drop") == 0
    assert code.number("gone") == 2
    assert code.kernel.subject(AllDevices).find("tree0") is None
    assert code.call("fell") == 0
    assert code.unload() == []


@pytest.mark.parametrize(
    ("answer", "expected"),
    [(1, "leaf at tree0 not configured"), (2, "leaf at tree0 unsupported")],
)
def test_unmatched_device_is_printed(code: Code, answer: int, expected: str) -> None:
    put(code, "priority", 0)
    put(code, "answer", answer)
    assert code.call("find", 0, 1) == 0
    assert device_lines(code)[-1] == expected
    assert code.number("printed") == 2


def test_submatch_function_uses_locators(code: Code) -> None:
    put(code, "locators", 8)
    assert code.call("find", 1, 1) == 0
    put(code, "locators", 7)
    assert code.call("find", 1, 1) == 1


def test_standard_submatch_accepts_equal_and_default(code: Code) -> None:
    put(code, "locators", 8)
    assert code.call("find", 10, 1) == 0
    put(code, "locators", 7)
    assert code.call("find", 10, 1) == 1
    put(code, "locators", 8)
    put(code, "slot", -1)
    assert code.call("find", 10, 1) == 1


def test_child_that_refuses_detach_keeps_its_bus(tree: Code) -> None:
    tree.call("find", 0, 1)
    put(tree, "stays", 1)
    assert tree.call("drop") == Errno.EBUSY
    assert tree.kernel.subject(AllDevices).find("leaf0") is not None


@pytest.mark.parametrize(
    ("calls", "rule"),
    [
        ([("find", 9, 1)], "kernel-lock-asserted"),
        ([("drop_children",)], "kernel-lock-asserted"),
        ([("find", 2, 1)], "found-attribute"),
        ([("find", 3, 1)], "cfargs-version"),
        ([("find", 11, 1)], "submatch-locators"),
        ([("find", 6, 1)], "cfdata-unknown"),
        ([("find", 7, 1)], "cfargs-version"),
    ],
)
def test_rule_violation_panics(tree: Code, calls: list[Any], rule: str) -> None:
    assert tree.panic(*calls[0]).startswith(rule + ":")


def test_parent_with_two_attributes_names_one(load: Any) -> None:
    code = load(SOURCE)
    code.call("plant", 1)
    assert code.call("find", 1, 1) == 1
    assert code.panic("find", 0, 1).startswith("found-attribute:")


def test_search_function_attaches_selected_devices(code: Code) -> None:
    assert code.call("find", 4, 3) == 0
    assert "leaf0 at tree0: a leaf" in device_lines(code)
    assert code.number("seen") == 3
    assert code.call("find", 5, 4) == 1
    assert code.number("seen") == 4
    put(code, "priority", 0)
    assert code.call("find", 5, 4) == 0
