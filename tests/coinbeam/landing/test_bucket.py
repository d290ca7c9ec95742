"""The bucket on the emulator: texts and reports come back as they were written, and what is damaged or down is told."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from coinbeam.errors import CoinbeamError, TerminalError, TransientError
from coinbeam.landing import bucket as module
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import LocalSettings, PortSettings, Settings
from tests.temporary import LocalCloud, free_ports, temporary_settings


@pytest.mark.cloud
@pytest.mark.parametrize("text", ["", "plain", 'é "quotes"\r\nlines', "🚀" * 1_000])
def test_a_text_comes_back_as_it_was_written(text: str, fresh_cloud: LocalCloud) -> None:
    bucket = Bucket(fresh_cloud.settings)
    assert bucket.write_text("a/b.txt", text) == f"gs://{fresh_cloud.settings.storage.bucket}/a/b.txt"
    assert bucket.read_text("a/b.txt") == text


@pytest.mark.cloud
def test_writing_again_replaces(fresh_cloud: LocalCloud) -> None:
    bucket = Bucket(fresh_cloud.settings)
    bucket.write_text("a", "a longer first text")
    bucket.write_text("a", "second")
    assert bucket.read_text("a") == "second"


@pytest.mark.cloud
def test_what_is_not_there_is_told_from_what_is_empty(fresh_cloud: LocalCloud) -> None:
    bucket = Bucket(fresh_cloud.settings)
    assert bucket.read_text("nothing") is None
    assert bucket.read_json("nothing") == {}


@pytest.mark.cloud
def test_names_below_a_prefix_are_sorted(fresh_cloud: LocalCloud) -> None:
    bucket = Bucket(fresh_cloud.settings)
    for name in ("batches/2/b", "batches/1/z", "batches/1/a", "landing/x"):
        bucket.write_text(name, "x")
    assert bucket.names("batches/1/") == ["batches/1/a", "batches/1/z"]
    assert bucket.names("nowhere/") == []


@pytest.mark.cloud
def test_a_report_is_read_as_a_dictionary(fresh_cloud: LocalCloud) -> None:
    bucket = Bucket(fresh_cloud.settings)
    bucket.write_text("r.json", '{"rows_valid": 3}')
    assert bucket.read_json("r.json") == {"rows_valid": 3}


@pytest.mark.cloud
@pytest.mark.parametrize("text", ["", "{", "[1, 2]", "[]", "null", '"text"', "[[1, 2]]"])
def test_a_damaged_report_is_refused_and_named(text: str, fresh_cloud: LocalCloud) -> None:
    bucket = Bucket(fresh_cloud.settings)
    bucket.write_text("batches/x/report.json", text)
    with pytest.raises(TerminalError, match=r"batches/x/report\.json is not .*Run the batch again"):
        bucket.read_json("batches/x/report.json")


def at_port(settings: Settings, port: int) -> Bucket:
    """A bucket whose server is somewhere else."""
    ports = PortSettings(bigquery=1, bigquery_grpc=2, storage=port, simulator=3, airflow=4)
    return Bucket(settings.model_copy(update={"local": LocalSettings(ports=ports)}))


CALLS: dict[str, Callable[[Bucket], Any]] = {
    "reading": lambda bucket: bucket.read_text("a"),
    "writing": lambda bucket: bucket.write_text("a", "b"),
    "listing": lambda bucket: bucket.names("a"),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_bucket_that_is_down_is_told_at_once(call: Callable[[Bucket], Any], tmp_path: Path) -> None:
    started = time.monotonic()
    with pytest.raises(TransientError, match=r"gs://coinbeam does not answer.*coinbeam local up"):
        call(at_port(temporary_settings(tmp_path), free_ports(1)[0]))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_bucket_that_hangs_is_given_up_in_time(
    call: Callable[[Bucket], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TIMEOUT_SECONDS", 0.3)
    started = time.monotonic()
    with socket.create_server(("127.0.0.1", 0)) as server, pytest.raises(TransientError):
        call(at_port(temporary_settings(tmp_path), server.getsockname()[1]))
    assert time.monotonic() - started < 5


@contextmanager
def refusing(status: int) -> Iterator[int]:
    """The port of a server that answers every question with one HTTP status."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        pytest.param(429, TransientError, id="too many requests"),
        pytest.param(500, TransientError, id="a fault of its own"),
        pytest.param(503, TransientError, id="not available"),
        pytest.param(401, TerminalError, id="unknown credentials"),
        pytest.param(403, TerminalError, id="no access"),
    ],
)
def test_only_what_may_pass_is_transient(status: int, kind: type[CoinbeamError], tmp_path: Path) -> None:
    with refusing(status) as port, pytest.raises(CoinbeamError, match="gs://coinbeam") as caught:
        at_port(temporary_settings(tmp_path), port).read_text("a")
    assert type(caught.value) is kind
    assert caught.value.remedy


@pytest.mark.cloud
def test_what_is_older_is_put_aside_and_nothing_is_lost(fresh_cloud: LocalCloud) -> None:
    bucket = Bucket(fresh_cloud.settings)
    for name in ("landing/markets/b/page-1", "landing/markets/b/_manifest.json", "landing/markets/bb/page-1"):
        bucket.write_text(name, name)
    long_ago, soon = datetime(2026, 1, 1, tzinfo=UTC), datetime.now(UTC) + timedelta(days=1)
    assert bucket.archive("landing/markets/b/", long_ago) == 0, "what came after stays"
    assert bucket.archive("landing/markets/b/", soon) == 2
    assert bucket.archive("landing/markets/b/", soon) == 0
    assert bucket.names("landing/") == ["landing/markets/bb/page-1"]
    aside = bucket.names("archive/")
    assert [name.partition("/landing/")[2] for name in aside] == ["markets/b/_manifest.json", "markets/b/page-1"]
    assert bucket.read_text(aside[1]) == "landing/markets/b/page-1"
