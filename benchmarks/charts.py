"""Landed pieces for the benchmark of history: a made-up past in the exact shape of ``market_chart``, the same for the
same numbers.
"""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from beam_pipelines.history.chart import PieceBody
from coinbeam.feeds.history.pieces import HistoryPiece, landed_piece, pieces
from coinbeam.landing.layout import pack

FIRST_DAY = date(2013, 4, 28)
LANDED_AT = datetime(2026, 1, 1, 0, 40, tzinfo=UTC)
SOURCE = "coingecko_simulator"
PIECE_DAYS = 365

_COMPLETE = "COMPLETE"
_DAY_MS = 86_400_000
_UNPRICED_EVERY, _NEGATIVE_EVERY = 911, 20_011


def landed_bodies(folder: Path, assets: int, days: int) -> list[PieceBody]:
    """The landed pieces of a made-up history, written below the folder unless they are there; the same for the same
    numbers.
    """
    root = folder / f"history-{assets}x{days}"
    if not (root / _COMPLETE).exists():
        for asset in range(assets):
            _write_asset(root, asset, days)
        (root / _COMPLETE).touch()
    found = ((str(path), landed_piece(str(path))) for path in sorted(root.rglob("*.json.gz")))
    return [PieceBody(at.piece.asset_id, at.source_id, at.piece.first, at.piece.last, uri) for uri, at in found if at]


def _write_asset(root: Path, asset: int, days: int) -> None:
    rng = np.random.default_rng(asset)
    price = 10.0 ** rng.uniform(-8, 4) * np.exp(np.cumsum(rng.normal(0, 0.04, days)))
    series = np.stack([price, price * 10.0 ** rng.uniform(6, 10), price * 10.0 ** rng.uniform(4, 8, days)])
    for piece in pieces(f"asset-{asset:05d}", "usd", FIRST_DAY, FIRST_DAY + timedelta(days=days - 1), PIECE_DAYS):
        start = (piece.first - FIRST_DAY).days
        path = Path(piece.uri(str(root), SOURCE))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(_body(piece, series[:, start : start + piece.days], asset * days + start), LANDED_AT))


def _body(piece: HistoryPiece, series: "np.ndarray[Any, Any]", number: int) -> bytes:
    """A chart in the exact shape of the API; a price is 0 or negative now and then."""
    stamps = (int(piece.start.timestamp()) * 1_000 + np.arange(piece.days) * _DAY_MS).tolist()
    values = series.tolist()
    for position in range(piece.days):
        if (number + position) % _UNPRICED_EVERY == 0:
            values[0][position] = 0
        if (number + position) % _NEGATIVE_EVERY == 0:
            values[0][position] = -1.5
    names = ("prices", "market_caps", "total_volumes")
    return orjson.dumps({name: list(zip(stamps, own, strict=True)) for name, own in zip(names, values, strict=True)})
