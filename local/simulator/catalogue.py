"""What does not move with the clock: who the coins are, their supplies, their base prices and how restless they are."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from local.simulator.noise import NORMAL_BOUND, BoolArray, FloatArray, IntArray, below, hashes, normals, uniforms
from local.simulator.quirks import NULL_EXPLORERS, QUIRKS, RENAMED_IDS, Quirk

PERIODS_HOURS: tuple[int, ...] = (1, 6, 24, 168, 720, 4320)
"""Lattice widths of the price noise; amplitudes grow with their square root, as those of a random walk do."""

MARKET_SIGMA = 0.002
"""Hourly volatility of the factor that all coins share."""

SPARKLINE_POINTS = 168

# fmt: off
CATEGORIES: dict[str, str] = {
    "layer-1": "Layer 1 (L1)", "layer-2": "Layer 2 (L2)", "stablecoins": "Stablecoins",
    "decentralized-finance-defi": "Decentralized Finance (DeFi)", "meme-token": "Meme", "gaming": "Gaming (GameFi)",
    "artificial-intelligence": "Artificial Intelligence (AI)", "real-world-assets-rwa": "Real World Assets (RWA)",
    "bridged-tokens": "Bridged-Tokens", "governance": "Governance",
}
"""Category id to category name."""

PLATFORMS: tuple[str, ...] = (
    "ethereum", "binance-smart-chain", "solana", "base", "polygon-pos", "arbitrum-one", "avalanche", "tron",
)
# fmt: on

Traits = dict[str, FloatArray | BoolArray | IntArray]
"""Named columns with one element per coin; see :func:`_seeded_traits`."""


@dataclass(frozen=True)
class KnownCoin:
    """A coin that everybody knows, with a plausible price in US dollars and plausible supplies."""

    id: str
    symbol: str
    name: str
    price: float
    circulating: float
    maximum: float | None = None
    stable: bool = False


KNOWN_COINS: tuple[KnownCoin, ...] = (
    KnownCoin("bitcoin", "btc", "Bitcoin", 95_000, 19_980_000, 21_000_000),
    KnownCoin("ethereum", "eth", "Ethereum", 3_300, 120_692_086.1323928),
    KnownCoin("tether", "usdt", "Tether", 1, 186_000_000_000.5, stable=True),
    KnownCoin("binancecoin", "bnb", "BNB", 880, 137_700_000, 200_000_000),
    KnownCoin("ripple", "xrp", "XRP", 2, 60_600_000_000, 100_000_000_000),
    KnownCoin("solana", "sol", "Solana", 140, 565_000_000.123456),
    KnownCoin("usd-coin", "usdc", "USDC", 1, 75_000_000_000.25, stable=True),
    KnownCoin("tron", "trx", "TRON", 0.29, 94_700_000_000),
    KnownCoin("dogecoin", "doge", "Dogecoin", 0.14, 168_000_000_000),
    KnownCoin("cardano", "ada", "Cardano", 0.4, 36_700_000_000, 45_000_000_000),
    KnownCoin("chainlink", "link", "Chainlink", 13, 708_000_000, 1_000_000_000),
    KnownCoin("litecoin", "ltc", "Litecoin", 80, 76_700_000, 84_000_000),
    KnownCoin("polkadot", "dot", "Polkadot", 2.1, 1_650_000_000),
    KnownCoin("shiba-inu", "shib", "Shiba Inu", 0.000008, 589_000_000_000_000),
)

# fmt: off
_FIRST = (
    "Aero", "Alpha", "Apex", "Arc", "Astro", "Atlas", "Aura", "Axon", "Basalt", "Beacon", "Bit", "Blaze", "Block",
    "Bright", "Cedar", "Chain", "Cipher", "Cloud", "Coral", "Cosmo", "Crypto", "Delta", "Dragon", "Echo", "Ember",
    "Ether", "Falcon", "Fire", "Flux", "Frost", "Galaxy", "Giga", "Glacier", "Gold", "Harbor", "Helio", "Hyper",
    "Iron", "Jade", "Kite", "Lunar", "Lumen", "Mango", "Meta", "Mint", "Moon", "Neon", "Nova", "Ocean", "Omni",
    "Onyx", "Orbit", "Pepe", "Pixel", "Polar", "Prime", "Pulse", "Quantum", "Raven", "Ruby", "Safe", "Shadow",
    "Silver", "Solar", "Spark", "Star", "Stellar", "Storm", "Terra", "Thunder", "Titan", "Turbo", "Ultra", "Vault",
    "Velvet", "Vertex", "Volt", "Wave", "Wolf", "Zen",
)
_SECOND = (
    "Ape", "Bank", "Base", "Bear", "Bridge", "Cash", "Cat", "Chain", "Coin", "Core", "Credit", "Dao", "Dex", "Dog",
    "Exchange", "Farm", "Finance", "Fi", "Forge", "Frog", "Fund", "Game", "Gate", "Guard", "Hub", "Index", "Inu",
    "Lab", "Land", "Layer", "Ledger", "Link", "Loop", "Market", "Mind", "Net", "Node", "Oracle", "Pad", "Park", "Pay",
    "Pool", "Port", "Protocol", "Punk", "Quest", "Ring", "Rocket", "Share", "Shield", "Space", "Stake", "Swap",
    "Token", "Trade", "Vault", "Verse", "Vision", "World", "Yield",
)
# fmt: on

_SHARES = {"unpriced": 0.015, "stale": 0.02, "zero_cap": 0.06, "bare": 0.001, "unlisted": 0.001}
_SHARES |= {"own_chain": 0.1, "rehypothecated": 0.01}
"""Share of ordinary coins that have a flag; known coins and quirks have one only when they say so."""


@dataclass(frozen=True)
class Catalogue:
    """The coins of a market, one slot each; arrays have one element per slot, and NaN stands for null.

    Ids and names are those before any rebirth or renaming; symbols are neither unique nor always filled.
    """

    seed: int
    ids: list[str]
    symbols: list[str]
    names: list[str]
    traits: Traits
    quirks: dict[int, Quirk]

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def slots(self) -> IntArray:
        """All slot numbers."""
        return np.arange(len(self.ids), dtype=np.int64)

    def number(self, trait: str) -> FloatArray:
        """A numeric column."""
        return self.traits[trait].astype(np.float64, copy=False)

    def flag(self, trait: str) -> BoolArray:
        """A boolean column."""
        return self.traits[trait].astype(np.bool_, copy=False)

    @cached_property
    def amplitude(self) -> FloatArray:
        """Largest possible distance of a coin's log price from its base: all-time records lie beyond it."""
        roots = sum(period**0.5 for period in PERIODS_HOURS) * 0.5 * NORMAL_BOUND
        reach: FloatArray = roots * (self.number("sigma") + self.number("beta") * MARKET_SIGMA)
        return reach

    @cached_property
    def records(self) -> dict[str, tuple[FloatArray, list[str]]]:
        """All-time high (``ath``) and low (``atl``): US dollars, never reached again, and ISO 8601 instants."""
        found: dict[str, tuple[FloatArray, list[str]]] = {}
        for name, sign in (("ath", 1), ("atl", -1)):
            distance = sign * self.amplitude * (1 + uniforms(self.seed, name, self.slots))
            age = (uniforms(self.seed, f"{name}_date", self.slots) * 5 * 365 * 86_400_000).astype("timedelta64[ms]")
            dates = np.datetime_as_string(np.datetime64("2025-12-31T00:00:00", "ms") - age).tolist()
            found[name] = self.number("base_price") * np.exp(distance), [f"{text}Z" for text in dates]
        return found

    @cached_property
    def images(self) -> list[str]:
        """Logo addresses, of the same form as the real ones."""
        base = "https://coin-images.coingecko.com/coins/images"
        return [f"{base}/{slot + 1}/large/{coin}.png?{1_696_501_400 + slot}" for slot, coin in enumerate(self.ids)]

    @cached_property
    def platforms(self) -> list[dict[str, str]]:
        """Contract address by asset platform; empty for coins with a chain of their own."""
        found: list[dict[str, str]] = []
        kinds, lonely = hashes(self.seed, "platform", self.slots).tolist(), self.flag("own_chain").tolist()
        for bits, alone in zip(kinds, lonely, strict=True):
            address = f"0x{bits:016x}{bits * 0x9E3779B97F4A7C15 % 2**96:024x}"
            count = 0 if alone else 1 + bits % 3 // 2
            found.append({PLATFORMS[(bits // 7 + n) % len(PLATFORMS)]: address for n in range(count)})
        return found

    @cached_property
    def categories(self) -> list[list[str]]:
        """Category ids of each coin."""
        names = [name for name in CATEGORIES if name != "stablecoins"]
        bits = hashes(self.seed, "category", self.slots).tolist()
        stable = self.flag("stable").tolist()
        return [
            ["stablecoins"] if s else sorted({names[b % 9], names[b // 9 % 9]} - {"stablecoins"})
            for b, s in zip(bits, stable, strict=True)
        ]

    @cached_property
    def list_only(self) -> tuple[str, ...]:
        """Ids that ``/coins/list`` knows and ``/coins/markets`` does not."""
        return (*RENAMED_IDS, NULL_EXPLORERS, *(f"preview-coin-{n}" for n in range(1, max(3, len(self) // 50) + 1)))

    @cached_property
    def inactive(self) -> tuple[str, ...]:
        """Ids of ``/coins/list?status=inactive``."""
        return tuple(f"retired-coin-{n}" for n in range(1, max(3, len(self) // 10) + 1))

    def identities(self, epoch_seconds: int) -> tuple[list[str], list[str]]:
        """Ids and names at an instant: over time some ids vanish and others take their slot, and some names change."""
        ids, names = list(self.ids), list(self.names)
        for slot in np.flatnonzero(self.traits["reborn_at"] <= epoch_seconds).tolist():
            ids[slot], names[slot] = f"{ids[slot]}-new", f"{names[slot]} New"
        for slot in np.flatnonzero(self.traits["renamed_at"] <= epoch_seconds).tolist():
            names[slot] = f"{names[slot]} (Rebranded)"
        return ids, names


def build_catalogue(seed: int, coins: int) -> Catalogue:
    """The coins that ``/coins/markets`` serves, so many: the well-known ones, then the quirks, then the seeded rest."""
    quirks = {slot: quirk for slot, quirk in enumerate(QUIRKS, start=len(KNOWN_COINS)) if slot < coins}
    heads = [*((c.id, c.symbol, c.name) for c in KNOWN_COINS), *((q.id, q.symbol, q.name) for q in QUIRKS)]
    triples = [*heads, *_invented(seed, len(heads), coins)][:coins]
    ids, symbols, names = (list(part) for part in zip(*triples, strict=True))
    traits = _seeded_traits(seed, np.arange(coins, dtype=np.int64), fixed_slots=len(heads))
    bodies = dict(enumerate(map(_known_body, KNOWN_COINS[:coins])))
    bodies |= {slot: _odd_body(slot, quirk) for slot, quirk in quirks.items()}
    for slot, body in bodies.items():
        for trait, value in body.items():
            traits[trait][slot] = value
    return Catalogue(seed, ids, symbols, names, traits, quirks)


def _invented(seed: int, start: int, coins: int) -> Iterable[tuple[str, str, str]]:
    """Ids, symbols and names of the slots from ``start`` on; an id that exists gets a number, as in the real list."""
    seen: dict[str, int] = {}
    slots = np.arange(start, max(start, coins), dtype=np.int64)
    names, wrappers = hashes(seed, "name", slots).tolist(), below(seed, "weth", slots, 74 / 18_000).tolist()
    for bits, wrapped in zip(names, wrappers, strict=True):
        first, second = _FIRST[bits % len(_FIRST)], _SECOND[bits // 4096 % len(_SECOND)]
        name = f"Wrapped Ether ({first} {second})" if wrapped else f"{first} {second}"
        slug = re.sub(r"[^a-z]+", "-", name.lower()).strip("-")
        seen[slug] = count = seen.get(slug, 0) + 1
        yield slug if count == 1 else f"{slug}-{count}", "weth" if wrapped else f"{first[:3]}{second[:1]}".lower(), name


def _seeded_traits(seed: int, slots: IntArray, fixed_slots: int) -> Traits:
    """The columns of a catalogue as the seed gives them, before known coins and quirks.

    Supplies are in coins, ``base_price`` in US dollars, ``sigma`` is the hourly volatility of the log price, ``beta``
    the share in the common factor, ``turnover`` the daily volume as a part of the market cap, ``roi_times`` the
    multiple since a token sale.
    """
    cap = 3e10 / (slots + 1.0) ** 1.35 * np.exp(0.5 * normals(seed, "cap", slots))
    stable = below(seed, "stable", slots, 0.03)
    price = np.where(stable, 1.0, 10.0 ** (-1.3 + 1.6 * normals(seed, "price", slots)))
    whole = below(seed, "whole", slots, 0.4)
    circulating = np.where(whole, np.ceil(cap / price), cap / price)
    total = circulating / np.maximum(0.2, uniforms(seed, "released", slots))
    total = np.where(whole, np.ceil(total), total)
    numbers: Traits = {
        "base_price": price,
        "circulating": circulating,
        "total": np.where(below(seed, "total", slots, 0.02), np.nan, total),
        "maximum": np.where(below(seed, "maximum", slots, 0.45), np.nan, total),
        "sigma": np.where(stable, 0.00002, 0.002 + 0.008 * uniforms(seed, "sigma", slots)),
        "beta": np.where(stable, 0.0, 0.4 + 1.2 * uniforms(seed, "beta", slots)),
        "turnover": 0.3 * uniforms(seed, "turnover", slots) ** 3 + 1e-6,
        "roi_times": np.where(below(seed, "roi", slots, 0.02), 10 ** normals(seed, "times", slots) - 1, np.nan),
        "spark_points": np.where(below(seed, "young", slots, 0.004), 1 + (slots % 167), SPARKLINE_POINTS),
    }
    ordinary = slots >= fixed_slots
    flags = {name: below(seed, name, slots, share) & ordinary for name, share in _SHARES.items()}
    changes: Traits = {}
    for name in ("reborn_at", "renamed_at"):  # epoch seconds between 2026 and 2030 for a few percent, else never
        when = 1_767_225_600 + (uniforms(seed, f"{name}:when", slots) * 4 * 365 * 86_400).astype(np.int64)
        changes[name] = np.where(below(seed, name, slots, 0.03) & ordinary, when, np.iinfo(np.int64).max)
    return {**numbers, **flags, **changes, "whole_supply": whole, "stable": stable}


def _known_body(coin: KnownCoin) -> dict[str, float]:
    return {
        "base_price": coin.price,
        "circulating": coin.circulating,
        "total": coin.maximum or coin.circulating,
        "maximum": coin.maximum or np.nan,
        "sigma": 0.00002 if coin.stable else 0.0015,
        "beta": 0.0 if coin.stable else 1.0,
        "turnover": 0.05,
        "roi_times": 40.3 if coin.id == "ethereum" else np.nan,
        "whole_supply": float(coin.circulating).is_integer(),
        "stable": coin.stable,
        "own_chain": not coin.stable,
        "spark_points": SPARKLINE_POINTS,
    }


def _odd_body(slot: int, quirk: Quirk) -> dict[str, float]:
    """An unremarkable coin, so that the one oddity of a quirk stands alone."""
    supply = float(10_000_000 + 12_345 * slot)
    plain = {"base_price": 0.5 + slot / 100, "circulating": supply, "total": supply, "sigma": 0.002, "beta": 1.0}
    absent = {"maximum": np.nan, "roi_times": np.nan, "spark_points": SPARKLINE_POINTS, "stable": False}
    return {**plain, **absent, **quirk.traits}
