"""i2c: registers of chips, the bus that finds drivers' devices, and every misuse."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.alldevs import AllDevices
from vmtsim.kernel.autoconf import Autoconf
from vmtsim.kernel.i2c import I2c

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

CHIPS = {0x18: {0: b"\x12\x34", 1: b"\x56", 0x102: b"\x78"}, 0x48: {0: b"\x01"}}
SOURCE = """
    #include <sys/param.h>
    #include <sys/device.h>
    #include <sys/errno.h>
    #include <dev/i2c/i2cvar.h>

    #define CHIP 0x18

    static int t_match(device_t, cfdata_t, void *);
    static void t_attach(device_t, device_t, void *);
    static int t_detach(device_t, int);

    struct t_softc { int at; };
    CFATTACH_DECL_NEW(chip, sizeof(struct t_softc), t_match, t_attach, t_detach, NULL);
    CFDRIVER_DECL(chip, DV_DULL, NULL);

    static struct cfdriver *const drivers[] = { &chip_cd, NULL };
    static struct cfattach *const attachments[] = { &chip_ca, NULL };
    static const struct cfattachinit inits[] = { { "chip", attachments }, { NULL, NULL } };
    static const struct cfparent bus = { "iic", "iic", DVUNIT_ANY };
    static int places[] = { 0x18, 0x19, -1, 0x02 };
    static struct cfdata rows[] = {
            { .cf_name = "chip", .cf_atname = "chip", .cf_unit = 0, .cf_fstate = FSTATE_STAR,
              .cf_loc = &places[0], .cf_pspec = &bus },
            { .cf_name = "chip", .cf_atname = "chip", .cf_unit = 0, .cf_fstate = FSTATE_STAR,
              .cf_loc = &places[1], .cf_pspec = &bus },
            { .cf_name = "chip", .cf_atname = "chip", .cf_unit = 0, .cf_fstate = FSTATE_STAR,
              .cf_loc = &places[2], .cf_pspec = &bus },
            { .cf_name = "chip", .cf_atname = "chip", .cf_unit = 0, .cf_fstate = FSTATE_STAR,
              .cf_loc = &places[3], .cf_pspec = &bus },
            { .cf_name = NULL },
    };
    i2c_tag_t tag;
    int asked, quality = I2C_MATCH_ADDRESS_ONLY;

    static int
    t_match(device_t parent, cfdata_t cf, void *aux)
    {
            struct i2c_attach_args *ia = aux;

            asked++;
            tag = ia->ia_tag;
            return quality == I2C_MATCH_ADDRESS_ONLY || ia->ia_addr == 0x19 ? quality : 0;
    }

    static void
    t_attach(device_t parent, device_t self, void *aux)
    {
            struct i2c_attach_args *ia = aux;
            struct t_softc *sc = device_private(self);

            sc->at = ia->ia_addr;
            aprint_normal("\\n");
    }

    static int
    t_detach(device_t self, int flags)
    {
            return 0;
    }

    int
    configure(void)
    {
            return config_init_component(drivers, inits, rows);
    }

    int
    unconfigure(void)
    {
            return config_fini_component(drivers, inits, rows);
    }

    static int
    talks(i2c_tag_t to)
    {
            uint8_t byte = 0, command[2] = { 0x01, 0x02 }, both[3] = { 0, 0, 0 };
            uint16_t word = 0;

            if (iic_smbus_read_word(to, CHIP, 0, &word, 0) != 0 || word != 0x3412)
                    return 1;
            if (iic_exec(to, I2C_OP_READ_WITH_STOP, CHIP, command, 1, both, 3, 0) != 0 ||
                both[0] != 0x56 || both[1] != 0xff)
                    return 2;
            if (iic_exec(to, I2C_OP_READ, CHIP, command, 2, &byte, 1, 0) != 0 || byte != 0x78)
                    return 3;
            if (iic_smbus_write_byte(to, CHIP, 0, 0x9a, 0) != 0 ||
                iic_smbus_read_word(to, CHIP, 0, &word, 0) != 0 || word != 0x349a)
                    return 4;
            if (iic_smbus_write_word(to, CHIP, 7, 0x1122, 0) != 0 ||
                iic_smbus_read_byte(to, CHIP, 7, &byte, 0) != 0 || byte != 0x22)
                    return 5;
            if (iic_smbus_send_byte(to, CHIP, 1, 0) != 0 ||
                iic_smbus_receive_byte(to, CHIP, &byte, 0) != 0 || byte != 0x56)
                    return 6;
            if (iic_smbus_read_byte(to, 0x20, 0, &byte, 0) != EIO ||
                iic_smbus_write_byte(to, 0x20, 0, 0, 0) != EIO)
                    return 7;
            return 0;
    }

    int
    talk(i2c_tag_t to)
    {
            int which;

            if (iic_acquire_bus(to, 0) != 0)
                    return -1;
            which = talks(to);
            iic_release_bus(to, 0);
            return which;
    }

    int
    talk_at_once(i2c_tag_t to)
    {
            uint8_t byte;

            return iic_smbus_read_byte(to, CHIP, 1, &byte, 0);
    }

    int
    release(i2c_tag_t to)
    {
            iic_release_bus(to, 0);
            return 0;
    }

    int
    acquire_twice(i2c_tag_t to)
    {
            iic_acquire_bus(to, 0);
            return iic_acquire_bus(to, 0);
    }

    int
    other(int which)
    {
            uint8_t byte;
            i2c_tag_t no = (i2c_tag_t)places;

            if (which == 0)
                    return iic_acquire_bus(no, 0);
            if (which == 1)
                    iic_release_bus(no, 0);
            return iic_smbus_read_byte(no, CHIP, 1, &byte, 0);
    }
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param, i2c=CHIPS)


def tag(code: Code) -> int:
    return code.kernel.subject(I2c).tag


def at_iic(code: Code) -> list[str]:
    devices = code.kernel.subject(AllDevices).devices()
    return [each.name for each in devices if each.parent and each.parent.name == "iic0"]


def test_registers_behave_like_chip_registers(code: Code) -> None:
    assert code.call("talk", tag(code)) == 0
    writes = [each for each in code.kernel.trace.events if each.kind == "i2c.write"]
    assert [each.fields["data"] for each in writes[:2]] == ["00 9a", "07 22 11"]
    assert code.violations() == []
    assert code.unload() == []


def test_driver_is_offered_its_addresses_and_attaches_present_chips(code: Code) -> None:
    assert code.call("configure") == 0
    assert at_iic(code) == ["chip0", "chip1"], "0x18 by its address, and 0x48 by the wildcard"
    # No reserved address, and none with a device; the bus searches once for each of four rows.
    first, later = 1 + 1 + (0x70 - 1), 0 + 1 + (0x70 - 2)
    assert code.number("asked") == first + 3 * later
    autoconf = code.kernel.subject(Autoconf)
    chip = code.kernel.subject(AllDevices).find("chip0")
    assert chip is not None
    assert code.kernel.run_process("drvctl", autoconf.detach(chip)) == 0
    assert code.kernel.run_process("drvctl", autoconf.drvctl_rescan("iic0", "iic")) == 0
    assert at_iic(code) == ["chip1", "chip0"]
    assert code.call("unconfigure") == 0
    assert code.unload() == []


def test_probing_driver_decides_match(load: Any) -> None:
    code = load(SOURCE, i2c=CHIPS)
    code.kernel.memory.put_u32(code.address("quality"), 2)
    assert code.call("configure") == 0
    assert at_iic(code) == ["chip0"]


def test_bus_must_be_acquired_first(load: Any) -> None:
    code = load(SOURCE, i2c=CHIPS)
    assert code.call("talk_at_once", tag(code)) == 0
    (text,) = code.violations()
    assert text.startswith("i2c-not-acquired: iic_exec by talk_at_once")


def test_bus_is_released_by_owner_and_acquired_once(load: Any) -> None:
    code = load(SOURCE, i2c=CHIPS)
    assert code.panic("release", tag(code)).startswith("mutex-exit-by-non-owner: ")
    code = load(SOURCE, i2c=CHIPS)
    assert code.panic("acquire_twice", tag(code)).startswith("mutex-double-enter: ")


@pytest.mark.parametrize("which", [0, 1, 2])
def test_bus_comes_from_attach_arguments(load: Any, which: int) -> None:
    assert load(SOURCE, i2c=CHIPS).panic("other", which).startswith("i2c-tag: iic_")


def test_guest_without_chips_has_no_bus(load: Any) -> None:
    code = load(SOURCE)
    assert tag(code) == 0
    assert code.call("configure") == 0
    assert at_iic(code) == []
    assert code.kernel.subject(AllDevices).find("iic0") is None
