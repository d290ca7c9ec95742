"""A set of sequence numbers as ranges: what was acknowledged is nearly one range, however many messages it is."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Sequence


class NumberSet:
    """Numbers from 0 on, as sorted ranges that neither overlap nor touch; an end is the number behind its range."""

    def __init__(self, ranges: Iterable[Sequence[int]] = ()) -> None:
        self._starts: list[int] = []
        self._ends: list[int] = []
        for start, end in ranges:
            self.add(start, end)

    def add(self, start: int, end: int) -> None:
        """Take in all numbers from ``start`` to before ``end``."""
        if start >= end:
            return
        first, behind = bisect_left(self._ends, start), bisect_right(self._starts, end)
        if first < behind:
            start, end = min(start, self._starts[first]), max(end, self._ends[behind - 1])
        self._starts[first:behind] = [start]
        self._ends[first:behind] = [end]

    def add_all(self, numbers: Iterable[int]) -> None:
        """Take in numbers of any order."""
        start = end = 0
        for number in sorted(numbers):
            if number > end:
                self.add(start, end)
                start = number
            end = number + 1
        self.add(start, end)

    def __contains__(self, number: int) -> bool:
        found = bisect_right(self._starts, number) - 1
        return found >= 0 and number < self._ends[found]

    def first_missing(self, number: int) -> int:
        """The smallest number from ``number`` on that is not in here."""
        found = bisect_right(self._starts, number) - 1
        return max(number, self._ends[found]) if found >= 0 else number

    def below(self, number: int) -> "NumberSet":
        """Those of the numbers that are smaller."""
        return NumberSet((start, min(end, number)) for start, end in self.ranges())

    def ranges(self) -> list[list[int]]:
        """The ranges, as they are written to JSON."""
        return [[start, end] for start, end in zip(self._starts, self._ends, strict=True)]
