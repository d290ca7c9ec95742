"""Ask the API for pieces of history and land each answer first; a landed piece that can be read is never asked for
again, by anybody.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, TaggedOutput

from beam_pipelines.history.bodies import is_chart
from beam_pipelines.history.chart import PieceBody
from beam_pipelines.snapshot.walk import (
    MALFORMED_IN_A_ROW,
    STATS,
    ClientFactory,
    FetchStats,
    LandingFolder,
    MarketClient,
)
from coinbeam.clock import Clock, utc_now
from coinbeam.errors import TransientError
from coinbeam.feeds.history.pieces import HistoryPiece, further_plan
from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.http.errors import ApiTerminalError

Shard = tuple[HistoryPiece, ...]

_BEYOND_PLAN = 10012
"""CoinGecko's code for a history deeper than the plan's."""


@dataclass(frozen=True)
class PieceFetch:
    """What is asked for, beside the pieces.

    Attributes:
        landing: folder above ``landing/``.
        source_id: key of ``source_dim`` of whoever answers.
        coingecko: the plans, without the key.
    """

    landing: str
    source_id: str
    coingecko: CoinGeckoSettings


def shard_pieces(pieces: Sequence[HistoryPiece], shards: int) -> list[Shard]:
    """The pieces divided over at most so many shards, evenly; each shard has its share of the quota, used or not."""
    return [tuple(pieces[shard::shards]) for shard in range(min(shards, len(pieces)))]


class FetchPieces(beam.PTransform[PCollection[Shard], Any]):
    """``Shard`` to `PieceBody`; the output tagged ``STATS`` carries one `FetchStats` for each shard.

    Args:
        fetch: what is asked for.
        clients: makes the client of a shard.
        clock: tells the time on the worker.
    """

    def __init__(self, fetch: PieceFetch, clients: ClientFactory, clock: Clock = utc_now) -> None:
        super().__init__()
        self._fetch = FetchPiecesFn(fetch, clients, clock)

    def expand(self, shards: PCollection[Shard]) -> Any:
        """Wire the transform."""
        return (
            shards
            | "Spread shards" >> beam.Reshuffle()
            | "Fetch pieces" >> beam.ParDo(self._fetch).with_outputs(STATS, main="pieces")
        )


class FetchPiecesFn(beam.DoFn):
    """Asks for the pieces of one shard, one after the other.

    Args:
        fetch: what is asked for.
        clients: makes the client of a shard.
        clock: tells the time on the worker.
    """

    def __init__(self, fetch: PieceFetch, clients: ClientFactory, clock: Clock = utc_now) -> None:
        super().__init__()
        self._fetch = fetch
        self._clients = clients
        self._clock = clock

    def process(self, shard: Shard) -> Iterator[Any]:
        """Fetch one shard.

        Raises:
            TerminalError: the API refuses for a reason that stays, and not only for one asset.
            TransientError: the API failed for longer than the client's patience, or answers nothing that is a chart.
        """
        client = self._clients()
        walk = _Walk(self._fetch, client, self._clock)
        try:
            for piece in shard:
                yield walk.ask(piece)
        finally:
            client.close()
        walk.stats.count()
        yield TaggedOutput(STATS, walk.stats)


@dataclass
class _Walk:
    """The walk over the pieces of one shard."""

    fetch: PieceFetch
    client: MarketClient
    clock: Clock
    stats: FetchStats = field(default_factory=FetchStats)
    malformed: int = 0
    _folders: dict[str, LandingFolder] = field(default_factory=dict)
    _unknown: dict[str, str] = field(default_factory=dict)

    def ask(self, piece: HistoryPiece) -> PieceBody:
        """The landed piece; one without a body when the API does not know the asset, which is asked for once."""
        if piece.asset_id in self._unknown:
            return self._body(piece, error=self._unknown[piece.asset_id])
        before = self.stats.api_calls, self.stats.bodies_reused
        try:
            landed = self._folder(piece).body(piece.name, lambda: self._call(piece))
        except ApiTerminalError as error:
            if error.status != HTTPStatus.NOT_FOUND:
                raise self._explained(error, piece) from error
            self.stats.add(FetchStats(error.calls, max(0, error.calls - 1), error.throttled))
            self._unknown[piece.asset_id] = str(error)
            return self._body(piece, calls=error.calls, error=str(error))
        self._refuse_nonsense(is_chart(landed.body), landed.uri)
        calls, reused = self.stats.api_calls - before[0], self.stats.bodies_reused > before[1]
        return self._body(piece, uri=landed.uri, calls=calls, reused=reused)

    def _call(self, piece: HistoryPiece) -> Any:
        return self.client.market_chart_range(piece.asset_id, piece.quote_currency, piece.start, piece.end)

    def _folder(self, piece: HistoryPiece) -> LandingFolder:
        """The folder of an asset, listed once for each shard."""
        uri = piece.folder(self.fetch.landing, self.fetch.source_id)
        if uri not in self._folders:
            self._folders[uri] = LandingFolder(uri, is_chart, None, self.clock, self.stats)
        return self._folders[uri]

    def _explained(self, error: ApiTerminalError, piece: HistoryPiece) -> ApiTerminalError:
        """A refusal for the depth of the plan says which plan reaches further."""
        if error.code != _BEYOND_PLAN:
            return error
        remedy = further_plan(self.fetch.coingecko, piece.first, self.clock())
        return ApiTerminalError(
            error.message, remedy, error.status, error.code, error.retry_after, error.calls, error.throttled
        )

    def _refuse_nonsense(self, is_readable: bool, uri: str) -> None:
        self.malformed = 0 if is_readable else self.malformed + 1
        if self.malformed >= MALFORMED_IN_A_ROW:
            raise TransientError(
                f"{self.malformed} answers in a row are no charts, the last one landed as {uri}.",
                "Look at it, and run again later.",
            )

    def _body(self, piece: HistoryPiece, **known: Any) -> PieceBody:
        return PieceBody(piece.asset_id, self.fetch.source_id, piece.first, piece.last, **{"uri": None, **known})
