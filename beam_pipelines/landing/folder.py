"""A landing folder during one attempt: what lies there is not asked for again, and what it cost is counted."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from datetime import datetime

from apache_beam.metrics.metric import Metrics

from beam_pipelines.landing.files import exists, list_files, read_bytes, read_landed, write_atomically
from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.errors import SettingsError, TerminalError, TransientError
from coinbeam.landing.layout import (
    MANIFEST_NAME,
    LandedBody,
    folder,
    newest_revisions,
    object_name,
    pack,
    read_manifest,
    stem_and_revision,
)
from coinbeam.sources.http.client import ApiAnswer
from coinbeam.sources.http.errors import ApiError
from coinbeam.sources.rate import CallsSpentError
from coinbeam.sources.registry import Source

METRICS_NAMESPACE = "fetching"

MALFORMED_IN_A_ROW = 3
"""Malformed bodies after which a walk gives up: an API that answers nothing else has no last page either."""


@dataclass
class FetchStats:
    """What a fetch cost.

    Attributes:
        api_calls: calls to the API; ``api_retries`` of them were a second or later try.
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

    def add_refused(self, error: ApiError | CallsSpentError) -> None:
        """Add the calls of a question that got no usable answer."""
        self.add(FetchStats(error.calls, max(0, error.calls - 1), error.throttled))

    def count(self) -> None:
        """Add the numbers to the job's counters."""
        for name, value in vars(self).items():
            Metrics.counter(METRICS_NAMESPACE, name).inc(value)


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
        landed = newest_revisions(list_files(f"{self.uri}/*.json.gz"))
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

    def revision(self, stem: str) -> int:
        """Of the body that lies there; 0 when there is none."""
        return stem_and_revision(self._newest[stem])[1] if stem in self._newest else 0

    def again(self, stem: str, ask: Callable[[], ApiAnswer]) -> LandedBody:
        """Ask again for a body that lies there, and land the answer as its newest revision.

        Raises:
            TerminalError: the interval is over; or as the client raises it.
            TransientError: as the client raises it.
        """
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
        uri = f"{self.uri}/{object_name(stem, self.revision(stem) + 1)}"
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


@dataclass
class MalformedRun:
    """Malformed bodies one after the other, during one walk.

    Attributes:
        bodies: what was asked for, in the plural.
        form: what a body should be.
    """

    bodies: str
    form: str
    length: int = 0

    def add(self, landed: LandedBody, is_readable: bool) -> None:
        """Count one body.

        Raises:
            TransientError: the source answers nothing that can be read.
        """
        self.length = 0 if is_readable else self.length + 1
        if self.length >= MALFORMED_IN_A_ROW:
            raise TransientError(
                f"{self.length} {self.bodies} in a row are no {self.form}, the last one landed as {landed.uri}.",
                "Look at it, and run again later.",
            )


def begin_batch(place: str, manifest: BatchManifest) -> None:
    """Write the manifest before the first call, once; a later attempt must agree with it.

    Raises:
        SettingsError: an earlier attempt of the batch asked for something else, or asked another source.
    """
    uri = f"{place}/{MANIFEST_NAME}"
    begun = landed_manifest(place)
    if begun is None:
        write_atomically(uri, (json.dumps(manifest.to_dict(), indent=2) + "\n").encode())
        return
    differing = [name for name, value in manifest.to_dict().items() if begun.to_dict()[name] != value]
    if differing:
        said = ", ".join(f"{name} {begun.to_dict()[name]!r} (now {manifest.to_dict()[name]!r})" for name in differing)
        raise SettingsError(
            f"Batch {manifest.batch_id} was begun with {said}.",
            f"Run it with the same settings, or begin anew: `coinbeam run --refetch` puts {place} aside.",
        )


def begun_batches(root: str, endpoint: str, batch: str, source: Source) -> dict[str, BatchManifest]:
    """The manifests that earlier attempts of a batch left, by who answered: a source, or the simulator for it."""
    ids = [source.id, *filter(None, [source.twin])]
    found = {one: landed_manifest(folder(root, endpoint, batch, one)) for one in ids}
    return {one: manifest for one, manifest in found.items() if manifest is not None}


def landed_manifest(place: str) -> BatchManifest | None:
    """The manifest of a landing folder, or None where there is none."""
    uri = f"{place}/{MANIFEST_NAME}"
    return read_manifest(read_bytes(uri)) if exists(uri) else None
