"""The walk over pieces of history; a landed piece that can be read is never asked for again, by any batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus

from beam_pipelines.history.bodies import is_chart
from beam_pipelines.history.chart import PieceBody
from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.landing.fetch import Walk
from beam_pipelines.landing.files import exists
from beam_pipelines.landing.folder import FetchStats, LandingFolder, MalformedRun
from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import Clock
from coinbeam.feeds.history.pieces import HistoryPiece, further_plan
from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.errors import ApiTerminalError

Shard = tuple[HistoryPiece, ...]

_BEYOND_PLAN = 10012
"""CoinGecko's code for a history deeper than the plan's."""


@dataclass(frozen=True)
class HistoryWalk(Walk[CoinGeckoClient, Shard, PieceBody]):
    """The pieces of one batch, which are landed below ``landing``; the plans travel without the key."""

    manifest: BatchManifest
    pieces: tuple[HistoryPiece, ...]
    landing: str
    coingecko: CoinGeckoSettings
    shards: int

    def parts(self) -> Sequence[Shard]:
        """The pieces, divided evenly."""
        return [self.pieces[shard :: self.shards] for shard in range(min(self.shards, len(self.pieces)))]

    def calls_needed(self) -> int:
        """Calls without retries: what the fullest shard has not landed, times the shards, whose shares are equal."""
        return self.shards * max(sum(not self.is_landed(piece) for piece in part) for part in self.parts())

    def is_landed(self, piece: HistoryPiece) -> bool:
        """Whether a piece was landed before, readable or not."""
        return exists(piece.uri(self.landing, self.manifest.source_id))

    def land(self, part: Shard, client: CoinGeckoClient, clock: Clock, stats: FetchStats) -> Iterator[PieceBody]:
        """Walk the pieces of one shard. An asset that the API does not know is asked for once, and has no body."""
        source_id, malformed = self.manifest.source_id, MalformedRun("answers", "charts")
        folders, unknown = dict[str, LandingFolder](), dict[str, str]()
        for piece in part:
            body = partial(PieceBody, piece.asset_id, source_id, piece.first, piece.last)
            if piece.asset_id in unknown:
                yield body(None, error=unknown[piece.asset_id])
                continue
            uri = piece.folder(self.landing, source_id)
            if uri not in folders:
                folders[uri] = LandingFolder(uri, is_chart, None, clock, stats)
            calls, reused = stats.api_calls, stats.bodies_reused
            asked = piece.asset_id, piece.quote_currency, piece.start, piece.end
            try:
                landed = folders[uri].body(piece.name, partial(client.market_chart_range, *asked))
            except ApiTerminalError as error:
                if error.status != HTTPStatus.NOT_FOUND:
                    raise self._explained(error, piece, clock) from error
                stats.add_refused(error)
                unknown[piece.asset_id] = str(error)
                yield body(None, calls=error.calls, error=str(error))
                continue
            malformed.add(landed, is_chart(landed.body))
            yield body(landed.uri, calls=stats.api_calls - calls, reused=stats.bodies_reused > reused)

    def gather(self, bodies: list[PieceBody]) -> LandedBatch[PieceBody]:
        """The pieces, in any order."""
        return LandedBatch(self.manifest, tuple(bodies))

    def _explained(self, error: ApiTerminalError, piece: HistoryPiece, clock: Clock) -> ApiTerminalError:
        """A refusal for the depth of the plan says which plan reaches further."""
        if error.code != _BEYOND_PLAN:
            return error
        remedy = further_plan(self.coingecko, piece.first, clock())
        return ApiTerminalError(
            error.message, remedy, error.status, error.code, error.retry_after, error.calls, error.throttled
        )
