"""Arrays and dictionaries that a module makes: references, copies, values, and every misuse.

The C compiles with the headers that NetBSD installs, too: its prototypes are those of libprop.
"""

from __future__ import annotations

import subprocess
import textwrap
from typing import TYPE_CHECKING, Any

import pytest
from vmtgen.build.kpi import _ZIG_NAMES
from vmtgen.build.toolchain import zig_headers, zig_program
from vmtgen.targets import load_targets
from vmtsim.kernel.proplib import PropLib

from .guestcode import MACHINES

if TYPE_CHECKING:
    from pathlib import Path

    from .guestcode import Code

LIBPROP = """
    static prop_dictionary_t kept;

    int
    dictionaries(void)
    {
            prop_dictionary_t d = prop_dictionary_create(), e;
            prop_number_t n = prop_number_create_signed(-5);
            prop_object_iterator_t i;
            prop_array_t keys;
            const char *text;
            int8_t small;
            uint8_t byte;
            int64_t large;

            if (!prop_dictionary_set(d, "n", n) || prop_dictionary_get(d, "n") != n)
                    return 1;
            prop_object_release(n);
            if (prop_number_signed_value(prop_dictionary_get(d, "n")) != -5)
                    return 2;
            if (!prop_dictionary_set_uint32(d, "big", 0xfffffff0u) ||
                !prop_dictionary_set_string(d, "text", "seven") ||
                !prop_dictionary_set_bool(d, "yes", true))
                    return 3;
            if (prop_dictionary_count(d) != 4)
                    return 4;
            if (prop_dictionary_get_int8(d, "big", &small) ||
                !prop_dictionary_get_int8(d, "n", &small) || small != -5 ||
                prop_dictionary_get_uint8(d, "n", &byte) ||
                !prop_dictionary_get_int64(d, "big", &large) || large != 0xfffffff0ll)
                    return 5;
            if (!prop_dictionary_get_string(d, "text", &text) || text[1] != 'e' ||
                !prop_string_equals_string(prop_dictionary_get(d, "text"), "seven"))
                    return 6;
            /* A copy refers to the same objects. */
            e = prop_dictionary_copy(d);
            if (!prop_dictionary_equals(d, e) ||
                prop_dictionary_get(e, "n") != prop_dictionary_get(d, "n"))
                    return 7;
            prop_dictionary_make_immutable(e);
            if (prop_dictionary_set_int(e, "n", 1))
                    return 8;
            prop_dictionary_remove(e, "n");
            if (prop_dictionary_count(e) != 4)
                    return 9;
            prop_object_release(e);
            e = prop_dictionary_copy_mutable(d);
            if (!prop_dictionary_set_int(e, "n", 1) || prop_dictionary_equals(d, e))
                    return 10;
            prop_dictionary_remove(e, "text");
            prop_object_release(e);
            if (prop_dictionary_get(d, "text") == NULL)
                    return 11;
            /* An iterator ends where the dictionary changes. */
            i = prop_dictionary_iterator(d);
            if (prop_object_iterator_next(i) == NULL)
                    return 12;
            prop_dictionary_set_int(d, "another", 1);
            if (prop_object_iterator_next(i) != NULL)
                    return 13;
            prop_object_iterator_reset(i);
            text = prop_dictionary_keysym_value(prop_object_iterator_next(i));
            prop_object_iterator_release(i);
            if (text[0] != 'a' || text[1] != 'n')
                    return 14;
            keys = prop_dictionary_all_keys(d);
            if (prop_array_count(keys) != 5 ||
                prop_object_type(prop_array_get(keys, 0)) != PROP_TYPE_DICT_KEYSYM)
                    return 15;
            prop_object_release(keys);
            prop_object_release(d);
            return 0;
    }

    int
    arrays(void)
    {
            prop_array_t a = prop_array_create_with_capacity(2), b;
            prop_dictionary_t d = prop_dictionary_create(), found;
            prop_object_iterator_t i;
            const void *data;
            size_t size;
            uint16_t number;
            bool truth;
            int count = 0;

            if (prop_array_capacity(a) != 2 || !prop_array_add_uint16(a, 40000) ||
                !prop_array_add_and_rel(a, prop_bool_create(true)) || prop_array_capacity(a) != 2 ||
                !prop_array_add_and_rel(a, prop_data_create_copy("\\001\\002\\003", 3)) ||
                prop_array_capacity(a) != 18)
                    return 1;
            if (!prop_array_get_uint16(a, 0, &number) || number != 40000 ||
                !prop_array_get_bool(a, 1, &truth) || !truth ||
                prop_data_size(prop_array_get(a, 2)) != 3 ||
                ((const char *)prop_data_value(prop_array_get(a, 2)))[2] != 3 ||
                prop_array_get(a, 3) != NULL)
                    return 2;
            if (prop_number_size(prop_array_get(a, 0)) != 16 ||
                !prop_number_unsigned(prop_array_get(a, 0)) ||
                !prop_number_equals_unsigned(prop_array_get(a, 0), 40000))
                    return 3;
            if (!prop_array_set_string(a, 3, "end") || prop_array_count(a) != 4 ||
                !prop_array_set_string(a, 0, "begin"))
                    return 4;
            prop_array_remove(a, 1);
            b = prop_array_copy(a);
            if (prop_array_count(b) != 3 || !prop_array_equals(a, b))
                    return 5;
            if (!prop_dictionary_set_and_rel(d, "array", b) ||
                prop_array_count(prop_dictionary_get(d, "array")) != 3 ||
                prop_dictionary_set_and_rel(d, "array", NULL))
                    return 6;
            if (!prop_array_add_and_rel(a, d))
                    return 7;
            i = prop_array_iterator(a);
            while (prop_object_iterator_next(i) != NULL)
                    count++;
            prop_object_iterator_release(i);
            if (count != 4 || prop_object_type(prop_array_get(a, 3)) != PROP_TYPE_DICTIONARY)
                    return 8;
            prop_array_make_immutable(a);
            if (prop_array_add_int32(a, 1) || prop_array_mutable(a))
                    return 9;
            prop_object_release(a);
            d = prop_dictionary_create();
            found = prop_dictionary_create();
            prop_dictionary_set_and_rel(d, "inner", found);
            if (!prop_dictionary_set_data(d, "data", "four", 4) ||
                !prop_dictionary_get_data(d, "data", &data, &size) || size != 4 ||
                ((const char *)data)[3] != 'r' ||
                prop_dictionary_get_data(d, "inner", &data, &size))
                    return 11;
            if (!prop_dictionary_get_dict(d, "inner", &found) ||
                prop_dictionary_get_dict(d, "outer", &found))
                    return 10;
            prop_object_release(d);
            return 0;
    }

    int
    keep(int which)
    {
            kept = prop_dictionary_create();
            prop_dictionary_set_string(kept, "name", "value");
            if (which == 1)
                    prop_object_retain(kept);
            if (which == 2)
                    prop_object_release(prop_dictionary_get(kept, "name"));
            if (which != 3)
                    prop_object_release(kept);
            return 0;
    }

    int
    use(void)
    {
            return prop_dictionary_count(kept);
    }

    int
    index_of(int index, int remove)
    {
            prop_array_t a = prop_array_create();

            if (remove)
                    prop_array_remove(a, index);
            else
                    prop_array_set_int32(a, index, 1);
            prop_object_release(a);
            return 0;
    }
"""
SOURCE = f"""
    #include <sys/param.h>
    #include <sys/callout.h>
    #include <sys/device.h>
    #include <sys/proc.h>
    #include <prop/proplib.h>
    {LIBPROP}
    prop_dictionary_t device_properties(device_t);

    int
    of_device(device_t dev, int copy)
    {{
            prop_dictionary_t d = device_properties(dev);
            static char text[] = "static";

            if (d == NULL || d != device_properties(dev))
                    return 1;
            if (copy)
                    return !prop_dictionary_set_string(d, "text", text);
            return !prop_dictionary_set_string_nocopy(d, "text", text);
    }}

    static callout_t callout;

    static void
    fires(void *arg)
    {{
            kept = prop_dictionary_create();
    }}

    int
    in_softint(void)
    {{
            callout_init(&callout, CALLOUT_MPSAFE);
            callout_reset(&callout, 1, fires, NULL);
            kpause("fires", false, 10, NULL);
            callout_destroy(&callout);
            return 0;
    }}
"""


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


def rules(texts: list[str]) -> list[str]:
    return [text.split(":")[0] for text in texts]


def test_dictionaries(code: Code) -> None:
    assert code.call("dictionaries") == 0
    assert code.unload() == []


def test_arrays(code: Code) -> None:
    assert code.call("arrays") == 0
    assert code.unload() == []


@pytest.mark.parametrize("machine", MACHINES)
def test_prototypes_match_installed_headers(machine: str, tmp_path: Path) -> None:
    source = tmp_path / "libprop.c"
    names = ("stdbool.h", "stddef.h", "stdint.h", "prop/proplib.h")
    begin = "".join(f"#include <{name}>\n" for name in names)
    source.write_text(begin + textwrap.dedent(LIBPROP), encoding="ascii")
    include = zig_headers().parent
    headers = (include / f"{_ZIG_NAMES[machine]}-netbsd-none", include / "generic-netbsd")
    flags = [flag for folder in headers for flag in ("-isystem", str(folder))]
    target = load_targets().machine(machine).triple
    done = subprocess.run(
        [zig_program(), "clang", f"--target={target}", "-fsyntax-only", "-Werror", *flags, source],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_unreleased_object_is_reported(load: Any) -> None:
    code = load(SOURCE)
    assert code.call("keep", 1) == 0
    assert code.call("use") == 1
    (text,) = code.unload()
    assert text.startswith(
        "prop-left: module tried is unloaded, but the property dictionary made by keep"
    )


def test_released_object_is_gone(load: Any) -> None:
    code = load(SOURCE)
    code.call("keep", 0)
    assert code.panic("use").startswith("use-after-free: ")


def test_value_in_dictionary_is_not_released_by_its_reader(load: Any) -> None:
    code = load(SOURCE)
    code.call("keep", 2)
    (text,) = code.violations()
    assert text.startswith("prop-released: prop_object_release by keep")


@pytest.mark.parametrize("remove", [0, 1])
def test_index_after_end_of_array_panics(load: Any, remove: int) -> None:
    assert load(SOURCE).panic("index_of", 1, remove).startswith("prop-index: prop_array_")


def test_device_has_properties(load: Any) -> None:
    code = load(SOURCE)
    assert code.call("of_device", 0x1000, 1) == 0
    lib = code.kernel.subject(PropLib)
    properties = lib.find("test", lib.device_properties(0x1000))
    assert properties is not None
    assert properties.value[b"text"].value == b"static"
    assert code.unload() == []


def test_text_of_module_in_properties_of_device_is_reported(load: Any) -> None:
    code = load(SOURCE)
    assert code.call("of_device", 0x1000, 0) == 0
    assert rules(code.unload()) == ["prop-nocopy"]


def test_property_objects_are_not_made_in_soft_interrupts(load: Any) -> None:
    with_softint = load(SOURCE)
    with_softint.call("keep", 0)
    panic = with_softint.panic("in_softint")
    assert panic.startswith("sleep-in-softint: prop_dictionary_create")
