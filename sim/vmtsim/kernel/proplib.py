"""proplib(3) in the kernel: the dictionary that modload's options become."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.kernobj import KernelObject

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel

Value = bool | int | str


class PropLib(Subject):
    """Dictionaries as handles: an address that only these functions understand."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "common/lib/libprop/prop_dictionary_util.c 1.9.8.1": "*"
    }

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._dictionaries: dict[int, Mapping[str, Value]] = {}
        self._objects: dict[int, list[KernelObject]] = {}  # a dictionary, then its strings

    def new(self, content: Mapping[str, Value]) -> int:
        """Return a handle for a dictionary."""
        made = KernelObject(self.kernel, 64, "property dictionary of modload")
        self._dictionaries[made.at] = dict(content)
        self._objects[made.at] = [made]
        return made.at

    def release(self, address: int) -> None:
        """Free a dictionary and its strings (prop_object_release)."""
        del self._dictionaries[address]
        for each in self._objects.pop(address):
            each.free("prop_object_release")

    def _get(self, dictionary: int, key: str | None) -> Value | None:
        """Look a key up; a null dictionary holds nothing, as in prop_dictionary_get.

        Source: NetBSD common/lib/libprop/prop_dictionary.c.  Of memory that is something else the
        kernel says the same, after it has read a pointer there: no driver means that.
        """
        if not dictionary:
            return None
        content = self._dictionaries.get(dictionary)
        if content is None:
            kernel = self.kernel
            kernel.memory.pointer(dictionary)
            kernel.panic(
                "prop-object",
                f"{key!r} is looked up by {kernel.where()} in {kernel.describe(dictionary)}, which "
                "is no dictionary",
            )
        return content.get(key or "")

    @kernel_function("bool prop_dictionary_get_bool(prop_dictionary_t d, const char *key, bool *v)")
    def get_bool(self, dictionary: int, key: str | None, where: int) -> bool:
        value = self._get(dictionary, key)
        if not isinstance(value, bool):
            return False
        self.kernel.memory.put_u8(where, value)
        return True

    def _integer(
        self, dictionary: int, key: str | None, where: int, size: int, *, signed: bool
    ) -> bool:
        """Store a number; one that the type cannot hold is none, and ``where`` stays."""
        value = self._get(dictionary, key)
        if isinstance(value, bool) or not isinstance(value, int):
            return False
        try:
            content = value.to_bytes(size, "little", signed=signed)
        except OverflowError:
            return False
        self.kernel.memory.write(where, content)
        return True

    @kernel_function(
        "bool prop_dictionary_get_int64(prop_dictionary_t d, const char *k, int64_t *v)"
    )
    def get_int64(self, dictionary: int, key: str | None, where: int) -> bool:
        return self._integer(dictionary, key, where, 8, signed=True)

    @kernel_function("bool prop_dictionary_get_uint64(prop_dictionary_t d, const char *k, void *v)")
    def get_uint64(self, dictionary: int, key: str | None, where: int) -> bool:
        return self._integer(dictionary, key, where, 8, signed=False)

    @kernel_function("bool prop_dictionary_get_int32(prop_dictionary_t d, const char *k, void *v)")
    @kernel_function("bool prop_dictionary_get_int(prop_dictionary_t d, const char *k, int *v)")
    def get_int(self, dictionary: int, key: str | None, where: int) -> bool:
        return self._integer(dictionary, key, where, 4, signed=True)

    @kernel_function("bool prop_dictionary_get_uint32(prop_dictionary_t d, const char *k, void *v)")
    @kernel_function("bool prop_dictionary_get_uint(prop_dictionary_t d, const char *k, void *v)")
    def get_uint(self, dictionary: int, key: str | None, where: int) -> bool:
        return self._integer(dictionary, key, where, 4, signed=False)

    @kernel_function(
        "bool prop_dictionary_get_string(prop_dictionary_t d, const char *key, const char **v)"
    )
    @kernel_function(
        "bool prop_dictionary_get_cstring_nocopy(prop_dictionary_t d, const char *k, char **v)"
    )
    def get_string(self, dictionary: int, key: str | None, where: int) -> bool:
        value = self._get(dictionary, key)
        if not isinstance(value, str):
            return False
        content = value.encode("utf-8") + b"\0"
        text = KernelObject(self.kernel, len(content), f"string {value!r} of modload's dictionary")
        self.kernel.memory.write(text.at, content)
        self._objects[dictionary].append(text)
        self.kernel.memory.put_pointer(where, text.at)
        return True
