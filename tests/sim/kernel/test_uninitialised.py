"""Use of uninitialised memory from kmem_alloc is detected."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.shadow import Shadow

from .guestcode import MACHINES, Code, line_of

if TYPE_CHECKING:
    from collections.abc import Callable

    Load = Callable[..., Code]

SOURCE = """
#include <sys/param.h>
#include <sys/systm.h>
#include <sys/kmem.h>

struct thing {
	char	t_name[8];
	short	t_kind;
	bool	t_on;
	long	t_many[4];
};

static struct thing *volatile thing;
static struct thing copy;
static char *volatile other;
char	text[64];

int
compares(void)
{
	int error;

	thing = kmem_alloc(sizeof(*thing), KM_SLEEP);	/* made to compare */
	thing->t_name[0] = 'a';
	error = memcmp(thing->t_name, "abc", 3) == 0;	/* compared */
	kmem_free(thing, sizeof(*thing));
	return error;
}

int
looks(void)
{
	int on;

	thing = kmem_alloc(sizeof(*thing), KM_SLEEP);	/* made to look */
	thing->t_kind = 3;
	on = *(volatile bool *)&thing->t_on;		/* looked */
	kmem_free(thing, sizeof(*thing));
	return on;
}

int
prints(void)
{

	other = kmem_alloc(16, KM_SLEEP);
	other[0] = 'x';
	other[2] = 0;
	snprintf(text, sizeof(text), "%s", other);	/* printed */
	kmem_free(other, 16);
	return 0;
}

int
carries(int size)
{
	int error;

	other = kmem_alloc(32, KM_SLEEP);		/* made for the copy */
	thing = kmem_alloc(sizeof(*thing), KM_SLEEP);
	memset(other, 0, 32);
	memcpy(other, thing->t_name, (size_t)size);
	error = memcmp(other + 8, text, 8);		/* clean part */
	error += memcmp(other, text, 16);		/* copied part */
	kmem_free(thing, sizeof(*thing));
	kmem_free(other, 32);
	return error;
}

int
behaves(void)
{
	int sum;

	thing = kmem_alloc(sizeof(*thing), KM_SLEEP);
	thing->t_name[0] = 'a';
	thing->t_name[1] = '\\0';
	thing->t_kind = 3;
	thing->t_on = true;
	strlcpy(text, thing->t_name, sizeof(text));
	copy = *thing;				/* with the uninitialised longs */
	sum = thing->t_kind + thing->t_on;
	memset(thing->t_many, 0, sizeof(thing->t_many));
	sum += memcmp(thing->t_many, text + 16, sizeof(thing->t_many));
	kmem_free(thing, sizeof(*thing));
	thing = kmem_zalloc(sizeof(*thing), KM_SLEEP);
	sum += thing->t_kind + memcmp(thing->t_many, text + 16, sizeof(thing->t_many));
	kmem_free(thing, sizeof(*thing));
	return sum;
}

#ifdef __x86_64__
/* Sends "log " and eight uninitialised bytes. */
int
sends(void)
{
	unsigned long ax = 0x564d5868, bx = 0xc9435052, cx = 0x1e, dx = 0x5658, si = 0, di = 0;
	unsigned long first, second, channel;

	other = kmem_alloc(12, KM_SLEEP);		/* made to send */
	memcpy(other, "log ", 4);
	__asm volatile("inl %%dx, %%eax"
		: "+a"(ax), "+b"(bx), "+c"(cx), "+d"(dx), "+S"(si), "+D"(di));
	channel = dx & 0xffff0000;
	first = si;
	second = di;
	ax = 0x564d5868;
	bx = 12;
	cx = 0x1001e;
	dx = channel | 0x5658;
	__asm volatile("inl %%dx, %%eax"
		: "+a"(ax), "+b"(bx), "+c"(cx), "+d"(dx), "+S"(si), "+D"(di));
	ax = 0x564d5868;
	bx = 0x10000;
	cx = 12;
	dx = channel | 0x5659;
	si = (unsigned long)other;
	di = second;
	__asm volatile("xchgq %6, %%rbp\\n\\trep outsb\\n\\txchgq %6, %%rbp"	/* sent */
		: "+a"(ax), "+b"(bx), "+c"(cx), "+d"(dx), "+S"(si), "+D"(di), "+r"(first)
		: : "memory");
	ax = 0x564d5868;
	cx = 0x6001e;
	dx = channel | 0x5658;
	si = first;
	di = second;
	__asm volatile("inl %%dx, %%eax"
		: "+a"(ax), "+b"(bx), "+c"(cx), "+d"(dx), "+S"(si), "+D"(di));
	kmem_free(other, 12);
	return 0;
}
#endif
"""


def _one(code: Code) -> str:
    (found,) = code.violations()
    assert found.startswith("uninitialised-read: ")
    return found


@pytest.mark.parametrize("machine", MACHINES)
def test_kernel_function_reading_uninitialised_bytes_is_named(load: Load, machine: str) -> None:
    code = load(SOURCE, machine)
    code.call("compares")
    found = _one(code)
    assert "kernel function memcmp, called by compares" in found
    assert "reads 2 of 3 bytes of uninitialised memory: offset 1 of object of" in found
    assert f"tried.c:{line_of(SOURCE, 'compared */')}" in found
    assert f"allocated by compares (tried.c:{line_of(SOURCE, 'made to compare')})" in found


@pytest.mark.parametrize("machine", MACHINES)
def test_uninitialised_member_read_by_module_is_detected(load: Load, machine: str) -> None:
    code = load(SOURCE, machine)
    code.call("looks")
    found = _one(code)
    assert f"looks (tried.c:{line_of(SOURCE, 'looked */')}) reads a byte" in found
    assert "offset 10 of object" in found
    assert f"tried.c:{line_of(SOURCE, 'made to look')}" in found


def test_string_with_uninitialised_gap_is_detected_when_printed(load: Load) -> None:
    code = load(SOURCE)
    code.call("prints")
    found = _one(code)
    assert "kernel function snprintf" in found
    assert "reads 1 of 3 bytes" in found
    assert f"tried.c:{line_of(SOURCE, 'printed */')}" in found


def test_memcpy_propagates_uninitialised_marks_silently(load: Load) -> None:
    code = load(SOURCE)
    code.call("carries", 8)
    found = _one(code)
    assert f"tried.c:{line_of(SOURCE, 'copied part')}" in found
    assert "reads 8 of 16 bytes of uninitialised memory: object of 32 bytes" in found
    assert f"tried.c:{line_of(SOURCE, 'made for the copy')}" in found


def test_same_place_is_reported_once(load: Load) -> None:
    code = load(SOURCE)
    code.call("compares")
    code.call("compares")
    _one(code)


@pytest.mark.parametrize("machine", MACHINES)
def test_initialised_or_merely_copied_bytes_are_accepted(load: Load, machine: str) -> None:
    code = load(SOURCE, machine)
    assert code.call("behaves") == 4
    assert code.violations() == []


def test_uninitialised_bytes_sent_to_host_are_named_with_trap_line(load: Load) -> None:
    code = load(SOURCE)
    code.call("sends")
    found = _one(code)
    assert "the host, by sends" in found
    assert f"tried.c:{line_of(SOURCE, 'sent */')}" in found
    assert "reads 8 of 12 bytes of uninitialised memory: offset 4 of object of 12 bytes" in found
    assert f"allocated by sends (tried.c:{line_of(SOURCE, 'made to send')})" in found


def test_copy_before_object_keeps_its_marks() -> None:
    layout = SimpleNamespace(heap=0, heap_middle=0x10000, heap_end=0x20000)
    cpu: Any = SimpleNamespace(layout=layout, pointer_size=8, watch_accesses=lambda *_: None)
    shadow = Shadow(cpu)
    first, second = shadow.start + 0x1000 - 16, shadow.start + 0x3000 - 16
    shadow.add(first, 16)
    shadow.add(second, 16)
    shadow.written(second, 8)
    shadow.copied(first - 12, second, 8)
    shadow.copied(second, first - 12, 8)
    seen: list[Any] = []
    shadow.found = lambda *what: seen.append(what)
    shadow.used(first, 16)
    shadow.used(second, 16)
    assert seen == [(first, 16, 16, "kernel"), (second + 8, 8, 16, "kernel")]
