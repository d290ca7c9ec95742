"""The error bodies of Binance: a code and a message. Source: its list of errors for spot trading."""

from local.simulator.answers import JSON, Answer
from local.simulator.rendering import to_json


def error(code: int, message: str, status: int = 400, headers: dict[str, str] | None = None) -> Answer:
    """``{"code": ..., "msg": ...}``."""
    return Answer(status, to_json({"code": code, "msg": message}), JSON, headers or {})


INVALID_SYMBOL = error(-1121, "Invalid symbol.")

BAD_COMBINATION = error(-1128, "Combination of optional parameters invalid.")


def missing(name: str) -> Answer:
    """A mandatory parameter is not there."""
    return error(-1102, f"Mandatory parameter '{name}' was not sent, was empty/null, or malformed.")


def illegal(name: str, legal: str) -> Answer:
    """A parameter has characters that do not belong in it; ``legal`` is the pattern of those that do."""
    return error(-1100, f"Illegal characters found in parameter '{name}'; legal range is '{legal}'.")


def invalid(name: str) -> Answer:
    """A parameter is a number, but none that is allowed."""
    return error(-1130, f"Data sent for parameter '{name}' is not valid.")


def too_much_weight(limit: int, retry_after: int) -> Answer:
    """429 with its wait in seconds."""
    text = (
        f"Too much request weight used; current limit is {limit} request weight per 1 MINUTE. Please use WebSocket "
        "Streams for live updates to avoid polling the API."
    )
    return error(-1003, text, 429, {"Retry-After": str(retry_after)})


def banned(until_ms: int, retry_after: int) -> Answer:
    """418: the address went on after 429."""
    text = (
        f"Way too much request weight used; IP banned until {until_ms}. Please use WebSocket Streams for live updates "
        "to avoid bans."
    )
    return error(-1003, text, 418, {"Retry-After": str(retry_after)})
