"""The Beam shell: whole files or none, the same bytes as without Beam, and counters that say what became of the
rows.
"""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.metrics.metric import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines.batch_files.builder import BatchInput
from beam_pipelines.batch_files.write import write_batches
from beam_pipelines.landing.files import read_landed
from beam_pipelines.snapshot.rules import MarketRules
from beam_pipelines.snapshot.table import SnapshotTable
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.landing.layout import pack
from tests.beam_pipelines.built import build_from

Row = dict[str, Any]


@pytest.fixture
def snapshot(
    tmp_path: Path, batch: BatchManifest, good_row: Callable[..., Row], land: Callable[..., Any]
) -> BatchInput[str]:
    """Three landed pages: good rows, a bad and an unpriced one, and one that is HTML."""
    bodies = [
        [good_row(id="a"), good_row(id="b")],
        [good_row(id="b"), good_row(id="c", ath="x"), good_row(id="d", current_price=None)],
    ]
    pages = [*(json.dumps(rows).encode() for rows in bodies), b"<html>"]
    uris = []
    for number, page in enumerate(pages):
        path = tmp_path / "landing" / f"page-{number:05d}.json.gz"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(pack(page, land(page).landed_at))
        uris.append(str(path))
    return BatchInput(
        batch, tuple(uris), str(tmp_path / "out" / "crypto.csv"), str(tmp_path / "out" / "rejected.ndjson")
    )


def _run(snapshot: BatchInput[str], rules: MarketRules) -> Any:
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | beam.Create([snapshot]) | write_batches(SnapshotTable(rules))
    result = pipeline.run()
    result.wait_until_finish()
    return result


def test_files_are_those_of_the_kernel_without_beam(snapshot: BatchInput[str], rules: MarketRules) -> None:
    _run(snapshot, rules)
    built = build_from(SnapshotTable(rules), snapshot.batch, snapshot.bodies, read_landed)
    assert Path(snapshot.csv_uri).read_bytes() == built.csv
    assert [json.loads(line) for line in Path(snapshot.rejects_uri).read_text().splitlines()] == built.lines


def test_counters_say_what_became_of_every_row(snapshot: BatchInput[str], rules: MarketRules) -> None:
    counters = _run(snapshot, rules).metrics().query(MetricsFilter().with_namespace(SNAPSHOT_FACT))["counters"]
    found = {counter.key.metric.name: counter.committed for counter in counters}
    expected = {
        "pages_read": 3,
        "pages_rejected": 1,
        "rows_read": 5,
        "rows_valid": 2,
        "rows_unpriced": 1,
        "rows_duplicate": 1,
        "rows_rejected": 1,
        "rejected_wrong_type": 1,
        "rejected_not_json": 1,
    }
    assert {name: found[name] for name in expected} == expected


def test_a_retry_overwrites_and_leaves_nothing_beside(snapshot: BatchInput[str], rules: MarketRules) -> None:
    _run(snapshot, rules)
    first = Path(snapshot.csv_uri).read_bytes()
    _run(snapshot, rules)
    assert Path(snapshot.csv_uri).read_bytes() == first
    assert sorted(path.name for path in Path(snapshot.csv_uri).parent.iterdir()) == ["crypto.csv", "rejected.ndjson"]


def test_a_page_that_is_gone_fails_the_job_and_leaves_no_half_file(
    snapshot: BatchInput[str], rules: MarketRules
) -> None:
    Path(snapshot.bodies[1]).unlink()
    with pytest.raises(Exception, match=r"page-00001\.json\.gz cannot be read"):
        _run(snapshot, rules)
    assert list(Path(snapshot.csv_uri).parent.iterdir()) == []


def test_a_damaged_gzip_page_is_refused_and_the_rest_is_written(snapshot: BatchInput[str], rules: MarketRules) -> None:
    first = Path(snapshot.bodies[0])
    first.write_bytes(first.read_bytes()[:-20])
    _run(snapshot, rules)
    rejected = [json.loads(line) for line in Path(snapshot.rejects_uri).read_text().splitlines()]
    assert (rejected[0]["level"], rejected[0]["page_uri"]) == ("page", str(first))
    assert Path(snapshot.csv_uri).read_text().count("\n") == 2  # the header and the row of the second page


def test_a_top_n_is_cut_after_repeated_assets_are_dropped(snapshot: BatchInput[str], rules: MarketRules) -> None:
    counters = (
        _run(replace(snapshot, batch=replace(snapshot.batch, universe="top-1")), rules)
        .metrics()
        .query(MetricsFilter().with_namespace(SNAPSHOT_FACT))["counters"]
    )
    found = {counter.key.metric.name: counter.committed for counter in counters}
    assert (found["rows_valid"], found["rows_surplus"], found["rows_duplicate"]) == (1, 1, 1)
