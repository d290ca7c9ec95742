"""What a replay reads: landed bodies by their manifests, files of others by the command line."""

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from pathlib import Path

from beam_pipelines.job.options import JobRequest
from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.landing.files import list_files
from beam_pipelines.landing.folder import landed_manifest
from coinbeam.batch.jobs import MARKETS
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import format_instant
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.feeds.forms import CURRENCIES, FIAT
from coinbeam.landing.layout import newest_revisions
from coinbeam.settings import Settings
from coinbeam.sources.registry import COINGECKO, FILES, SIMULATED

_WORD = re.compile(r"[a-z]+")
_VS_CURRENCY = re.compile(r"vs[ _-]?currenc(?:y|ies)[^a-z]*(?P<currency>[a-z]+)")


def find_files(glob: str) -> list[str]:
    """The files that a glob matches, of each body its newest revision, sorted; folders beside them are left out.

    Raises:
        TerminalError: there is none.
    """
    uris = newest_revisions([uri for uri in list_files(glob) if not _is_folder(uri)])
    if not uris and _is_folder(glob):
        remedy = f"Say which of its files, for example '{glob.rstrip('/')}/*'."
        raise TerminalError(f"--source={glob} is a folder.", remedy)
    if not uris:
        raise TerminalError(
            f"--source={glob} matches no file.",
            "Quote the glob so that the shell leaves it alone, and check the path.",
        )
    return uris


def _is_folder(path: str) -> bool:
    """Whether a path is a folder of this machine; object storage has none."""
    return "://" not in path and Path(path).expanduser().is_dir()


def find_batches(job: JobRequest, foreign: Callable[[Sequence[str]], BatchManifest]) -> list[LandedBatch[str]]:
    """The batches that the glob matches, sorted by identifier; ``foreign`` names that of files without a manifest.

    Raises:
        TerminalError: nothing matches.
        SettingsError: the command line contradicts a manifest, or names one batch where there are several.
    """
    folders: dict[str, list[str]] = defaultdict(list)
    for uri in find_files(job.glob or ""):
        folders[uri.rpartition("/")[0]].append(uri)
    found, strange = list[LandedBatch[str]](), list[str]()
    for folder, uris in folders.items():
        manifest = landed_manifest(folder)
        if manifest is None:
            strange += uris
        elif job.snapshot_given and job.snapshot_at != manifest.snapshot_at:
            raise SettingsError(
                f"--snapshot_at is {format_instant(job.snapshot_at)}, but {manifest.batch_id} was landed for "
                f"{format_instant(manifest.snapshot_at)}.",
                "Leave --snapshot_at out: landed pages know their instant.",
            )
        elif job.batch and manifest.endpoint == MARKETS and job.quote_currency != manifest.quote_currency:
            raise SettingsError(
                f"{manifest.batch_id} was landed in {manifest.quote_currency}, but --quote_currency is "
                f"{job.quote_currency}.",
                f"Use --quote_currency={manifest.quote_currency} (--quote-currency of `coinbeam run`).",
            )
        else:
            found.append(LandedBatch(manifest, tuple(uris)))
    if strange:
        found.append(LandedBatch(foreign(strange), tuple(strange)))
    merged = _merged(found)
    if job.batch is None:
        return merged
    if len(merged) > 1:
        raise SettingsError(
            f"--batch_id={job.batch} names one batch, but --source matches {len(merged)}.",
            "Narrow the glob, or leave --batch_id out.",
        )
    return [replace(merged[0], batch=replace(merged[0].batch, batch_id=job.batch))]


def _merged(found: Sequence[LandedBatch[str]]) -> list[LandedBatch[str]]:
    """Each batch once, sorted: the coin list and the coin details of a batch lie in two folders."""
    merged: dict[str, LandedBatch[str]] = {}
    for one in sorted(found, key=lambda one: (one.batch.batch_id, one.bodies)):
        first = merged.setdefault(one.batch.batch_id, one)
        if first is one:
            continue
        if replace(first.batch, endpoint="", per_page=1) != replace(one.batch, endpoint="", per_page=1):
            raise SettingsError(
                f"--source matches two batches named {one.batch.batch_id}, which differ.",
                "Narrow the glob to one of them.",
            )
        merged[one.batch.batch_id] = replace(first, bodies=first.bodies + one.bodies)
    return list(merged.values())


def foreign_snapshot(job: JobRequest, endpoint: str, per_page: int, universe: UniverseSpec) -> BatchManifest:
    """The batch of files without a manifest that hold answers for one instant.

    Raises:
        SettingsError: the command line does not say which instant.
    """
    if not job.snapshot_given:
        raise SettingsError(
            f"--source={job.glob} matches files without a landing manifest.",
            "Say which instant they stand for with --snapshot_at.",
        )
    return BatchManifest(
        job.batch_id(universe), endpoint, FILES.id, job.snapshot_at, job.quote_currency, per_page, universe.label
    )


def currencies_in(name: str, codes: Collection[str]) -> set[str]:
    """The currencies among the words of a file's name; where it repeats a request, as in ``vs_currency=eur``, that."""
    if asked := _VS_CURRENCY.search(name.lower()):
        return {asked["currency"]}
    return set(codes).intersection(_WORD.findall(name.lower()))


def refuse_other_markets(uris: Sequence[str], job: JobRequest) -> None:
    """Refuse pages of a market in another currency, by the names of their files: the rows do not tell it.

    One coin in a name is a currency; several are what the page is about.

    Raises:
        SettingsError: a file is in another currency.
    """
    for uri in uris:
        named = currencies_in(uri.rpartition("/")[2], CURRENCIES)
        told = named & FIAT or (named if len(named) == 1 else set())
        if told and job.quote_currency not in told:
            refuse_currency(uri, min(told), job)


def refuse_currency(uri: str, currency: str, job: JobRequest) -> None:
    """Refuse a file in a currency that was not asked for.

    Raises:
        SettingsError: it is another one.
    """
    if currency != job.quote_currency:
        raise SettingsError(
            f"{uri} holds prices in {currency}, but --quote_currency is {job.quote_currency}.",
            f"Use --quote_currency={currency} (--quote-currency of `coinbeam`), narrow --source, or rename the file "
            "if its name is wrong.",
        )


def refuse_unless_live(batches: Sequence[BatchManifest], settings: Settings) -> None:
    """Keep everything but live answers out of a shared warehouse: rows of a snapshot are prices of one instant, and of
    files nobody knows it.

    Raises:
        SettingsError: a batch has another source.
    """
    for batch in batches:
        if not settings.is_local and batch.source_id != COINGECKO.id:
            raise SettingsError(
                f"Batch {batch.batch_id} came from {batch.source_id!r}, but environment {settings.environment} takes "
                "live answers only.",
                "Replay pages that were landed from the live API, or set COINBEAM_ENV=local.",
            )


def refuse_simulated(source_ids: Collection[str], settings: Settings) -> None:
    """Keep simulated rows out of a shared warehouse, and never mix them with real ones; files of users may enter, since
    each of their points carries its own instant.

    Raises:
        SettingsError: a source is a simulator.
    """
    simulated = SIMULATED.intersection(source_ids)
    if simulated and len(simulated) < len(set(source_ids)):
        raise SettingsError(
            "--source matches simulated and real values.", "Narrow the glob: one batch never mixes them."
        )
    if simulated and not settings.is_local:
        raise SettingsError(
            f"--source matches simulated values ({', '.join(simulated)}), which may not enter environment "
            f"{settings.environment}.",
            "Replay what was landed from the live API, or set COINBEAM_ENV=local.",
        )


def refuse_shared_file(files: Sequence[str], batches: Sequence[BatchManifest], remedy: str = "") -> None:
    """Refuse two batches that would overwrite each other's file; ``remedy`` says what else may help.

    Raises:
        SettingsError: there are two.
    """
    for file in files:
        names = [batch.batch_id for name, batch in zip(files, batches, strict=True) if name == file]
        if len(names) > 1:
            raise SettingsError(
                f"Batches {', '.join(names)} would all write {file}.", f"Narrow --source to one of them{remedy}."
            )
