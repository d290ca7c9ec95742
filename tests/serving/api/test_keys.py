"""Keys: shown once, kept as digests, refused when they are revoked, counted against their limit."""

import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from starlette.testclient import TestClient

from coinbeam.errors import SettingsError, TerminalError, WriteConflictError
from coinbeam.landing.bucket import Bucket
from serving.api.app import create_app
from serving.api.keys import KEY_HEADERS, KEY_PARAMETERS, PATH, KeyRing, Keys, digest
from tests.deploy.emulator import Emulator
from tests.serving.served import NOW, Made, ServedSource, made_in

PRICE = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd"


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Emulator, Made]]:
    """A bundle of a few coins, whose keys tests may change."""
    with made_in(tmp_path_factory.mktemp("keys"), ServedSource(5, 3), poll_seconds=0.02) as made:
        yield made


@pytest.fixture
def keys(small: tuple[Emulator, Made]) -> Iterator[Keys]:
    """The keys of an environment that has none."""
    bucket = small[1][1]
    yield Keys(bucket, lambda: NOW)
    bucket.delete(PATH)


@pytest.fixture
def api(small: tuple[Emulator, Made], keys: Keys) -> Iterator[TestClient]:
    """An API that needs keys, and has none yet."""
    settings, bucket, _ = small[1]
    assert keys.all() == ()
    with TestClient(create_app(settings, needs_key=True, bucket=bucket, clock=lambda: NOW)) as client:
        yield client


def passes(api: TestClient, key: str) -> bool:
    """Whether a key passes, now or within a while."""
    until = time.monotonic() + 5
    while time.monotonic() < until:
        if api.get(PRICE, headers={KEY_HEADERS[0]: key}).status_code == 200:
            return True
        time.sleep(0.02)
    return False


def test_a_key_is_kept_as_its_digest_alone(keys: Keys, small: tuple[Emulator, Made]) -> None:
    text, made = keys.create("desk")
    stored = small[1][1].read_text(PATH) or ""
    assert text.startswith("cbk_")
    assert text not in stored
    assert text[4:] not in stored
    assert digest(text) in stored
    assert keys.all() == (made,)
    assert made.key_id not in text


def test_two_keys_are_two(keys: Keys) -> None:
    assert keys.create("one")[0] != keys.create("one")[0]
    assert [key.name for key in keys.all()] == ["one", "one"]


@pytest.mark.parametrize(("name", "limit"), [("", None), ("x" * 101, None), ("x", 0), ("x", -1)])
def test_a_key_without_sense_is_not_made(keys: Keys, name: str, limit: int | None) -> None:
    with pytest.raises(SettingsError, match="cannot be made"):
        keys.create(name, limit)
    assert keys.all() == ()


def test_an_unknown_key_cannot_be_revoked(keys: Keys) -> None:
    with pytest.raises(SettingsError, match=r"no key 'nope'.*keys list"):
        keys.revoke("nope")


def test_revoking_again_keeps_the_first_time(keys: Keys) -> None:
    _, made = keys.create("desk")
    first = keys.revoke(made.key_id)
    later = Keys(keys._bucket, lambda: NOW.replace(year=2027)).revoke(made.key_id)
    assert later.revoked_at == first.revoked_at == NOW


def test_of_two_changes_at_once_one_is_told(keys: Keys, monkeypatch: pytest.MonkeyPatch) -> None:
    replace = keys._bucket.replace_text

    def late(path: str, text: str, generation: int) -> None:
        monkeypatch.undo()
        keys.create("other")
        replace(path, text, generation)

    monkeypatch.setattr(keys._bucket, "replace_text", late)
    with pytest.raises(WriteConflictError, match="changed meanwhile"):
        keys.create("late")
    assert [key.name for key in keys.all()] == ["other"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"keys": [{}]}', '{"keys": 1}'])
def test_damaged_keys_are_told_and_those_of_before_stay(keys: Keys, text: str) -> None:
    key, _ = keys.create("desk")
    ring = KeyRing(keys)
    ring.look()
    keys._bucket.write_text(PATH, text)
    with pytest.raises(TerminalError, match="is damaged"):
        keys.all()
    ring.look()
    assert ring.find(key) is not None


def test_a_call_without_a_key_is_refused_as_coingecko_does(api: TestClient) -> None:
    answer = api.get(PRICE)
    assert answer.status_code == 401
    assert answer.json()["status"]["error_code"] == 10_002
    assert api.get("/v1/prices").headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("path", ["/health", "/ready", "/docs", "/openapi.json"])
def test_health_and_documentation_need_no_key(api: TestClient, path: str) -> None:
    assert api.get(path).status_code == 200


@pytest.mark.parametrize("given", ["nonsense", "cbk_", "cbk_" + "x" * 27, "CG-abcdef", "cbk_" + "x" * 5_000, "ключ"])
def test_a_wrong_key_is_refused(api: TestClient, given: str) -> None:
    answer = api.get(PRICE, params={KEY_PARAMETERS[0]: given})
    assert answer.status_code == 401
    assert answer.json()["status"]["error_code"] == 10_010


def test_a_key_passes_in_both_headers_and_both_names_until_it_is_revoked(api: TestClient, keys: Keys) -> None:
    text, made = keys.create("desk")
    assert passes(api, text)
    for name in KEY_HEADERS:
        assert api.get(PRICE, headers={name: text}).status_code == 200
    for name in KEY_PARAMETERS:
        assert api.get(f"{PRICE}&{name}={text}").status_code == 200
    keys.revoke(made.key_id)
    until = time.monotonic() + 5
    while api.get(PRICE, headers={KEY_HEADERS[0]: text}).status_code == 200:
        assert time.monotonic() < until, "a revoked key still passes after 5 s"
        time.sleep(0.02)
    assert api.get(PRICE, headers={KEY_HEADERS[0]: text}).json()["status"]["error_code"] == 10_010


def test_a_key_has_its_own_limit_and_what_is_known_already_costs_nothing(api: TestClient, keys: Keys) -> None:
    text, _ = keys.create("desk", 3)
    other, _ = keys.create("other", 1_000)
    assert passes(api, other)
    headers = {KEY_HEADERS[0]: text}
    first = api.get(PRICE, headers=headers)
    for _ in range(5):
        assert api.get(PRICE, headers={**headers, "If-None-Match": first.headers["etag"]}).status_code == 304
    usage = api.get("/api/v3/key", headers=headers).json()
    assert (usage["plan"], usage["rate_limit_request_per_minute"]) == ("desk", 3)
    assert usage["current_total_monthly_calls"] == 2
    assert usage["current_remaining_monthly_calls"] == usage["monthly_call_credit"] - 2
    assert api.get(PRICE, headers=headers).status_code == 200
    refused = api.get(PRICE, headers=headers)
    assert refused.status_code == 429
    assert refused.json()["status"]["error_code"] == 429
    assert 1 <= int(refused.headers["retry-after"]) <= 60
    assert api.get(PRICE, headers={KEY_HEADERS[0]: other}).status_code == 200


def test_on_this_machine_no_key_is_needed_but_a_revoked_one_is_refused(api_url: str) -> None:
    assert httpx.get(api_url + PRICE).status_code == 200
    assert httpx.get(api_url + PRICE, headers={KEY_HEADERS[0]: "CG-of-coingecko"}).status_code == 200
    assert httpx.get(api_url + PRICE, headers={KEY_HEADERS[0]: "cbk_" + "x" * 27}).status_code == 401


def test_no_other_origin_may_read_by_default_and_a_named_one_may(small: tuple[Emulator, Made]) -> None:
    settings, bucket, _ = small[1]
    origin = {"Origin": "https://desk.example"}
    with TestClient(create_app(settings, needs_key=False, bucket=bucket, clock=lambda: NOW)) as api:
        assert "access-control-allow-origin" not in api.get(PRICE, headers=origin).headers
    named = settings.model_copy(
        update={"serving": settings.serving.model_copy(update={"cors_origins": (origin["Origin"],)})}
    )
    with TestClient(create_app(named, needs_key=False, bucket=bucket, clock=lambda: NOW)) as api:
        assert api.get(PRICE, headers=origin).headers["access-control-allow-origin"] == origin["Origin"]
        other = api.get(PRICE, headers={"Origin": "https://other.example"})
        assert "access-control-allow-origin" not in other.headers


def test_nothing_that_is_stored_holds_a_key(small: tuple[Emulator, Made], keys: Keys, tmp_path: Path) -> None:
    text, _ = keys.create("desk")
    bucket: Bucket = small[1][1]
    for name in bucket.names(""):
        assert text.encode() not in (bucket.read_bytes(name) or b"")
    assert list(tmp_path.iterdir()) == []
