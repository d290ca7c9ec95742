"""A bundle that is half written, cut or gone: a version answers as a whole or not at all, and servers go on."""

import base64
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import google_crc32c
import httpx
import pytest

from coinbeam.bundle.manifest import POINTER, Entry
from serving.api.app import create_app
from serving.api.keys import PATH as KEYS
from serving.api.keys import Keys
from tests.deploy.emulator import Emulator
from tests.serving.served import NOW, Made, ServedSource, build, listening, made_in

POLL = 0.02
PRICE = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd"


class Served(NamedTuple):
    """A server over a bundle of its own."""

    url: str
    made: Made
    emulator: Emulator

    def get(self, target: str, **headers: str) -> httpx.Response:
        """Ask it."""
        return httpx.get(self.url + target, headers=headers)

    def price(self) -> float:
        """The price that it answers with."""
        price: float = self.get(PRICE).json()["bitcoin"]["usd"]
        return price

    def becomes(self, **expected: object) -> None:
        """Wait until it says so of itself."""
        until = time.monotonic() + 20
        while not expected.items() <= (found := self.get("/ready").json()).items():
            assert time.monotonic() < until, found
            time.sleep(POLL)

    def write(self, path: str, data: bytes) -> None:
        """Replace what lies in an object, with the checksums of what lies there now."""
        bucket, sums = self.made[0].storage.bucket, (google_crc32c.Checksum(data), hashlib.md5(data))
        crc32c, md5 = (base64.b64encode(found.digest()).decode() for found in sums)
        about = self.emulator.storage.get_file_obj(bucket, path) | {"crc32c": crc32c, "md5Hash": md5}
        self.emulator.storage.create_file(bucket, path, data, about)

    def build_next(self) -> None:
        """Build a version whose prices are twice as high."""
        settings, bucket, source = self.made
        source.factor *= 2
        source.refreshed_at += timedelta(minutes=5)
        build(settings, bucket, source)


@contextmanager
def served(
    folder: Path, *, needs_key: bool = False, breaks: Callable[[Made], None] = lambda _: None
) -> Iterator[Served]:
    """A server over a small bundle, which may be broken before it starts."""
    with made_in(folder, ServedSource(20, 40), poll_seconds=POLL) as (emulator, made):
        breaks(made)
        app = create_app(made[0], needs_key=needs_key, bucket=made[1], clock=lambda: NOW)
        with listening(app) as url:
            yield Served(url, made, emulator)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Served]:
    """One that needs no key."""
    with served(tmp_path) as running:
        yield running


def pointing_nowhere(pointer: dict[str, Any]) -> bytes:
    """A pointer to a manifest that is not there."""
    manifest = pointer["manifest"] | {"path": pointer["manifest"]["path"].replace("manifest.", "manifest.0")}
    return json.dumps(pointer | {"version": "20990101T000000000000Z", "manifest": manifest}).encode()


def with_a_wrong_digest(pointer: dict[str, Any]) -> bytes:
    """A pointer to a manifest that is another one than it says."""
    manifest = pointer["manifest"] | {"sha256": "0" * 64}
    return json.dumps(pointer | {"version": "20990101T000000000000Z", "manifest": manifest}).encode()


BROKEN = [
    pytest.param(pointing_nowhere, id="the pointer names a manifest that is not there"),
    pytest.param(with_a_wrong_digest, id="the manifest is another one"),
    pytest.param(lambda pointer: json.dumps(pointer).encode()[:-20], id="the pointer is cut"),
    pytest.param(lambda _: b"", id="the pointer is empty"),
    pytest.param(lambda _: b"\xff\xfe\x00", id="the pointer is no text"),
]


@pytest.mark.parametrize("broken", BROKEN)
def test_the_version_of_before_answers_until_the_next_one_is_whole(
    server: Served, broken: Callable[[dict[str, Any]], bytes]
) -> None:
    before, whole = server.price(), server.made[1].read_bytes(POINTER) or b""
    server.write(POINTER, broken(json.loads(whole)))
    server.becomes(ready=True, fault="The newest version cannot be read; the log says why.")
    assert server.price() == before
    server.write(POINTER, whole)
    server.becomes(ready=True, fault=None)
    server.build_next()
    server.becomes(version="20261120T010500000000Z", fault=None)
    assert server.price() == 2 * before


def cut_files(server: Served, part: str) -> set[str]:
    """From now on each new file of a kind loses its end as it is written; the files that did."""
    cut: set[str] = set()

    def cuts(name: str) -> None:
        if f"/{part}/" in name and name not in cut:
            cut.add(name)
            server.write(name, server.emulator.content(server.made[0].storage.bucket, name)[:-9])

    server.emulator.watchers.append(cuts)
    return cut


@pytest.mark.parametrize("part", ["charts", "intraday", "markets", "sparklines"])
def test_a_version_of_which_a_file_is_cut_is_not_taken(server: Served, part: str) -> None:
    before, version = server.price(), server.get("/ready").json()["version"]
    cut = cut_files(server, part)
    server.build_next()
    assert cut
    server.becomes(ready=True, version=version, fault="The newest version cannot be read; the log says why.")
    assert server.price() == before
    assert server.get(PRICE).headers["x-coinbeam-version"] == version


@pytest.mark.parametrize("path", ["/v1/market_daily?asset_id=bitcoin", "/v1/signals"])
def test_a_file_that_is_needed_later_and_is_cut_is_a_matter_of_waiting(server: Served, path: str) -> None:
    before = server.price()
    cut_files(server, "indicators")
    server.build_next()
    server.becomes(version="20261120T010500000000Z")
    got = server.get(path)
    assert (got.status_code, got.headers["retry-after"]) == (503, "30")
    assert got.headers["content-type"] == "application/problem+json"
    assert got.json()["detail"] == "A part of this version cannot be read now; the log says why."
    assert server.price() == 2 * before


def test_a_manifest_that_lacks_a_file_is_not_taken(tmp_path: Path) -> None:
    with served(tmp_path) as server:
        before = server.price()
        pointer = json.loads(server.made[1].read_bytes(POINTER) or b"")
        manifest = json.loads(server.made[1].read_bytes(pointer["manifest"]["path"]) or b"")
        manifest["files"] = {name: entry for name, entry in manifest["files"].items() if "assets" not in name}
        data = json.dumps(manifest | {"version": "20990101T000000000000Z"}).encode()
        entry = Entry.of(pointer["manifest"]["path"].replace("manifest.", "manifest.0"), data)
        server.made[1].write_new(entry.path, data)
        server.write(
            POINTER, json.dumps({"version": "20990101T000000000000Z", "manifest": entry.model_dump()}).encode()
        )
        server.becomes(ready=True, fault="The newest version cannot be read; the log says why.")
        assert server.price() == before


@pytest.mark.parametrize(
    "breaks",
    [
        pytest.param(lambda made: made[1].delete(POINTER), id="there is none"),
        pytest.param(lambda made: made[1].write_text(POINTER, "{"), id="it is damaged"),
    ],
)
def test_without_a_bundle_there_is_health_and_nothing_else(tmp_path: Path, breaks: Callable[[Made], None]) -> None:
    with served(tmp_path, breaks=breaks) as server:
        assert server.get("/health").status_code == 200
        assert server.get("/openapi.json").status_code == 200
        ready = server.get("/ready")
        assert (ready.status_code, ready.json()["ready"], ready.json()["version"]) == (503, False, None)
        got, of_tables = server.get(PRICE), server.get("/v1/prices")
        assert got.json()["status"]["error_code"] == of_tables.json()["status"] == got.status_code == 503
        assert got.headers["retry-after"] == of_tables.headers["retry-after"] == "30"


def test_a_revoked_key_is_refused_within_one_look_and_damaged_keys_change_nothing(tmp_path: Path) -> None:
    made_keys: list[tuple[str, Any]] = []
    with served(
        tmp_path, needs_key=True, breaks=lambda made: made_keys.extend(Keys(made[1]).create(n) for n in ("a", "b"))
    ) as server:
        (kept, _), (revoked, known) = made_keys
        assert [server.get(PRICE, **{"x-cg-demo-api-key": key}).status_code for key in (kept, revoked)] == [200, 200]
        Keys(server.made[1]).revoke(known.key_id)
        until = time.monotonic() + 20
        while (got := server.get(PRICE, **{"x-cg-demo-api-key": revoked})).status_code != 401:
            assert time.monotonic() < until
            time.sleep(POLL)
        assert got.json()["status"]["error_code"] == 10_010
        for damaged in (b"\xff\xfe", b"{", b'{"keys": [{}]}'):
            server.write(KEYS, damaged)
            time.sleep(5 * POLL)
            server.becomes(ready=True, fault=None)
            assert [server.get(PRICE, **{"x-cg-demo-api-key": key}).status_code for key in (kept, revoked)] == [
                200,
                401,
            ]
