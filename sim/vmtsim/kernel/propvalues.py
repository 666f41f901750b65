"""Property objects that are values: strings, data, numbers, true and false."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.proplib import BOOL, DATA, NUMBER, STRING, PropLib

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel

_MASK = 0xFFFFFFFFFFFFFFFF


class PropValues(Subject):
    """The functions of proplib(3) for each kind of value."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "common/lib/libprop/prop_string.c 1.18.2.1": (
            "prop_string_value prop_string_cstring_nocopy prop_string_create_copy "
            "prop_string_create_nocopy prop_string_size prop_string_equals "
            "prop_string_equals_string prop_string_create_cstring "
            "prop_string_create_cstring_nocopy"
        ),
        "common/lib/libprop/prop_number.c 1.27": (
            "prop_number_integer_value prop_number_unsigned_integer_value prop_number_unsigned "
            "prop_number_size prop_number_equals prop_number_create_integer "
            "prop_number_create_unsigned_integer"
        ),
        "common/include/prop/prop_number.h of 2025": (
            "prop_number_signed_value prop_number_unsigned_value prop_number_create_signed "
            "prop_number_create_unsigned prop_number_equals_signed prop_number_equals_unsigned"
        ),
        "common/lib/libprop/prop_data.c 1.14": (
            "prop_data_create_data prop_data_create_data_nocopy prop_data_size "
            "prop_data_data_nocopy prop_data_equals"
        ),
        "common/include/prop/prop_data.h of 2025": (
            "prop_data_create_copy prop_data_create_nocopy prop_data_value"
        ),
        "common/lib/libprop/prop_bool.c 1.17": "prop_bool_true prop_bool_create",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = (
        "prop_string_create_copy prop_string_create_cstring prop_string_create_nocopy "
        "prop_string_create_cstring_nocopy prop_string_equals_string prop_data_create_copy "
        "prop_data_create_data prop_data_create_nocopy prop_data_create_data_nocopy"
    )

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._lib = kernel.subject(PropLib)

    @kernel_function("bool prop_string_equals(prop_string_t s1, prop_string_t s2)")
    @kernel_function("bool prop_number_equals(prop_number_t n1, prop_number_t n2)")
    @kernel_function("bool prop_data_equals(prop_object_t d1, prop_object_t d2)")
    def prop_string_equals(self, first: int, second: int) -> bool:
        return self._lib.prop_object_equals(first, second)

    def _bytes_of(self, function: str, kind: int, address: int, size: int, *, copy: bool) -> int:
        kernel = self.kernel
        kernel.rules.may_sleep(function)
        memory = kernel.memory
        value = memory.cstring(address) if kind == STRING else memory.read(address, size)
        return self._lib.with_bytes(kind, value, at=0 if copy else address).at

    @kernel_function("prop_string_t prop_string_create_copy(const void *str)")
    @kernel_function("prop_string_t prop_string_create_cstring(const void *str)")
    def prop_string_create_copy(self, text: int) -> int:
        return self._bytes_of("prop_string_create_copy", STRING, text, 0, copy=True)

    @kernel_function("prop_string_t prop_string_create_nocopy(const void *str)")
    @kernel_function("prop_string_t prop_string_create_cstring_nocopy(const void *str)")
    def prop_string_create_nocopy(self, text: int) -> int:
        return self._bytes_of("prop_string_create_nocopy", STRING, text, 0, copy=False)

    @kernel_function("const char *prop_string_value(prop_string_t ps)")
    @kernel_function("const char *prop_string_cstring_nocopy(prop_string_t ps)")
    def prop_string_value(self, address: int) -> int:
        """Return NULL for an object that is not a string."""
        found = self._lib.find("prop_string_value", address, STRING)
        return 0 if found is None else found.content

    @kernel_function("size_t prop_string_size(prop_string_t ps)")
    def prop_string_size(self, address: int) -> int:
        found = self._lib.find("prop_string_size", address, STRING)
        return 0 if found is None else len(found.value)

    @kernel_function("bool prop_string_equals_string(prop_string_t ps, const void *str)")
    def prop_string_equals_string(self, address: int, text: int) -> bool:
        found = self._lib.find("prop_string_equals_string", address, STRING)
        return found is not None and found.value == self.kernel.memory.cstring(text)

    @kernel_function("prop_object_t prop_data_create_copy(const void *v, size_t size)")
    @kernel_function("prop_object_t prop_data_create_data(const void *v, size_t size)")
    def prop_data_create_copy(self, content: int, size: int) -> int:
        return self._bytes_of("prop_data_create_copy", DATA, content, size, copy=True)

    @kernel_function("prop_object_t prop_data_create_nocopy(const void *v, size_t size)")
    @kernel_function("prop_object_t prop_data_create_data_nocopy(const void *v, size_t size)")
    def prop_data_create_nocopy(self, content: int, size: int) -> int:
        return self._bytes_of("prop_data_create_nocopy", DATA, content, size, copy=False)

    @kernel_function("const void *prop_data_value(prop_object_t pd)")
    @kernel_function("const void *prop_data_data_nocopy(prop_object_t pd)")
    def prop_data_value(self, address: int) -> int:
        found = self._lib.find("prop_data_value", address, DATA)
        return 0 if found is None else found.content

    @kernel_function("size_t prop_data_size(prop_object_t pd)")
    def prop_data_size(self, address: int) -> int:
        found = self._lib.find("prop_data_size", address, DATA)
        return 0 if found is None else len(found.value)

    @kernel_function("prop_number_t prop_number_create_signed(int64_t value)")
    @kernel_function("prop_number_t prop_number_create_integer(int64_t value)")
    def prop_number_create_signed(self, value: int) -> int:
        self.kernel.rules.may_sleep("prop_number_create_signed")
        return self._lib.make(NUMBER, value).at

    @kernel_function("prop_number_t prop_number_create_unsigned(uint64_t value)")
    @kernel_function("prop_number_t prop_number_create_unsigned_integer(uint64_t value)")
    def prop_number_create_unsigned(self, value: int) -> int:
        self.kernel.rules.may_sleep("prop_number_create_unsigned")
        return self._lib.make(NUMBER, value, unsigned=True).at

    @kernel_function("int64_t prop_number_signed_value(prop_number_t pn)")
    @kernel_function("int64_t prop_number_integer_value(prop_number_t pn)")
    @kernel_function("uint64_t prop_number_unsigned_value(prop_number_t pn)")
    @kernel_function("uint64_t prop_number_unsigned_integer_value(prop_number_t pn)")
    def prop_number_value(self, address: int) -> int:
        """Return 0 for an object that is not a number."""
        found = self._lib.find("prop_number_signed_value", address, NUMBER)
        return 0 if found is None else int(found.value) & _MASK

    @kernel_function("bool prop_number_unsigned(prop_number_t pn)")
    def prop_number_unsigned(self, address: int) -> bool:
        found = self._lib.find("prop_number_unsigned", address, NUMBER)
        return found is not None and found.unsigned

    @kernel_function("bool prop_number_equals_signed(prop_number_t pn, int64_t value)")
    def prop_number_equals_signed(self, address: int, value: int) -> bool:
        found = self._lib.find("prop_number_equals_signed", address, NUMBER)
        return found is not None and found.value == value

    @kernel_function("bool prop_number_equals_unsigned(prop_number_t pn, uint64_t value)")
    def prop_number_equals_unsigned(self, address: int, value: int) -> bool:
        found = self._lib.find("prop_number_equals_unsigned", address, NUMBER)
        return found is not None and found.value == value

    @kernel_function("int prop_number_size(prop_number_t pn)")
    def prop_number_size(self, address: int) -> int:
        """Return its size in bits: 8, 16, 32 or 64."""
        found = self._lib.find("prop_number_size", address, NUMBER)
        if found is None:
            return 0
        value, sign = int(found.value), 0 if found.unsigned else 1
        bits = max(value, -value - 1).bit_length() + sign
        return next(size for size in (8, 16, 32, 64) if bits <= size)

    @kernel_function("prop_bool_t prop_bool_create(bool value)")
    def prop_bool_create(self, value: bool) -> int:
        return self._lib.truth(value).at

    @kernel_function("bool prop_bool_true(prop_bool_t pb)")
    def prop_bool_true(self, address: int) -> bool:
        found = self._lib.find("prop_bool_true", address, BOOL)
        return found is not None and found.value is True
