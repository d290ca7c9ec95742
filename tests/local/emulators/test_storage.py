"""The local Cloud Storage keeps objects as plain files, also over a restart."""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import requests
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from local.emulators.storage import OBJECTS_FOLDER


@contextmanager
def _running(port: int, folder: Path) -> Iterator[storage.Client]:
    command = [sys.executable, "-m", "local.emulators.storage", "--port", str(port), "--data-dir", str(folder)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait_for(url, process)
        yield storage.Client(project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": url})
    finally:
        process.terminate()
        output, _ = process.communicate(timeout=30)
    assert output == b"", "the emulator is quiet"
    assert process.returncode == 0


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


@pytest.mark.cloud
def test_objects_are_plain_files_and_survive_a_restart(tmp_path: Path, free_port: int) -> None:
    with _running(free_port, tmp_path) as client:
        client.create_bucket("b", timeout=10, retry=None).blob("folder/name.csv").upload_from_string(
            b"a,b\r\n", timeout=10, retry=None
        )
    assert (tmp_path / OBJECTS_FOLDER / "b" / "folder" / "name.csv").read_bytes() == b"a,b\r\n"
    with _running(free_port, tmp_path) as client:
        assert client.bucket("b").blob("folder/name.csv").download_as_bytes(timeout=10, retry=None) == b"a,b\r\n"
        assert [blob.name for blob in client.list_blobs("b", timeout=10, retry=None)] == ["folder/name.csv"]


@pytest.mark.cloud
def test_only_loopback_is_listened_on(tmp_path: Path, free_port: int) -> None:
    psutil = pytest.importorskip("psutil")
    with _running(free_port, tmp_path):
        listening = [
            c.laddr.ip
            for c in psutil.net_connections("tcp")
            if c.laddr and c.laddr.port == free_port and c.status == "LISTEN"
        ]
    assert listening == ["127.0.0.1"]
