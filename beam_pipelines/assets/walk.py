"""The walk over the assets: the coin list and, within the budget, the details of the assets that need them most."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from http import HTTPStatus

from beam_pipelines.assets.bodies import is_detail, is_list
from beam_pipelines.assets.listing import Listing
from beam_pipelines.assets.need import by_need, choose, read_known, stem
from beam_pipelines.batch_files.rejects import RejectMaker
from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.landing.fetch import Walk
from beam_pipelines.landing.files import read_bytes
from beam_pipelines.landing.folder import FetchStats, LandingFolder
from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import Clock
from coinbeam.contracts import Contract
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.errors import ApiTerminalError

LIST_STEM = "list"


def load_known(uri: str | None) -> dict[str, datetime | None]:
    """The known assets, in the order of the file; none without a file.

    Raises:
        SettingsError: it is no such CSV.
    """
    return read_known(read_bytes(uri).decode()) if uri else {}


@dataclass(frozen=True)
class AssetWalk(Walk[CoinGeckoClient, str, LandedBatch[str]]):
    """The list and the details of one batch. One walk, one client: the details are few and the quota is one.

    ``known`` says when the details of known assets were landed; no call is made from the deadline on, if there is one.
    """

    manifest: BatchManifest
    contract: Contract
    list_folder: str
    details_folder: str
    max_details: int
    known: Mapping[str, datetime | None]
    deadline: datetime | None

    def calls_needed(self) -> int:
        """Calls without retries: what was landed for the batch is not asked for again."""
        lists, details = LandingFolder(self.list_folder, is_list), LandingFolder(self.details_folder, is_detail)
        return int(LIST_STEM not in lists.stems) + max(0, self.max_details - len(details.stems))

    def parts(self) -> Sequence[str]:
        """One."""
        return [LIST_STEM]

    def land(self, part: str, client: CoinGeckoClient, clock: Clock, stats: FetchStats) -> Iterator[LandedBatch[str]]:
        """Land the list, choose by need, land the details."""
        lists = LandingFolder(self.list_folder, is_list, self.deadline, clock, stats)
        details = LandingFolder(self.details_folder, is_detail, self.deadline, clock, stats)
        landed = lists.body(part, client.coins_list)
        listing = Listing(RejectMaker(self.manifest, self.contract))
        listing.add(landed)
        order = by_need(listing.assets, self.known, self.manifest.batch_id)
        stats.bodies_reused += len(details.stems)
        missing = 0
        for asset_id in choose(order, details.stems, self.max_details):
            try:
                details.body(stem(asset_id), partial(client.coin, asset_id))
            except ApiTerminalError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise
                missing += 1
                stats.add_refused(error)
        yield LandedBatch(self.manifest, (landed.uri, *details.uris), missing=missing)

    def gather(self, bodies: list[LandedBatch[str]]) -> LandedBatch[str]:
        """The one batch."""
        return bodies[0]
