"""The only source of randomness: a small integer generator, the same on every Python version.

Python's own ``random`` promises stable numbers for ``random()`` alone, not for ``choice`` or
``shuffle``.  A seed printed in a failure report has to mean the same run for years, so the
generator (SplitMix64, public domain, Sebastiano Vigna) and every way of drawing from it are
written out here, in integers.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, MutableSequence, Sequence

T = TypeVar("T")

_MASK = 0xFFFFFFFFFFFFFFFF
_WHOLE = _MASK + 1
_GAMMA = 0x9E3779B97F4A7C15
_FIRST, _SECOND = 0xBF58476D1CE4E5B9, 0x94D049BB133111EB


class Rng:
    """A seeded stream of integers.  The same seed gives the same numbers, everywhere.

    ``seed`` is any non-negative integer; bits above 64 are folded in, not dropped.
    """

    __slots__ = ("_state", "seed")

    def __init__(self, seed: int) -> None:
        if seed < 0:
            raise ValueError(f"seed {seed} is negative: use 0 or more")
        self.seed = seed
        state = 0
        while True:
            state = (state ^ (seed & _MASK)) & _MASK
            seed >>= 64
            if not seed:
                break
            state = (state * _GAMMA + 1) & _MASK
        self._state = state

    def bits64(self) -> int:
        """Return the next 64 random bits as an integer 0 .. 2**64-1."""
        self._state = z = (self._state + _GAMMA) & _MASK
        z = ((z ^ (z >> 30)) * _FIRST) & _MASK
        z = ((z ^ (z >> 27)) * _SECOND) & _MASK
        return z ^ (z >> 31)

    def words(self, count: int) -> list[int]:
        """Return the next ``count`` times 32 random bits, each as ``below(2**32)`` gives them."""
        found = []
        state = self._state
        for _ in range(count):
            state = z = (state + _GAMMA) & _MASK
            z = ((z ^ (z >> 30)) * _FIRST) & _MASK
            z = ((z ^ (z >> 27)) * _SECOND) & _MASK
            found.append((z ^ (z >> 31)) & 0xFFFFFFFF)
        self._state = state
        return found

    def chances(self, odds: Iterable[tuple[int, int]]) -> list[int]:
        """Return the indices of the ``odds`` that came true, like ``chance`` for each in turn.

        Each is (numerator, denominator); denominators from 1 to 2**64.
        """
        found = []
        state = self._state
        for number, (numerator, denominator) in enumerate(odds):
            while True:
                state = z = (state + _GAMMA) & _MASK
                z = ((z ^ (z >> 30)) * _FIRST) & _MASK
                z = ((z ^ (z >> 27)) * _SECOND) & _MASK
                z ^= z >> 31
                rest = z % denominator
                if z - rest <= _WHOLE - denominator:  # else it is drawn again, as in ``below``
                    break
            if rest < numerator:
                found.append(number)
        self._state = state
        return found

    def below(self, n: int) -> int:
        """Return an integer 0 .. n-1, uniformly distributed (n from 1 to 2**64).

        Raises ValueError for another n.
        """
        if not 1 <= n <= _WHOLE:
            raise ValueError(f"below({n}): n must be from 1 to 2**64")
        while True:
            self._state = z = (self._state + _GAMMA) & _MASK
            z = ((z ^ (z >> 30)) * _FIRST) & _MASK
            z = ((z ^ (z >> 27)) * _SECOND) & _MASK
            z ^= z >> 31
            rest = z % n
            if z - rest <= _WHOLE - n:  # else it is among the last, fewer than n: draw again
                return rest

    def between(self, low: int, high: int) -> int:
        """Return an integer from ``low`` to ``high``, both included."""
        return low + self.below(high - low + 1)

    def chance(self, numerator: int, denominator: int) -> bool:
        """Return true in ``numerator`` of ``denominator`` draws.

        A draw is consumed even for a probability of 0 or 1, so that disabling one fault does not
        change the numbers that the others get.
        """
        return self.below(denominator) < numerator

    def choice(self, items: Sequence[T]) -> T:
        """Return one of ``items`` (not empty), uniformly distributed.

        Raises ValueError for none.
        """
        if not items:
            raise ValueError("choice from an empty sequence")
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Shuffle ``items`` in place (Fisher and Yates)."""
        for last in range(len(items) - 1, 0, -1):
            other = self.below(last + 1)
            items[last], items[other] = items[other], items[last]

    def bytes(self, size: int) -> bytes:
        """Return ``size`` random bytes."""
        words = [self.bits64().to_bytes(8, "little") for _ in range((size + 7) // 8)]
        return b"".join(words)[:size]

    def fork(self, name: str) -> Rng:
        """Return an independent stream for ``name``, which depends on the seed and the name only.

        It does not depend on how much was drawn before, so a new consumer of random numbers in one
        package does not change what another gets for the same seed.
        """
        digest = hashlib.sha256(f"{self.seed}/{name}".encode()).digest()
        return Rng(int.from_bytes(digest[:16], "little"))
