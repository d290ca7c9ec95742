"""The REST of the venue below ``/binance/api/v3``, and its control paths."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from fastapi import FastAPI, Request, Response

from local.simulator.answers import Answer, ApiError
from local.simulator.binance.errors import BAD_COMBINATION, INVALID_SYMBOL, illegal, invalid, missing
from local.simulator.binance.faults import EndingOrder, HaltOrder, VenueOrder
from local.simulator.binance.listing import QUOTE, UNIT
from local.simulator.binance.truth import truth
from local.simulator.binance.venue import Venue
from local.simulator.rendering import Row, to_json

BASE_PATH = "/binance/api/v3"

MOST_ROWS, USUAL_ROWS = 1_000, 500

_SYMBOL, _INTEGER = r"^[A-Z0-9-_.]{1,20}$", r"^[0-9]{1,20}$"
_FOREVER_MS = 10**14

Query = Mapping[str, str]


def serve_rest(app: FastAPI, venue: Venue, respond: Callable[[Answer], Response]) -> None:
    """Add the paths of the API.

    Args:
        app: to which they are added.
        venue: what answers.
        respond: makes a response of an answer.
    """

    def call(weight: int, request: Request, answer: Callable[[Venue, Query], bytes]) -> Response:
        refusal = venue.weights.charge(weight, venue.now_ms())
        try:
            response = respond(refusal or Answer(200, answer(venue, request.query_params)))
        except ApiError as error:
            response = respond(error.answer)
        response.headers["X-MBX-USED-WEIGHT"] = response.headers["X-MBX-USED-WEIGHT-1M"] = str(venue.weights.used)
        return response

    @app.get(f"{BASE_PATH}/time")
    async def server_time(request: Request) -> Response:
        return call(1, request, lambda venue, _: to_json({"serverTime": venue.now_ms()}))

    @app.get(f"{BASE_PATH}/exchangeInfo")
    async def information(request: Request) -> Response:
        return call(20, request, exchange_info)

    @app.get(f"{BASE_PATH}/aggTrades")
    async def trades(request: Request) -> Response:
        return call(4, request, aggregate_trades)


def serve_control(app: FastAPI, venue: Venue) -> None:
    """Add the paths by which tests order faults and ask for the truth."""

    @app.get("/_control/binance")
    async def report() -> dict[str, Any]:
        return venue.report()

    @app.post("/_control/binance/faults")
    async def order_faults(order: VenueOrder) -> dict[str, Any]:
        venue.order_faults(order)
        return venue.report()

    @app.post("/_control/binance/connections")
    async def end_connections(order: EndingOrder) -> dict[str, int]:
        return {"ending": venue.end_connections(order)}

    @app.post("/_control/binance/halts")
    async def halt(order: HaltOrder) -> dict[str, Any]:
        venue.halt(order)
        return venue.report()

    @app.get("/_control/binance/truth")
    async def window_truth(symbol: str, from_ms: int, to_ms: int) -> Response:
        if symbol not in venue.tape.listings:
            raise ApiError(INVALID_SYMBOL)
        found = truth(venue.tape, symbol, from_ms, to_ms)
        return Response(json.dumps(found and asdict(found)), media_type="application/json")  # integers above 64 bits


def aggregate_trades(venue: Venue, query: Query) -> bytes:
    """The body of ``/aggTrades``: a bare array, by rising id. What is older than the retention is not there: a call for
    such an id is answered from a later one.

    Raises:
        ApiError: a parameter is wrong.
    """
    symbol = _symbol(venue, query.get("symbol"))
    first, start, end = (_number(query, name) for name in ("fromId", "startTime", "endTime"))
    limit = min(MOST_ROWS, _number(query, "limit") or 0) if "limit" in query else USUAL_ROWS
    if limit < 1:
        raise ApiError(invalid("limit"))
    if first is not None and (start is not None or end is not None):
        raise ApiError(BAD_COMBINATION)
    low, high = _range(venue, symbol, first, start, end, limit)
    return f"[{','.join(venue.tape.trades(symbol, low, high).rows())}]".encode()


def _range(
    venue: Venue, symbol: str, first: int | None, start: int | None, end: int | None, limit: int
) -> tuple[int, int]:
    """The first and the last id of an answer; nothing of the future, nothing beyond the retention."""
    tape, now = venue.tape, venue.now_ms()
    kept_seconds = venue.faults.order.retention_seconds
    oldest = 0 if kept_seconds is None else tape.next_id(symbol, now - round(kept_seconds * 1_000))
    newest = tape.next_id(symbol, min(now, end if end is not None else now) + 1) - 1
    if first is None and start is None:
        return max(oldest, newest - limit + 1), newest
    asked = first if first is not None else tape.next_id(symbol, min(start or 0, now + 1))
    low = max(oldest, asked)
    return low, min(newest, low + limit - 1)


def exchange_info(venue: Venue, query: Query) -> bytes:
    """The body of ``/exchangeInfo``: all symbols, or the ``symbol`` or ``symbols`` asked for.

    Raises:
        ApiError: an unknown symbol.
    """
    asked = [query["symbol"]] if "symbol" in query else _names(query["symbols"]) if "symbols" in query else None
    symbols = [_symbol(venue, name) for name in asked] if asked is not None else list(venue.tape.listings)
    limit = venue.faults.order.weight_per_minute
    weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1, "limit": limit}
    return to_json(
        {
            "timezone": "UTC",
            "serverTime": venue.now_ms(),
            "rateLimits": [weight],
            "exchangeFilters": [],
            "symbols": [_listed(venue, symbol) for symbol in symbols],
        }
    )


def _listed(venue: Venue, symbol: str) -> Row:
    listing = venue.tape.listings[symbol]
    return {
        "symbol": symbol,
        "status": "BREAK" if venue.tape.is_halted(symbol, venue.now_ms()) else "TRADING",
        "baseAsset": listing.base,
        "baseAssetPrecision": 8,
        "quoteAsset": QUOTE,
        "quotePrecision": 8,
        "quoteAssetPrecision": 8,
        "isSpotTradingAllowed": True,
        "filters": [
            {"filterType": "PRICE_FILTER", "tickSize": _decimal(listing.tick)},
            {"filterType": "LOT_SIZE", "stepSize": _decimal(listing.step)},
        ],
    }


def _decimal(units: int) -> str:
    return f"{units // UNIT}.{units % UNIT:08d}"


def _names(text: str) -> list[str]:
    try:
        names = json.loads(text)
    except ValueError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ApiError(invalid("symbols"))
    return names


def _symbol(venue: Venue, text: str | None) -> str:
    if not text:
        raise ApiError(missing("symbol"))
    if not re.match(_SYMBOL, text):
        raise ApiError(illegal("symbol", _SYMBOL))
    if text not in venue.tape.listings:
        raise ApiError(INVALID_SYMBOL)
    return text


def _number(query: Query, name: str) -> int | None:
    """A whole number, at most that of any id or instant; None where it is not given."""
    text = query.get(name)
    if text is None:
        return None
    if not text:
        raise ApiError(missing(name))
    if not re.match(_INTEGER, text):
        raise ApiError(illegal(name, _INTEGER))
    return min(int(text), _FOREVER_MS)
