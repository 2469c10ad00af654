"""Numbers are drawn so that short ones are among them."""

from collections import Counter

import pytest

from throughtime.data.numbers import drawn


@pytest.mark.parametrize(
    ("smallest", "largest"), [(0, 9), (0, 11), (3, 1100), (95, 105), (0, 12345), (10, 10), (7, 10**15)]
)
def test_they_differ_and_lie_between_the_bounds(smallest: int, largest: int) -> None:
    there = largest - smallest + 1
    for wanted in {1, min(there, 1500) // 2 + 1, min(there, 1500)}:
        numbers = drawn(smallest, largest, wanted)
        assert len(numbers) == len(set(numbers)) == wanted
        assert smallest <= min(numbers) and max(numbers) <= largest


def test_as_many_of_each_number_of_digits_as_there_are() -> None:
    found = Counter(len(str(number)) for number in drawn(0, 999_999, 21_500))
    assert {1: found[1], 2: found[2], 3: found[3]} == {1: 10, 2: 90, 3: 900}
    assert {found[4], found[5], found[6]} <= {6833, 6834}
    assert Counter(len(str(number)) for number in drawn(0, 999_999, 60)) == dict.fromkeys(range(1, 7), 10)


def test_their_order_tells_nothing() -> None:
    numbers = drawn(0, 9_999, 4_000)
    assert abs(sum(number < 1_000 for number in numbers[:400]) - 100) < 40
