"""Quote currencies: how many units of each one US dollar buys."""

from local.simulator.market import Snapshot
from local.simulator.rendering import Row

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


_NAMES: dict[str, tuple[str, str]] = {
    "usd": ("US Dollar", "$"),
    "aed": ("United Arab Emirates Dirham", "DH"),
    "ars": ("Argentine Peso", "$"),
    "aud": ("Australian Dollar", "A$"),
    "bch": ("Bitcoin Cash", "BCH"),
    "bdt": ("Bangladeshi Taka", "৳"),
    "bhd": ("Bahraini Dinar", "BD"),
    "brl": ("Brazil Real", "R$"),
    "cad": ("Canadian Dollar", "CA$"),
    "chf": ("Swiss Franc", "Fr."),
    "clp": ("Chilean Peso", "CLP$"),
    "cny": ("Chinese Yuan", "¥"),
    "czk": ("Czech Koruna", "Kč"),
    "dkk": ("Danish Krone", "kr."),
    "eos": ("EOS", "EOS"),
    "eur": ("Euro", "€"),
    "gbp": ("British Pound Sterling", "£"),
    "gel": ("Georgian Lari", "₾"),
    "hkd": ("Hong Kong Dollar", "HK$"),
    "huf": ("Hungarian Forint", "Ft"),
    "idr": ("Indonesian Rupiah", "Rp"),
    "ils": ("Israeli New Shekel", "₪"),
    "inr": ("Indian Rupee", "₹"),
    "jpy": ("Japanese Yen", "¥"),
    "krw": ("South Korean Won", "₩"),
    "kwd": ("Kuwaiti Dinar", "KD"),
    "lkr": ("Sri Lankan Rupee", "Rs"),
    "mmk": ("Burmese Kyat", "K"),
    "mxn": ("Mexican Peso", "MX$"),
    "myr": ("Malaysian Ringgit", "RM"),
    "ngn": ("Nigerian Naira", "₦"),
    "nok": ("Norwegian Krone", "kr"),
    "nzd": ("New Zealand Dollar", "NZ$"),
    "php": ("Philippine Peso", "₱"),
    "pkr": ("Pakistani Rupee", "₨"),
    "pln": ("Polish Zloty", "zł"),
    "rub": ("Russian Ruble", "₽"),
    "sar": ("Saudi Riyal", "SR"),
    "sek": ("Swedish Krona", "kr"),
    "sgd": ("Singapore Dollar", "S$"),
    "thb": ("Thai Baht", "฿"),
    "try": ("Turkish Lira", "₺"),
    "twd": ("New Taiwan Dollar", "NT$"),
    "uah": ("Ukrainian hryvnia", "₴"),
    "vef": ("Venezuelan bolívar fuerte", "Bs.F"),
    "vnd": ("Vietnamese đồng", "₫"),
    "xag": ("Silver - Troy Ounce", "XAG"),
    "xau": ("Gold - Troy Ounce", "XAU"),
    "xdr": ("IMF Special Drawing Rights", "XDR"),
    "xlm": ("Lumens", "XLM"),
    "yfi": ("Yearn.finance", "YFI"),
    "zar": ("South African Rand", "R"),
    "btc": ("Bitcoin", "BTC"),
    "bits": ("Bits", "μBTC"),
    "sats": ("Satoshi", "sats"),
    "eth": ("Ether", "ETH"),
    "bnb": ("Binance Coin", "BNB"),
    "sol": ("Solana", "SOL"),
    "xrp": ("XRP", "XRP"),
    "link": ("Chainlink", "LINK"),
    "ltc": ("Litecoin", "LTC"),
    "dot": ("Polkadot", "DOT"),
}
"""Name and sign of each currency as ``/exchange_rates`` has them (the API's own description)."""

_METALS = frozenset({"xag", "xau"})
_COINS_OF_OTHERS = frozenset({"bch", "eos", "xlm", "yfi"})
"""Coins that the simulated market does not have; their rate is fixed."""


def exchange_rates(snapshot: Snapshot) -> dict[str, Row]:
    """The rates of ``/exchange_rates``: units of each currency that a bitcoin is worth, of three decimals; a bitcoin is
    exactly one.
    """
    return {
        currency: {"name": name, "unit": unit, "value": round(value, 3), "type": _kind(currency)}
        for currency, (name, unit) in _NAMES.items()
        if (value := units_per_bitcoin(currency, snapshot)) is not None
    }


def _kind(currency: str) -> str:
    if currency in _METALS:
        return "commodity"
    return "crypto" if currency in _COINS_OF_OTHERS or currency in _COINS else "fiat"


def units_per_bitcoin(currency: str, snapshot: Snapshot) -> float | None:
    """How much of a currency a bitcoin is worth at a snapshot; None for an unknown code."""
    dollars = units_per_dollar("btc", snapshot)
    rate = units_per_dollar(currency, snapshot)
    return None if dollars is None or rate is None else rate / dollars


def units_per_dollar(currency: str, snapshot: Snapshot) -> float | None:
    """The rate of a currency at a snapshot: fixed for what is no coin of the market, else moving; None for an unknown
    code.
    """
    if (fixed := _PER_DOLLAR.get(currency)) is not None:
        return fixed
    coin, units = _COINS.get(currency, ("", 0.0))
    slot = snapshot.slot_of.get(coin)
    return None if slot is None else units / float(snapshot.price[slot])
