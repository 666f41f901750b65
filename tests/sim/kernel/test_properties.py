"""Values of modload's dictionary, its iterators, dates, and RUN_ONCE in a soft interrupt."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING, Any

import pytest
from vmtsim.kernel.proplib import PropLib

from .guestcode import MACHINES

if TYPE_CHECKING:
    from .guestcode import Code

SOURCE = """
    #include <sys/param.h>
    #include <sys/callout.h>
    #include <sys/once.h>
    #include <sys/proc.h>
    #include <sys/systm.h>

    #include <prop/proplib.h>

    struct date { uint64_t year; uint8_t rest[6]; };
    int clock_secs_to_ymdhms(time_t, struct date *);

    char text[64];
    struct date date;
    int types[4], once_made;
    static callout_t callout;
    static ONCE_DECL(once);

    int
    walk(prop_dictionary_t dictionary)
    {
            prop_object_iterator_t iterator = prop_dictionary_iterator(dictionary);
            prop_object_t key, value;
            int count = 0, sum = 0;

            text[0] = 0;
            while ((key = prop_object_iterator_next(iterator)) != NULL) {
                    strlcat(text, prop_dictionary_keysym_value(key), sizeof(text));
                    value = prop_dictionary_get_keysym(dictionary, key);
                    types[count++] = prop_object_type(value);
                    sum += (int)prop_number_signed_value(value) + prop_bool_true(value);
                    if (prop_string_value(value) != NULL)
                            strlcat(text, prop_string_value(value), sizeof(text));
            }
            prop_object_iterator_release(iterator);
            return sum;
    }

    static prop_object_iterator_t kept;

    int
    keeps(prop_dictionary_t dictionary)
    {
            kept = prop_dictionary_iterator(dictionary);
            return 0;
    }

    int
    iterates_on(void)
    {
            int count = 0;

            while (prop_object_iterator_next(kept) != NULL)
                    count++;
            prop_object_iterator_release(kept);
            return count;
    }

    int
    leaks(prop_dictionary_t dictionary)
    {
            return prop_dictionary_iterator(dictionary) == NULL;
    }

    int
    absent(prop_dictionary_t dictionary)
    {
            return prop_dictionary_get(dictionary, "absent") == NULL &&
                prop_object_type(NULL) == 0 && prop_string_value(NULL) == NULL;
    }

    int
    no_property(void)
    {
            return prop_object_type(&date);
    }

    int
    split(int high, unsigned low)
    {
            return clock_secs_to_ymdhms((time_t)high << 32 | low, &date);
    }

    static int
    make(void)
    {
            once_made++;
            return 0;
    }

    static void
    fires(void *arg)
    {
            RUN_ONCE(&once, make);
    }

    int
    in_softint(void)
    {
            callout_init(&callout, CALLOUT_MPSAFE);
            callout_reset(&callout, 1, fires, NULL);
            kpause("fires", false, 10, NULL);
            callout_destroy(&callout);
            return once_made;
    }
"""
CONTENT = {"text": "seven", "flag": True, "number": -40}


@pytest.fixture(params=MACHINES)
def code(request: pytest.FixtureRequest, load: Any) -> Code:
    return load(SOURCE, request.param)


def test_iterator_returns_keys_in_order_with_values(code: Code) -> None:
    dictionary = code.kernel.subject(PropLib).new(CONTENT)
    assert code.call("walk", dictionary) == -39
    assert code.text("text") == "flagnumbertextseven"
    memory, at = code.kernel.memory, code.address("types")
    assert [memory.read(at + 4 * i, 4)[::-1] for i in range(3)] == [b"bool", b"nmbr", b"stng"]
    assert code.call("absent", dictionary) == 1
    code.kernel.subject(PropLib).release(dictionary)
    assert code.unload() == []


def test_unreleased_iterator_is_a_leak(load: Any) -> None:
    code = load(SOURCE)
    assert code.call("leaks", code.kernel.subject(PropLib).new(CONTENT)) == 0
    (left,) = code.unload()
    assert left.startswith(
        "leak: module tried is unloaded, but the property iterator made by leaks"
    )


def test_iterator_retains_dictionary(load: Any) -> None:
    code = load(SOURCE)
    properties = code.kernel.subject(PropLib)
    dictionary = properties.new(CONTENT)
    code.call("keeps", dictionary)
    properties.release(dictionary)
    assert code.call("iterates_on") == 3
    assert code.unload() == []


def test_invalid_property_object_is_detected(load: Any) -> None:
    assert load(SOURCE).panic("no_property").startswith("prop-object:")


@pytest.mark.parametrize(
    "seconds", [0, 951782399, 951782400, 1792345678, 4107542400, 253402300799, 253402300800]
)
def test_date_matches_calendar(code: Code, seconds: int) -> None:
    assert code.call("split", seconds >> 32, seconds & 0xFFFFFFFF) == 0
    at = code.address("date")
    year, rest = code.kernel.memory.u64(at), tuple(code.kernel.memory.read(at + 8, 6))
    back = 400 if seconds > 253402300799 else 0  # datetime ends with the year 9999
    then = dt.datetime(1970, 1, 1, tzinfo=dt.timezone.utc) + dt.timedelta(
        seconds=seconds - back * 31556952
    )
    assert year == then.year + back
    assert rest == (then.month, then.day, then.isoweekday() % 7, then.hour, then.minute,
                    then.second)  # fmt: skip


def test_time_before_1970_has_no_date(load: Any) -> None:
    assert load(SOURCE).call("split", -1, 0) == 22


def test_run_once_in_soft_interrupt_takes_wrong_mutex(load: Any) -> None:
    code = load(SOURCE)
    assert code.call("in_softint") == 1
    assert [each.partition(" by")[0] for each in code.violations()] == [
        "mutex-in-softint: RUN_ONCE"
    ]
