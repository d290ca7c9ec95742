"""The walk over the pages of the market.

It is divided over a fixed number of shards: shard ``k`` of ``S`` asks for the pages ``k``, ``k + S``, ``k + 2S`` and so
on until one is not full. Each shard has its share of the quota, so that the plan's bound holds on any runner with any
number of workers.
"""

import itertools
import json
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import attrgetter

from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.landing.fetch import Walk
from beam_pipelines.landing.files import exists, read_bytes, write_atomically
from beam_pipelines.landing.folder import FetchStats, LandingFolder, MalformedRun
from beam_pipelines.snapshot.bodies import Page, read_body
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import Clock
from coinbeam.feeds.snapshot.plan import market_pages
from coinbeam.landing.layout import COMPLETE_NAME, page_stem
from coinbeam.settings import Universe
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.client import ApiAnswer

GROWTH = 1.2
"""How much longer than the pages seen so far a walk of unknown length may be, when it is longer than expected."""


def page_rows(body: bytes) -> int | None:
    """How many rows a page has; None for a body that is no page."""
    page = read_body(body)
    return len(page.rows) if isinstance(page, Page) else None


def is_page(body: bytes) -> bool:
    """Whether a body can be read as a page of rows."""
    return page_rows(body) is not None


@dataclass(frozen=True)
class FetchedPage:
    """A landed page by its number; ``is_readable`` is False for a body that is no page."""

    number: int
    uri: str
    is_readable: bool = True


@dataclass(frozen=True)
class MarketWalk(Walk[CoinGeckoClient, int, FetchedPage]):
    """The pages of one snapshot, which lie in ``folder``; none is asked for from the deadline on, if there is one."""

    manifest: BatchManifest
    folder: str
    universe: UniverseSpec
    shards: int
    deadline: datetime | None

    def parts(self) -> Sequence[int]:
        """The numbers of the shards."""
        return range(self.shards)

    def land(self, part: int, client: CoinGeckoClient, clock: Clock, stats: FetchStats) -> Iterator[FetchedPage]:
        """Walk the pages of one shard."""
        folder = LandingFolder(self.folder, is_page, self.deadline, clock, stats)
        malformed = MalformedRun("pages", "JSON")
        for number in self.pages(part):
            landed = folder.body(page_stem(number), partial(self.ask, client, number))
            rows = page_rows(landed.body)
            yield FetchedPage(number, landed.uri, rows is not None)
            malformed.add(landed, rows is not None)
            if self.last_page is None and rows is not None and rows < self.manifest.per_page:
                return

    def gather(self, bodies: list[FetchedPage]) -> LandedBatch[str]:
        """The pages by number; their folder is marked as complete."""
        said = {"pages": len(bodies), "malformed": sum(not page.is_readable for page in bodies)}
        write_atomically(f"{self.folder}/{COMPLETE_NAME}", (json.dumps(said) + "\n").encode())
        return LandedBatch(self.manifest, tuple(page.uri for page in sorted(bodies, key=attrgetter("number"))))

    def landed_whole(self) -> LandedBatch[str] | None:
        """The batch, when its every page was landed and can be read: there is nothing left to ask for."""
        uri = f"{self.folder}/{COMPLETE_NAME}"
        if not exists(uri):
            return None
        said, pages = json.loads(read_bytes(uri)), LandingFolder(self.folder, is_page).uris
        is_whole = not said["malformed"] and len(pages) == said["pages"]
        return LandedBatch(self.manifest, pages) if is_whole else None

    def pages(self, shard: int) -> Iterator[int]:
        """Numbers of the pages of a shard, which counts from 0; endless when only the API knows the last page."""
        numbers = itertools.count(shard + 1, self.shards)
        last = self.last_page
        return numbers if last is None else itertools.takewhile(lambda number: number <= last, numbers)

    @property
    def last_page(self) -> int | None:
        """The last page, where the selection decides it."""
        match self.universe.kind:
            case Universe.TOP:
                return math.ceil((self.universe.top_n or 0) / self.manifest.per_page)
            case Universe.IDS:
                return math.ceil(len(self.universe.ids) / self.manifest.per_page)
        return None

    def calls_needed(self, landed: Collection[str], assets: int) -> int:
        """Calls without retries: of the shard that has the most to ask for, times the shards, since all have the same
        share.

        Args:
            landed: names of the pages that need not be asked for.
            assets: how many the market is expected to have, where only the API knows the last page; landed pages may
                show that it has more.
        """
        seen = max((int(stem.rpartition("-")[2]) for stem in landed), default=0)
        expected = self.last_page or max(
            market_pages(self.universe, self.manifest.per_page, assets), math.ceil(seen * GROWTH)
        )
        beyond = int(self.last_page is None)  # only a page that is not full ends a walk of unknown length
        open_pages = [
            sum(page_stem(number) not in landed for number in range(shard + 1, expected + 1, self.shards))
            for shard in range(self.shards)
        ]
        return self.shards * (max(open_pages) + beyond)

    def ask(self, client: CoinGeckoClient, number: int) -> ApiAnswer:
        """Ask for one page. ``id_asc`` is the one order under which pages do not shift while they are walked."""
        currency, size, universe = self.manifest.quote_currency, self.manifest.per_page, self.universe
        match universe.kind:
            case Universe.TOP:
                return client.markets_page(currency, number, size, "market_cap_desc")
            case Universe.IDS:
                return client.markets_page(
                    currency, 1, size, "id_asc", ids=universe.ids[(number - 1) * size : number * size]
                )
        return client.markets_page(currency, number, size, "id_asc", category=universe.category)


def page_size(universe: UniverseSpec, per_page: int) -> int:
    """Rows to ask for per page: for a top N few pages of even size, so that they hold hardly more than N rows."""
    if universe.kind is not Universe.TOP or not universe.top_n:
        return per_page
    return math.ceil(universe.top_n / math.ceil(universe.top_n / per_page))
