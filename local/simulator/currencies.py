"""Quote currencies: how many units of each one US dollar buys."""

from local.simulator.market import Snapshot

_PER_DOLLAR: dict[str, float] = {
    "usd": 1.0,
    "aed": 3.6725,
    "aud": 1.51,
    "brl": 5.36,
    "cad": 1.39,
    "chf": 0.8,
    "cny": 7.11,
    "eur": 0.86,
    "gbp": 0.75,
    "hkd": 7.78,
    "idr": 16_620.0,
    "inr": 88.7,
    "jpy": 151.2,
    "krw": 1_420.0,
    "mxn": 18.4,
    "pln": 3.66,
    "sgd": 1.29,
    "try": 41.8,
    "vnd": 26_350.0,
    "zar": 17.3,
}

_COINS: dict[str, str] = {"btc": "bitcoin", "eth": "ethereum", "bnb": "binancecoin", "sol": "solana"}

CURRENCIES: tuple[str, ...] = (*_PER_DOLLAR, *_COINS)
"""Codes that ``vs_currency`` may have."""


def units_per_dollar(currency: str, snapshot: Snapshot) -> float | None:
    """The rate of a currency at a snapshot: fixed for state money, moving for coins; None for an unknown code."""
    if (fixed := _PER_DOLLAR.get(currency)) is not None:
        return fixed
    slot = snapshot.slot_of.get(_COINS.get(currency, ""))
    return None if slot is None else 1 / float(snapshot.price[slot])
