"""The run that reads again what was landed, or what a person handed in, by the name of a batch or of an object."""

from datetime import UTC, datetime, time

from coinbeam.batch.identity import parse_batch_id
from coinbeam.clock import format_instant, utc_now
from coinbeam.errors import SettingsError
from coinbeam.feeds.forms import BackfillForm, IndexForm, SnapshotForm, form_defaults
from coinbeam.feeds.sentiment import day_of_batch
from coinbeam.feeds.snapshot.request import request_from
from coinbeam.landing.layout import without_simulator
from coinbeam.settings import Settings
from runs.airflow import BACKFILL_DAG, FEAR_GREED_DAG, DagRun

INBOX = "inbox"
"""The folder of the bucket into which people put files, and nothing of ours ever writes."""


def replay_run(batch_id: str, settings: Settings) -> DagRun:
    """The run that reads a landed batch of any kind again.

    Raises:
        SettingsError: the id is of no kind of batch.
    """
    if day := day_of_batch(batch_id):
        at = format_instant(datetime.combine(day, time(), UTC))
        return DagRun(at, form_defaults(IndexForm, settings), {}, FEAR_GREED_DAG)
    if batch_id.startswith("backfill-"):
        form = form_defaults(BackfillForm, settings) | {"replay_batch": batch_id, "dry_run": False}
        return DagRun(format_instant(utc_now()), form, {}, BACKFILL_DAG)
    name = parse_batch_id(batch_id)
    at = format_instant(name.snapshot_at)
    conf = form_defaults(SnapshotForm, settings) | {"snapshot_at": at, "replay_batch": batch_id, "dry_run": False}
    request_from(conf, name.snapshot_at, settings)
    return DagRun(at, conf)


def run_of_object(uri: str, settings: Settings) -> DagRun:
    """The run that an object asks for.

    An object below ``landing/`` names its batch by its folder. One below ``inbox/`` is a file of daily history, whose
    folder is the asset, such as ``inbox/bitcoin/btc-usd-max.csv``; or it is named after the landed batch that is to be
    read again, whatever it holds.

    Raises:
        SettingsError: it lies elsewhere, or names no batch.
    """
    folder, _, name = uri.removeprefix(f"{settings.bucket_uri}/").partition("/")
    if not uri.startswith(settings.bucket_uri + "/") or folder not in {"landing", INBOX} or not name:
        problem = f"{uri} lies neither below {settings.bucket_uri}/landing/ nor below {settings.bucket_uri}/{INBOX}/."
        raise SettingsError(problem, "Name an object of one of these folders.")
    if folder == "landing":
        return replay_run(without_simulator(f"{name}/".split("/")[1]), settings)
    if "." not in name:
        return replay_run(name, settings)
    asset, _, file = name.rpartition("/")
    told = {"asset_of": f"{file}={asset}"} if asset else {}  # the name of a landed body tells it
    form = form_defaults(BackfillForm, settings) | {"source": uri, "dry_run": False, **told}
    return DagRun(format_instant(utc_now()), form, {}, BACKFILL_DAG)
