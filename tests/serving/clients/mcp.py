"""A session with an MCP server over its standard input and output."""

import json
import os
import select
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any


class Session:
    """A running server."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process, self._calls = process, 0
        about = {"protocolVersion": "2025-03-26", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
        self.ask("initialize", about)
        self._send({"method": "notifications/initialized"})

    def ask(self, method: str, parameters: Mapping[str, Any]) -> Any:
        """Call a method; its result."""
        self._calls += 1
        self._send({"id": self._calls, "method": method, "params": parameters})
        assert self._process.stdout is not None
        while select.select([self._process.stdout], [], [], 60)[0]:
            answer = json.loads(self._process.stdout.readline())
            if answer.get("id") == self._calls:
                assert "error" not in answer, answer
                return answer["result"]
        raise AssertionError(f"no answer to {method} within 60 s")

    def _send(self, message: Mapping[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
        self._process.stdin.flush()


@contextmanager
def session(
    command: str | Path, *arguments: str, variables: Mapping[str, str], folder: Path | None = None
) -> Iterator[Session]:
    """Start a server, and stop it at the end.

    Args:
        variables: of its environment, besides ours.
        folder: where it is started.
    """
    process = subprocess.Popen(
        [command, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | variables,
        cwd=folder,
        text=True,
        start_new_session=True,
    )
    try:
        yield Session(process)
    finally:
        # npx starts the server, and the server Deno, which outlives it.
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
