"""The short forms of proplib(3): typed get and set for dictionaries and arrays.

Each family is one function of common/lib/libprop/prop_dictionary_util.c and prop_array_util.c for
each type: prop_dictionary_get_int8(3), prop_array_add_uint64(3) and so on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.proplib import BOOL, DATA, DICTIONARY, NUMBER, STRING, Property, PropLib

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from vmtsim.kernel.kernel import Kernel

# The types of both containers, and those of dictionaries alone: bytes, and whether there is a sign.
# The functions are those in the list of names that a kernel of 10.99.12 exports.
_NUMBERS = {
    f"{'' if signed else 'u'}int{8 * size}": (size, signed)
    for size in (1, 2, 4, 8)
    for signed in (True, False)
}
_OF_DICTIONARIES = {"int": (4, True), "uint": (4, False)}
_PLACES = {
    "dictionary": "prop_dictionary_t d, const void *key",
    "array": "prop_array_t a, u_int index",
}


class PropUtil(Subject):
    """The families, for values in a dictionary at a key and in an array at an index."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "common/include/prop/prop_dictionary.h of 2025": "*",
        "common/include/prop/prop_array.h of 2025": " ".join(
            f"prop_array_{verb}_{name}"
            for name in (*_NUMBERS, "bool", "string", "cstring", "cstring_nocopy", "and_rel")
            for verb in ("get", "set", "add")
            if (verb, name) not in {
                ("add", "bool"), ("get", "cstring"), ("get", "and_rel"), ("set", "and_rel"),
            }
        ),
    }  # fmt: skip
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    def __init__(self, kernel: Kernel) -> None:
        super().__init__(kernel)
        self._lib = kernel.subject(PropLib)

    def found(self, function: str, container: int, place: int) -> Property | None:
        """Return the object at a key or an index."""
        if function.startswith("prop_array_"):
            return self._lib.at_index(function, container, place)
        return self._lib.at_key(function, container, self.kernel.memory.cstring(place))

    def put(self, function: str, container: int, place: int | None, made: Property) -> bool:
        """Put a new object into a container; free the object if that fails."""
        lib = self._lib
        if function.startswith("prop_array_"):
            done = lib.put(function, container, place, made)
        else:
            self.kernel.rules.may_sleep(function)
            dictionary = lib.find(function, container, DICTIONARY)
            name = self.kernel.memory.cstring(place or 0)
            done = dictionary is not None and lib.store(dictionary, name, made)
        lib.drop(function, made)
        return done

    def get_number(
        self, function: str, container: int, place: int, where: int, size: int, *, signed: bool
    ) -> bool:
        """Store a number, unless the type cannot hold it."""
        found = self.found(function, container, place)
        if found is None or found.type != NUMBER:
            return False
        try:
            content = int(found.value).to_bytes(size, "little", signed=signed)
        except OverflowError:
            return False
        self.kernel.memory.write(where, content)
        return True

    def get_bool(self, function: str, container: int, place: int, where: int) -> bool:
        """Store a bool."""
        found = self.found(function, container, place)
        if found is None or found.type != BOOL:
            return False
        self.kernel.memory.put_u8(where, found.value)
        return True

    def get_bytes(
        self, function: str, container: int, place: int, where: int, size_at: int, kind: int
    ) -> bool:
        """Store where the bytes of a string or of data are, and how many."""
        found = self.found(function, container, place)
        if found is None or found.type != kind:
            return False
        self.kernel.memory.put_pointer(where, found.content)
        if size_at:
            self.kernel.memory.put_word(size_at, len(found.value))
        return True

    def number(self, value: int, *, signed: bool) -> Property:
        """Return a number to put somewhere."""
        return self._lib.make(NUMBER, value, unsigned=not signed)

    def boolean(self, value: bool) -> Property:
        """Return true or false."""
        return self._lib.truth(value)

    def content(self, kind: int, at: int, size: int, *, copy: bool) -> Property:
        """Return a string or data to put somewhere."""
        memory = self.kernel.memory
        value = memory.cstring(at) if kind == STRING else memory.read(at, size)
        return self._lib.with_bytes(kind, value, at=0 if copy else at)

    def given(self, function: str, address: int) -> Property | None:
        """Return an object and pass the caller's reference on."""
        return self._lib.find(function, address)

    @kernel_function(
        "bool prop_dictionary_get_dict(prop_dictionary_t d, const void *key, void *valp)"
    )
    def prop_dictionary_get_dict(self, container: int, key: int, where: int) -> bool:
        found = self.found("prop_dictionary_get_dict", container, key)
        if found is None or found.type != DICTIONARY:
            return False
        self.kernel.memory.put_pointer(where, found.at)
        return True


def _add(prototype: str, name: str, method: Callable[..., Any]) -> None:
    setattr(PropUtil, name, kernel_function(prototype)(method))


def _number_functions(container: str, name: str, size: int, *, signed: bool) -> None:
    place = _PLACES[container]
    kind = f"{'' if signed else 'u'}int{8 * size}_t"
    get, put, add = (f"prop_{container}_{verb}_{name}" for verb in ("get", "set", "add"))

    def getter(self: PropUtil, at: int, where: int, value_at: int) -> bool:
        return self.get_number(get, at, where, value_at, size, signed=signed)

    def setter(self: PropUtil, at: int, where: int, value: int) -> bool:
        return self.put(put, at, where, self.number(value, signed=signed))

    def adder(self: PropUtil, at: int, value: int) -> bool:
        return self.put(add, at, None, self.number(value, signed=signed))

    _add(f"bool {get}({place}, void *valp)", get, getter)
    _add(f"bool {put}({place}, {kind} val)", put, setter)
    if container == "array":
        _add(f"bool {add}(prop_array_t a, {kind} val)", add, adder)


def _bool_functions(container: str) -> None:
    place = _PLACES[container]
    get, put = (f"prop_{container}_{verb}_bool" for verb in ("get", "set"))

    def getter(self: PropUtil, at: int, where: int, value_at: int) -> bool:
        return self.get_bool(get, at, where, value_at)

    def setter(self: PropUtil, at: int, where: int, value: bool) -> bool:
        return self.put(put, at, where, self.boolean(value))

    _add(f"bool {get}({place}, void *valp)", get, getter)
    _add(f"bool {put}({place}, bool val)", put, setter)


def _string_functions(container: str, name: str, *, copy: bool, readable: bool) -> None:
    place = _PLACES[container]
    get, put, add = (f"prop_{container}_{verb}_{name}" for verb in ("get", "set", "add"))

    def getter(self: PropUtil, at: int, where: int, value_at: int) -> bool:
        return self.get_bytes(get, at, where, value_at, 0, STRING)

    def setter(self: PropUtil, at: int, where: int, text: int) -> bool:
        return self.put(put, at, where, self.content(STRING, text, 0, copy=copy))

    def adder(self: PropUtil, at: int, text: int) -> bool:
        return self.put(add, at, None, self.content(STRING, text, 0, copy=copy))

    if readable:
        _add(f"bool {get}({place}, void *valp)", get, getter)
    _add(f"bool {put}({place}, const void *val)", put, setter)
    if container == "array":
        _add(f"bool {add}(prop_array_t a, const void *val)", add, adder)


def _data_functions(name: str, *, copy: bool) -> None:
    place = _PLACES["dictionary"]
    get, put = (f"prop_dictionary_{verb}_{name}" for verb in ("get", "set"))

    def getter(self: PropUtil, at: int, where: int, value_at: int, size_at: int) -> bool:
        return self.get_bytes(get, at, where, value_at, size_at, DATA)

    def setter(self: PropUtil, at: int, where: int, content: int, size: int) -> bool:
        return self.put(put, at, where, self.content(DATA, content, size, copy=copy))

    if copy:
        _add(f"bool {get}({place}, void *valp, void *sizep)", get, getter)
    _add(f"bool {put}({place}, const void *val, size_t size)", put, setter)


def _giving_functions() -> None:
    put, add = "prop_dictionary_set_and_rel", "prop_array_add_and_rel"

    def setter(self: PropUtil, at: int, where: int, address: int) -> bool:
        found = self.given(put, address)
        return found is not None and self.put(put, at, where, found)

    def adder(self: PropUtil, at: int, address: int) -> bool:
        found = self.given(add, address)
        return found is not None and self.put(add, at, None, found)

    _add(f"bool {put}({_PLACES['dictionary']}, prop_object_t po)", put, setter)
    _add(f"bool {add}(prop_array_t a, prop_object_t po)", add, adder)


for _container in _PLACES:
    for _name, (_size, _signed) in _NUMBERS.items():
        _number_functions(_container, _name, _size, signed=_signed)
    _bool_functions(_container)
    _string_functions(_container, "string", copy=True, readable=True)
    _string_functions(_container, "cstring", copy=True, readable=False)
    _string_functions(_container, "cstring_nocopy", copy=False, readable=True)
for _name, (_size, _signed) in _OF_DICTIONARIES.items():
    _number_functions("dictionary", _name, _size, signed=_signed)
_string_functions("dictionary", "string_nocopy", copy=False, readable=False)
_data_functions("data", copy=True)
_data_functions("data_nocopy", copy=False)
_giving_functions()
