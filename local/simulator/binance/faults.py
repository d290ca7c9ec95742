"""What goes wrong with the venue on order: spoiled frames, silence, refusals, ends of connections, and halts.

Which trade is hit is set by seed, symbol and id, never by time: every connection loses the same ones. The tape and REST
stay true; only a halt is part of the tape.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Annotated, Any

import orjson
from pydantic import BaseModel, ConfigDict, Field, model_validator

from local.simulator.binance.tape import DAY_MS, Trades
from local.simulator.noise import text_hash, uniforms

Share = Annotated[float, Field(ge=0, le=1)]


class Garbage(StrEnum):
    """A frame that comes in place of a trade's; the trade itself is then missing from the stream."""

    NO_JSON = "no_json"
    """The first half of the frame."""
    MISSING_FIELD = "missing_field"
    """No quantity."""
    NO_NUMBER = "no_number"
    """A price that is no number."""
    NEGATIVE_QUANTITY = "negative_quantity"
    ID_BACKWARDS = "id_backwards"
    """An id of long ago, at the time of now."""
    FUTURE = "future"
    """An event and a trade time of tomorrow."""
    YEAR_OLD = "year_old"
    """An event and a trade time of a year ago."""
    UNASKED_SYMBOL = "unasked_symbol"
    """A trade of a symbol that nobody subscribed to."""
    HUGE = "huge"
    """A frame of 10 MB; only where it is named among the kinds."""


class VenueOrder(BaseModel):
    """What ``POST /_control/binance/faults`` takes; it replaces the order before.

    Attributes:
        seed: which trades are hit.
        symbols: whose frames are hit; empty for all.
        run: so many consecutive trades have the same fate, so that a drop is a gap of as many.
        limit: at most so many spoiled frames; None for no limit.
        drop: share of trades that the websocket loses.
        duplicate: share of trades that it sends twice, the second time up to three trades later.
        reorder: share of trades that it sends one to four trades late.
        garbage: share of trades in whose place it sends garbage of one of the ``kinds``.
        silent: symbols of which it sends nothing for ``silence_seconds`` from now.
        lifetime_seconds: age at which a connection is closed.
        retention_seconds: age at which REST forgets a trade; None for never.
        refusals: so many calls of REST from now on are answered by 429, with ``retry_after`` seconds.
        weight_per_minute: request weight beyond which REST refuses.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int = 1
    symbols: tuple[str, ...] = ()
    limit: Annotated[int, Field(ge=0)] | None = None
    run: Annotated[int, Field(ge=1, le=10_000)] = 1
    drop: Share = 0.0
    duplicate: Share = 0.0
    reorder: Share = 0.0
    garbage: Share = 0.0
    kinds: tuple[Garbage, ...] = Field(tuple(kind for kind in Garbage if kind is not Garbage.HUGE), min_length=1)
    silent: tuple[str, ...] = ()
    silence_seconds: Annotated[float, Field(ge=0, le=86_400)] = 60.0
    lifetime_seconds: Annotated[float, Field(gt=0, le=86_400)] = 86_400.0
    retention_seconds: Annotated[float, Field(gt=0)] | None = None
    refusals: Annotated[int, Field(ge=0, le=1_000)] = 0
    retry_after: Annotated[int, Field(ge=0, le=3_600)] = 1
    weight_per_minute: Annotated[int, Field(ge=1)] = 6_000

    @model_validator(mode="after")
    def _one_fate(self) -> "VenueOrder":
        if self.drop + self.duplicate + self.reorder + self.garbage > 1:
            raise ValueError("drop, duplicate, reorder and garbage are together more than 1")
        return self

    @property
    def spoils(self) -> bool:
        """Whether any frame can be hit."""
        return bool(self.drop or self.duplicate or self.reorder or self.garbage or self.silent)


class Ending(StrEnum):
    """How connections come to an end."""

    ABORT = "abort"
    """The connection is gone without a close frame."""
    CLOSE = "close"
    """A close frame."""
    SHUTDOWN = "shutdown"
    """``serverShutdown`` as a frame of the stream ``!serverShutdown``, and later a close frame."""
    SHUTDOWN_EVENT = "shutdown_event"
    """``serverShutdown`` as a bare event, and later a close frame."""


class EndingOrder(BaseModel):
    """What ``POST /_control/binance/connections`` takes: all connections of now come to an end.

    Attributes:
        ending: how.
        grace_seconds: from ``serverShutdown`` to the close frame; ten minutes at Binance.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    ending: Ending
    grace_seconds: Annotated[float, Field(ge=0, le=600)] = 1.0


class HaltOrder(BaseModel):
    """What ``POST /_control/binance/halts`` takes: a hole in the tape of one symbol; only a reset forgets it.

    Attributes:
        symbol: as ``BTCUSDT``.
        seconds: how long nothing trades.
        after_seconds: from now to its start.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    symbol: str
    seconds: Annotated[float, Field(gt=0, le=86_400)]
    after_seconds: Annotated[float, Field(ge=0, le=86_400)] = 1.0


Wrap = Callable[[str, str], str]
"""Makes a frame of a symbol and the line of a trade."""


class FrameFaults:
    """The order of the moment, from when it is, and what it has done so far."""

    def __init__(self, order: VenueOrder, since_ms: int) -> None:
        self.order = order
        self.sent: Counter[str] = Counter()
        self._since_ms = since_ms

    def is_silent(self, symbol: str, at_ms: int) -> bool:
        """Whether the trade of a symbol at an instant is kept back."""
        end = self._since_ms + self.order.silence_seconds * 1_000
        return symbol in self.order.silent and self._since_ms < at_ms <= end

    def fates(self, trades: Trades) -> list[str | None]:
        """What happens to each trade, if anything: ``drop``, ``duplicate``, ``reorder`` or ``garbage``."""
        order = self.order
        if order.symbols and trades.symbol not in order.symbols:
            return [None] * len(trades)
        bounds, total = [], 0.0
        for name in ("drop", "duplicate", "reorder", "garbage"):
            total += getattr(order, name)
            bounds.append((total, name))
        lucks = uniforms(order.seed, f"fate:{trades.symbol}", trades.ids // order.run).tolist()
        return [next((name for bound, name in bounds if luck < bound), None) for luck in lucks]

    def count(self, what: str) -> bool:
        """Count a spoiled frame; False where the limit allows no more."""
        if self.order.limit is not None and self.sent.total() - self.sent["silent"] >= self.order.limit:
            return False
        self.sent[what] += 1
        return True


class Spoiler:
    """The frames of one symbol on one connection, spoiled as ordered; a late one waits here for its turn.

    Args:
        symbol: as ``BTCUSDT``.
        wrap: makes a frame of a symbol and the line of a trade.
    """

    def __init__(self, symbol: str, wrap: Wrap) -> None:
        self._symbol, self._wrap = symbol, wrap
        self._late: list[tuple[int, str]] = []

    @property
    def waits(self) -> bool:
        """Whether a frame is still to come."""
        return bool(self._late)

    def frames(self, trades: Trades, lines: Sequence[str], faults: FrameFaults) -> list[str]:
        """The frames of the next trades, in the order in which they are sent.

        Args:
            trades: of the symbol.
            lines: theirs, as the tape writes them.
            faults: the order in force.
        """
        sent: list[str] = []
        cells = zip(lines, faults.fates(trades), trades.ids.tolist(), trades.times.tolist(), strict=True)
        for line, fate, trade_id, at_ms in cells:
            if faults.is_silent(self._symbol, at_ms):
                faults.sent["silent"] += 1
                continue
            sent += [self._wrap(self._symbol, line)] if fate is None else self._hit(line, fate, trade_id, faults)
            sent += [late for due, late in self._late if due <= trade_id]
            self._late = [(due, late) for due, late in self._late if due > trade_id]
        return sent

    def _hit(self, line: str, fate: str, trade_id: int, faults: FrameFaults) -> list[str]:
        """What is sent at once for a trade that is to be hit; what is sent later joins the late ones."""
        frame, luck = self._wrap(self._symbol, line), text_hash(faults.order.seed, self._symbol, str(trade_id))
        kind = faults.order.kinds[luck % len(faults.order.kinds)]
        if not faults.count(kind if fate == "garbage" else fate):
            return [frame]
        if fate == "duplicate":
            self._late.append((trade_id + luck // 16 % 4, frame))
            return [frame]
        if fate == "reorder":
            self._late.append((trade_id + 1 + luck // 16 % 4, frame))
            return []
        return [garbage(kind, self._symbol, line, self._wrap)] if fate == "garbage" else []


def combined(symbol: str, line: str) -> str:
    """A frame of ``/stream``."""
    return f'{{"stream":"{symbol.lower()}@aggTrade","data":{line}}}'


def raw(_: str, line: str) -> str:
    """A frame of ``/ws``."""
    return line


def garbage(kind: Garbage, symbol: str, line: str, wrap: Wrap) -> str:
    """A frame that is none of the venue's, made of the line of a trade."""
    if kind is Garbage.NO_JSON:
        frame = wrap(symbol, line)
        return frame[: len(frame) // 2]
    trade = orjson.loads(line)
    _SPOIL[kind](trade)
    return wrap(trade["s"], orjson.dumps(trade).decode())


def _moved(by_ms: int) -> Callable[[dict[str, Any]], None]:
    return lambda trade: trade.update(E=trade["E"] + by_ms, T=trade["T"] + by_ms)


UNASKED = "NOBODYASKEDUSDT"
"""The symbol of the garbage of that kind."""

HUGE_BYTES = 10_000_000

_SPOIL: dict[Garbage, Callable[[dict[str, Any]], object]] = {
    Garbage.MISSING_FIELD: lambda trade: trade.pop("q"),
    Garbage.NO_NUMBER: lambda trade: trade.update(p="expensive"),
    Garbage.NEGATIVE_QUANTITY: lambda trade: trade.update(q=f"-{trade['q']}"),
    Garbage.ID_BACKWARDS: lambda trade: trade.update(a=trade["a"] - 1_000),
    Garbage.FUTURE: _moved(DAY_MS),
    Garbage.YEAR_OLD: _moved(-365 * DAY_MS),
    Garbage.UNASKED_SYMBOL: lambda trade: trade.update(s=UNASKED),
    Garbage.HUGE: lambda trade: trade.update(q="9" * HUGE_BYTES),
}
