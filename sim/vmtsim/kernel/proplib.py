"""proplib(3) in the kernel: the dictionary that modload's options become.

The value that a module gets by prop_dictionary_get(3) or an iterator is also a handle: the
dictionary owns it, and it is freed with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.live import LiveObjects, Words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel

Value = bool | int | str

# prop_type_t of common/include/prop/prop_object.h: four letters each.
_UNKNOWN, _BOOL, _NUMBER, _STRING = 0, 0x626F6F6C, 0x6E6D6272, 0x73746E67
_DICTIONARY, _KEY = 0x64696374, 0x646B6579


@dataclass(frozen=True)
class _Key:
    """A prop_dictionary_keysym_t."""

    name: str


@dataclass(eq=False)
class _Iterator:
    """A prop_object_iterator_t over the keys of a dictionary."""

    made_at: int
    dictionary: int
    object: KernelObject
    place: int = 0


class PropLib(Subject):
    """Dictionaries as handles: addresses that only these functions understand."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "common/lib/libprop/prop_dictionary_util.c 1.9.8.1": "*",
        "common/lib/libprop/prop_dictionary.c 1.39": (
            "prop_dictionary_get prop_dictionary_get_keysym prop_dictionary_iterator"
        ),
        "common/include/prop/prop_dictionary.h of 2025": "prop_dictionary_keysym_value",
        "common/lib/libprop/prop_object.c 1.30": (
            "prop_object_type prop_object_iterator_next prop_object_iterator_release"
        ),
        "common/lib/libprop/prop_string.c 1.18.2.1": "prop_string_value prop_string_cstring_nocopy",
        "common/include/prop/prop_number.h of 2025": "prop_number_signed_value",
        "common/lib/libprop/prop_bool.c 1.17": "prop_bool_true",
    }
    # The locks are those of each object, which holds nothing of a module.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = (
        "prop_dictionary_get_bool prop_dictionary_get_cstring_nocopy "
        "prop_dictionary_get_int prop_dictionary_get_int32 prop_dictionary_get_int64 "
        "prop_dictionary_get_string prop_dictionary_get_uint prop_dictionary_get_uint32 "
        "prop_dictionary_get_uint64"
    )

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._dictionaries: dict[int, Mapping[str, Value]] = {}
        self._objects: dict[int, list[KernelObject]] = {}  # a dictionary, then its strings
        self._released: set[int] = set()  # referenced only by an iterator
        self._values: dict[int, Value | _Key] = {}  # by the handle that a module got
        self._texts: dict[tuple[int, str], int] = {}
        self._handles: dict[tuple[int, str, bool], int] = {}  # (dictionary, key, keysym)
        self._iterators: LiveObjects[_Iterator] = LiveObjects(
            self, Words("property iterator", "made", "released"), unknown="prop-object", left="leak"
        )

    def new(self, content: Mapping[str, Value]) -> int:
        """Return a handle for a dictionary."""
        made = KernelObject(self.kernel, 64, "property dictionary of modload")
        self._dictionaries[made.at] = dict(content)
        self._objects[made.at] = [made]
        return made.at

    def release(self, address: int) -> None:
        """Free a dictionary and its strings (prop_object_release), after its last iterator."""
        if any(each.dictionary == address for each in self._iterators.values()):
            self._released.add(address)
            return
        self._released.discard(address)
        del self._dictionaries[address]
        for owner in [each for each in self._handles if each[0] == address]:
            del self._values[self._handles.pop(owner)]
        for known in [each for each in self._texts if each[0] == address]:
            del self._texts[known]
        for each in self._objects.pop(address):
            each.free("prop_object_release")

    def _get(self, dictionary: int, key: str | None) -> Value | None:
        """Look up a key; a null dictionary is empty, as in prop_dictionary_get.

        Source: NetBSD common/lib/libprop/prop_dictionary.c.  For other memory the kernel does the
        same, after reading a pointer there: no driver intends that.
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
                "is not a dictionary",
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
        """Store a number; one that the type cannot hold counts as missing, and is not stored."""
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

    # -- objects -----------------------------------------------------------------------------

    def _handle(self, dictionary: int, key: str, *, keysym: bool) -> int:
        """Return the handle of a value, or of a key itself."""
        found = self._handles.get((dictionary, key, keysym))
        if found is None:
            what = "key" if keysym else "value"
            made = KernelObject(self.kernel, 64, f"{what} {key!r} of modload's dictionary")
            self._objects[dictionary].append(made)
            found = self._handles[dictionary, key, keysym] = made.at
            self._values[found] = _Key(key) if keysym else self._dictionaries[dictionary][key]
        return found

    def _value(self, function: str, address: int) -> Value | _Key:
        """Return the value of a handle."""
        if address not in self._values:
            kernel = self.kernel
            kernel.memory.pointer(address)
            kernel.panic(
                "prop-object",
                f"{function} by {kernel.where()}: {kernel.describe(address)} is not a property",
            )
        return self._values[address]

    def _text(self, content: str, dictionary: int) -> int:
        """Return the text of an object: the same address each time."""
        if (dictionary, content) not in self._texts:
            data = content.encode("utf-8") + b"\0"
            what = f"string {content!r} of modload's dictionary"
            text = KernelObject(self.kernel, len(data), what)
            self.kernel.memory.write(text.at, data)
            self._objects[dictionary].append(text)
            self._texts[dictionary, content] = text.at
        return self._texts[dictionary, content]

    def _dictionary_of(self, address: int) -> int:
        return next(owner[0] for owner, handle in self._handles.items() if handle == address)

    @kernel_function("prop_object_t prop_dictionary_get(prop_dictionary_t pd, const char *key)")
    def prop_dictionary_get(self, dictionary: int, key: str | None) -> int:
        """Return the value, which the dictionary owns; NULL if the key is missing."""
        if self._get(dictionary, key) is None:
            return 0
        return self._handle(dictionary, key or "", keysym=False)

    @kernel_function("int prop_object_type(prop_object_t obj)")
    def prop_object_type(self, address: int) -> int:
        if not address:
            return _UNKNOWN
        if address in self._dictionaries:
            return _DICTIONARY
        value = self._value("prop_object_type", address)
        if isinstance(value, _Key):
            return _KEY
        if isinstance(value, bool):
            return _BOOL
        return _NUMBER if isinstance(value, int) else _STRING

    @kernel_function("const char *prop_string_value(prop_string_t ps)")
    @kernel_function("const char *prop_string_cstring_nocopy(prop_string_t ps)")
    def prop_string_value(self, address: int) -> int:
        """NULL for an object that is not a string."""
        value = self._value("prop_string_value", address) if address else None
        return self._text(value, self._dictionary_of(address)) if isinstance(value, str) else 0

    @kernel_function("int64_t prop_number_signed_value(prop_number_t pn)")
    def prop_number_signed_value(self, address: int) -> int:
        """0 for an object that is not a number."""
        value = self._value("prop_number_signed_value", address) if address else None
        return value if isinstance(value, int) and not isinstance(value, bool) else 0

    @kernel_function("bool prop_bool_true(prop_bool_t pb)")
    def prop_bool_true(self, address: int) -> bool:
        return self._value("prop_bool_true", address) is True if address else False

    # -- iterators ---------------------------------------------------------------------------

    @kernel_function("prop_object_t prop_dictionary_iterator(prop_dictionary_t pd)")
    def prop_dictionary_iterator(self, dictionary: int) -> int:
        if dictionary not in self._dictionaries:
            return 0
        made = KernelObject(self.kernel, 64, "property iterator")
        found = _Iterator(self.kernel.call_site, dictionary, made)
        self._iterators.add("prop_dictionary_iterator", made.at, found)
        return made.at

    @kernel_function("prop_object_t prop_object_iterator_next(prop_object_t pi)")
    def prop_object_iterator_next(self, address: int) -> int:
        """Return the next key, sorted by name; NULL after the last."""
        iterator = self._iterators.find("prop_object_iterator_next", address)
        keys = sorted(self._dictionaries[iterator.dictionary])
        iterator.place += 1
        if iterator.place > len(keys):
            return 0
        return self._handle(iterator.dictionary, keys[iterator.place - 1], keysym=True)

    @kernel_function("void prop_object_iterator_release(prop_object_t pi)")
    def prop_object_iterator_release(self, address: int) -> None:
        iterator = self._iterators.find("prop_object_iterator_release", address)
        self._iterators.remove(address)
        iterator.object.free("prop_object_iterator_release")
        if iterator.dictionary in self._released:
            self.release(iterator.dictionary)

    @kernel_function(
        "prop_object_t prop_dictionary_get_keysym(prop_dictionary_t pd, prop_object_t key)"
    )
    def prop_dictionary_get_keysym(self, dictionary: int, address: int) -> int:
        key = self._value("prop_dictionary_get_keysym", address)
        return self.prop_dictionary_get(dictionary, key.name) if isinstance(key, _Key) else 0

    @kernel_function("const char *prop_dictionary_keysym_value(prop_object_t key)")
    def prop_dictionary_keysym_value(self, address: int) -> int:
        key = self._value("prop_dictionary_keysym_value", address)
        return self._text(key.name, self._dictionary_of(address)) if isinstance(key, _Key) else 0
