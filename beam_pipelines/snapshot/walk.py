"""Ask the API for pages and land each answer before anything reads it; what an earlier attempt landed is not asked for
again.

The walk over the pages is divided over a fixed number of shards: shard ``k`` of ``S`` asks for the pages ``k``, ``k +
S``, ``k + 2S`` and so on until one is not full. Each shard has its share of the quota, so that the plan's bound holds
on any runner with any number of workers.
"""

import itertools
import json
import math
import os
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field, fields
from datetime import datetime
from typing import Any, Protocol

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection, TaggedOutput
from pydantic import SecretStr

from beam_pipelines.job.report import Report
from beam_pipelines.landing.files import exists, list_files, read_bytes, read_landed, write_atomically
from beam_pipelines.snapshot.bodies import Page, read_body
from coinbeam.batch.identity import INTERVAL
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.errors import SettingsError, TerminalError, TransientError
from coinbeam.feeds.snapshot.plan import market_pages
from coinbeam.landing.layout import (
    MANIFEST_NAME,
    LandedBody,
    newest_revisions,
    object_name,
    pack,
    page_stem,
    read_manifest,
    stem_and_revision,
)
from coinbeam.secrets import api_key
from coinbeam.settings import CoinGeckoSettings, Period, Universe
from coinbeam.sources.choose import RuntimeSource
from coinbeam.sources.http.client import ApiAnswer, CoinGeckoClient
from coinbeam.sources.rate import CallCap, RateLimiter

METRICS_NAMESPACE = "fetching"
STATS = "stats"
"""Tag of the output that carries `FetchStats`."""

GROWTH = 1.2
"""How much longer than the pages seen so far a walk of unknown length may be, when it is longer than expected."""

MALFORMED_IN_A_ROW = 3
"""Malformed pages after which a shard gives up: one may be set aside, but an API that answers nothing else has no last
page either.
"""


class MarketClient(Protocol):
    """What the fetch needs of `coinbeam.sources.http.client.CoinGeckoClient`."""

    def markets_page(
        self,
        quote_currency: str,
        page: int,
        per_page: int = ...,
        order: str = ...,
        ids: Sequence[str] = ...,
        category: str | None = ...,
    ) -> ApiAnswer:
        """One page of prices."""
        ...

    def coins_list(self, include_platform: bool = ..., status: str | None = ...) -> ApiAnswer:
        """The list of all coins."""
        ...

    def coin(self, asset_id: str) -> ApiAnswer:
        """Details of one coin."""
        ...

    def market_chart_range(self, asset_id: str, quote_currency: str, start: datetime, end: datetime) -> ApiAnswer:
        """History of one coin."""
        ...

    def close(self) -> None:
        """Close the connections."""
        ...


ClientFactory = Callable[[], MarketClient]
"""Makes the client of one shard on the worker; travels with the pipeline, so it must hold no key."""


@dataclass(frozen=True)
class ShardClients:
    """Makes clients that share the quota of one job evenly.

    Attributes:
        coingecko: plan and patience, without the key.
        source: what answers.
        calls_per_minute: quota of the job.
        shards: clients at the same time.
        max_calls: most calls of one client, its share of the reservation; any number without one.
        entry_id: the reservation in the ledger.
    """

    coingecko: CoinGeckoSettings
    source: RuntimeSource
    calls_per_minute: float
    shards: int
    max_calls: int | None = None
    entry_id: str = ""

    def __call__(self) -> CoinGeckoClient:
        """The client of one shard; the key is read here, on the worker, and goes to the live API only.

        Raises:
            SettingsError: the plan needs a key and the worker finds none.
        """
        key = api_key(with_worker_key(self.coingecko)) if self.source.kind == "live" else None
        limiter = RateLimiter(self.calls_per_minute, self.shards)
        return CoinGeckoClient(self.coingecko, self.source.base_url, limiter, api_key=key, cap=self._cap())

    def _cap(self) -> CallCap | None:
        if self.max_calls is None:
            return None
        cap = CallCap(self.max_calls)
        _CAPS[self.entry_id].append(cap)
        return cap


_CAPS: dict[str, list[CallCap]] = defaultdict(list)
"""The caps of the clients that were made in this process, by reservation."""


def calls_made(entry_id: str) -> int:
    """Calls that the clients of this process made of a reservation, those of failed attempts included; it is asked
    once, at the end.
    """
    return sum(cap.made for cap in _CAPS.pop(entry_id, []))


def without_key(coingecko: CoinGeckoSettings) -> CoinGeckoSettings:
    """The settings as they may travel in a job graph, which Dataflow stores and shows."""
    return coingecko.model_copy(update={"api_key": None})


def with_worker_key(coingecko: CoinGeckoSettings) -> CoinGeckoSettings:
    """The settings with the key of this machine's environment, if it has one."""
    key = os.environ.get("COINBEAM_COINGECKO__API_KEY") or os.environ.get("COINGECKO_API_KEY")
    return coingecko.model_copy(update={"api_key": SecretStr(key)}) if key else coingecko


@dataclass
class FetchStats:
    """What a fetch cost.

    Attributes:
        api_calls: calls to the API, retries included.
        api_retries: calls that were a second or later try.
        api_throttled: answers of 429, in any disguise.
        bytes_landed: bytes of bodies landed, before compression.
        bodies_landed: answers landed by this run.
        bodies_reused: answers of an earlier attempt, which cost no call.
    """

    api_calls: int = 0
    api_retries: int = 0
    api_throttled: int = 0
    bytes_landed: int = 0
    bodies_landed: int = 0
    bodies_reused: int = 0

    def add(self, other: "FetchStats") -> None:
        """Add another count to this one."""
        for entry in fields(self):
            setattr(self, entry.name, getattr(self, entry.name) + getattr(other, entry.name))

    def count(self) -> None:
        """Add the numbers to the job's counters."""
        for name, value in vars(self).items():
            Metrics.counter(METRICS_NAMESPACE, name).inc(value)


def is_page(body: bytes) -> bool:
    """Whether a body can be read as a page of rows."""
    return isinstance(read_body(body), Page)


@dataclass
class LandingFolder:
    """One landing folder during one attempt; it is listed once.

    Attributes:
        uri: the folder, without a trailing slash.
        readable: says whether a landed body is worth keeping; others are asked for again.
        deadline: from then on no call is made, since its answer would belong to a later interval.
        clock: tells the time.
        stats: what the attempt cost so far.
    """

    uri: str
    readable: Callable[[bytes], bool]
    deadline: datetime | None = None
    clock: Clock = utc_now
    stats: FetchStats = field(default_factory=FetchStats)

    def __post_init__(self) -> None:
        landed = newest_revisions(str(metadata.path) for metadata in list_files(f"{self.uri}/*.json.gz"))
        self._newest = {stem_and_revision(uri)[0]: uri for uri in landed}

    @property
    def stems(self) -> frozenset[str]:
        """Names of the bodies that lie there."""
        return frozenset(self._newest)

    @property
    def uris(self) -> tuple[str, ...]:
        """The newest revision of every body that lies there, by name."""
        return tuple(self._newest[stem] for stem in sorted(self._newest))

    def body(self, stem: str, ask: Callable[[], ApiAnswer]) -> LandedBody:
        """The landed body of that name, asked for and landed first where there is none that can be read.

        Raises:
            TerminalError: the interval is over; or as the client raises it.
            TransientError: as the client raises it.
        """
        kept = self._kept(stem)
        if kept is not None:
            self.stats.bodies_reused += 1
            return kept
        self._refuse_late_call(stem)
        return self._land(stem, ask())

    def _kept(self, stem: str) -> LandedBody | None:
        uri = self._newest.get(stem)
        if uri is None:
            return None
        try:
            landed = read_landed(uri)
        except TerminalError:
            return None
        return landed if self.readable(landed.body) else None

    def _land(self, stem: str, answer: ApiAnswer) -> LandedBody:
        revision = stem_and_revision(self._newest[stem])[1] + 1 if stem in self._newest else 1
        uri = f"{self.uri}/{object_name(stem, revision)}"
        write_atomically(uri, pack(answer.body, answer.received_at))
        self._newest[stem] = uri
        self.stats.add(FetchStats(answer.calls, answer.retries, answer.throttled, len(answer.body), bodies_landed=1))
        return LandedBody(uri, answer.body, answer.received_at)

    def _refuse_late_call(self, stem: str) -> None:
        if self.deadline is not None and self.clock() >= self.deadline:
            raise TerminalError(
                f"{self.uri}: {stem} was not landed before the interval of the snapshot ended at "
                f"{format_instant(self.deadline)}, and "
                "CoinGecko answers for now only: today's prices are never stamped on an old date.",
                "Leave --snapshot_at out to fetch the present interval, or replay what was landed with --source=GLOB.",
            )


@dataclass(frozen=True)
class FetchPlan:
    """What is asked for.

    Attributes:
        manifest: the batch.
        folder: its landing folder.
        universe: the selection of assets.
        shards: parallel walks.
        deadline: from then on no call is made; None for a simulated market.
    """

    manifest: BatchManifest
    folder: str
    universe: UniverseSpec
    shards: int
    deadline: datetime | None

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

    def ask(self, client: MarketClient, number: int) -> ApiAnswer:
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
    """Rows to ask for per page: for a top N as few pages as possible, of even size, so that they hold hardly more than
    N rows.
    """
    if universe.kind is not Universe.TOP or not universe.top_n:
        return per_page
    return math.ceil(universe.top_n / math.ceil(universe.top_n / per_page))


def deadline(snapshot_at: datetime, period: Period, source: RuntimeSource) -> datetime | None:
    """The end of the interval, for a market that is real."""
    return snapshot_at + INTERVAL[period] if source.kind == "live" else None


def begin_batch(folder: str, manifest: BatchManifest) -> None:
    """Write the manifest before the first call, once; a later attempt must agree with it.

    Raises:
        SettingsError: an earlier attempt of the batch asked for something else, or asked another source.
    """
    uri = f"{folder}/{MANIFEST_NAME}"
    begun = landed_manifest(folder)
    if begun is None:
        write_atomically(uri, (json.dumps(manifest.to_dict(), indent=2) + "\n").encode())
        return
    differing = [name for name, value in manifest.to_dict().items() if begun.to_dict()[name] != value]
    if differing:
        said = ", ".join(f"{name} {begun.to_dict()[name]!r} (now {manifest.to_dict()[name]!r})" for name in differing)
        raise SettingsError(
            f"Batch {manifest.batch_id} was begun with {said}.",
            f"Run it with the same settings, or delete {folder} to begin anew.",
        )


def landed_manifest(folder: str) -> BatchManifest | None:
    """The manifest of a landing folder, or None where there is none."""
    uri = f"{folder}/{MANIFEST_NAME}"
    return read_manifest(read_bytes(uri)) if exists(uri) else None


def batch_report(parts: list[Any], job: str, batch: BatchManifest, mode: str) -> Report:
    """The report of a job that writes one batch.

    Args:
        parts: what was written, as one object with ``to_dict``, and `FetchStats` when an API was asked.
        job: name of the entry module.
        batch: the batch that was written.
        mode: fetch or replay.
    """
    stats, counts = FetchStats(), dict[str, Any]()
    for part in parts:
        if isinstance(part, FetchStats):
            stats.add(part)
        else:
            counts |= part.to_dict()
    known = {"batch_id": batch.batch_id, "source_id": batch.source_id, "snapshot_at": format_instant(batch.snapshot_at)}
    return {"job": job, "mode": mode, **known, **counts, **vars(stats)}


@dataclass(frozen=True)
class FetchedPage:
    """A landed page by its number; ``is_readable`` is False for a body that is no page."""

    number: int
    uri: str
    is_readable: bool = True


class FetchPages(beam.PTransform[PCollection[int], Any]):
    """Shard numbers to `FetchedPage`; the output tagged ``STATS`` carries one `FetchStats` for each shard.

    Args:
        plan: what is asked for.
        clients: makes the client of a shard.
        clock: tells the time on the worker.
    """

    def __init__(self, plan: FetchPlan, clients: ClientFactory, clock: Clock = utc_now) -> None:
        super().__init__()
        self._fetch = FetchPagesFn(plan, clients, clock)

    def expand(self, shards: PCollection[int]) -> Any:
        """Wire the transform."""
        return (
            shards
            | "Spread shards" >> beam.Reshuffle()
            | "Fetch pages" >> beam.ParDo(self._fetch).with_outputs(STATS, main="pages")
        )


class FetchPagesFn(beam.DoFn):
    """Walks the pages of one shard and lands each before the next call.

    Args:
        plan: what is asked for.
        clients: makes the client of a shard.
        clock: tells the time on the worker.
    """

    def __init__(self, plan: FetchPlan, clients: ClientFactory, clock: Clock = utc_now) -> None:
        super().__init__()
        self._plan = plan
        self._clients = clients
        self._clock = clock

    def process(self, shard: int) -> Iterator[Any]:
        """Fetch one shard.

        Raises:
            TerminalError: the API refuses for a reason that stays.
            TransientError: the API failed for longer than the client's patience, or answers nothing that is a page.
        """
        folder = LandingFolder(self._plan.folder, is_page, self._plan.deadline, self._clock)
        client = self._clients()
        try:
            yield from self._walk(shard, folder, client)
        finally:
            client.close()
        folder.stats.count()
        yield TaggedOutput(STATS, folder.stats)

    def _walk(self, shard: int, folder: LandingFolder, client: MarketClient) -> Iterator[FetchedPage]:
        malformed = 0
        for number in self._plan.pages(shard):
            landed = folder.body(page_stem(number), lambda number=number: self._plan.ask(client, number))  # type: ignore[misc]
            page = read_body(landed.body)
            yield FetchedPage(number, landed.uri, isinstance(page, Page))
            malformed = 0 if isinstance(page, Page) else malformed + 1
            if malformed >= MALFORMED_IN_A_ROW:
                raise TransientError(
                    f"{malformed} pages in a row are no JSON, the last one landed as {landed.uri}.",
                    "Look at it, and run again later.",
                )
            if (
                isinstance(page, Page)
                and self._plan.last_page is None
                and len(page.rows) < self._plan.manifest.per_page
            ):
                return
