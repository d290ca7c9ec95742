"""What the publisher does at present, as pure data: written every few seconds, read by ``coinbeam stream status``."""

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict

from coinbeam.feeds.trades.gaps import Tracker


class SymbolStatus(BaseModel):
    """One symbol.

    Attributes:
        last_id: the newest id that was published, and when it was traded; None before the first one.
        waiting: trades and marks in memory.
        trades, messages, duplicates, early, gaps_found, gaps_refilled: see :class:`coinbeam.feeds.trades.gaps.Counts`.
        gaps_open: gaps that are not refilled yet, or never will be.
    """

    model_config = ConfigDict(frozen=True)

    symbol: str
    last_id: int | None
    last_trade_at: datetime | None
    waiting: int
    trades: int
    messages: int
    duplicates: int
    early: int
    gaps_found: int
    gaps_refilled: int
    gaps_open: int


class RunStatus(BaseModel):
    """What a publisher of either kind says of itself.

    Attributes:
        state: ``stopped`` is written by a stop that was asked for; a publisher that was killed leaves another one
            behind, which grows old.
        waiting: what is in memory.
        unreadable: what was passed on for a dead letter.
        retries: calls of Pub/Sub that were not acknowledged; ``problem`` says why the last call failed.
    """

    model_config = ConfigDict(frozen=True)

    source_id: str
    state: Literal["running", "stopped"]
    started_at: datetime
    written_at: datetime
    waiting: int
    unreadable: int
    heartbeats: int
    retries: int
    problem: str | None


class PublisherStatus(RunStatus):
    """The publisher of trades. What waits are trades and marks, and unreadable lines by their length.

    Attributes:
        connections: that are open; ``reconnects`` that followed another one.
    """

    connections: int
    reconnects: int
    symbols: Sequence[SymbolStatus]


class PriceStatus(BaseModel):
    """One polled price.

    Attributes:
        last_price_at: when the newest price that was published was computed; None before the first one.
        waiting: prices in memory.
        prices: that were published, in so many ``messages``.
        unchanged: polls that found the price of an earlier one.
        unusable: polls that found none, one older than a day, or one that is a dead letter.
    """

    model_config = ConfigDict(frozen=True)

    symbol: str
    last_price_at: datetime | None
    waiting: int
    prices: int
    messages: int
    unchanged: int
    unusable: int


class PollerStatus(RunStatus):
    """The publisher of polled prices; its problem may be one of a poll, too.

    Attributes:
        polls: that were answered; ``failures`` were not.
    """

    polls: int
    failures: int
    symbols: Sequence[PriceStatus]


def status_of(tracker: Tracker) -> SymbolStatus:
    """The status of one symbol."""
    seen = tracker.position.seen if tracker.position.is_started else None
    is_known = seen is not None and seen.next > seen.first
    return SymbolStatus(
        symbol=tracker.symbol,
        last_id=seen.next - 1 if seen and is_known else None,
        last_trade_at=datetime.fromtimestamp(seen.at / 1_000, UTC) if seen and is_known else None,
        waiting=tracker.waiting,
        gaps_open=tracker.gaps_open,
        **vars(tracker.counts),
    )
