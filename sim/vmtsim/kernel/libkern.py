"""libkern: strings and memory (NetBSD sys/lib/libkern, common/lib/libc/string)."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from vmtgen.common.twos import signed

from vmtsim.kernel.api import Subject, kernel_function
from vmtsim.kernel.memory import PAGE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_DIGITS = "0123456789abcdefghijklmnopqrstuvwxyz"
_LARGEST_BASE = len(_DIGITS)
_SPACE = b" \t\n\v\f\r"
_M64 = 0xFFFFFFFFFFFFFFFF


class LibKern(Subject):
    """The C library of the kernel, as far as modules may import it."""

    SOURCES: ClassVar[Mapping[str, str]] = {
        "common/lib/libc/string/consttime_memequal.c 1.6": "consttime_memequal",
        "common/lib/libc/string/explicit_memset.c 1.4": "explicit_memset",
        "common/lib/libc/string/memchr.c 1.3": "memchr",
        "common/lib/libc/string/memcmp.c 1.4": "memcmp",
        "common/lib/libc/string/memcpy.c 1.2": "memcpy",
        "common/lib/libc/string/memmem.c 1.1.2.2": "memmem",
        "common/lib/libc/string/memmove.c 1.2": "memmove",
        "common/lib/libc/string/memset.c 1.10": "memset",
        "common/lib/libc/string/popcount32.c 1.5": "popcount32",
        "common/lib/libc/string/popcount64.c 1.8": "popcount64",
        "common/lib/libc/string/strcasecmp.c 1.2": "strcasecmp",
        "common/lib/libc/string/strcat.c 1.2": "strcat",
        "common/lib/libc/string/strchr.c 1.5": "strchr",
        "common/lib/libc/string/strcmp.c 1.3": "strcmp",
        "common/lib/libc/string/strcpy.c 1.3": "strcpy",
        "common/lib/libc/string/strcspn.c 1.1": "strcspn",
        "common/lib/libc/string/strlcat.c 1.4": "strlcat",
        "common/lib/libc/string/strlcpy.c 1.3": "strlcpy",
        "common/lib/libc/string/strlen.c 1.2": "strlen",
        "common/lib/libc/string/strncasecmp.c 1.2": "strncasecmp",
        "common/lib/libc/string/strncmp.c 1.2": "strncmp",
        "common/lib/libc/string/strncpy.c 1.3": "strncpy",
        "common/lib/libc/string/strnlen.c 1.2": "strnlen",
        "common/lib/libc/string/strpbrk.c 1.1": "strpbrk",
        "common/lib/libc/string/strrchr.c 1.5": "strrchr",
        "common/lib/libc/string/strsep.c 1.3": "strsep",
        "common/lib/libc/string/strspn.c 1.1": "strspn",
        "common/lib/libc/string/strstr.c 1.2": "strstr",
        "common/lib/libc/stdlib/_strtol.h 1.7": "strtoimax strtoll",
        "common/lib/libc/stdlib/_strtoul.h 1.7": "strtoul strtoull strtoumax",
        "common/lib/libc/quad/divdi3.c 1.2": "__divdi3",
        "common/lib/libc/quad/moddi3.c 1.2": "__moddi3",
        "common/lib/libc/quad/udivdi3.c 1.2": "__udivdi3",
        "common/lib/libc/quad/umoddi3.c 1.2": "__umoddi3",
    }
    SERIALIZED: ClassVar[Mapping[str, str]] = {}
    ACCESSES_DATA = "*"

    # -- memory ------------------------------------------------------------------------------

    @kernel_function("void *memcpy(void *dst, const void *src, size_t len)")
    def memcpy(self, target: int, source: int, size: int) -> int:
        if size:
            if target < source + size and source < target + size and target != source:
                kernel = self.kernel
                kernel.violation(
                    "memcpy-overlap",
                    f"memcpy of {size} bytes between overlapping areas "
                    f"({kernel.describe(source)} to {kernel.describe(target)}) "
                    f"by {kernel.where()}: use memmove",
                )
            self.kernel.memory.copy(target, source, size)
        return target

    @kernel_function("void *memmove(void *dst, const void *src, size_t len)")
    def memmove(self, target: int, source: int, size: int) -> int:
        if size:
            self.kernel.memory.copy(target, source, size)
        return target

    @kernel_function("void *memset(void *b, int c, size_t len)")
    @kernel_function("void *explicit_memset(void *b, int c, size_t len)")
    def memset(self, target: int, value: int, size: int) -> int:
        if size:
            self.kernel.memory.fill(target, value & 0xFF, size)
        return target

    @kernel_function("int memcmp(const void *a, const void *b, size_t len)")
    def memcmp(self, a: int, b: int, size: int) -> int:
        if not size:
            return 0
        read = self.kernel.memory.read
        return _difference(read(a, size), read(b, size))

    @kernel_function("int consttime_memequal(const void *a, const void *b, size_t len)")
    def consttime_memequal(self, a: int, b: int, size: int) -> int:
        return int(self.memcmp(a, b, size) == 0)

    @kernel_function("void *memchr(const void *b, int c, size_t len)")
    def memchr(self, start: int, value: int, size: int) -> int:
        if not size:
            return 0
        memory = self.kernel.memory
        at = memory.cpu.read(start, size).find(value & 0xFF)
        memory.used(start, at + 1 if at >= 0 else size)
        return start + at if at >= 0 else 0

    @kernel_function("void *memmem(const void *b, size_t bl, const void *l, size_t ll)")
    def memmem(self, start: int, size: int, needle: int, needle_size: int) -> int:
        read = self.kernel.memory.read
        if not needle_size:
            return start
        at = read(start, size).find(read(needle, needle_size)) if size else -1
        return start + at if at >= 0 else 0

    # -- strings -----------------------------------------------------------------------------

    @kernel_function("size_t strlen(const void *s)")
    def strlen(self, text: int) -> int:
        return len(self.kernel.memory.cstring(text))

    @kernel_function("size_t strnlen(const void *s, size_t maxlen)")
    def strnlen(self, text: int, limit: int) -> int:
        return len(self.kernel.memory.cstring(text, limit))

    @kernel_function("int strcmp(const void *a, const void *b)")
    def strcmp(self, a: int, b: int) -> int:
        return self._compare(a, b, 1 << 20, None)

    @kernel_function("int strncmp(const void *a, const void *b, size_t n)")
    def strncmp(self, a: int, b: int, limit: int) -> int:
        return self._compare(a, b, limit, None)

    @kernel_function("int strcasecmp(const void *a, const void *b)")
    def strcasecmp(self, a: int, b: int) -> int:
        return self._compare(a, b, 1 << 20, bytes.lower)

    @kernel_function("int strncasecmp(const void *a, const void *b, size_t n)")
    def strncasecmp(self, a: int, b: int, limit: int) -> int:
        return self._compare(a, b, limit, bytes.lower)

    def _compare(self, a: int, b: int, limit: int, fold: Callable[[bytes], bytes] | None) -> int:
        """Read no further than the first difference, or the NUL of both."""
        memory = self.kernel.memory
        read = memory.cpu.read
        while limit > 0:
            size = min(limit, 64, PAGE - a % PAGE, PAGE - b % PAGE)
            left, right = read(a, size), read(b, size)
            if fold is not None:
                left, right = fold(left), fold(right)
            end = left.find(0)
            if left != right:
                first = _first_difference(left, right)
                if not 0 <= end < first:
                    end = first
            used = size if end < 0 else end + 1
            memory.used(a, used)
            memory.used(b, used)
            if end >= 0:
                return left[end] - right[end]
            a, b, limit = a + size, b + size, limit - size
        return 0

    @kernel_function("size_t strlcpy(char *dst, const void *src, size_t size)")
    def strlcpy(self, target: int, source: int, size: int) -> int:
        text = self.kernel.memory.cstring(source)
        if size:
            self.kernel.memory.write(target, text[: size - 1] + b"\0")
        return len(text)

    @kernel_function("size_t strlcat(char *dst, const void *src, size_t size)")
    def strlcat(self, target: int, source: int, size: int) -> int:
        memory = self.kernel.memory
        old = memory.cstring(target, size)
        text = memory.cstring(source)
        if len(old) < size:
            memory.write(target + len(old), text[: size - len(old) - 1] + b"\0")
        return len(old) + len(text)

    @kernel_function("char *strcpy(char *dst, const void *src)")
    def strcpy(self, target: int, source: int) -> int:
        self.kernel.memory.write(target, self.kernel.memory.cstring(source) + b"\0")
        return target

    @kernel_function("char *strncpy(char *dst, const void *src, size_t n)")
    def strncpy(self, target: int, source: int, size: int) -> int:
        if size:
            memory = self.kernel.memory
            text = memory.cstring(source, size)
            memory.write(target, text)
            memory.fill(target + len(text), 0, size - len(text))
        return target

    @kernel_function("char *strcat(char *dst, const void *src)")
    def strcat(self, target: int, source: int) -> int:
        memory = self.kernel.memory
        end = target + len(memory.cstring(target))
        memory.write(end, memory.cstring(source) + b"\0")
        return target

    @kernel_function("char *strchr(const void *s, int c)")
    def strchr(self, text: int, character: int) -> int:
        at = (self.kernel.memory.cstring(text) + b"\0").find(character & 0xFF)
        return text + at if at >= 0 else 0

    @kernel_function("char *strrchr(const void *s, int c)")
    def strrchr(self, text: int, character: int) -> int:
        at = (self.kernel.memory.cstring(text) + b"\0").rfind(character & 0xFF)
        return text + at if at >= 0 else 0

    @kernel_function("char *strstr(const void *big, const void *little)")
    def strstr(self, text: int, needle: int) -> int:
        string = self.kernel.memory.cstring
        at = string(text).find(string(needle))
        return text + at if at >= 0 else 0

    @kernel_function("size_t strspn(const void *s, const void *set)")
    def strspn(self, text: int, accepted: int) -> int:
        content = self.kernel.memory.cstring(text)
        return len(content) - len(content.lstrip(self.kernel.memory.cstring(accepted)))

    @kernel_function("size_t strcspn(const void *s, const void *set)")
    def strcspn(self, text: int, refused: int) -> int:
        content = self.kernel.memory.cstring(text)
        stop = set(self.kernel.memory.cstring(refused))
        return next((i for i, byte in enumerate(content) if byte in stop), len(content))

    @kernel_function("char *strpbrk(const void *s, const void *set)")
    def strpbrk(self, text: int, accepted: int) -> int:
        length = self.strcspn(text, accepted)
        return text + length if length < len(self.kernel.memory.cstring(text)) else 0

    @kernel_function("char *strsep(char **stringp, const void *delim)")
    def strsep(self, where: int, delimiters: int) -> int:
        memory = self.kernel.memory
        text = memory.pointer(where)
        if not text:
            return 0
        length = self.strcspn(text, delimiters)
        if memory.u8(text + length):
            memory.put_u8(text + length, 0)
            memory.put_pointer(where, text + length + 1)
        else:
            memory.put_pointer(where, 0)
        return text

    # -- numbers -----------------------------------------------------------------------------

    def _number(self, text: int, end: int, base: int, low: int, high: int) -> int:
        """Return the number; stores its end: the start if there is none, or if it is too large.

        The kernel's branch of common/lib/libc/stdlib/_strtol.h and _strtoul.h: "0x" without a
        digit after it is not a number, and one that is too large ends the search.
        """
        kernel = self.kernel
        if base and not 2 <= base <= _LARGEST_BASE:
            kernel.panic("strtol-base", f"strtol by {kernel.where()}: invalid base {base}")
        content = kernel.memory.cstring(text)
        at = len(content) - len(content.lstrip(_SPACE))
        negative = content[at : at + 1] == b"-"
        at += content[at : at + 1] in {b"-", b"+"}
        lower = content.lower().decode("latin-1")
        if base in {0, 16} and lower.startswith("0x", at):
            at, base = at + 2, 16
        if base == 0:
            base = 8 if lower.startswith("0", at) else 10
        first = at
        value = 0
        # An unsigned one is negated when all its digits have been read.
        smallest = -low if negative and low else high
        while at < len(lower) and 0 <= _DIGITS.find(lower[at]) < base:
            value = value * base + _DIGITS.index(lower[at])
            if value > smallest:
                first, value = at, low if negative and low else high
                negative = False
                break
            at += 1
        if end:
            kernel.memory.put_pointer(end, text + at if at > first else text)
        return -value if negative else value

    @kernel_function("unsigned long strtoul(const void *s, char **end, int base)")
    def strtoul(self, text: int, end: int, base: int) -> int:
        limit = (1 << (8 * self.kernel.memory.pointer_size)) - 1
        return self._number(text, end, base, 0, limit) & limit

    @kernel_function("unsigned long long strtoull(const void *s, char **end, int base)")
    @kernel_function("uintmax_t strtoumax(const void *s, char **end, int base)")
    def strtoull(self, text: int, end: int, base: int) -> int:
        return self._number(text, end, base, 0, _M64) & _M64

    @kernel_function("long long strtoll(const void *s, char **end, int base)")
    @kernel_function("intmax_t strtoimax(const void *s, char **end, int base)")
    def strtoll(self, text: int, end: int, base: int) -> int:
        return self._number(text, end, base, -(1 << 63), (1 << 63) - 1)

    @kernel_function("unsigned int popcount32(uint32_t v)")
    @kernel_function("unsigned int popcount64(uint64_t v)")
    def popcount(self, value: int) -> int:
        return value.bit_count()

    @kernel_function("uint64_t __udivdi3(uint64_t a, uint64_t b)", machines=("i386",))
    def udivdi3(self, a: int, b: int) -> int:
        return a // self._divisor(b)

    @kernel_function("uint64_t __umoddi3(uint64_t a, uint64_t b)", machines=("i386",))
    def umoddi3(self, a: int, b: int) -> int:
        return a % self._divisor(b)

    @kernel_function("int64_t __divdi3(int64_t a, int64_t b)", machines=("i386",))
    def divdi3(self, a: int, b: int) -> int:
        quotient = abs(a) // abs(self._divisor(b))
        return signed(-quotient if (a < 0) != (b < 0) else quotient, 64)

    @kernel_function("int64_t __moddi3(int64_t a, int64_t b)", machines=("i386",))
    def moddi3(self, a: int, b: int) -> int:
        rest = abs(a) % abs(self._divisor(b))
        return -rest if a < 0 else rest

    def _divisor(self, value: int) -> int:
        if not value:
            self.kernel.panic("trap", f"division by zero in {self.kernel.where()}")
        return value


def _difference(a: bytes, b: bytes) -> int:
    """Return what memcmp returns for two equally long areas."""
    if a == b:  # most often, and then a loop over bytes would be most of the model's time
        return 0
    first = _first_difference(a, b)
    return a[first] - b[first]


def _first_difference(a: bytes, b: bytes) -> int:
    """Return the number of the first byte in which two equally long areas differ."""
    bits = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
    return ((bits & -bits).bit_length() - 1) // 8
