"""The walk over the pages of the market.

It is divided over a fixed number of shards: shard ``k`` of ``S`` asks for the pages ``k``, ``k + S``, ``k + 2S`` and so
on until one is empty, and empty again when it is asked for a second time. A page that is not full ends nothing: the
source may give fewer rows a page than it was asked for, or lose some of them once. Each shard has its share of the
quota, so that the plan's bound holds on any runner with any number of workers. After its pages the first shard asks for
the exchange rates, once a batch. They may fail: then the snapshot has none, and its prices are published all the same.
"""

import itertools
import json
import logging
import math
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from operator import attrgetter

from beam_pipelines.batch_files.json_bodies import OBJECTS
from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.landing.fetch import Walk
from beam_pipelines.landing.files import exists, read_bytes, read_landed, write_atomically
from beam_pipelines.landing.folder import FetchStats, LandingFolder, MalformedRun
from beam_pipelines.snapshot.bodies import Page, read_body
from beam_pipelines.snapshot.rates import is_rates
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import Clock
from coinbeam.errors import TerminalError, TransientError
from coinbeam.feeds.snapshot.plan import market_pages
from coinbeam.landing.layout import COMPLETE_NAME, page_stem
from coinbeam.settings import Universe
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.client import ApiAnswer
from coinbeam.sources.http.errors import ApiError
from coinbeam.sources.rate import CallsSpentError

_LOGGER = logging.getLogger(__name__)

GROWTH = 1.2
"""How much longer than the pages seen so far a walk of unknown length may be, when it is longer than expected."""


CONFIRMED_END = 2
"""Calls that end a walk of unknown length: an empty page, and the same page again."""

RATES_STEM = "rates"
"""Name of the landed exchange rates."""


def page_ids(body: bytes) -> list[str] | None:
    """The ids of a page, one for each row; None for a body that is no page."""
    page = read_body(body)
    if not isinstance(page, Page):
        return None
    return [str(row.get("id")) if isinstance(row, OBJECTS) else "" for row in page.rows]


def rows_a_page(uris: Sequence[str]) -> int:
    """How many rows a source gives a page, by the first landed pages, of which one may be short; 0 when none is."""
    bodies = (read_landed(uri, tolerant=True).body for uri in uris[:2])
    return max((len(page_ids(body) or ()) for body in bodies), default=0)


def is_page(body: bytes) -> bool:
    """Whether a body can be read as a page of rows."""
    return page_ids(body) is not None


@dataclass(frozen=True)
class FetchedPage:
    """A landed page by its number; ``is_readable`` is False for a body that is no page."""

    number: int
    uri: str
    is_readable: bool = True


@dataclass(frozen=True)
class FetchedRates:
    """The landed exchange rates, readable or not."""

    uri: str


@dataclass(frozen=True)
class MarketWalk(Walk[CoinGeckoClient, int, FetchedPage | FetchedRates]):
    """The pages of one snapshot, which lie in ``folder``, and its exchange rates, in ``rates_folder`` where they are
    wanted; nothing is asked for from the deadline on, if there is one.
    """

    manifest: BatchManifest
    folder: str
    universe: UniverseSpec
    shards: int
    deadline: datetime | None
    rates_folder: str | None = None

    def parts(self) -> Sequence[int]:
        """The numbers of the shards."""
        return range(self.shards)

    def land(
        self, part: int, client: CoinGeckoClient, clock: Clock, stats: FetchStats
    ) -> Iterator[FetchedPage | FetchedRates]:
        """Walk the pages of one shard; the first one asks for the exchange rates too."""
        yield from self.land_pages(part, client, clock, stats)
        if self.rates_folder and part == 0:
            rates = LandingFolder(self.rates_folder, is_rates, self.deadline, clock, stats)
            try:
                yield FetchedRates(rates.body(RATES_STEM, client.exchange_rates).uri)
            except (TerminalError, TransientError) as error:
                if isinstance(error, (ApiError, CallsSpentError)):
                    stats.add_refused(error)
                _LOGGER.warning("%s has no exchange rates; its prices do not wait. %s", self.manifest.batch_id, error)

    def land_pages(self, part: int, client: CoinGeckoClient, clock: Clock, stats: FetchStats) -> Iterator[FetchedPage]:
        """Walk the pages of one shard."""
        folder = LandingFolder(self.folder, is_page, self.deadline, clock, stats)
        malformed = MalformedRun("pages", "JSON")
        size, silent = 0, list[str]()  # ids that were asked for and not answered
        for number in itertools.count(part + 1, self.shards):
            planned = self.ids_of(number)
            wanted = planned or tuple(silent[: self.manifest.per_page])
            if self.is_enough(number, size or self.manifest.per_page, wanted):
                return
            ask = partial(self.ask, client, number, wanted)
            landed = folder.body(page_stem(number), ask)
            found = page_ids(landed.body)
            if found == [] and not wanted and folder.revision(page_stem(number)) < CONFIRMED_END:
                landed = folder.again(page_stem(number), ask)
                found = page_ids(landed.body)
            yield FetchedPage(number, landed.uri, found is not None)
            malformed.add(landed, found is not None)
            if found == [] and not wanted:
                return
            size = max(size, len(found or ()))
            answered = set(found or ())
            if not planned and not answered.intersection(wanted):
                answered = set(wanted)  # asked for twice in vain: no more
            silent = [one for one in dict.fromkeys([*silent, *planned]) if one not in answered]

    def gather(self, bodies: list[FetchedPage | FetchedRates]) -> LandedBatch[str]:
        """The pages by number, then the rates; the folder of the pages is marked as complete."""
        pages = sorted((body for body in bodies if isinstance(body, FetchedPage)), key=attrgetter("number"))
        said = {"pages": len(pages), "malformed": sum(not page.is_readable for page in pages)}
        write_atomically(f"{self.folder}/{COMPLETE_NAME}", (json.dumps(said) + "\n").encode())
        rates = [body for body in bodies if isinstance(body, FetchedRates)]
        return LandedBatch(self.manifest, (*(page.uri for page in pages), *(body.uri for body in rates)))

    def landed_whole(self) -> LandedBatch[str] | None:
        """The batch, when its every page was landed and can be read, and its rates where they are wanted: there is
        nothing left to ask for.
        """
        uri = f"{self.folder}/{COMPLETE_NAME}"
        if not exists(uri):
            return None
        said, pages = json.loads(read_bytes(uri)), LandingFolder(self.folder, is_page).uris
        rates = self.landed_rates()
        is_whole = not said["malformed"] and len(pages) == said["pages"] and (rates or not self.rates_folder)
        return LandedBatch(self.manifest, pages + rates) if is_whole else None

    def landed_rates(self) -> tuple[str, ...]:
        """The exchange rates that lie there and can be read: one body, or none."""
        found = LandingFolder(self.rates_folder, is_rates).uris if self.rates_folder else ()
        return tuple(uri for uri in found if is_rates(read_landed(uri, tolerant=True).body))

    def is_enough(self, number: int, size: int, wanted: Collection[str]) -> bool:
        """Whether a page need not be asked for, where the selection decides it and not the API.

        Args:
            number: of the page.
            size: rows of the largest page so far: what the source gives, whatever it was asked for.
            wanted: the ids to ask for.
        """
        match self.universe.kind:
            case Universe.TOP:
                return (number - 1) * size >= (self.universe.top_n or 0)
            case Universe.IDS:
                return not wanted
        return False

    def ids_of(self, number: int) -> tuple[str, ...]:
        """The ids that a page is planned to ask for; none beyond the last planned page."""
        size = self.manifest.per_page
        return self.universe.ids[(number - 1) * size : number * size]

    def last_page(self, size: int) -> int | None:
        """The last page, where the selection decides it, with so many rows a page."""
        match self.universe.kind:
            case Universe.TOP:
                return math.ceil((self.universe.top_n or 0) / size)
            case Universe.IDS:
                return math.ceil(len(self.universe.ids) / self.manifest.per_page)
        return None

    def calls_needed(self, landed: Collection[str], assets: int, size: int = 0) -> int:
        """Calls without retries: of the shard that has the most to ask for, times the shards, since all have the same
        share.

        Args:
            landed: names of the pages that need not be asked for.
            assets: how many the market is expected to have, where only the API knows the last page; landed pages may
                show that it has more.
            size: rows of the largest landed page: what the source gives, whatever it is asked for. 0 for none.
        """
        size = size or self.manifest.per_page
        seen = max((int(stem.rpartition("-")[2]) for stem in landed), default=0)
        last = self.last_page(size)
        expected = last or max(market_pages(self.universe, size, assets), math.ceil(seen * GROWTH))
        beyond = CONFIRMED_END if last is None else int(self.universe.kind is Universe.IDS)
        open_pages = [
            sum(page_stem(number) not in landed for number in range(shard + 1, expected + 1, self.shards))
            for shard in range(self.shards)
        ]
        open_pages[0] += int(bool(self.rates_folder) and not self.landed_rates())
        return self.shards * (max(open_pages) + beyond)

    def ask(self, client: CoinGeckoClient, number: int, ids: tuple[str, ...] = ()) -> ApiAnswer:
        """Ask for one page. ``id_asc`` is the one order under which pages do not shift while they are walked."""
        currency, size, universe = self.manifest.quote_currency, self.manifest.per_page, self.universe
        match universe.kind:
            case Universe.TOP:
                return client.markets_page(currency, number, size, "market_cap_desc")
            case Universe.IDS:
                return client.markets_page(currency, 1, size, "id_asc", ids=ids)
        return client.markets_page(currency, number, size, "id_asc", category=universe.category)


def page_size(universe: UniverseSpec, per_page: int) -> int:
    """Rows to ask for per page: for a top N few pages of even size, so that they hold hardly more than N rows."""
    if universe.kind is not Universe.TOP or not universe.top_n:
        return per_page
    return math.ceil(universe.top_n / math.ceil(universe.top_n / per_page))
