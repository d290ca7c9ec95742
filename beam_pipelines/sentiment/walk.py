"""The walk of the index: one call, which brings all of it."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.landing.fetch import Walk
from beam_pipelines.landing.folder import FetchStats, LandingFolder
from beam_pipelines.sentiment.bodies import is_index
from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import Clock
from coinbeam.sources.alternative_me import FearGreedClient

STEM = "index"


@dataclass(frozen=True)
class IndexWalk(Walk[FearGreedClient, str, str]):
    """The whole index, which lies in ``folder``."""

    manifest: BatchManifest
    folder: str

    def parts(self) -> Sequence[str]:
        """One."""
        return [STEM]

    def land(self, part: str, client: FearGreedClient, clock: Clock, stats: FetchStats) -> Iterator[str]:
        """Land the index, unless an earlier attempt of the batch did."""
        yield LandingFolder(self.folder, is_index, None, clock, stats).body(part, client.index).uri

    def gather(self, bodies: list[str]) -> LandedBatch[str]:
        """The one body."""
        return LandedBatch(self.manifest, tuple(bodies))
