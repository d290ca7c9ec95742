"""Nobody gets past Identity-Aware Proxy but by an assertion that it signed for this service and this moment."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from serving.dashboard.iap import HEADER, SESSION_SECONDS, Gate, Refused
from tests.serving.dashboard.proxy import AUDIENCE, EMAIL, Proxy, running


@pytest.fixture(scope="module")
def proxy() -> Iterator[Proxy]:
    """A proxy for all tests of this module."""
    with running() as one:
        yield one


@pytest.fixture
def gate(proxy: Proxy) -> Gate:
    """A gate that knows no key yet."""
    return Gate(AUDIENCE, proxy.keys_url)


def test_a_genuine_assertion_says_who_looks(proxy: Proxy, gate: Gate) -> None:
    assert gate.admit({HEADER: proxy.assertion()}, None).email == EMAIL


@pytest.mark.parametrize(
    "changed",
    [
        {"aud": "/projects/1/locations/us-central1/services/another"},
        {"iss": "https://accounts.google.com"},
        {"exp": time.time() - 60},
        {"iat": time.time() + 600, "exp": time.time() + 900},
        {"email": None},
        {"sub": None},
        {"exp": None},
        {"aud": None},
    ],
    ids=[
        "another service",
        "another issuer",
        "expired",
        "issued later",
        "no email",
        "no subject",
        "no expiry",
        "no audience",
    ],
)
def test_an_assertion_that_is_not_for_us_and_now_is_refused(proxy: Proxy, gate: Gate, changed: dict[str, Any]) -> None:
    with pytest.raises(Refused, match="is not valid"):
        gate.admit({HEADER: proxy.assertion(**changed)}, None)


@pytest.mark.parametrize("headers", [{}, {"x-goog-authenticated-user-email": EMAIL}, {HEADER: ""}])
def test_a_header_that_anybody_can_send_proves_nobody(gate: Gate, headers: dict[str, str]) -> None:
    with pytest.raises(Refused, match="only reached through"):
        gate.admit(headers, None)


def forged(key: Any, algorithm: str) -> str:
    claims = jwt.decode(Proxy().assertion(), options={"verify_signature": False})
    return jwt.encode(claims, key, algorithm, headers={"kid": "key-1"})


@pytest.mark.parametrize(
    "assertion",
    [
        forged(ec.generate_private_key(ec.SECP256R1()), "ES256"),
        forged("", "none"),
        forged("a secret of thirty-two characters", "HS256"),
        "no assertion at all",
    ],
    ids=["another key", "no signature", "a shared secret", "no assertion"],
)
def test_a_forged_assertion_is_refused_and_not_repeated(gate: Gate, assertion: str) -> None:
    with pytest.raises(Refused, match="is not valid") as refused:
        gate.admit({HEADER: assertion}, None)
    assert assertion not in str(refused.value)
    assert refused.value.__cause__ is None


def test_an_unknown_key_is_refused(proxy: Proxy, gate: Gate) -> None:
    with pytest.raises(Refused, match="is not valid"):
        gate.admit({HEADER: proxy.assertion(kid="key-2")}, None)


def test_the_keys_are_fetched_once(proxy: Proxy, gate: Gate) -> None:
    before = proxy.asked
    for _ in range(3):
        gate.admit({HEADER: proxy.assertion()}, None)
    assert proxy.asked == before + 1


def test_keys_that_cannot_be_fetched_let_nobody_in(proxy: Proxy, free_port: int) -> None:
    gate = Gate(AUDIENCE, f"http://127.0.0.1:{free_port}/keys")
    with pytest.raises(Refused, match="cannot be fetched"):
        gate.admit({HEADER: proxy.assertion()}, None)


def test_a_page_stays_open_for_an_hour_and_then_wants_a_new_assertion(proxy: Proxy) -> None:
    now = [datetime.now(UTC)]
    gate = Gate(AUDIENCE, proxy.keys_url, lambda: now[0])
    headers = {HEADER: proxy.assertion()}
    first = gate.admit(headers, None)
    now[0] += timedelta(seconds=SESSION_SECONDS - 1)
    assert gate.admit(headers, first) == first
    now[0] += timedelta(seconds=1)
    with pytest.raises(Refused, match="open for an hour"):
        gate.admit(headers, first)
    assert gate.admit({HEADER: proxy.assertion(email="another@example.com")}, first).email == "another@example.com"
