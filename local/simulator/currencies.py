"""Quote currencies: how many units of each one US dollar buys."""

from local.simulator.market import Snapshot

_PER_DOLLAR: dict[str, float] = {
    "usd": 1.0,
    "aed": 3.6725,
    "ars": 1_450.0,
    "aud": 1.51,
    "bch": 0.0018,
    "bdt": 122.0,
    "bhd": 0.376,
    "brl": 5.36,
    "cad": 1.39,
    "chf": 0.8,
    "clp": 940.0,
    "cny": 7.11,
    "czk": 20.9,
    "dkk": 6.42,
    "eos": 3.6,
    "eur": 0.86,
    "gbp": 0.75,
    "gel": 2.71,
    "hkd": 7.78,
    "huf": 333.0,
    "idr": 16_620.0,
    "ils": 3.27,
    "inr": 88.7,
    "jpy": 151.2,
    "krw": 1_420.0,
    "kwd": 0.307,
    "lkr": 304.0,
    "mmk": 2_100.0,
    "mxn": 18.4,
    "myr": 4.19,
    "ngn": 1_455.0,
    "nok": 10.05,
    "nzd": 1.74,
    "php": 58.6,
    "pkr": 281.0,
    "pln": 3.66,
    "rub": 80.5,
    "sar": 3.75,
    "sek": 9.45,
    "sgd": 1.29,
    "thb": 32.5,
    "try": 41.8,
    "twd": 30.7,
    "uah": 41.9,
    "vef": 0.1,
    "vnd": 26_350.0,
    "xag": 0.0206,
    "xau": 0.000245,
    "xdr": 0.735,
    "xlm": 3.1,
    "yfi": 0.0002,
    "zar": 17.3,
}

_COINS: dict[str, tuple[str, float]] = {
    "btc": ("bitcoin", 1.0),
    "bits": ("bitcoin", 1e6),
    "sats": ("bitcoin", 1e8),
    "eth": ("ethereum", 1.0),
    "bnb": ("binancecoin", 1.0),
    "sol": ("solana", 1.0),
    "xrp": ("ripple", 1.0),
    "link": ("chainlink", 1.0),
    "ltc": ("litecoin", 1.0),
    "dot": ("polkadot", 1.0),
}
"""Coins of the market that are currencies, and how many units make one."""

CURRENCIES: tuple[str, ...] = (*_PER_DOLLAR, *_COINS)
"""Codes that ``vs_currency`` may have."""


def units_per_dollar(currency: str, snapshot: Snapshot) -> float | None:
    """The rate of a currency at a snapshot: fixed for what is no coin of the market, else moving; None for an unknown
    code.
    """
    if (fixed := _PER_DOLLAR.get(currency)) is not None:
        return fixed
    coin, units = _COINS.get(currency, ("", 0.0))
    slot = snapshot.slot_of.get(coin)
    return None if slot is None else units / float(snapshot.price[slot])
