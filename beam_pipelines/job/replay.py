"""Choose what a replay reads: landed pages go by their manifests, foreign files by the command line."""

from collections import defaultdict
from dataclasses import dataclass, replace

from beam_pipelines.job.options import JobRequest
from beam_pipelines.landing.files import list_files
from beam_pipelines.snapshot.walk import landed_manifest
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import format_instant
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.landing.layout import newest_revisions
from coinbeam.settings import Settings
from coinbeam.sources.registry import COINGECKO, FILES


@dataclass(frozen=True)
class Replay:
    """One batch to compute again.

    Attributes:
        batch: its manifest.
        uris: its bodies, in order.
    """

    batch: BatchManifest
    uris: tuple[str, ...]


def find_replays(
    job: JobRequest, endpoint: str, per_page: int, universe: UniverseSpec, settings: Settings
) -> list[Replay]:
    """The batches that a glob matches, sorted by identifier.

    Args:
        job: the glob, and what the caller said of foreign files.
        endpoint: what the bodies are, for a batch of foreign files.
        per_page: rows that a foreign page was asked for, at most.
        universe: selection that foreign files stand for.
        settings: whether the warehouse is local.

    Raises:
        TerminalError: nothing matches.
        SettingsError: the command line contradicts a manifest, or leaves out what foreign files need; or the rows may
            not enter this warehouse.
    """
    folders = _by_folder(job.glob or "")
    manifests = {folder: landed_manifest(folder) for folder in folders}
    landed = [Replay(manifest, tuple(folders[folder])) for folder, manifest in manifests.items() if manifest]
    foreign = [uri for folder, manifest in manifests.items() if manifest is None for uri in folders[folder]]
    replays = [_checked(replay, job) for replay in landed]
    if foreign:
        replays.append(Replay(_foreign_batch(job, endpoint, per_page, universe), tuple(foreign)))
    _refuse_unlike_production(replays, settings)
    return _named(_merged(replays), job)


def _by_folder(glob: str) -> dict[str, list[str]]:
    folders: dict[str, list[str]] = defaultdict(list)
    for uri in newest_revisions(str(metadata.path) for metadata in list_files(glob)):
        folders[uri.rpartition("/")[0]].append(uri)
    if not folders:
        raise TerminalError(
            f"--source={glob} matches no file.", "Quote the glob so that the shell leaves it alone, and check the path."
        )
    return folders


def _checked(replay: Replay, job: JobRequest) -> Replay:
    """Refuse to move landed prices to another instant."""
    if job.snapshot_given and job.snapshot_at != replay.batch.snapshot_at:
        raise SettingsError(
            f"--snapshot_at is {format_instant(job.snapshot_at)}, but {replay.batch.batch_id} was landed for "
            f"{format_instant(replay.batch.snapshot_at)}.",
            "Leave --snapshot_at out: landed pages know their instant.",
        )
    return replay


def _foreign_batch(job: JobRequest, endpoint: str, per_page: int, universe: UniverseSpec) -> BatchManifest:
    if not job.snapshot_given:
        raise SettingsError(
            f"--source={job.glob} matches files without a landing manifest.",
            "Say which instant they stand for with --snapshot_at.",
        )
    return BatchManifest(
        job.batch_id(universe), endpoint, FILES.id, job.snapshot_at, job.quote_currency, per_page, universe.label
    )


def _refuse_unlike_production(replays: list[Replay], settings: Settings) -> None:
    for replay in replays:
        if not settings.is_local and replay.batch.source_id != COINGECKO.id:
            raise SettingsError(
                f"Batch {replay.batch.batch_id} came from {replay.batch.source_id!r}, but environment "
                f"{settings.environment} takes "
                "live answers only.",
                "Replay pages that were landed from the live API, or set COINBEAM_ENV=local.",
            )


def _merged(replays: list[Replay]) -> list[Replay]:
    """One replay for each batch, sorted: the coin list and the coin details of a batch lie in two folders."""
    merged: dict[str, Replay] = {}
    for replay in sorted(replays, key=lambda replay: (replay.batch.batch_id, replay.uris)):
        first = merged.setdefault(replay.batch.batch_id, replay)
        if first is replay:
            continue
        if replace(first.batch, endpoint="", per_page=1) != replace(replay.batch, endpoint="", per_page=1):
            raise SettingsError(
                f"--source matches two batches named {replay.batch.batch_id}, which differ.",
                "Narrow the glob to one of them.",
            )
        merged[replay.batch.batch_id] = replace(first, uris=first.uris + replay.uris)
    return list(merged.values())


def _named(replays: list[Replay], job: JobRequest) -> list[Replay]:
    """Give a single batch the name that the caller chose."""
    if job.batch is None:
        return replays
    if len(replays) > 1:
        raise SettingsError(
            f"--batch_id={job.batch} names one batch, but --source matches {len(replays)}.",
            "Narrow the glob, or leave --batch_id out.",
        )
    return [replace(replays[0], batch=replace(replays[0].batch, batch_id=job.batch))]
