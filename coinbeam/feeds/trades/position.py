"""How far a symbol was published: what the broker has acknowledged, and the marks that it may have.

A position is written down before a message with a ``start`` or a ``gap`` is sent, and every few seconds otherwise. So a
kill at any moment leaves a position that is not newer than what the broker has, and that knows of every mark that the
broker may have. What is newer is published again, which changes nothing.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coinbeam.feeds.trades.entries import Entry, Mark
from coinbeam.feeds.trades.message import FILLED, GAP, START
from coinbeam.feeds.trades.seen import Hole, Seen
from coinbeam.sources.binance import Trade

Range = tuple[int, int]


@dataclass
class Position:
    """How far one symbol was published.

    Attributes:
        seen: the ids that the broker has; None as long as there is none.
        is_started: whether the broker has the ``start`` mark.
        gaps: those whose ``gap`` mark the broker may have, and not yet its ``filled``.
    """

    symbol: str
    seen: Seen | None = None
    is_started: bool = False
    gaps: dict[Range, Mark] = field(default_factory=dict)

    def intend(self, marks: Iterable[Mark]) -> None:
        """Remember the marks of a message that is about to be sent."""
        for mark in marks:
            if mark.kind == GAP:
                self.gaps[mark.first, mark.last] = mark
            elif mark.kind == START and self.seen is None:
                self.seen = Seen(mark.first, mark.after)

    def advance(self, entries: Iterable[Entry]) -> None:
        """Count the entries of a message as published; messages of a symbol come in their order, one at a time."""
        for entry in entries:
            if isinstance(entry, Trade):
                if self.seen:
                    self.seen.add(entry.id, entry.at)
            elif entry.kind == START:
                # A second start is that of a venue that counts anew: what was open before is not filled any more.
                self.gaps = {} if self.is_started else self.gaps
                self.seen, self.is_started = Seen(entry.first, entry.after), True
            elif entry.kind == GAP:
                self.gaps[entry.first, entry.last] = entry
            elif entry.kind == FILLED:
                self.gaps.pop((entry.first, entry.last), None)
        if self.seen and self.gaps:
            floor = self.seen.floor
            self.gaps = {ids: mark for ids, mark in self.gaps.items() if ids[0] >= floor}

    def dump(self) -> dict[str, Any]:
        """The position as JSON holds it."""
        seen = self.seen
        return {
            "is_started": self.is_started,
            "seen": seen
            and {
                "first": seen.first,
                "floor": seen.floor,
                "next": seen.next,
                "at": seen.at,
                "holes": [[hole.first, hole.last, hole.after, hole.before] for hole in seen.holes],
            },
            "gaps": [[mark.first, mark.last, mark.after, mark.before] for mark in self.gaps.values()],
        }

    @classmethod
    def load(cls, symbol: str, dumped: Mapping[str, Any]) -> "Position":
        """The position that was dumped.

        Raises:
            KeyError, TypeError, ValueError: it was not.
        """
        seen = None
        if dumped["seen"]:
            found = dumped["seen"]
            seen = Seen(int(found["first"]), int(found["at"]), [_hole(*hole) for hole in found["holes"]])
            seen.floor, seen.next = int(found["floor"]), int(found["next"])
        marks = [_gap(symbol, *gap) for gap in dumped["gaps"]]
        return cls(symbol, seen, bool(dumped["is_started"]), {(mark.first, mark.last): mark for mark in marks})


def _hole(first: int, last: int, after: int, before: int) -> Hole:
    return Hole(int(first), int(last), int(after), int(before))


def _gap(symbol: str, first: int, last: int, after: int, before: int) -> Mark:
    return Mark(GAP, symbol, int(first), int(last), int(after), int(before))
