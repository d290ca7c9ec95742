"""Whether a server can be reached at all, told in seconds and without a call."""

import socket
import threading
import time

import pytest

from coinbeam.sources.http import transport
from coinbeam.sources.http.errors import UnreachableError
from coinbeam.sources.http.transport import refuse_unreachable
from tests.temporary import free_ports


def test_a_server_that_listens_is_reached_without_a_call(api) -> None:
    refuse_unreachable(api.base_url, 5)
    assert api.paths == []


def test_nobody_listening_is_told_with_the_reason() -> None:
    [port] = free_ports(1)
    with pytest.raises(UnreachableError, match=r"127\.0\.0\.1 cannot be reached \(ConnectionRefusedError") as refused:
        refuse_unreachable(f"http://127.0.0.1:{port}/api/v3", 5)
    assert "COINBEAM_MARKET__SOURCE=simulator" in refused.value.remedy


def test_a_name_server_that_hangs_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    release = threading.Event()

    def hang(*_args: object, **_kwargs: object) -> None:
        release.wait(20)
        raise socket.gaierror("no name server")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    began = time.monotonic()
    try:
        with pytest.raises(UnreachableError, match=r"no answer within 0\.2 s"):
            refuse_unreachable("https://api.invalid/api/v3", 0.2)
    finally:
        release.set()
    assert time.monotonic() - began < 10


def test_behind_a_proxy_the_proxy_is_asked_for(api, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{api.server_port}")
    monkeypatch.setattr(transport.requests.utils, "should_bypass_proxies", lambda *_args, **_kwargs: False)
    refuse_unreachable("https://api.invalid/api/v3", 5)
    assert api.paths == []
