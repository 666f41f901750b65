"""The services for a module, and permission to load it: proplib(9), rnd(9), kern.hostname."""

from __future__ import annotations

import plistlib
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.api import Block
from vmtsim.kernel.clock import SECOND
from vmtsim.kernel.console import Console
from vmtsim.kernel.identity import Identity
from vmtsim.kernel.modules import Modules
from vmtsim.kernel.process import Processes
from vmtsim.kernel.sysctllock import SysctlLock

from .guestcode import Code, compile_module, line_of

if TYPE_CHECKING:
    from pathlib import Path

    from vmtsim.kernel.api import Model

EPERM, EBUSY = 1, 16
SOURCE = """
#include <sys/param.h>
#include <sys/entropy.h>
#include <sys/kernel.h>
#include <sys/module.h>
#include <sys/mutex.h>
#include <sys/rndsource.h>
#include <sys/systm.h>

#include <prop/proplib.h>

bool	prop_dictionary_get_uint32(prop_dictionary_t, const char *, uint32_t *);
bool	prop_dictionary_get_int32(prop_dictionary_t, const char *, int32_t *);
bool	prop_dictionary_get_uint64(prop_dictionary_t, const char *, uint64_t *);
bool	prop_dictionary_get_string(prop_dictionary_t, const char *, const char **);

MODULE(MODULE_CLASS_MISC, tried, REQUIRES);

prop_dictionary_t kept;
const char *words = "";
uint32_t wide = 77;
int32_t narrow = 77;
uint64_t widest = 77;
int got;
static kmutex_t spin;
static uint8_t sample[4];

static int
tried_modcmd(modcmd_t cmd, void *aux)
{

	switch (cmd) {
	case MODULE_CMD_INIT:
		kept = aux;
		if (prop_dictionary_get_uint32(kept, "number", &wide))
			got |= 1;
		if (prop_dictionary_get_int32(kept, "number", &narrow))
			got |= 2;
		if (prop_dictionary_get_uint64(kept, "number", &widest))
			got |= 4;
		if (prop_dictionary_get_string(kept, "text", &words))
			got |= 8;
		return 0;
	case MODULE_CMD_FINI:
		return 0;
	default:
		return ENOTTY;
	}
}

int
look_at_string(void)
{

	return words[0];			/* kept string */
}

int
ask_dictionary(void)
{

	return prop_dictionary_get_uint32(kept, "number", &wide);	/* kept dictionary */
}

int
consolidate(int times)
{
	int error = 0;

	while (error == 0 && times-- > 0)
		error = entropy_consolidate();
	return error;
}

int
impossible_entropy(void)
{

	rnd_add_data(NULL, sample, sizeof(sample), 33);		/* too many bits */
	return 0;
}

int
add_with_spin_mutex(void)
{

	mutex_init(&spin, MUTEX_DEFAULT, IPL_VM);
	mutex_enter(&spin);
	rnd_add_data(NULL, sample, sizeof(sample), 0);		/* spins */
	mutex_exit(&spin);
	return 0;
}
"""


@pytest.fixture(scope="module")
def module(tmp_path_factory: pytest.TempPathFactory) -> Path:
    where = tmp_path_factory.mktemp("services")
    return compile_module(SOURCE.replace("REQUIRES", "NULL"), where)


def loaded(path: Path, **properties: Any) -> Code:
    """The module, loaded with options."""
    code = Code(path, "amd64")
    modules = code.kernel.subject(Modules)
    assert code.kernel.run_process("modunload", modules.unload("tried")) == 0
    load = modules.load(path, properties=properties)
    assert code.kernel.run_process("modload", load) == 0
    code._linked = modules.loaded["tried"].linked
    return code


@pytest.mark.parametrize(
    ("number", "got", "values"),
    [
        (5, 7, (5, 5, 5)),
        (-1, 2, (77, -1, 77)),
        (1 << 31, 5, (1 << 31, 77, 1 << 31)),
        (1 << 32, 4, (77, 77, 1 << 32)),
    ],
)
def test_out_of_range_property_number_is_not_returned(
    module: Path, number: int, got: int, values: tuple[int, int, int]
) -> None:
    code = loaded(module, number=number)
    memory = code.kernel.memory
    assert code.number("got") == got
    assert (
        memory.u32(code.address("wide")),
        code.number("narrow"),
        memory.u64(code.address("widest")),
    ) == values


@pytest.mark.parametrize(
    ("function", "mark", "what"),
    [
        ("look_at_string", "kept string", "string 'words' of modload's dictionary"),
        ("ask_dictionary", "kept dictionary", "property dictionary of modload"),
    ],
)
def test_property_dictionary_is_freed_after_modload(
    module: Path, function: str, mark: str, what: str
) -> None:
    text = loaded(module, text="words", number=1).panic(function)
    assert text.startswith("use-after-free: page fault")
    assert f"the freed {what}, which was removed" in text
    assert f"tried.c:{line_of(SOURCE, f'/* {mark} */')}" in text


def test_plist_options_are_read_and_modload_options_override(tmp_path: Path, module: Path) -> None:
    path = tmp_path / "tried.kmod"
    path.write_bytes(module.read_bytes())
    path.with_suffix(".plist").write_bytes(plistlib.dumps({"number": 3, "text": "file"}))
    code = loaded(path, number=4)
    assert (code.number("got"), code.number("narrow")) == (15, 4)


@pytest.mark.parametrize(("uid", "level"), [(1000, 0), (0, 1)])
def test_modules_require_root_and_securelevel_0(module: Path, uid: int, level: int) -> None:
    code = Code(module, "amd64")
    kernel, modules = code.kernel, code.kernel.subject(Modules)
    kernel.memory.put_u32(kernel.symbols["securelevel"], level)
    for main in (modules.unload("tried"), modules.load(module)):
        lwp = kernel.subject(Processes).spawn("modctl", main, uid=uid)
        code.finish(lwp)
        assert lwp.result == EPERM


def test_required_builtin_module_stays(tmp_path: Path) -> None:
    path = compile_module(SOURCE.replace("REQUIRES", '"vmt"'), tmp_path)
    code = loaded_with_builtin(path)
    kernel, modules = code.kernel, code.kernel.subject(Modules)
    run = kernel.run_process
    assert run("modload", modules.load(path)) == 0
    assert run("modunload", modules.unload("vmt")) == EBUSY
    assert run("modunload", modules.unload("tried")) == 0
    assert run("modunload", modules.unload("vmt")) == 0
    # Disabled now: only -f reloads it for a module that requires it.
    assert run("modload", modules.load(path)) == EPERM
    assert kernel.subject(Console).lines[-1].text == (
        "WARNING: module error: use -f to reinstate builtin module `vmt'"
    )
    assert run("modload", modules.load(path, force=True)) == 0
    assert "vmt" in modules.builtin


def loaded_with_builtin(path: Path) -> Code:
    """A kernel with a built-in vmt, after the module was unloaded."""
    code = Code(path, "amd64", builtin_vmt=True)
    assert code.kernel.run_process("x", code.kernel.subject(Modules).unload("tried")) == 0
    return code


def test_entropy_consolidate_takes_a_second_and_is_interruptible(module: Path) -> None:
    code = Code(module, "amd64")
    kernel = code.kernel
    assert code.call("consolidate", 1) == 0
    began = kernel.clock.now
    assert code.call("consolidate", 3) == 0
    assert 3 * SECOND <= kernel.clock.now - began < 4 * SECOND
    waiting = code.start("consolidate", 1)
    kernel.run(lambda: waiting.state == "asleep")
    assert waiting.what == "entropy"
    kernel.scheduler.interrupt(waiting)
    code.finish(waiting)
    assert waiting.result & 0xFFFFFFFF != 0


def test_sample_entropy_is_limited_to_its_bits(module: Path) -> None:
    text = Code(module, "amd64").panic("impossible_entropy")
    assert text.startswith("rnd-bits: rnd_add_data by impossible_entropy")
    assert f"tried.c:{line_of(SOURCE, '/* too many bits */')}" in text
    text = Code(module, "amd64").panic("add_with_spin_mutex")
    assert text.startswith("sleep-with-spin-mutex: rnd_add_data called by add_with_spin_mutex")


def test_host_name_changes_under_sysctl_lock_byte_by_byte(module: Path) -> None:
    code = Code(module, "amd64")
    kernel, lock = code.kernel, code.kernel.subject(SysctlLock)

    def hold() -> Model:
        yield from lock.lock("test", write=False)
        yield Block(deadline=kernel.clock.now + SECOND, what="test")
        lock.unlock()

    def name() -> str:
        return kernel.memory.string(kernel.symbols["hostname"])

    holder = kernel.spawn("reader", "user", hold())
    kernel.run(lambda: holder.state == "asleep")
    renaming = kernel.spawn("sysctl", "user", kernel.subject(Identity).rename("other.name"))
    kernel.run_for(SECOND // 2)
    assert (name(), renaming.what) == ("guest.example", "sysctl")
    kernel.run(lambda: name() != "guest.example")
    assert name() == "other.example"
    code.finish(holder, renaming)
    assert name() == "other.name"
