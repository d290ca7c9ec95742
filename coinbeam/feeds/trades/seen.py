"""Which ids of a symbol were seen: all below the next one, but for the holes.

::

    first     floor            hole          hole        next
      |????????|xxxxxxxxxxxxxxxx....xxxxxxxxxx..xxxxxxxxxx|
    too early  no longer known   seen, or in a hole       not yet

A trade in the hole below the largest ids that is later than they are by ``FALSE_MS`` shows that those were false: ids
ascend with time. They are forgotten, and what follows counts on from the hole.

Memory is bounded by the number of holes. When there are too many, the floor rises above the lowest one: whether an id
between the first one and the floor was seen is no longer known, so that it counts as new.
"""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, replace
from operator import attrgetter

MOST_HOLES = 256

FALSE_MS = 5_000

_FIRST = attrgetter("first")


@dataclass(slots=True)
class Hole:
    """Ids that were not seen, between two that were.

    Attributes:
        first: id; ``last`` is the last one, included.
        after: milliseconds of the trade below, ``before`` of the one above.
        ask_at: seconds of a clock that never goes back, from which on REST is asked for it; ``tries`` that found none.
        is_gone: REST has them no more.
    """

    first: int
    last: int
    after: int
    before: int
    ask_at: float = 0.0
    tries: int = 0
    is_gone: bool = False


class Seen:
    """The ids of one symbol, from a first one on.

    Attributes:
        first: id from which on the symbol is followed.
        floor: smallest id of which it is known whether it was seen.
        next: one more than the largest id that was seen; ``at`` milliseconds of that trade.
        holes: by ascending id, never overlapping.
    """

    __slots__ = ("at", "first", "floor", "holes", "most", "next")

    def __init__(self, first: int, at: int, holes: list[Hole] | None = None, most: int = MOST_HOLES) -> None:
        self.first = self.floor = self.next = first
        self.at, self.holes, self.most = at, holes or [], most

    def copy(self) -> "Seen":
        """The same ids, apart."""
        other = Seen(self.first, self.at, [replace(hole) for hole in self.holes], self.most)
        other.floor, other.next = self.floor, self.next
        return other

    def add(self, id: int, at: int) -> bool:
        """Count an id as seen; False when it was already, or is below the first one."""
        if id == self.next:
            self.next, self.at = id + 1, at
            return True
        if id > self.next:
            self.holes.append(Hole(self.next, id - 1, self.at, at))
            self.next, self.at = id + 1, at
            self._bound()
            return True
        if id < self.floor:
            return id >= self.first
        index = self._index(id)
        if index < 0 or self.holes[index].last < id:
            return False
        hole = self.holes[index]
        if at > self.at + FALSE_MS and index == len(self.holes) - 1:
            self.holes.pop()
            self.next, self.at = hole.first, hole.after
            return self.add(id, at)
        lower = replace(hole, last=id - 1, before=at)
        upper = replace(hole, first=id + 1, after=at)
        self.holes[index : index + 1] = [part for part in (lower, upper) if part.first <= part.last]
        self._bound()
        return True

    def below(self, id: int) -> Hole | None:
        """The hole that ends just before an id."""
        index = self._index(id)
        hole = self.holes[index] if index >= 0 else None
        return hole if hole and hole.last == id - 1 else None

    def within(self, first: int, last: int) -> Iterator[Hole]:
        """The holes that have ids of a range."""
        for hole in self.holes[max(0, self._index(first)) :]:
            if hole.first > last:
                return
            if hole.last >= first:
                yield hole

    def lacks(self, first: int, last: int) -> bool:
        """Whether any id of a range is not known to have been seen."""
        return first < self.floor or last >= self.next or any(True for _ in self.within(first, last))

    def give_up(self, first: int, last: int) -> int:
        """Mark the unseen ids of a range as gone; how many were not before."""
        parts: list[Hole] = []
        count = 0
        for hole in self.holes:
            begin, end = max(first, hole.first), min(last, hole.last)
            if begin > end or hole.is_gone:
                parts.append(hole)
                continue
            count += end - begin + 1
            cut = (
                replace(hole, last=begin - 1),
                replace(hole, first=begin, last=end, is_gone=True),
                replace(hole, first=end + 1),
            )
            parts += [part for part in cut if part.first <= part.last]
        self.holes = parts
        self._bound()
        return count

    def _index(self, id: int) -> int:
        """Where the hole is that begins at an id, or last before it; -1 when there is none."""
        return bisect_right(self.holes, id, key=_FIRST) - 1

    def _bound(self) -> None:
        while len(self.holes) > self.most:
            self.floor = self.holes.pop(0).last + 1
