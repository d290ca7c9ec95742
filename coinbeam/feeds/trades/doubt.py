"""Trades whose ids cannot follow from what was seen, held until REST says what the newest id is.

An id can be false while everything else of a trade is right: too high by a digit, or one that was counted long ago.
Taken as true, it would open a gap of ids that never were, and REST would be asked for them for weeks. A trade is
doubted if its id is higher than a venue can have counted to since the last one, or if it was seen before and its trade
is later than every other one, as when a venue counts anew. Everything else goes on meanwhile.
"""

from coinbeam.feeds.trades.seen import Seen
from coinbeam.sources.binance import Trade

JUMP, JUMP_PER_SECOND = 10_000, 10_000
"""Ids that a venue may be ahead, and how many more for each second since the last trade: ten times what the busiest
symbol was ever seen to count.
"""

MOST_HELD = 10_000
_FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS = 1.0, 60.0


def is_too_high(seen: Seen, trade: Trade) -> bool:
    """Whether a venue cannot have counted so far since the last trade."""
    ahead = trade.id - seen.next
    return ahead > JUMP and ahead > JUMP + JUMP_PER_SECOND * max(0, trade.at - seen.at) // 1_000


class Doubt:
    """The doubted trades of one symbol.

    Attributes:
        held: at most ``MOST_HELD``. Others are as if they had not come: if the ids are true, they are a gap.
    """

    def __init__(self) -> None:
        self.held: list[Trade] = []
        self._ask_at, self._tries = 0.0, 0

    def hold(self, trade: Trade) -> bool:
        """Keep a trade until it is judged; False when there are too many."""
        if len(self.held) >= MOST_HELD:
            return False
        self.held.append(trade)
        return True

    def wants(self, now: float) -> bool:
        """Whether REST should be asked for the newest trade now."""
        return bool(self.held) and now >= self._ask_at

    def unanswered(self, now: float) -> None:
        """REST had no trade: it is asked again, ever more rarely."""
        self._ask_at = now + min(_LONGEST_WAIT_SECONDS, _FIRST_WAIT_SECONDS * 2.0**self._tries)
        self._tries += 1

    def judged(self, seen: Seen, newest: Trade) -> tuple[list[Trade], list[Trade]]:
        """The true ones by ascending id, and the false ones, now that the newest trade of REST is known.

        A high id is true if REST is not far below it. An id that was seen before is true if the newest one is lower
        than those that were seen, and later.
        """
        counts_anew = newest.id < seen.next and newest.at > seen.at
        true, false = list[Trade](), list[Trade]()
        for trade in sorted(self.held, key=lambda trade: trade.id):
            is_true = newest.id + JUMP >= trade.id if trade.id >= seen.next else counts_anew
            (true if is_true else false).append(trade)
        self.held, self._ask_at, self._tries = [], 0.0, 0
        return true, false
