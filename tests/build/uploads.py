"""What leaves a checkout, as the programs that send it say: gcloud for a build, and Docker's client for an image."""

import io
import os
import shutil
import subprocess
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from coinbeam.settings import ROOT
from local.environment import HOST

DOCKERFILES = sorted(path.name for path in ROOT.glob("*Dockerfile"))


def tracked() -> list[str]:
    """The files that git tracks and that are there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return [name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def copy(folder: Path) -> None:
    """A checkout of what git tracks, as it is now."""
    for name in tracked():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, target)


def of_gcloud(folder: Path, state: Path) -> set[str]:
    """The files of a checkout that ``gcloud builds submit`` would upload.

    Args:
        folder: the checkout.
        state: where gcloud keeps its configuration.
    """
    program = shutil.which("gcloud")
    if program is None:
        pytest.skip("gcloud, which says what it uploads, is not on this machine")
    listed = subprocess.run(
        [program, "meta", "list-files-for-upload", str(folder)],
        env={**os.environ, "CLOUDSDK_CONFIG": str(state), "CLOUDSDK_CORE_DISABLE_PROMPTS": "1"},
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return set(listed.stdout.split("\n")) - {""}


class Engine(ThreadingHTTPServer):
    """The part of a Docker engine that takes the context of a build: the client has applied ``.dockerignore`` by then.

    Attributes:
        context: names of the files that it was sent.
    """

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.context: set[str] = set()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Engine

    def _answer(self, body: bytes) -> None:
        self.send_response(200)
        self.send_header("Api-Version", "1.43")
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def do_HEAD(self) -> None:
        self._answer(b"OK")

    do_GET = do_HEAD

    def do_POST(self) -> None:
        with tarfile.open(fileobj=io.BytesIO(b"".join(self._chunks()))) as context:
            self.server.context = {member.name for member in context if member.isfile()}
        self._answer(b'{"stream": "taken"}\n')

    def _chunks(self) -> Iterator[bytes]:
        while size := int(self.rfile.readline(), 16):
            yield self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def _engine() -> Iterator[Engine]:
    server = Engine()
    Thread(target=server.serve_forever, args=(0.01,)).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


def of_docker(folder: Path, dockerfile: str, state: Path) -> set[str]:
    """The files of a checkout that ``docker build`` would send to its engine.

    Args:
        folder: the checkout.
        dockerfile: its name.
        state: where the client keeps its configuration.
    """
    program = shutil.which("docker")
    if program is None:
        pytest.skip("docker, whose client reads .dockerignore, is not on this machine")
    with _engine() as engine:
        variables = {"DOCKER_BUILDKIT": "0", "DOCKER_HOST": f"tcp://{HOST}:{engine.server_address[1]}"}
        subprocess.run(
            [program, "build", "--file", str(folder / dockerfile), str(folder)],
            env={"PATH": os.environ["PATH"], "HOME": str(state), **variables},
            capture_output=True,
            timeout=60,
            check=True,
        )
        return engine.context - {*DOCKERFILES, ".dockerignore"}
