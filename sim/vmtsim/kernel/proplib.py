"""proplib(3) in the kernel: property objects, their reference counts, and their containers.

An object is a handle, an address that only these functions understand.  Numbers and strings of the
same value are different objects here; NetBSD shares one object.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vmtgen.common.dataclass import dataclass, field

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.kernobj import KernelObject
from vmtsim.kernel.live import LiveObjects, Words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from vmtsim.kernel.kernel import Kernel

Value = bool | int | str

# prop_type_t of common/include/prop/prop_object.h: four letters each.
UNKNOWN, BOOL, NUMBER, STRING, DATA = 0, 0x626F6F6C, 0x6E6D6272, 0x73746E67, 0x64617461
ARRAY, DICTIONARY, KEY = 0x61726179, 0x64696374, 0x646B6579
_NAMES = {
    BOOL: "bool", NUMBER: "number", STRING: "string", DATA: "data", ARRAY: "array",
    DICTIONARY: "dictionary", KEY: "key",
}  # fmt: skip
_FIRST_CAPACITY = 16  # EXPAND_STEP


@dataclass(eq=False)
class Property:
    """A property object.

    ``value`` is a bool, an int, bytes (string, data, key), a list of properties, or a dict of them
    by their keys.  ``references`` are all, ``contained`` those of arrays and dictionaries.
    """

    type: int
    value: Any
    made_at: int
    object: KernelObject
    references: int = 1
    contained: int = 0
    immutable: bool = False
    unsigned: bool = False
    version: int = 0
    capacity: int = 0
    content: int = 0  # where the bytes are
    of_module: bool = False  # the bytes are in a module
    copy: KernelObject | None = None  # the memory of the bytes, where it is the object's own
    keys: dict[bytes, Property] = field(default_factory=dict)

    @property
    def at(self) -> int:
        """The handle: the address by which a module names the object."""
        return self.object.at


@dataclass(eq=False)
class _Iterator:
    """A prop_object_iterator_t over the keys of a dictionary, or the objects of an array."""

    made_at: int
    over: Property
    object: KernelObject
    version: int
    place: int = 0


class PropLib(Subject):
    """All property objects by their handles."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "common/lib/libprop/prop_dictionary.c 1.39": "*",
        "common/include/prop/prop_dictionary.h of 2025": "prop_dictionary_keysym_value",
        "common/lib/libprop/prop_array.c 1.21": (
            "prop_array_create prop_array_create_with_capacity prop_array_copy "
            "prop_array_copy_mutable prop_array_count prop_array_capacity "
            "prop_array_ensure_capacity prop_array_make_immutable prop_array_mutable "
            "prop_array_iterator prop_array_get prop_array_set prop_array_add prop_array_remove "
            "prop_array_equals"
        ),
        "common/lib/libprop/prop_object.c 1.30": (
            "prop_object_type prop_object_retain prop_object_release prop_object_equals "
            "prop_object_iterator_next prop_object_iterator_reset prop_object_iterator_release"
        ),
        "sys/kern/subr_device.c 1.14": "device_properties",
    }
    # The locks are those of each object, which holds nothing of a module.
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "prop_dictionary_get prop_dictionary_set prop_dictionary_remove"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._objects: dict[int, Property] = {}
        self._bools: dict[bool, Property] = {}
        self._devices: dict[int, Property] = {}  # device_properties(9), by device_t
        self._iterators: LiveObjects[_Iterator] = LiveObjects(
            self, Words("property iterator", "made", "released"), unknown="prop-object", left="leak"
        )

    # -- objects -----------------------------------------------------------------------------

    def make(self, kind: int, value: Any, *, own: bool = False, unsigned: bool = False) -> Property:
        """Return a new object with one reference; ``own``: it is the kernel's."""
        kernel = self.kernel
        shown = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
        what = _NAMES[kind] if kind in {ARRAY, DICTIONARY} else f"{_NAMES[kind]} {shown!r}"
        if kind == DICTIONARY:
            what = "property dictionary of modload" if own else "property dictionary"
        elif own:
            what += " of modload's dictionary" if kind != KEY else " of a dictionary"
        made = KernelObject(kernel, 64, what)
        site = 0 if own else kernel.call_site
        found = Property(kind, value, site, made, unsigned=unsigned)
        self._objects[made.at] = found
        return found

    def truth(self, value: bool) -> Property:
        """Return the only object for true or for false, which is never freed."""
        if value not in self._bools:
            self._bools[value] = self.make(BOOL, value, own=True)
        return self._bools[value]

    def with_bytes(self, kind: int, value: bytes, *, own: bool = False, at: int = 0) -> Property:
        """Return a string or data object: with a copy of the bytes, or those at ``at``."""
        found = self.make(kind, value, own=own)
        content = value + b"\0" if kind != DATA else value
        if not at and content:
            found.copy = KernelObject(self.kernel, len(content), found.object.what)
            self.kernel.memory.write(found.copy.at, content)
        found.content = at or (found.copy.at if found.copy else 0)
        found.of_module = bool(at) and self.kernel.loaded_at(at) is not None
        return found

    def new(self, content: Mapping[str, Value]) -> int:
        """Return a handle for a dictionary of the kernel's own: the options of modload(8)."""
        made = self.make(DICTIONARY, {}, own=True)
        for name, value in content.items():
            if isinstance(value, bool):
                each = self.truth(value)
            elif isinstance(value, int):
                each = self.make(NUMBER, value, own=True)
            else:
                each = self.with_bytes(STRING, value.encode("utf-8"), own=True)
            self.store(made, name.encode("utf-8"), each)
            self.drop("modload", each)
        return made.at

    def release(self, address: int) -> None:
        """Release the reference of ``new`` (prop_object_release)."""
        self.drop("prop_object_release", self._objects[address])

    def find(self, function: str, address: int, kind: int = 0) -> Property | None:
        """Return an object; None for NULL, or if it is not of the given kind."""
        if not address:
            return None
        found = self._objects.get(address)
        if found is None:
            kernel = self.kernel
            kernel.memory.pointer(address)
            kernel.panic(
                "prop-object",
                f"{function} by {kernel.where()}: {kernel.describe(address)} is not a property",
            )
        return found if kind in {0, found.type} else None

    def _needed(self, function: str, address: int) -> Property:
        """Return an object; panic for NULL (_PROP_ASSERT)."""
        found = self.find(function, address)
        if found is None:
            kernel = self.kernel
            kernel.panic("prop-object", f"{function} by {kernel.where()}: no object, but NULL")
        return found

    def keep(self, found: Property) -> Property:
        """Add a reference of a container."""
        found.references += 1
        found.contained += 1
        return found

    def release_contained(self, function: str, found: Property) -> None:
        """Remove a container's reference."""
        found.contained -= 1
        self.drop(function, found)

    def drop(self, function: str, found: Property) -> None:
        """Drop a reference, and free an object without references."""
        if found.type == BOOL:
            return
        kernel = self.kernel
        if found.references - 1 < found.contained:
            kernel.violation(
                "prop-released",
                f"{function} by {kernel.where()}: the {found.object.what} is in "
                f"{found.contained} arrays or dictionaries, and the module has no reference",
            )
            return
        found.references -= 1
        if found.references:
            return
        del self._objects[found.at]
        if found.type == ARRAY:
            for each in found.value:
                self.release_contained(function, each)
        if found.type == DICTIONARY:
            for each in (*found.value.values(), *found.keys.values()):
                self.release_contained(function, each)
        if found.copy is not None:
            found.copy.free(function)
        found.object.free(function)

    def check_unload(self, module: str) -> None:
        """Report objects of a module with references, and objects that point into the module."""
        super().check_unload(module)
        kernel = self.kernel
        for found in list(self._objects.values()):
            if not found.made_at or kernel.loaded_at(found.made_at) is not None:
                continue
            place = kernel.location(found.made_at)
            if found.references > found.contained:
                kernel.violation(
                    "prop-left",
                    f"module {module} is unloaded, but the {found.object.what} made by {place} was "
                    "not released",
                    place,
                )
            found.made_at = 0
            if found.of_module and kernel.loaded_at(found.content) is None:
                kernel.violation(
                    "prop-nocopy",
                    f"module {module} is unloaded, but the {found.object.what} made by {place} is "
                    "in a dictionary, and its bytes were the module's",
                    place,
                )

    @kernel_function("int prop_object_type(prop_object_t obj)")
    def prop_object_type(self, address: int) -> int:
        found = self.find("prop_object_type", address)
        return UNKNOWN if found is None else found.type

    @kernel_function("void prop_object_retain(prop_object_t obj)")
    def prop_object_retain(self, address: int) -> None:
        self._needed("prop_object_retain", address).references += 1

    @kernel_function("void prop_object_release(prop_object_t obj)")
    def prop_object_release(self, address: int) -> None:
        self.drop("prop_object_release", self._needed("prop_object_release", address))

    @kernel_function("bool prop_object_equals(prop_object_t obj1, prop_object_t obj2)")
    @kernel_function("bool prop_array_equals(prop_array_t a1, prop_array_t a2)")
    @kernel_function("bool prop_dictionary_equals(prop_dictionary_t d1, prop_dictionary_t d2)")
    def prop_object_equals(self, first: int, second: int) -> bool:
        one, other = (self.find("prop_object_equals", each) for each in (first, second))
        return one is not None and other is not None and self._equal(one, other)

    def _equal(self, one: Property, other: Property) -> bool:
        if one.type != other.type:
            return False
        if one.type == ARRAY:
            return len(one.value) == len(other.value) and all(
                self._equal(*each) for each in zip(one.value, other.value, strict=True)
            )
        if one.type == DICTIONARY:
            return set(one.value) == set(other.value) and all(
                self._equal(each, other.value[name]) for name, each in one.value.items()
            )
        return bool(one.value == other.value)

    # -- dictionaries ----------------------------------------------------------------------------

    def store(self, dictionary: Property, name: bytes, found: Property) -> bool:
        """Let a dictionary refer to an object; returns whether the dictionary may be changed."""
        if dictionary.immutable:
            return False
        old = dictionary.value.get(name)
        dictionary.value[name] = self.keep(found)
        if old is not None:
            self.release_contained("prop_dictionary_set", old)
            return True
        key = self.with_bytes(KEY, name, own=True)
        dictionary.keys[name] = self.keep(key)
        self.drop("prop_dictionary_set", key)
        dictionary.version += 1
        return True

    @kernel_function("prop_dictionary_t prop_dictionary_create(void)")
    def prop_dictionary_create(self) -> int:
        self.kernel.rules.may_sleep("prop_dictionary_create")
        return self.make(DICTIONARY, {}).at

    @kernel_function("prop_dictionary_t prop_dictionary_create_with_capacity(u_int capacity)")
    def prop_dictionary_create_with_capacity(self, capacity: int) -> int:
        del capacity
        return self.prop_dictionary_create()

    def _copied(self, function: str, address: int, kind: int, *, mutable: bool) -> int:
        """Copy a container: the copy refers to the same objects."""
        self.kernel.rules.may_sleep(function)
        found = self.find(function, address, kind)
        if found is None:
            return 0
        made = self.make(kind, [] if kind == ARRAY else {})
        if kind == ARRAY:
            made.value = [self.keep(each) for each in found.value]
            made.capacity = len(made.value)
        else:
            made.value = {name: self.keep(each) for name, each in found.value.items()}
            made.keys = {name: self.keep(each) for name, each in found.keys.items()}
        made.immutable = found.immutable and not mutable
        return made.at

    @kernel_function("prop_dictionary_t prop_dictionary_copy(prop_dictionary_t pd)")
    def prop_dictionary_copy(self, address: int) -> int:
        return self._copied("prop_dictionary_copy", address, DICTIONARY, mutable=False)

    @kernel_function("prop_dictionary_t prop_dictionary_copy_mutable(prop_dictionary_t pd)")
    def prop_dictionary_copy_mutable(self, address: int) -> int:
        return self._copied("prop_dictionary_copy_mutable", address, DICTIONARY, mutable=True)

    @kernel_function("u_int prop_dictionary_count(prop_dictionary_t pd)")
    @kernel_function("u_int prop_array_count(prop_array_t pa)")
    def prop_array_count(self, address: int) -> int:
        found = self.find("prop_array_count", address)
        return len(found.value) if found is not None and found.type in {ARRAY, DICTIONARY} else 0

    @kernel_function("bool prop_dictionary_ensure_capacity(prop_dictionary_t pd, u_int capacity)")
    @kernel_function("bool prop_array_ensure_capacity(prop_array_t pa, u_int capacity)")
    def prop_array_ensure_capacity(self, address: int, capacity: int) -> bool:
        found = self.find("prop_array_ensure_capacity", address)
        if found is None or found.type not in {ARRAY, DICTIONARY}:
            return False
        found.capacity = max(found.capacity, capacity)
        return True

    @kernel_function("void prop_dictionary_make_immutable(prop_dictionary_t pd)")
    @kernel_function("void prop_array_make_immutable(prop_array_t pa)")
    def prop_array_make_immutable(self, address: int) -> None:
        self._needed("prop_array_make_immutable", address).immutable = True

    @kernel_function("bool prop_array_mutable(prop_array_t pa)")
    def prop_array_mutable(self, address: int) -> bool:
        return not self._needed("prop_array_mutable", address).immutable

    def at_key(self, function: str, dictionary: int, name: bytes) -> Property | None:
        """Look a key up; a null dictionary holds nothing."""
        found = self.find(function, dictionary, DICTIONARY)
        return None if found is None else found.value.get(name)

    @kernel_function("prop_object_t prop_dictionary_get(prop_dictionary_t pd, const void *key)")
    def prop_dictionary_get(self, dictionary: int, key: int) -> int:
        """Return the value, which the dictionary keeps; NULL if it lacks the key."""
        name = self.kernel.memory.cstring(key)
        found = self.at_key("prop_dictionary_get", dictionary, name)
        return 0 if found is None else found.at

    @kernel_function(
        "bool prop_dictionary_set(prop_dictionary_t pd, const void *key, prop_object_t po)"
    )
    def prop_dictionary_set(self, dictionary: int, key: int, address: int) -> bool:
        function = "prop_dictionary_set"
        self.kernel.rules.may_sleep(function)
        found = self.find(function, dictionary, DICTIONARY)
        name = self.kernel.memory.cstring(key)
        return found is not None and self.store(found, name, self._needed(function, address))

    @kernel_function("void prop_dictionary_remove(prop_dictionary_t pd, const void *key)")
    def prop_dictionary_remove(self, dictionary: int, key: int) -> None:
        self._removed("prop_dictionary_remove", dictionary, self.kernel.memory.cstring(key))

    def _removed(self, function: str, dictionary: int, name: bytes) -> None:
        self.kernel.rules.may_sleep(function)
        found = self.find(function, dictionary, DICTIONARY)
        if found is None or found.immutable or name not in found.value:
            return
        found.version += 1
        for each in (found.value.pop(name), found.keys.pop(name)):
            self.release_contained(function, each)

    @kernel_function("prop_array_t prop_dictionary_all_keys(prop_dictionary_t pd)")
    def prop_dictionary_all_keys(self, dictionary: int) -> int:
        function = "prop_dictionary_all_keys"
        self.kernel.rules.may_sleep(function)
        found = self.find(function, dictionary, DICTIONARY)
        if found is None:
            return 0
        made = self.make(ARRAY, [])
        made.value = [self.keep(found.keys[name]) for name in sorted(found.keys)]
        return made.at

    def _key(self, function: str, address: int) -> bytes | None:
        found = self.find(function, address, KEY)
        return None if found is None else found.value

    @kernel_function(
        "prop_object_t prop_dictionary_get_keysym(prop_dictionary_t pd, prop_object_t key)"
    )
    def prop_dictionary_get_keysym(self, dictionary: int, address: int) -> int:
        name = self._key("prop_dictionary_get_keysym", address)
        found = name is not None and self.at_key("prop_dictionary_get_keysym", dictionary, name)
        return found.at if isinstance(found, Property) else 0

    @kernel_function(
        "bool prop_dictionary_set_keysym(prop_dictionary_t pd, prop_object_t key, prop_object_t po)"
    )
    def prop_dictionary_set_keysym(self, dictionary: int, key: int, address: int) -> bool:
        function = "prop_dictionary_set_keysym"
        name, found = self._key(function, key), self.find(function, dictionary, DICTIONARY)
        if name is None or found is None:
            return False
        return self.store(found, name, self._needed(function, address))

    @kernel_function("void prop_dictionary_remove_keysym(prop_dictionary_t pd, prop_object_t key)")
    def prop_dictionary_remove_keysym(self, dictionary: int, key: int) -> None:
        name = self._key("prop_dictionary_remove_keysym", key)
        if name is not None:
            self._removed("prop_dictionary_remove_keysym", dictionary, name)

    @kernel_function("const char *prop_dictionary_keysym_value(prop_object_t key)")
    @kernel_function("const char *prop_dictionary_keysym_cstring_nocopy(prop_object_t key)")
    def prop_dictionary_keysym_value(self, address: int) -> int:
        found = self.find("prop_dictionary_keysym_value", address, KEY)
        return 0 if found is None else found.content

    @kernel_function("prop_dictionary_t device_properties(device_t dev)")
    def device_properties(self, device: int) -> int:
        """Each device has a dictionary, which the kernel keeps."""
        if device not in self._devices:
            self._devices[device] = self.make(DICTIONARY, {}, own=True)
        return self._devices[device].at

    # -- arrays ----------------------------------------------------------------------------------

    @kernel_function("prop_array_t prop_array_create(void)")
    def prop_array_create(self) -> int:
        self.kernel.rules.may_sleep("prop_array_create")
        return self.make(ARRAY, []).at

    @kernel_function("prop_array_t prop_array_create_with_capacity(u_int capacity)")
    def prop_array_create_with_capacity(self, capacity: int) -> int:
        self.kernel.rules.may_sleep("prop_array_create_with_capacity")
        made = self.make(ARRAY, [])
        made.capacity = capacity
        return made.at

    @kernel_function("prop_array_t prop_array_copy(prop_array_t pa)")
    def prop_array_copy(self, address: int) -> int:
        return self._copied("prop_array_copy", address, ARRAY, mutable=False)

    @kernel_function("prop_array_t prop_array_copy_mutable(prop_array_t pa)")
    def prop_array_copy_mutable(self, address: int) -> int:
        return self._copied("prop_array_copy_mutable", address, ARRAY, mutable=True)

    @kernel_function("u_int prop_array_capacity(prop_array_t pa)")
    def prop_array_capacity(self, address: int) -> int:
        found = self.find("prop_array_capacity", address, ARRAY)
        return 0 if found is None else found.capacity

    def at_index(self, function: str, array: int, index: int) -> Property | None:
        """Return an object of an array; None after its end."""
        found = self.find(function, array, ARRAY)
        return found.value[index] if found is not None and index < len(found.value) else None

    @kernel_function("prop_object_t prop_array_get(prop_array_t pa, u_int idx)")
    def prop_array_get(self, array: int, index: int) -> int:
        found = self.at_index("prop_array_get", array, index)
        return 0 if found is None else found.at

    def put(self, function: str, array: int, index: int | None, found: Property) -> bool:
        """Let an array refer to an object at an index, or (None) after the last."""
        kernel = self.kernel
        kernel.rules.may_sleep(function)
        place = self.find(function, array, ARRAY)
        if place is None or place.immutable:
            return False
        count = len(place.value)
        if index is not None and index > count:
            kernel.panic(
                "prop-index",
                f"{function} by {kernel.where()}: index {index} of an array with {count} objects",
            )
        place.version += 1
        if index is not None and index < count:
            old, place.value[index] = place.value[index], self.keep(found)
            self.release_contained(function, old)
            return True
        if count >= place.capacity:
            place.capacity += _FIRST_CAPACITY
        place.value.append(self.keep(found))
        return True

    @kernel_function("bool prop_array_set(prop_array_t pa, u_int idx, prop_object_t po)")
    def prop_array_set(self, array: int, index: int, address: int) -> bool:
        return self.put("prop_array_set", array, index, self._needed("prop_array_set", address))

    @kernel_function("bool prop_array_add(prop_array_t pa, prop_object_t po)")
    def prop_array_add(self, array: int, address: int) -> bool:
        return self.put("prop_array_add", array, None, self._needed("prop_array_add", address))

    @kernel_function("void prop_array_remove(prop_array_t pa, u_int idx)")
    def prop_array_remove(self, array: int, index: int) -> None:
        kernel, function = self.kernel, "prop_array_remove"
        found = self.find(function, array, ARRAY)
        if found is None:
            return
        if index >= len(found.value):
            kernel.panic(
                "prop-index",
                f"{function} by {kernel.where()}: index {index} of an array with "
                f"{len(found.value)} objects",
            )
        if not found.immutable:
            found.version += 1
            self.release_contained(function, found.value.pop(index))

    # -- iterators ---------------------------------------------------------------------------

    @kernel_function("prop_object_t prop_dictionary_iterator(prop_dictionary_t pd)")
    def prop_dictionary_iterator(self, dictionary: int) -> int:
        return self._iterate("prop_dictionary_iterator", dictionary, DICTIONARY)

    @kernel_function("prop_object_t prop_array_iterator(prop_array_t pa)")
    def prop_array_iterator(self, array: int) -> int:
        return self._iterate("prop_array_iterator", array, ARRAY)

    def _iterate(self, function: str, address: int, kind: int) -> int:
        over = self.find(function, address, kind)
        if over is None:
            return 0
        over.references += 1
        made = KernelObject(self.kernel, 64, "property iterator")
        found = _Iterator(self.kernel.call_site, over, made, over.version)
        self._iterators.add(function, made.at, found)
        return made.at

    @kernel_function("prop_object_t prop_object_iterator_next(prop_object_t pi)")
    def prop_object_iterator_next(self, address: int) -> int:
        """Return the next object, or key by the order of the names; NULL at the end.

        NULL, too, if an object was added to its container, or removed, since the iterator began.
        """
        iterator = self._iterators.find("prop_object_iterator_next", address)
        over = iterator.over
        if over.version != iterator.version or iterator.place >= len(over.value):
            return 0
        iterator.place += 1
        if over.type == ARRAY:
            return int(over.value[iterator.place - 1].at)
        return over.keys[sorted(over.keys)[iterator.place - 1]].at

    @kernel_function("void prop_object_iterator_reset(prop_object_t pi)")
    def prop_object_iterator_reset(self, address: int) -> None:
        iterator = self._iterators.find("prop_object_iterator_reset", address)
        iterator.place, iterator.version = 0, iterator.over.version

    @kernel_function("void prop_object_iterator_release(prop_object_t pi)")
    def prop_object_iterator_release(self, address: int) -> None:
        function = "prop_object_iterator_release"
        iterator = self._iterators.find(function, address)
        self._iterators.remove(address)
        iterator.object.free(function)
        self.drop(function, iterator.over)
