"""Rules for a driver's options, nodes, counters and entry point, each violated in a line of C."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from vmtsim.kernel.errors import Errno, KernelPanic

from .guestcode import Code, compile_module, line_of

if TYPE_CHECKING:
    from pathlib import Path

SOURCE = """
#include <sys/param.h>
#include <sys/device.h>
#include <sys/evcnt.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/sysctl.h>
#include <sys/systm.h>

#include <prop/proplib.h>

static kmutex_t lock;
static struct sysctllog *nodes;
static struct evcnt counter;
static struct cfattach driver;
static bool keeps_lock;
static char nothing[64], long_name[301];

MODULE(MODULE_CLASS_MISC, tried, NULL);

static int
tried_modcmd(modcmd_t cmd, void *aux)
{

	if (keeps_lock)
		mutex_enter(&lock);		/* modcmd-with-mutex */
	return cmd == MODULE_CMD_INIT || cmd == MODULE_CMD_FINI ? 0 : ENOTTY;
}

int
keep_lock(void)
{

	mutex_init(&lock, MUTEX_DEFAULT, IPL_NONE);
	keeps_lock = true;
	return 0;
}

int
options_of_no_dictionary(void)
{
	bool forced;

	return 1 + prop_dictionary_get_bool((prop_dictionary_t)nothing, /* prop-object */
		"force", &forced);
}

int
options_of_null(void)
{
	bool forced = true;
	uint64_t period = 7;

	return !prop_dictionary_get_bool(NULL, "force", &forced) &&
		!prop_dictionary_get_uint64(NULL, "period", &period) &&
		forced && period == 7;
}

int
nodes_of_no_log(void)
{

	nodes = (struct sysctllog *)nothing;
	sysctl_teardown(&nodes);		/* sysctl-log */
	return 0;
}

int
long_counter(void)
{

	memset(long_name, 'x', sizeof(long_name) - 1);
	evcnt_attach_dynamic(&counter, EVCNT_TYPE_MISC, NULL, "tried", /* long name */
		long_name);
	return 0;
}

int
empty_counter(void)
{

	evcnt_attach_dynamic(&counter, EVCNT_TYPE_MISC, NULL, "", "name"); /* empty group */
	return 0;
}

int
gives_up(int unit)
{

	panic("tried%d: nothing left to try", unit);	/* driver-panic */
}

int
without_the_kernel_lock(void)
{

	return 1 + config_cfattach_attach("unknown", &driver);	/* kernel-lock */
}
"""
COUNTER = "the event counter at counter in data of module tried"
# function -> mark of the line, the message before function and line, the message after them
PANICS = {
    "options_of_no_dictionary": (
        "prop-object",
        "prop-object: prop_dictionary_get_bool by ",
        ": nothing in data of module tried is not a property",
    ),
    "nodes_of_no_log": (
        "sysctl-log",
        "sysctl-log: sysctl_teardown by ",
        ": the log at nodes in data of module tried is not of sysctl_createv",
    ),
    "long_counter": (
        "long name",
        "evcnt-string: evcnt_attach_dynamic by ",
        f": the name of {COUNTER} has 300 characters, not 1 to 254",
    ),
    "empty_counter": (
        "empty group",
        "evcnt-string: evcnt_attach_dynamic by ",
        f": the group of {COUNTER} has 0 characters, not 1 to 254",
    ),
    "gives_up": ("driver-panic", "driver-panic: tried3: nothing left to try (by ", ")"),
}


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compile_module(SOURCE, tmp_path_factory.mktemp("driver"))


def _at(function: str, mark: str) -> str:
    return f"{function} (tried.c:{line_of(SOURCE, f'/* {mark} */')})"


@pytest.mark.parametrize("function", PANICS)
def test_rule_violation_panics_at_its_line(module: Path, function: str) -> None:
    mark, begin, end = PANICS[function]
    assert Code(module, "amd64").panic(function, 3) == f"{begin}{_at(function, mark)}{end}"


def test_null_dictionary_has_no_options(module: Path) -> None:
    assert Code(module, "amd64").call("options_of_null") == 1


def test_adding_attachment_without_kernel_lock_is_reported(module: Path) -> None:
    code = Code(module, "amd64")
    assert code.call("without_the_kernel_lock") == 1 + Errno.ESRCH
    at = _at("without_the_kernel_lock", "kernel-lock")
    assert code.violations() == [
        f"kernel-lock: config_cfattach_attach called by {at} without the kernel lock"
    ]


def test_module_command_returning_with_mutex_panics(module: Path) -> None:
    code = Code(module, "amd64")
    code.call("keep_lock")
    with pytest.raises(KernelPanic) as caught:
        code.unload()
    assert caught.value.rule == "modcmd-with-mutex"
    assert caught.value.message == (
        "modcmd of tried returned with the mutex at lock in data of module tried held (taken by "
        f"{_at('tried_modcmd', 'modcmd-with-mutex')})"
    )
