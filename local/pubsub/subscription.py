"""What one subscription has delivered and what was acknowledged; pure state, which a broker persists.

A message is identified by its sequence number in the log of its topic. All before ``low`` are acknowledged, and those
in ``above``. What was delivered is leased: it comes again when its lease ends without an acknowledgement.
"""

import heapq
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import count

Clock = Callable[[], float]
"""Seconds that only grow."""


@dataclass
class Lease:
    """A delivered message, until when it is held (seconds of the clock), and how often it was delivered."""

    number: int
    deadline: float


@dataclass
class Deliveries:
    """The state of one subscription.

    Attributes:
        low: every smaller sequence number is acknowledged.
        above: acknowledged numbers from ``low`` on.
    """

    low: int
    clock: Clock
    above: set[int] = field(default_factory=set)
    leases: dict[str, Lease] = field(default_factory=dict)
    attempts: dict[int, int] = field(default_factory=dict)
    _held: set[int] = field(default_factory=set)
    _again: list[int] = field(default_factory=list)
    _ends: list[tuple[float, str]] = field(default_factory=list)
    _ids: Iterable[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        self._next = self.low
        self._tick = iter(self._ids)

    def take(self, most: int, end: int, seconds: float, wanted: Callable[[int], bool]) -> list[tuple[str, int, int]]:
        """Lease up to so many messages, the oldest first, of those before ``end``.

        Args:
            wanted: whether the filter lets a message pass; what it does not is acknowledged at once.

        Returns:
            Acknowledgement id, sequence number, and which attempt this is.
        """
        self.expire()
        taken = list[tuple[str, int, int]]()
        while len(taken) < most and (number := self._candidate(end)) is not None:
            if not wanted(number):
                self._acknowledge(number)
                continue
            ack_id = f"{number}-{next(self._tick)}"
            deadline = self.clock() + seconds
            self.leases[ack_id] = Lease(number, deadline)
            self._held.add(number)
            heapq.heappush(self._ends, (deadline, ack_id))
            attempt = self.attempts.get(number, 0) + 1
            self.attempts[number] = attempt
            taken.append((ack_id, number, attempt))
        return taken

    def _candidate(self, end: int) -> int | None:
        while self._again:
            number = heapq.heappop(self._again)
            if not self.is_acked(number) and number not in self._held:
                return number
        while self._next < end:
            number, self._next = self._next, self._next + 1
            if not self.is_acked(number) and number not in self._held:
                return number
        return None

    def is_acked(self, number: int) -> bool:
        """Whether a message was acknowledged."""
        return number < self.low or number in self.above

    def acknowledge(self, ack_ids: Iterable[str]) -> bool:
        """Acknowledge what is still leased; an id whose lease ended is accepted as well, as Google does, if its message
        was not delivered anew. Whether anything changed.
        """
        changed = False
        for ack_id in ack_ids:
            lease = self.leases.pop(ack_id, None)
            if lease is not None:
                self._held.discard(lease.number)
                self._acknowledge(lease.number)
                changed = True
        return changed

    def _acknowledge(self, number: int) -> None:
        self.attempts.pop(number, None)
        if number < self.low:
            return
        self.above.add(number)
        while self.low in self.above:
            self.above.discard(self.low)
            self.low += 1

    def modify(self, ack_ids: Iterable[str], seconds: float) -> None:
        """Hold leases so many seconds from now; 0 gives the message back."""
        for ack_id in ack_ids:
            lease = self.leases.get(ack_id)
            if lease is None:
                continue
            if seconds <= 0:
                self._give_back(ack_id, lease)
            else:
                lease.deadline = self.clock() + seconds
                heapq.heappush(self._ends, (lease.deadline, ack_id))

    def expire(self) -> None:
        """Give back what was held too long."""
        now = self.clock()
        while self._ends and self._ends[0][0] <= now:
            _, ack_id = heapq.heappop(self._ends)
            lease = self.leases.get(ack_id)
            if lease is not None and lease.deadline <= now:
                self._give_back(ack_id, lease)

    def _give_back(self, ack_id: str, lease: Lease) -> None:
        del self.leases[ack_id]
        self._held.discard(lease.number)
        heapq.heappush(self._again, lease.number)

    def next_expiry(self) -> float | None:
        """Seconds until a lease may end, or None when there is none."""
        return max(0.0, self._ends[0][0] - self.clock()) if self._ends else None

    def has_some(self, end: int) -> bool:
        """Whether a take might find something."""
        self.expire()
        return bool(self._again) or self._next < end

    def seek(self, low: int, above: Iterable[int] = (), *, keep_acked: bool = False) -> None:
        """Begin again: everything before ``low``, and ``above``, counts as acknowledged, and nothing else.

        Args:
            keep_acked: what was acknowledged stays so, since the subscription does not retain it.
        """
        acked = set(above)
        if keep_acked:
            acked |= {number for number in self.above if number >= low} | set(range(low, self.low))
        self.low, self.above = low, set()
        self.leases.clear()
        self._held.clear()
        self._again.clear()
        self._ends.clear()
        self.attempts.clear()
        self._next = low
        for number in acked:
            self._acknowledge(number)

    def to_json(self) -> dict[str, object]:
        """What survives a kill: leases do not, their messages come again."""
        return {"low": self.low, "above": _ranges(self.above)}

    @classmethod
    def of_json(cls, kept: Mapping[str, object], clock: Clock) -> "Deliveries":
        """The state of :meth:`to_json`."""
        made = cls(int(str(kept["low"])), clock)
        above = kept["above"]
        assert isinstance(above, list)
        made.above = {number for first, last in above for number in range(first, last + 1)}
        return made


def _ranges(numbers: Iterable[int]) -> list[list[int]]:
    ranges: list[list[int]] = []
    for number in sorted(numbers):
        if ranges and number == ranges[-1][1] + 1:
            ranges[-1][1] = number
        else:
            ranges.append([number, number])
    return ranges
