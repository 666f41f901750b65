"""bus_space(9): registers in ports and in memory, mappings, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.busspace import WindowOptions

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/bus.h>
    #include <sys/errno.h>
    #include <sys/systm.h>

    static bus_space_handle_t handle;
    uint32_t got[4];

    int
    map(int port, int size)
    {
            return bus_space_map(x86_bus_space_io, port, size, 0, &handle);
    }

    int
    unmap(int size)
    {
            bus_space_unmap(x86_bus_space_io, handle, size);
            return 0;
    }

    int
    read(int offset, int size)
    {
            switch (size) {
            case 1:
                    return bus_space_read_1(x86_bus_space_io, handle, offset);
            case 2:
                    return bus_space_read_2(x86_bus_space_io, handle, offset);
            default:
                    return bus_space_read_4(x86_bus_space_io, handle, offset);
            }
    }

    int
    write(int offset, int value, int size)
    {
            switch (size) {
            case 1:
                    bus_space_write_1(x86_bus_space_io, handle, offset, value);
                    return 0;
            case 2:
                    bus_space_write_2(x86_bus_space_io, handle, offset, value);
                    return 0;
            default:
                    bus_space_write_4(x86_bus_space_io, handle, offset, value);
                    return 0;
            }
    }

    int
    many(void)
    {
            uint16_t out[2] = { 0x1122, 0x3344 }, in[2] = { 0, 0 };
            uint8_t bytes[4];

            bus_space_write_region_2(x86_bus_space_io, handle, 0, out, 2);
            bus_space_read_region_2(x86_bus_space_io, handle, 0, in, 2);
            if (in[0] != 0x1122 || in[1] != 0x3344)
                    return 1;
            bus_space_read_region_1(x86_bus_space_io, handle, 0, bytes, 4);
            if (bytes[0] != 0x22 || bytes[3] != 0x33)
                    return 2;
            bus_space_write_multi_2(x86_bus_space_io, handle, 0, out, 2);
            bus_space_read_multi_2(x86_bus_space_io, handle, 0, in, 2);
            return in[0] == 0x3344 && in[1] == 0x3344 ? 0 : 3;
    }

    int
    memory(void)
    {
            bus_space_handle_t whole, part;
            bus_space_tag_t tag = x86_bus_space_mem;
            int found;

            if (bus_space_map(tag, 0xfed00000, 0x400, 0, &whole) != 0)
                    return 1;
            if (bus_space_map(tag, 0xfed003ff, 1, BUS_SPACE_MAP_LINEAR, &part) != EAGAIN)
                    return 2;
            if (bus_space_subregion(tag, whole, 0x10, 0x10, &part) != 0)
                    return 3;
            bus_space_write_4(tag, part, 0, 0x12345678);
            bus_space_barrier(tag, part, 0, 4, BUS_SPACE_BARRIER_READ | BUS_SPACE_BARRIER_WRITE);
            found = bus_space_read_2(tag, whole, 0x12);
            bus_space_unmap(tag, whole, 0x400);
            if (bus_space_is_equal(tag, x86_bus_space_io) || !bus_space_is_equal(tag, tag) ||
                bus_space_is_equal(NULL, tag))
                    return 4;
            return found == 0x1234 ? 0 : 5;
    }

    int
    linear(void)
    {
            return bus_space_map(x86_bus_space_io, 0x100, 4, BUS_SPACE_MAP_LINEAR, &handle);
    }

    int
    misuse(int which)
    {
            switch (which) {
            case 0:
                    bus_space_read_1((bus_space_tag_t)got, handle, 0);
                    return 0;
            case 1:
                    bus_space_barrier(x86_bus_space_io, handle, 0, 4, 4);
                    bus_space_barrier(x86_bus_space_mem, handle, 0, 4, 4);
                    return 0;
            }
            return 0;
    }
"""
WINDOWS = (
    WindowOptions(0x2E, 2, {0x20: 0x87, 0x21: 0x12}, index=0, data=1),
    WindowOptions(0x1600, 16, {3: 0x5A}),
    WindowOptions(0xFED00000, 0x400, {}, memory=True),
)


@pytest.fixture(params=["amd64", "i386"])
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param, windows=WINDOWS)


def test_registers_are_selected_by_index_port(code: Code) -> None:
    assert code.call("map", 0x2E, 2) == 0
    for register, value in ((0x20, 0x87), (0x21, 0x12), (0x30, 0xFF)):
        code.call("write", 0, register, 1)
        assert code.call("read", 0, 1) == register
        assert code.call("read", 1, 1) == value
    code.call("write", 1, 0x44, 1)
    assert code.call("read", 1, 1) == 0x44
    code.call("unmap", 2)
    assert code.unload() == []


def test_each_port_is_a_register(code: Code) -> None:
    assert code.call("map", 0x1600, 16) == 0
    assert code.call("read", 3, 1) == 0x5A
    assert code.call("read", 2, 2) == 0x5AFF, "the least significant byte first"
    code.call("write", 4, 0x01020304, 4)
    assert code.call("read", 5, 2) == 0x0203
    assert code.call("many") == 0
    code.call("unmap", 16)


def test_ports_without_device_read_as_ones(code: Code) -> None:
    code.call("map", 0x300, 8)
    code.call("write", 0, 1, 1)
    assert code.call("read", 0, 2) == 0xFFFF
    code.call("unmap", 8)


def test_registers_in_memory_and_a_part_of_them(code: Code) -> None:
    assert code.call("memory") == 0
    assert code.unload() == []


def test_region_is_mapped_once(code: Code) -> None:
    assert code.call("map", 0x1600, 16) == 0
    assert code.call("map", 0x160F, 1) == 35, "EAGAIN"
    assert code.call("map", 0xFFFF, 2) == 22, "EINVAL: there are 65536 ports"
    assert code.call("linear") == 45, "EOPNOTSUPP"
    code.call("unmap", 16)


def test_region_that_is_left_is_reported(load: Any) -> None:
    code = load(SOURCE)
    code.call("map", 0x1600, 16)
    (text,) = code.unload()
    assert text.startswith(
        "bus-space-left: module tried is unloaded, but the bus_space region of 16 at 0x1600 mapped"
    )


@pytest.mark.parametrize("size", [4, 16])
def test_unmap_with_other_size_or_twice_is_reported(load: Any, size: int) -> None:
    code = load(SOURCE)
    code.call("map", 0x1600, 16)
    code.call("unmap", size)
    if size == 16:
        assert code.violations() == []
        code.call("unmap", size)
    (text,) = code.violations()
    assert text.startswith("bus-space-unmap: bus_space_unmap by unmap")
    assert ("was mapped with 16" if size == 4 else "is not mapped") in text


@pytest.mark.parametrize("offset", [-1, 15, 16])
def test_access_outside_region_is_reported(load: Any, offset: int) -> None:
    code = load(SOURCE)
    code.call("map", 0x1600, 16)
    code.call("read", offset, 2)
    (text,) = code.violations()
    assert text.startswith("bus-space-outside: bus_space_read_2 by read")


def test_tag_and_flags_are_those_of_bus(load: Any) -> None:
    code = load(SOURCE)
    assert code.panic("misuse", 0).startswith("bus-space-tag: bus_space_read_1 by misuse")
    panic = load(SOURCE).panic("misuse", 1)
    assert panic.startswith("bus-space-barrier: ")
    assert "unknown bus space barrier: 0x4" in panic
