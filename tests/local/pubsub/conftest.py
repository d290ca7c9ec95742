"""A broker in a process of its own, and what Google's clients need to reach it."""

import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport

from coinbeam.settings import ROOT
from tests.temporary import free_ports

PROJECT = "projects/coinbeam-local"

_SOON = [(f"grpc.{which}_reconnect_backoff_ms", 50) for which in ("initial", "min", "max")]
"""A server that was just started is there sooner than gRPC tries again by itself."""


class Server:
    """A broker that can be killed and started again on the same folder and port."""

    def __init__(self, command: list[str], port: int, said: Path) -> None:
        self.port, self._command, self._said = port, command, said
        self.start()

    def start(self) -> None:
        """Start it, and wait until it answers."""
        with self._said.open("ab") as log:
            self._process = subprocess.Popen(
                self._command, cwd=ROOT, stdout=log, stderr=log, env=dict(os.environ), start_new_session=True
            )
        with grpc.insecure_channel(f"127.0.0.1:{self.port}", options=_SOON) as channel:
            grpc.channel_ready_future(channel).result(timeout=30)

    def kill(self) -> None:
        """End it without a word."""
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(timeout=10)

    def begin_again(self) -> None:
        """Kill it, and start it on what it left."""
        self.kill()
        self.start()

    def end(self) -> int:
        """End it as the supervisor does; its exit code."""
        self._process.terminate()
        return self._process.wait(timeout=10)

    def limit_files(self, size: int) -> None:
        """Let no file of it grow beyond so many bytes."""
        _, most = resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(self._process.pid, resource.RLIMIT_FSIZE, (size, most))

    @property
    def said(self) -> str:
        """Its log."""
        return self._said.read_text()

    def clients(self) -> tuple[pubsub_v1.PublisherClient, pubsub_v1.SubscriberClient]:
        """Google's clients, pointed at it."""
        address = f"127.0.0.1:{self.port}"
        credentials = AnonymousCredentials()  # type: ignore[no-untyped-call]
        channel = grpc.insecure_channel(address, options=_SOON)
        publisher = PublisherGrpcTransport(channel=channel, credentials=credentials)
        subscriber = SubscriberGrpcTransport(channel=channel, credentials=credentials)
        return pubsub_v1.PublisherClient(transport=publisher), pubsub_v1.SubscriberClient(transport=subscriber)


def our_broker(folder: Path, *options: str) -> Server:
    """Ours, on a free port."""
    [port] = free_ports(1)
    command = [sys.executable, "-m", "local.pubsub", "--port", str(port), "--data-dir", str(folder / "data"), *options]
    return Server(command, port, folder / "said")


def google_emulator(folder: Path) -> Server:
    """Google's, where it is on the machine; the test skips where it is not."""
    gcloud = shutil.which("gcloud")
    jars = (
        sorted(Path(gcloud).resolve().parents[1].glob("platform/pubsub-emulator/lib/cloud-pubsub-emulator*.jar"))
        if gcloud
        else []
    )
    if not jars or not shutil.which("java"):
        pytest.skip("Google's emulator of Pub/Sub is not on this machine")
    [port] = free_ports(1)
    return Server(["java", "-jar", str(jars[-1]), "--host=127.0.0.1", f"--port={port}"], port, folder / "said")


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Server]:
    """Our broker with no data."""
    server = our_broker(tmp_path)
    yield server
    server.kill()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Our broker, for tests that do not end it."""
    server = our_broker(tmp_path_factory.mktemp("pubsub"))
    yield server
    server.kill()


@pytest.fixture(scope="module", params=["ours", "google's"])
def either(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Our broker, or Google's emulator."""
    if request.param == "ours":
        yield request.getfixturevalue("shared")
    else:
        server = google_emulator(tmp_path_factory.mktemp("pubsub"))
        yield server
        server.kill()


def until(deadline: float) -> Iterator[None]:
    """Try again for so many seconds."""
    ends = time.monotonic() + deadline
    while time.monotonic() < ends:
        yield
        time.sleep(0.02)
    pytest.fail(f"it did not happen within {deadline:g} s")
