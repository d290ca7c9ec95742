"""Which assets a batch holds: all, the largest, some by id, or a category."""

import re
from dataclasses import dataclass

from coinbeam.batch.digest import digest
from coinbeam.errors import SettingsError
from coinbeam.settings import LARGEST_TOP, Universe

LONGEST_CATEGORY = 100
"""Characters of a category: it becomes part of names of folders and tables, whose length file systems bound."""

_SLUG = re.compile("[a-z0-9][a-z0-9_-]*")  # a category becomes part of a batch id, and with it of paths and SQL


@dataclass(frozen=True)
class UniverseSpec:
    """Which assets are asked for: by kind, the number of the largest, CoinGecko ids, or a CoinGecko category id."""

    kind: Universe = Universe.ALL
    top_n: int | None = None
    ids: tuple[str, ...] = ()
    category: str | None = None

    @property
    def label(self) -> str:
        """A short name, safe in a path: ``all``, ``top-100``, ``ids-1a2b3c4d``, ``category-layer-1``."""
        ids = digest(*sorted(set(self.ids)))
        chosen = {Universe.TOP: self.top_n, Universe.IDS: ids, Universe.CATEGORY: self.category}
        return f"{self.kind}-{chosen[self.kind]}" if self.kind in chosen else "all"


def universe_spec(
    kind: str, top_n: int | None = None, ids: tuple[str, ...] = (), category: str | None = None
) -> UniverseSpec:
    """A checked selection of assets.

    Raises:
        SettingsError: the selection lacks what its kind needs.
    """
    if kind not in set(Universe):
        raise SettingsError(f"The universe is {kind!r}.", f"Choose one of {', '.join(Universe)}.")
    spec = UniverseSpec(
        Universe(kind),
        top_n if kind == Universe.TOP else None,
        ids if kind == Universe.IDS else (),
        category if kind == Universe.CATEGORY else None,
    )
    needs = {Universe.TOP: spec.top_n, Universe.IDS: spec.ids, Universe.CATEGORY: spec.category}
    if spec.kind in needs and not needs[spec.kind]:
        lacking = "top_n" if spec.kind is Universe.TOP else kind
        raise SettingsError(f"The universe is {kind}, but {lacking} is empty.", "Give it, or choose another universe.")
    if spec.top_n is not None and not 0 < spec.top_n <= LARGEST_TOP:
        raise SettingsError(f"top_n is {spec.top_n}.", f"Give a number from 1 to {LARGEST_TOP}.")
    if len(spec.category or "") > LONGEST_CATEGORY:
        problem = f"category is {len(spec.category or '')} characters long: {(spec.category or '')[:40]}..."
        raise SettingsError(problem, f"CoinGecko's ids of categories have at most {LONGEST_CATEGORY}.")
    if not _SLUG.fullmatch(spec.category or "any"):
        raise SettingsError(
            f"category is {spec.category!r}, which is no CoinGecko category id.", "Ids look like layer-1."
        )
    return spec


def top_n(label: str) -> int | None:
    """The N of the label of a top N, or None for any other selection."""
    kind, _, number = label.partition("-")
    return int(number) if kind == Universe.TOP and number.isdigit() else None
