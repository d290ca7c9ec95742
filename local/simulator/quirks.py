"""The coins that break naive loaders: one per quirk found in real answers, each with an id that tests can name.

Source of every quirk: bodies captured from the real API (``/coins/markets``, ``/coins/list``, ``/coins/{id}``).
"""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Quirk:
    """One odd coin: ``traits`` of the catalogue that differ from the seed's, ``fixed`` fields of its market row."""

    id: str
    symbol: str
    name: str
    traits: Mapping[str, float | bool] = field(default_factory=dict)
    fixed: Mapping[str, float | None] = field(default_factory=dict)


_CALM = {"sigma": 0.0001, "beta": 0.0}
"""Traits that keep a price within a few percent of its base."""

QUIRKS: tuple[Quirk, ...] = (
    Quirk("overflowing-atl", "ofl", "Overflowing ATL", fixed={"atl": 2.8e-37, "atl_change_percentage": 3.57e38}),
    Quirk("dust-price", "dust", "Dust Price", traits={"base_price": 2.4e-10, "circulating": 4.2e17, **_CALM}),
    Quirk(
        "deep-atl",
        "datl",
        "Deep ATL",
        traits={"base_price": 3.1e-9},
        fixed={"atl": 9.912345e-14, "atl_change_percentage": 3127354.81213},
    ),
    Quirk(
        "whole-price",
        "whole",
        "Whole Price",
        traits={"base_price": 64_000.0, "circulating": 5_000.0, "whole_supply": True, **_CALM},
    ),
    Quirk("zero-market-cap", "zmc", "Zero Market Cap", traits={"zero_cap": True}),
    Quirk("oversupplied", "over", "Oversupplied", traits={"circulating": 2e9, "total": 1e9}),
    Quirk("zero-supply", "zsup", "Zero Supply", traits={"total": 0.0, "maximum": 0.0}),
    Quirk("stale-coin", "stale", "Stale Coin", traits={"stale": True}),
    Quirk("unpriced-coin", "unp", "Unpriced Coin", traits={"unpriced": True}),
    Quirk("price-only", "ponly", "Price Only", traits={"bare": True}),
    Quirk("roi-holder", "roi", "ROI Holder", traits={"roi_times": 12.612625533540125}),
    Quirk("roi-loser", "rois", "ROI Loser", traits={"roi_times": -0.9316}),
    Quirk("young-coin", "young", "Young Coin", traits={"spark_points": 31}),
    Quirk("unlisted-coin", "unl", "Unlisted Coin", traits={"unlisted": True}),
    Quirk("weth-bridged-arbitrum", "weth", "Wrapped Ether (Arbitrum)"),
    Quirk("weth-bridged-base", "weth", "Wrapped Ether (Base)"),
    Quirk("weth-bridged-linea", "weth", "Wrapped Ether (Linea)"),
    Quirk("emoji-name", "🐸", "Frog 🐸 Coin 🚀"),
    Quirk("zero-width-name", "zwn", "\u200bZero Width"),
    Quirk("nbsp-name", "nbsp", "Trailing NBSP\u00a0"),
    Quirk("ideographic-name", "鸡鸡币", "鸡鸡币\u3000Coin"),
    Quirk("quoted-name", "quote", 'The "Quoted" Coin'),
    Quirk("comma-name", "comma", "Comma, Inc., the 'Coin'"),
    Quirk("empty-symbol", "", "Empty Symbol"),
)

NULL_EXPLORERS = "null-explorers"
"""List-only coin whose ``links.blockchain_site`` holds nulls and whose description has CR LF."""

RENAMED_IDS: tuple[str, ...] = ("matic-network", "old-name")
"""Renamed: ``/coins/{id}`` answers 200 with an empty ``current_price``, ``/coins/markets`` knows nothing of them."""
