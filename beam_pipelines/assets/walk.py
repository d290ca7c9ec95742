"""Ask for the coin list and, within the budget, for the details of the assets that need them most; land each answer
first.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_pipelines.assets.bodies import is_detail, is_list
from beam_pipelines.assets.listing import Listing
from beam_pipelines.assets.need import by_need, choose, read_known, stem
from beam_pipelines.batch_files.rejects import RejectMaker
from beam_pipelines.job.replay import Replay
from beam_pipelines.landing.files import read_bytes
from beam_pipelines.snapshot.walk import STATS, ClientFactory, FetchStats, LandingFolder, MarketClient
from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import Contract
from coinbeam.sources.http.errors import ApiTerminalError

LIST_STEM = "list"


@dataclass(frozen=True)
class AssetFetch:
    """What is asked for.

    Attributes:
        manifest: the batch.
        list_folder: landing folder of the list.
        details_folder: landing folder of the details.
        max_details: most details of the batch.
        known_assets: URI of the CSV of known assets, or None.
        deadline: from then on no call is made; None for a simulated market.
    """

    manifest: BatchManifest
    list_folder: str
    details_folder: str
    max_details: int
    known_assets: str | None
    deadline: datetime | None

    def calls_needed(self) -> int:
        """Calls without retries: what was landed for the batch is not asked for again."""
        lists, details = LandingFolder(self.list_folder, is_list), LandingFolder(self.details_folder, is_detail)
        return int(LIST_STEM not in lists.stems) + max(0, self.max_details - len(details.stems))


@dataclass(frozen=True)
class AssetBodies:
    """The landed bodies of a batch.

    Attributes:
        replay: batch and bodies, the list first.
        details_missing: details that were asked for and do not exist.
    """

    replay: Replay
    details_missing: int = 0


def load_known(uri: str | None) -> dict[str, datetime | None]:
    """The known assets, in the order of the file; none without a file.

    Raises:
        SettingsError: it is no such CSV.
    """
    return read_known(read_bytes(uri).decode()) if uri else {}


class FetchAssets(beam.PTransform[PCollection[AssetFetch], Any]):
    """``AssetFetch`` to `AssetBodies`; the output tagged ``STATS`` carries `FetchStats`.

    One element, one walk, one client: the details are few and the quota is one.

    Args:
        contract: of the dimension.
        clients: makes the client.
        clock: tells the time on the worker.
    """

    def __init__(self, contract: Contract, clients: ClientFactory, clock: Clock = utc_now) -> None:
        super().__init__()
        self._fetch = FetchAssetsFn(contract, clients, clock)

    def expand(self, fetches: PCollection[AssetFetch]) -> Any:
        """Wire the transform."""
        return fetches | "Ask for assets" >> beam.ParDo(self._fetch).with_outputs(STATS, main="bodies")


class FetchAssetsFn(beam.DoFn):
    """Fetches the list, chooses by need, fetches the details.

    Args:
        contract: of the dimension.
        clients: makes the client.
        clock: tells the time on the worker.
    """

    def __init__(self, contract: Contract, clients: ClientFactory, clock: Clock = utc_now) -> None:
        super().__init__()
        self._contract = contract
        self._clients = clients
        self._clock = clock

    def process(self, fetch: AssetFetch) -> Iterator[Any]:
        """Fetch one batch.

        Raises:
            TerminalError: the API refuses for a reason that stays.
            TransientError: the API failed for longer than the client's patience.
        """
        lists = LandingFolder(fetch.list_folder, is_list, fetch.deadline, self._clock)
        details = LandingFolder(fetch.details_folder, is_detail, fetch.deadline, self._clock)
        client = self._clients()
        try:
            landed = lists.body(LIST_STEM, lambda: client.coins_list(include_platform=True, status="active"))
            listing = Listing(RejectMaker(fetch.manifest, self._contract))
            listing.add(landed)
            missing = self._ask_for_details(fetch, listing, details, client)
        finally:
            client.close()
        yield AssetBodies(Replay(fetch.manifest, (landed.uri, *details.uris)), missing)
        lists.stats.add(details.stats)
        lists.stats.count()
        yield TaggedOutput(STATS, lists.stats)

    def _ask_for_details(self, fetch: AssetFetch, listing: Listing, folder: LandingFolder, client: MarketClient) -> int:
        """Land the details of the assets that need them most; returns how many of them do not exist."""
        order = by_need(listing.assets, load_known(fetch.known_assets), fetch.manifest.batch_id)
        folder.stats.bodies_reused = len(folder.stems)
        missing = 0
        for asset_id in choose(order, folder.stems, fetch.max_details):
            try:
                folder.body(stem(asset_id), lambda asset_id=asset_id: client.coin(asset_id))  # type: ignore[misc]
            except ApiTerminalError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                missing += 1
                folder.stats.add(FetchStats(error.calls, max(0, error.calls - 1), error.throttled))
        return missing
