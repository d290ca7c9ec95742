"""What a replay of history reads: landed pieces by their place, foreign files by command line and name."""

import re
from collections.abc import Mapping, Sequence

from beam_pipelines.history.chart import PieceBody
from beam_pipelines.job.options import JobRequest
from beam_pipelines.job.replay import currencies_in, find_files, refuse_currency, refuse_simulated
from coinbeam.batch.options import HistoryOptions
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.feeds.forms import FIAT
from coinbeam.feeds.history.pieces import landed_piece
from coinbeam.settings import Settings
from coinbeam.sources.registry import COINGECKO_EXPORT, FILES

_ASSET_FILE = re.compile(r"(?P<asset>[a-z0-9][a-z0-9-]*)(?:_.*)?\.json(?:\.gz)?")
_COPY = r"(?:[ _.-]*(?:\(\d+\)|copy(?: ?\d+)?))*"
"""What systems add to the name of a second copy: ``btc-usd-max (1).csv``, ``btc-usd-max - Copy.csv``."""

_EXPORT_FILE = re.compile(rf"(?P<symbol>.+)-(?P<currency>[a-z0-9]+)-max{_COPY}\.csv(?:\.gz)?", re.IGNORECASE)
_ENDPOINT_FILE = re.compile(r"(market|chart|range|ohlc|history|prices|data|response|export)([_.].*)?\.json(\.gz)?")
"""Names that tell what kind of answer a file is, and not of which asset."""


def find_bodies(job: JobRequest, request: HistoryOptions, settings: Settings) -> list[PieceBody]:
    """The bodies that a glob matches.

    Raises:
        TerminalError: nothing matches.
        SettingsError: it is not known which asset a file holds, prices are of another currency, or simulated ones would
            enter a shared warehouse or mix with real ones.
    """
    uris = find_files(job.glob or "")
    foreign = sum(landed_piece(uri) is None for uri in uris)
    told = _told_assets(uris, job, request)
    bodies = [_landed(uri, job) or _foreign(uri, job, request, told, foreign) for uri in uris]
    bodies = [chosen for body in bodies if (chosen := _chosen(body, request))]
    if not bodies:
        raise TerminalError(
            f"--source={job.glob} matches files, but none of the assets and days asked for.",
            "Check --assets, --from_date and --to_date.",
        )
    refuse_simulated([body.source_id for body in bodies], settings)
    return bodies


def _landed(uri: str, job: JobRequest) -> PieceBody | None:
    """A landed piece by its place."""
    found = landed_piece(uri)
    if found is None:
        return None
    piece = found.piece
    refuse_currency(uri, piece.quote_currency, job)
    return PieceBody(piece.asset_id, found.source_id, piece.first, piece.last, uri)


def _foreign(uri: str, job: JobRequest, request: HistoryOptions, told: Mapping[str, str], files: int) -> PieceBody:
    """A file that a user brought."""
    name = uri.rpartition("/")[2]
    for currency in currencies_named(name):
        refuse_currency(uri, currency, job)
    source = COINGECKO_EXPORT.id if name.lower().endswith((".csv", ".csv.gz")) else FILES.id
    return PieceBody(_asset_of(uri, told, request, files), source, request.from_date, request.to_date, uri)


def currencies_named(name: str) -> list[str]:
    """The quote currencies that the name of a file tells: that of an export, whatever copies of it are called, or any
    fiat currency among its words. A coin among them may be the asset.
    """
    if export := _EXPORT_FILE.fullmatch(name):
        return [export["currency"].lower()]
    return sorted(currencies_in(name, FIAT))


def _told_assets(uris: Sequence[str], job: JobRequest, request: HistoryOptions) -> dict[str, str]:
    """The assets that ``--asset_of`` tells, by file: it names a file, with as many of its folders as tell it apart.

    Raises:
        SettingsError: a name fits no file, or several.
    """
    told: dict[str, str] = {}
    for name, asset in (request.asset_of or {}).items():
        fitting = [uri for uri in uris if f"/{uri}".endswith(f"/{name}")]
        if not fitting:
            problem = f"--asset-of names {name}, but --source={job.glob} matches no such file."
            raise SettingsError(problem, "Check its name.")
        if len(fitting) > 1:
            raise SettingsError(
                f"--asset-of names {name}, and {len(fitting)} files are called so: {', '.join(fitting[:3])}.",
                "Write the folder too, for example bitcoin/market_chart.json=bitcoin.",
            )
        told[fitting[0]] = asset
    return told


def _asset_of(uri: str, told: Mapping[str, str], request: HistoryOptions, files: int) -> str:
    """Which asset a foreign file holds: by the command line, else by a name that is an id. Symbols are not unique."""
    if uri in told:
        return told[uri]
    if files == 1 and request.assets and len(request.assets) == 1:
        return request.assets[0]
    name = uri.rpartition("/")[2]
    named = None if _ENDPOINT_FILE.fullmatch(name) else _ASSET_FILE.fullmatch(name)
    if named is None:
        shown = "/".join(uri.split("/")[-2:]) if _ENDPOINT_FILE.fullmatch(name) else name
        raise SettingsError(
            f"It is not known which asset {shown} holds: only ID.json and ID_....json tell it, since symbols are not "
            "unique.",
            f"Say it with --asset-of {shown}=ID (several ones separated by commas; --asset_of of the job), for example "
            "--asset-of btc-usd-max.csv=bitcoin.",
        )
    return named["asset"]


def _chosen(body: PieceBody, request: HistoryOptions) -> PieceBody | None:
    """The body cut to the days that are wanted; None when it has none of them, or is of another asset."""
    if request.assets and body.asset_id not in request.assets:
        return None
    first = max(filter(None, (body.first, request.from_date)), default=None)
    last = min(filter(None, (body.last, request.to_date)), default=None)
    if first and last and first > last:
        return None
    return PieceBody(body.asset_id, body.source_id, first, last, body.uri)
