"""What polls may cost: calls of the ledger, reserved a few at a time, as far as their share of the month goes."""

import logging

from coinbeam.clock import Clock, utc_now
from coinbeam.errors import CoinbeamError
from coinbeam.ops.call_ledger import CallLedger, Reservation
from coinbeam.sources.rate import BudgetExceededError, CallCap

_LOGGER = logging.getLogger(__name__)

JOB = "stream_publish"
"""Who pays, in the ledger."""

CALLS_AT_ONCE = 30
"""Half an hour of polls; a poller that is killed has cost so many at most that it did not make."""


class PollBudget(CallCap):
    """A cap that reserves anew when it is reached, or when the month ends that pays.

    Args:
        share: the part of a month's calls that polls may use.
    """

    def __init__(self, ledger: CallLedger, source_id: str, share: float, clock: Clock = utc_now) -> None:
        super().__init__(0)
        self._ledger, self._source_id, self._share, self._clock = ledger, source_id, share, clock
        self._held: Reservation | None = None
        self._batch_id = f"prices-{clock():%Y%m%dT%H%M%SZ}"

    def take(self) -> None:
        """Count one call that is about to be made, and reserve some where none is left.

        Raises:
            BudgetExceededError: polls have used their share of the month, or the month is used up.
            TerminalError: there is no ledger.
            TransientError: the warehouse does not answer.
        """
        held = self._held
        if held is None or self.made >= held.calls or held.month != self._clock().date().replace(day=1):
            self.settle()
            self._reserve()
        self.made += 1

    def settle(self) -> None:
        """Give back what is reserved and was not used; without an answer of the warehouse it counts in full."""
        held, self._held = self._held, None
        if held is None:
            return
        try:
            self._ledger.settle(held, self.made)
        except CoinbeamError as error:
            _LOGGER.warning("%d calls stay reserved for %s and count in full: %s", held.calls, held.batch_id, error)

    def _reserve(self) -> None:
        usage = self._ledger.usage(self._source_id, JOB)
        most = int(self._share * usage.calls_per_month)
        if usage.used + CALLS_AT_ONCE > most:
            raise BudgetExceededError(
                f"Polls used {usage.used:,} of {most:,} calls, their share of the month.",
                "Wait for the first of the month (UTC), set stream.poll_seconds higher or stream.poll_share, or "
                "coingecko.plan to a larger plan.",
            )
        self._held = self._ledger.reserve(JOB, self._batch_id, CALLS_AT_ONCE, self._source_id)
        self.made = 0
