"""One fetch for every feed: shard by shard a walk lands what its source answers, and what was landed goes on as one
batch::

    shards --> spread --> walk --> bodies --> gather --> Landed.inputs
                            \\--> FetchStats ----------> Landed.stats

A replay gives the same two collections without a call, so that fetch and replay are one program.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

import apache_beam as beam
from apache_beam.pvalue import PBegin, PCollection, TaggedOutput
from apache_beam.transforms.combiners import ToListCombineFn
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.landing.folder import FetchStats
from coinbeam.clock import Clock, utc_now

STATS = "stats"
"""Tag of the output that carries `FetchStats`."""

Client = TypeVar("Client", bound="Closable")
Shard = TypeVar("Shard")
Body = TypeVar("Body")


class Landed(NamedTuple):
    """What a pipeline writes from: batches, each of which becomes files of its own, and what each shard cost."""

    inputs: PCollection[Any]
    stats: PCollection[FetchStats]


class Closable(Protocol):
    """A client."""

    def close(self) -> None:
        """Give its connections back."""


class Walk(ABC, Generic[Client, Shard, Body]):
    """What is asked for, and in which order. It travels in the job graph, so it holds no key."""

    @abstractmethod
    def parts(self) -> Sequence[Shard]:
        """What each shard walks; the shards divide the quota evenly, used or not."""

    @abstractmethod
    def land(self, part: Shard, client: Client, clock: Clock, stats: FetchStats) -> Iterator[Body]:
        """Walk one shard, land each answer before the next call, and count what it costs.

        Raises:
            TerminalError: the source refuses for a reason that stays.
            TransientError: the source failed for longer than the client's patience, or answers nothing that can be
                read.
        """

    @abstractmethod
    def gather(self, bodies: list[Body]) -> Any:
        """The batch, after all shards have ended; their bodies come in any order."""


class Fetch(beam.PTransform[PBegin, Landed]):
    """Nothing to `Landed`, by a walk.

    Args:
        walk: what is asked for.
        clients: makes the client of a shard on the worker; travels with the pipeline, so it holds no key.
        clock: tells the time on the worker.
    """

    def __init__(self, walk: Walk[Client, Shard, Body], clients: Callable[[], Client], clock: Clock = utc_now) -> None:
        super().__init__()
        self._walk = walk
        self._fetch = FetchFn(walk, clients, clock)

    @no_annotations  # Beam knows no tuple of collections
    def expand(self, begin: PBegin) -> Landed:
        """Wire the transform."""
        landed = (
            begin
            | "Shards" >> beam.Create(self._walk.parts())
            | "Spread shards" >> beam.Reshuffle()
            | "Fetch" >> beam.ParDo(self._fetch).with_outputs(STATS, main="bodies")
        )
        batch = (
            landed.bodies
            | "Gather bodies" >> beam.CombineGlobally(ToListCombineFn())
            | "To batch" >> beam.Map(self._walk.gather)
        )
        return Landed(batch, landed[STATS])


class FetchFn(beam.DoFn):
    """Walks one shard with a client of its own; the output tagged ``STATS`` carries what it cost. See `Fetch`."""

    def __init__(self, walk: Walk[Client, Shard, Body], clients: Callable[[], Client], clock: Clock) -> None:
        super().__init__()
        self._walk, self._clients, self._clock = walk, clients, clock

    def process(self, part: Any) -> Iterator[Any]:
        """Walk one shard; errors come as the walk raises them."""
        stats = FetchStats()
        with closing(self._clients()) as client:
            yield from self._walk.land(part, client, self._clock, stats)
        stats.count()
        yield TaggedOutput(STATS, stats)


class Given(beam.PTransform[PBegin, Landed]):
    """Nothing to `Landed`, without a call: the batches, and what they cost; a job that never fetches has no costs."""

    def __init__(self, inputs: Sequence[Any], *stats: FetchStats) -> None:
        super().__init__()
        self._inputs, self._stats = inputs, stats

    @no_annotations  # Beam knows no tuple of collections
    def expand(self, begin: PBegin) -> Landed:
        """Wire the transform."""
        return Landed(begin | "Inputs" >> beam.Create(self._inputs), begin | "Costs" >> beam.Create(self._stats))
