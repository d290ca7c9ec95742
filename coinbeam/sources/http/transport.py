"""One HTTP exchange, bounded in time. Its failures are values: an exception of the HTTP stack would hold the key."""

import re
import socket
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import urlsplit

import requests
import urllib3
from requests.auth import AuthBase

import coinbeam
from coinbeam.sources.http.errors import MEANINGS, REMEDIES, ApiTerminalError, UnreachableError
from coinbeam.sources.http.responses import Verdict

_CHUNK_BYTES = 256 * 1024
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
_NO_TUNNEL = re.compile(r"Tunnel connection failed: (4\d\d)")  # how the standard library words a proxy that refuses


class KeyHeader(AuthBase):
    """Puts the API key into its header at the last moment, so that no other object holds a readable copy.

    Given for keyless plans too: without an ``auth`` of our own `requests` would send a password from ``~/.netrc``.
    """

    def __init__(self, header: str | None, key: str | None) -> None:
        self._header, self._key = header, key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Add the header to a request that is about to be sent."""
        if self._header and self._key:
            request.headers[self._header] = self._key
        return request


def refuse_unreachable(url: str, seconds: float) -> None:
    """Open a connection to a server, or to the proxy before it, and send nothing: no call is spent.

    In a thread of its own, since no timeout covers a name server that does not answer.

    Raises:
        UnreachableError: nobody listens, or there is no answer in time.
    """
    proxy = requests.utils.select_proxy(url, requests.utils.get_environ_proxies(url))
    asked = urlsplit(proxy or url)
    port = asked.port or (443 if asked.scheme == "https" else 80)
    reasons: list[str] = []

    def connect() -> None:
        try:
            socket.create_connection((asked.hostname, port), seconds).close()
            reasons.append("")
        except OSError as error:
            reasons.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=connect, name="connect", daemon=True)
    thread.start()
    thread.join(seconds)
    reason = reasons[0] if reasons else f"no answer within {seconds:g} s"
    if reason:
        raise UnreachableError(
            f"{asked.hostname} cannot be reached ({reason}), and market.source is live.",
            "Check the network and the proxy of this machine. COINBEAM_MARKET__SOURCE=simulator works without.",
        )


@dataclass(frozen=True)
class Received:
    """An answer: the bytes that came, after transfer decoding, and how they ended before their announced end, if so."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cut_short: str | None = None


@dataclass(frozen=True)
class Patience:
    """How long one exchange may take, by a clock that never goes back.

    ``read_seconds`` is for the whole body, and for any silence of the server; together at most twice as long.
    """

    connect_seconds: float
    read_seconds: float
    monotonic: Callable[[], float] = time.monotonic


class _Raw(Protocol):
    def read1(self, amt: int, decode_content: bool) -> bytes: ...


class _TooSlowError(Exception):
    """The body was still coming at the deadline."""


def new_session(base_url: str) -> requests.Session:
    """A session that names this program; for a server on this machine it ignores the proxy of the environment."""
    session = requests.Session()
    session.headers.update({"User-Agent": f"coinbeam/{coinbeam.__version__}", "Accept": "application/json"})
    session.trust_env = not is_loopback(base_url)
    return session


def is_loopback(url: str) -> bool:
    """True when the URL names this machine."""
    return urlsplit(url).hostname in _LOOPBACK


def exchange(session: requests.Session, url: str, auth: AuthBase, patience: Patience) -> Received | Verdict:
    """Ask once, following no redirect.

    Returns:
        The answer, or the verdict on its absence.
    """
    timeout = (patience.connect_seconds, patience.read_seconds)
    try:
        with session.get(url, auth=auth, timeout=timeout, stream=True, allow_redirects=False) as response:
            body, cut_short = _read(response.raw, patience)
            return Received(response.status_code, dict(response.headers), body, cut_short)
    except _TooSlowError as error:
        remedy = "Check the speed of this network, or raise coingecko.read_timeout_seconds."
        return Verdict(UnreachableError, str(error), remedy)
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        return _failure(error, url)


def _read(raw: _Raw, patience: Patience) -> tuple[bytes, str | None]:
    """The body, and how it ended too early if it did. ``read1`` returns what has come: a trickle meets the deadline."""
    body = bytearray()
    deadline = patience.monotonic() + patience.read_seconds
    try:
        while chunk := raw.read1(_CHUNK_BYTES, decode_content=True):
            body += chunk
            if patience.monotonic() > deadline:
                limit = f"{patience.read_seconds:g} s"
                raise _TooSlowError(f"the body was not complete after {limit} ({len(body)} bytes came)")
    except (urllib3.exceptions.ProtocolError, urllib3.exceptions.DecodeError) as error:
        return bytes(body), f"cut short after {len(body)} bytes ({_root_cause(error)})"
    return bytes(body), None


def _failure(error: Exception, url: str) -> Verdict:
    cause, host = _root_cause(error), urlsplit(url).netloc
    if "CERTIFICATE_VERIFY_FAILED" in cause:
        bundle = "Set REQUESTS_CA_BUNDLE to the certificate of the proxy of this network"
        remedy = f"{bundle}, and check the date of this machine."
        return Verdict(ApiTerminalError, f"{host} shows a certificate that is not trusted ({cause})", remedy)
    if isinstance(error, ValueError):  # requests' classes for a URL or a header that is not one
        remedy = "Check the configured URL of the API (base_url of the plan)."
        return Verdict(ApiTerminalError, f"the request is not valid ({type(error).__name__})", remedy)
    if refused := _NO_TUNNEL.search(cause):
        status = int(refused[1])
        _, meaning = MEANINGS.get(status, (None, "no connection through it"))
        remedy = REMEDIES[407] if status == 407 else f"Let the proxy of this network through to {host}."
        return Verdict(ApiTerminalError, f"the proxy answers HTTP {status} for {host}: {meaning}", remedy)
    start, check = "Start the local cloud: coinbeam local up.", "Check the network and the proxy of this machine."
    return Verdict(UnreachableError, f"no answer from {host} ({cause})", start if is_loopback(url) else check)


def _root_cause(error: BaseException) -> str:
    """The innermost error in words: what the operating system said, without the wrappings of three libraries."""
    for _ in range(10):
        wrapped = (getattr(error, "reason", None), *error.args, error.__cause__, error.__context__)
        inner = next((e for e in wrapped if isinstance(e, BaseException)), None)
        if inner is None:
            break
        error = inner
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
