"""The assets by what the dimension knows of them, now or at an instant of the past."""

from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property

import orjson
import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True, slots=True)
class Asset:
    """One version of an asset, its lists as the dimension has them: JSON texts, which few calls read."""

    asset_id: str
    symbol: str | None
    name: str | None
    status: str
    platforms_json: str | None
    categories_json: str | None
    asset_platform_id: str | None
    hashing_algorithm: str | None
    country_origin: str | None
    genesis_date: date | None
    homepage: str | None

    @property
    def platforms(self) -> dict[str, str]:
        """Contract address by platform."""
        return dict(orjson.loads(self.platforms_json or "{}"))

    @property
    def categories(self) -> list[str]:
        """Names of its categories; none until its details were fetched."""
        return list(orjson.loads(self.categories_json or "[]"))

    @property
    def is_active(self) -> bool:
        """Whether the source lists it."""
        return self.status != "inactive"


@dataclass(frozen=True)
class Assets:
    """All assets at one time, by id."""

    by_id: dict[str, Asset]

    @classmethod
    def at(cls, rows: pa.Table, at: datetime | None) -> "Assets":
        """The assets of the dimension at an instant, or now."""
        if at is None:
            rows = rows.filter(rows["is_current"])
        else:
            moment = pa.scalar(at, pa.timestamp("us", tz="UTC"))
            ended = pc.less_equal(rows["valid_to"], moment).fill_null(False)
            rows = rows.filter(pc.and_(pc.less_equal(rows["valid_from"], moment), pc.invert(ended)))
        columns = [rows[name.removesuffix("_json")].to_pylist() for name in Asset.__dataclass_fields__]
        return cls({values[0]: Asset(*values) for values in zip(*columns, strict=True)})

    @cached_property
    def categories(self) -> dict[str, set[str]]:
        """The assets of each category, by the id that CoinGecko makes of its name."""
        found: dict[str, set[str]] = {}
        for asset in self.by_id.values():
            for name in asset.categories:
                found.setdefault(category_id(name), set()).add(asset.asset_id)
        return found

    @cached_property
    def category_names(self) -> dict[str, str]:
        """The name of each category by its id."""
        return {category_id(name): name for asset in self.by_id.values() for name in asset.categories}


def category_id(name: str) -> str:
    """A name of a category as its id is mostly made: ``Layer 2 (L2)`` is ``layer-2-l2``."""
    kept = "".join(letter if letter.isalnum() else "-" for letter in name.lower())
    return "-".join(part for part in kept.split("-") if part)
