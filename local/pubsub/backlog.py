"""What one subscription has delivered, and what was acknowledged; pure state, which the broker persists.

A message is its sequence number in the log of its topic. It is acknowledged, or leased until a deadline, or free: given
back, or never delivered. What is free is delivered in the order of publishing.
"""

import heapq
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import count
from secrets import randbits
from typing import Protocol

from local.pubsub.numbers import NumberSet
from local.pubsub.refusal import invalid

MonotonicClock = Callable[[], float]
"""Seconds that only grow."""

MOST_LEASED = 100_000
"""Messages that a subscription delivers before some of them are acknowledged."""

MOST_LOOKS, MOST_SKIPPED_BYTES = 2_000, 2 << 20
"""Messages that one call looks at, and of those how many bytes it may leave out, and leases that it ends: neither a
filter that lets little pass nor a crowd of old leases may hold up the loop.
"""

_SWEEP = 10_000
_ACK_ID = re.compile(r"(?P<age>[0-9a-f]+-[0-9]+)-(?P<number>[0-9]{1,19})-(?P<lease>[0-9]{1,19})")


class Messages(Protocol):
    """Where the messages are, see :class:`local.pubsub.log.TopicLog`."""

    @property
    def first(self) -> int:
        """Smallest number that is there."""

    @property
    def end(self) -> int:
        """Number behind the last message."""

    def message(self, number: int) -> bytes:
        """A serialised message."""


@dataclass
class Holder:
    """Who was given messages: how many, and of how many bytes, are neither acknowledged nor free again."""

    messages: int = 0
    bytes: int = 0


@dataclass(slots=True)
class _Lease:
    serial: int
    deadline: float
    size: int
    holder: Holder | None


class Backlog:
    """The state of one subscription.

    Args:
        passes: whether the filter lets a serialised message through; one that it does not is acknowledged at once.
        acked: what is acknowledged; to begin with, all that was published before the subscription was made.
        epoch: how often it was sought; acknowledgements from before mean nothing any more.
    """

    def __init__(
        self,
        name: str,
        messages: Messages,
        passes: Callable[[bytes], bool],
        clock: MonotonicClock,
        acked: NumberSet,
        epoch: int = 0,
    ) -> None:
        self._name, self._messages, self._passes, self._clock = name, messages, passes, clock
        self.acked, self.epoch, self.is_dirty = acked, epoch, False
        self._leases: dict[int, _Lease] = {}
        self._serials = count(randbits(48))  # those of an earlier process, too, are other ones
        self._deadlines: list[tuple[float, int]] = []
        self._again: list[int] = []
        self._next = 0

    def take(self, most: int, seconds: float, most_bytes: int, holder: Holder | None = None) -> list[tuple[int, bytes]]:
        """Lease messages, each with its number.

        Args:
            most_bytes: of all together; a single message may have more.
        """
        self._expire()
        taken: list[tuple[int, bytes]] = []
        deadline, size, skipped = self._clock() + seconds, 0, 0
        most = min(most, MOST_LEASED - len(self._leases))
        for _ in range(MOST_LOOKS):
            if len(taken) >= most or skipped >= MOST_SKIPPED_BYTES or (number := self._free()) is None:
                break
            body = self._messages.message(number)
            if not self._passes(body):
                skipped += len(body)
                self._acknowledge([number])
            elif taken and size + len(body) > most_bytes:
                heapq.heappush(self._again, number)
                break
            else:
                size += len(body)
                taken.append((number, body))
                self._lease(number, deadline, len(body), holder)
        return taken

    def _free(self) -> int | None:
        """The oldest message that is free; it is the caller's to lease, acknowledge or give back."""
        while self._again:
            number = heapq.heappop(self._again)
            if number not in self.acked:  # else its acknowledgement came late
                return number
        number = self.acked.first_missing(self._next)
        if number >= self._messages.end:
            return None
        self._next = number + 1
        return number

    def _lease(self, number: int, deadline: float, size: int, holder: Holder | None) -> None:
        self._leases[number] = _Lease(next(self._serials), deadline, size, holder)
        self._note_deadline(deadline, number)
        if holder:
            holder.messages += 1
            holder.bytes += size

    def _note_deadline(self, deadline: float, number: int) -> None:
        """Deadlines of leases that ended early stay behind, and are swept out when they are most of all."""
        heapq.heappush(self._deadlines, (deadline, number))
        if len(self._deadlines) > 2 * len(self._leases) + _SWEEP:
            self._deadlines = [(lease.deadline, held) for held, lease in self._leases.items()]
            heapq.heapify(self._deadlines)

    def _release(self, number: int) -> bool:
        """End a lease; whether there was one."""
        lease = self._leases.pop(number, None)
        if lease and lease.holder:
            lease.holder.messages -= 1
            lease.holder.bytes -= lease.size
        return lease is not None

    def ack_id(self, number: int) -> str:
        """What a subscriber acknowledges a leased message by."""
        return f"{self._age}-{number}-{self._leases[number].serial}"

    @property
    def _age(self) -> str:
        return f"{self._name}-{self.epoch}"

    def numbers_of(self, ack_ids: Iterable[str], *, leased: bool = False) -> list[int]:
        """The messages of acknowledgement ids, without those from before a seek.

        Args:
            leased: leave out those whose lease has ended as well, also when the message is leased anew.

        Raises:
            RefusedError: one of them is no acknowledgement id.
        """
        age, numbers = self._age, []
        for ack_id in ack_ids:
            found = _ACK_ID.fullmatch(ack_id)
            if not found:
                raise invalid(f"You have passed an invalid ack ID to the service (ack_id={ack_id[:80]}).")
            number = int(found["number"])
            if found["age"] == age and (not leased or self._is_leased(number, int(found["lease"]))):
                numbers.append(number)
        return [number for number in numbers if number < self._messages.end]

    def _is_leased(self, number: int, serial: int) -> bool:
        lease = self._leases.get(number)
        return lease is not None and lease.serial == serial

    def acknowledge(self, numbers: Iterable[int]) -> None:
        """Acknowledge messages, leased or not: whoever does it has them."""
        for number in (known := list(numbers)):
            self._release(number)
        self._acknowledge(known)

    def _acknowledge(self, numbers: list[int]) -> None:
        self.acked.add_all(numbers)
        self.is_dirty = True

    def modify(self, numbers: Iterable[int], seconds: float) -> None:
        """Have leases end so many seconds from now; 0 gives the messages back at once."""
        deadline = self._clock() + seconds
        for number in numbers:
            lease = self._leases.get(number)
            if lease and seconds <= 0:
                self._give_back(number)
            elif lease:
                lease.deadline = deadline
                self._note_deadline(deadline, number)

    def _give_back(self, number: int) -> None:
        if self._release(number):
            heapq.heappush(self._again, number)

    def _expire(self) -> None:
        now = self._clock()
        for _ in range(MOST_LOOKS):
            if not self._deadlines or self._deadlines[0][0] > now:
                return
            _, number = heapq.heappop(self._deadlines)
            lease = self._leases.get(number)
            if lease and lease.deadline <= now:
                self._give_back(number)

    def seconds_to_expiry(self) -> float | None:
        """After how long a lease may end; None when nothing is leased."""
        if not self._leases:
            return None
        return max(0.0, self._deadlines[0][0] - self._clock())

    @property
    def is_full(self) -> bool:
        """Whether so much is leased that nothing more is delivered."""
        return len(self._leases) >= MOST_LEASED

    @property
    def has_more(self) -> bool:
        """Whether the next :meth:`take` can get on, now."""
        is_behind = bool(self._again) or self.acked.first_missing(self._next) < self._messages.end
        return is_behind and not self.is_full

    def seek(self, acked: NumberSet) -> None:
        """Begin anew with another set of acknowledged messages; nothing is leased any more."""
        for number in list(self._leases):
            self._release(number)
        self._deadlines.clear()
        self._again.clear()
        self._next = 0
        self.epoch += 1
        self.acked, self.is_dirty = acked, True

    def forget(self, number: int) -> None:
        """Let go of all messages before a number: they are too old."""
        if self.acked.first_missing(0) < number:
            self.acknowledge(old for old in list(self._leases) if old < number)
            self.acked.add(0, number)
            self.is_dirty = True
