"""An export in trouble: whole or not at all, and the next one finishes."""

import errno
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from google.api_core.exceptions import Forbidden
from google.cloud.storage import Blob

from coinbeam.errors import DiskFullError, TerminalError, TransientError, WriteConflictError
from serving.lakehouse import export
from tests.serving.lakehouse.conftest import HISTORY, Daily

pytestmark = pytest.mark.cloud


@pytest.mark.parametrize("method", ["_first_unequal", "_release"], ids=["before the check", "between two releases"])
def test_a_crash_leaves_readers_where_they_were_and_the_next_export_finishes(
    method: str, daily: Daily, monkeypatch: pytest.MonkeyPatch
) -> None:
    dying, calls = daily.lake.exporter, []
    original = getattr(dying, method)

    def die(*arguments: Any) -> Any:
        calls.append(arguments)
        if len(calls) == (2 if method == "_release" else 1):
            raise KeyboardInterrupt
        return original(*arguments)

    monkeypatch.setattr(dying, method, die)
    with pytest.raises(KeyboardInterrupt):
        dying.export()
    assert daily.lake.prices() == (daily.prices if method == "_first_unequal" else daily.published())
    done = daily.lake.exporter.export()
    assert done is not None
    assert (done.batches, done.moved) == ([HISTORY], [HISTORY])
    assert daily.lake.prices() == daily.lake.prices(HISTORY) == daily.published() != daily.prices
    assert daily.lake.exporter.check() == []
    assert daily.lake.exporter.export() is None


REFUSALS = {
    "a bucket that refuses": (Forbidden("no storage.objects.create"), TerminalError, "refuses.*objects.create"),
    "a full disk": (OSError(errno.ENOSPC, "No space left on device"), DiskFullError, "The disk is full"),
    "a bucket that is gone": (ConnectionError("refused"), TransientError, "cannot be reached"),
}


@pytest.mark.parametrize(("error", "kind", "said"), REFUSALS.values(), ids=REFUSALS)
def test_files_that_cannot_be_written_are_told_and_seen_by_nobody(
    error: Exception, kind: type[Exception], said: str, daily: Daily
) -> None:
    original = Blob.upload_from_string

    def fail(blob: Blob, *arguments: Any, **options: Any) -> None:
        if str(blob.name).endswith(".parquet"):
            raise error
        original(blob, *arguments, **options)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Blob, "upload_from_string", fail)
        with pytest.raises(kind, match=said):
            daily.lake.exporter.export()
    assert daily.lake.prices() == daily.prices


def test_what_is_not_equal_to_bigquery_is_never_released(daily: Daily, monkeypatch: pytest.MonkeyPatch) -> None:
    original = export.write_file

    def altered(table: Any, rows: pa.Table, first: Any) -> str:
        if "price" in rows.column_names:
            at = rows.schema.get_field_index("price")
            rows = rows.set_column(at, rows.schema.field(at), pc.add(rows["price"], 1e-9))
        return original(table, rows, first)

    monkeypatch.setattr(export, "write_file", altered)
    with pytest.raises(
        TerminalError, match=r"crypto_market_daily_fact differs from BigQuery: price of asset_id=bitcoin"
    ):
        daily.lake.exporter.export()
    assert daily.lake.prices() == daily.prices


def test_a_publish_that_comes_between_begins_the_export_anew(daily: Daily, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(export, "ATTEMPTS", 2)
    exporter, comes = daily.lake.exporter, iter([True, False])
    original = exporter._first_unequal

    def interrupted(staged: Any) -> str | None:
        if next(comes, True):
            daily.publish()
        return original(staged)

    monkeypatch.setattr(exporter, "_first_unequal", interrupted)
    exporter.export()
    before = daily.published()
    assert daily.lake.prices() == before
    daily.publish()
    with pytest.raises(WriteConflictError, match="came between in each of 2"):
        exporter.export()
    assert daily.lake.prices() == before


def test_of_two_exports_at_once_one_is_told(daily: Daily, monkeypatch: pytest.MonkeyPatch) -> None:
    slow = daily.lake.exporter
    original = slow._first_unequal

    def overtaken(staged: Any) -> str | None:
        daily.lake.exporter.export()
        return original(staged)

    monkeypatch.setattr(slow, "_first_unequal", overtaken)
    with pytest.raises(WriteConflictError, match="Another writer changed an open table"):
        slow.export()
    assert daily.lake.prices() == daily.published()
