"""What a poll found: prices of one answer, and those of one symbol that wait to be published."""

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from coinbeam.clock import parse_instant
from coinbeam.errors import SettingsError
from coinbeam.feeds.trades.message import ALLOWED_LATENESS, PRICE_COLON, Message, bundle, price_line
from coinbeam.feeds.trades.status import PriceStatus
from coinbeam.sources.aggregate_trade import AHEAD


@dataclass(frozen=True)
class Found:
    """A row of an answer that names a symbol.

    Attributes:
        price: as the index wrote it; None where there is none, which is no fault.
        at: when it was computed, in milliseconds.
        fault: why the row is none; None when it is one.
    """

    symbol: str
    price: float | None
    at: int
    raw: bytes
    fault: str | None = None


def read_answer(body: bytes, quote_currency: str, now: datetime) -> Iterator[Found]:
    """The rows of an answer of ``/coins/markets`` that have an id; a body that is no list has none.

    The standard parser is the second try, as that of the client is: NaN and Infinity cost one row, and not the answer.
    """
    try:
        rows = orjson.loads(body)
    except orjson.JSONDecodeError:
        rows = json.loads(body)
    for row in rows if isinstance(rows, list) else ():
        if isinstance(row, dict) and isinstance(row.get("id"), str):
            yield _read(row, f"{row['id']}{PRICE_COLON}{quote_currency}", now)


def _read(row: dict[str, Any], symbol: str, now: datetime) -> Found:
    price, raw = row.get("current_price"), _raw(row)
    if price is None:
        return Found(symbol, None, 0, raw)
    if isinstance(price, bool) or not isinstance(price, int | float) or not 0 < price <= sys.float_info.max:
        return Found(symbol, None, 0, raw, f"the price {price!r}")
    said = row.get("last_updated")
    try:
        at = parse_instant(said) if isinstance(said, str) else None
    except (SettingsError, OverflowError):
        at = None
    if at is None or at > now + AHEAD:
        return Found(symbol, None, 0, raw, f"the instant {said!r}")
    return Found(symbol, float(price), round(at.timestamp() * 1_000), raw)


def _raw(row: dict[str, Any]) -> bytes:
    try:
        return orjson.dumps(row)
    except orjson.JSONEncodeError:  # a number that is too large, or half a character
        return json.dumps(row).encode()


@dataclass
class Series:
    """The prices of one symbol, in the order of their instants.

    Attributes:
        at: the instant of the newest one that was taken, -1 before the first; ``published_at`` of those that the
            broker has.
        waiting: instants and lines that it does not have.
    """

    symbol: str
    published_at: int = -1
    waiting: list[tuple[int, bytes]] = field(default_factory=list)
    prices: int = 0
    messages: int = 0
    unchanged: int = 0
    unusable: int = 0
    refused: bytes | None = None

    def __post_init__(self) -> None:
        self.at = self.published_at

    def take(self, found: Found, now: datetime) -> bool:
        """Take what a poll found, if it is a newer price; True when it is a fault that was not there before."""
        if found.fault is not None:
            self.unusable += 1
            is_new = found.raw != self.refused
            self.refused = found.raw
            return is_new
        if found.price is None or found.at < (now - ALLOWED_LATENESS).timestamp() * 1_000:
            self.unusable += 1
        elif found.at <= self.at:
            self.unchanged += 1
        else:
            self.at = found.at
            self.waiting.append((found.at, price_line(self.symbol, found.at, found.price, found.at)))
        return False

    def message(self, most: int) -> tuple[Message, Sequence[tuple[int, bytes]]] | None:
        """The oldest prices that wait, as one message, and what is in it."""
        part = self.waiting[:most]
        if not part:
            return None
        first, last = part[0][0], part[-1][0]
        return bundle(self.symbol, [line for _, line in part], first, last, first), part

    def acknowledged(self, part: Sequence[tuple[int, bytes]]) -> None:
        """Count the prices of a message as published."""
        del self.waiting[: len(part)]
        self.published_at = part[-1][0]
        self.prices += len(part)
        self.messages += 1

    def status(self) -> PriceStatus:
        """What is known of it."""
        at = datetime.fromtimestamp(self.published_at / 1_000, UTC) if self.published_at >= 0 else None
        counts = {name: getattr(self, name) for name in ("prices", "messages", "unchanged", "unusable")}
        return PriceStatus(symbol=self.symbol, last_price_at=at, waiting=len(self.waiting), **counts)
