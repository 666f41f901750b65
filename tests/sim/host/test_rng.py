"""The meaning of every printed seed depends on the generator's numbers: they must never change."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st
from vmtsim.core.rng import Rng


def test_seed_zero_matches_published_splitmix64() -> None:
    # First outputs of SplitMix64 seeded with 0 (Vigna's reference implementation).
    rng = Rng(0)
    assert [rng.bits64() for _ in range(3)] == [
        0xE220A8397B1DCDAF,
        0x6E789E6AA1B965F4,
        0x06C45D188009454F,
    ]


def test_draws_of_a_seed_are_pinned() -> None:
    rng = Rng(42)
    items = list(range(6))
    rng.shuffle(items)
    drawn = (items, rng.below(1000), rng.between(-5, 5), rng.choice("abcdef"), rng.bytes(5).hex())
    assert drawn == ([4, 3, 0, 2, 5, 1], 62, 2, "c", "d57d3d0b77")


def test_fork_is_independent_of_earlier_draws() -> None:
    one, two = Rng(7), Rng(7)
    two.bits64()
    assert one.fork("host").bits64() == two.fork("host").bits64()
    assert one.fork("host").bits64() != one.fork("kernel").bits64()


def test_disabled_fault_consumes_its_draw() -> None:
    one, two = Rng(3), Rng(3)
    assert not one.chance(0, 100)
    assert two.chance(100, 100)
    assert one.bits64() == two.bits64()


def test_below_is_about_uniform() -> None:
    rng = Rng(1)
    counts = Counter(rng.below(5) for _ in range(5000))
    assert set(counts) == set(range(5))
    assert all(850 < count < 1150 for count in counts.values())


@given(st.integers(0, 2**130), st.integers(1, 2**64))
def test_below_stays_below(seed: int, n: int) -> None:
    assert 0 <= Rng(seed).below(n) < n


@given(st.integers(0, 2**64), st.one_of(st.integers(1, 2**64), st.integers(2**63, 2**64)))
def test_below_draws_again_above_the_largest_multiple(seed: int, n: int) -> None:
    rng, words = Rng(seed), Rng(seed)
    while (word := words.bits64()) >= 2**64 // n * n:
        pass
    assert rng.below(n) == word % n
    assert rng.bits64() == words.bits64()


@given(st.integers(0, 2**64), st.lists(st.tuples(st.integers(0, 9), st.integers(1, 2**64))))
def test_chances_are_those_of_single_draws(seed: int, odds: list[tuple[int, int]]) -> None:
    odds = [(numerator * (denominator // 9), denominator) for numerator, denominator in odds]
    one, two = Rng(seed), Rng(seed)
    assert one.chances(odds) == [at for at, each in enumerate(odds) if two.chance(*each)]
    assert one.bits64() == two.bits64()


@given(st.integers(0, 2**64), st.integers(0, 9))
def test_words_are_those_of_single_draws(seed: int, count: int) -> None:
    one, two = Rng(seed), Rng(seed)
    assert one.words(count) == [two.below(1 << 32) for _ in range(count)]
    assert one.bits64() == two.bits64()


@pytest.mark.parametrize("n", [0, -1, 2**64 + 1])
def test_below_refuses_an_empty_range(n: int) -> None:
    with pytest.raises(ValueError, match="must be from 1"):
        Rng(0).below(n)


def test_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="negative"):
        Rng(-1)
