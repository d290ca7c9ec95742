"""The clients of others, installed from their registries into folders of the session."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PATIENCE = 240.0

Run = Callable[..., str]
"""Runs a program of an environment; returns what it printed."""


def install(command: list[str | Path], folder: Path) -> None:
    """Install from a registry, or skip what needs it."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False, timeout=PATIENCE)
    if done.returncode:
        pytest.skip(f"{Path(command[0]).name} could not install: {(done.stderr or done.stdout).strip()[-300:]}")


@pytest.fixture(scope="session")
def python_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the clients on PyPI."""
    folder = tmp_path_factory.mktemp("python")
    uv, python = Path(sys.executable).parent / "uv", folder / "bin" / "python"
    install([uv, "venv", "--quiet", "--python", sys.executable, "--clear", folder], folder)
    install([uv, "pip", "install", "--quiet", "--python", python, "-r", HERE / "requirements.txt"], folder)
    return python


@pytest.fixture(scope="session")
def node_clients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the clients on npm."""
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        pytest.skip("Node.js is not on this machine")
    folder = tmp_path_factory.mktemp("node")
    shutil.copy(HERE / "package.json", folder)
    install([npm, "install", "--no-audit", "--no-fund", "--loglevel=error"], folder)
    return folder


def run(*command: str | Path, folder: Path, variables: Mapping[str, str] | None = None, given: str = "") -> str:
    """Run a program to its end; what it printed.

    Args:
        variables: of its environment, besides ours.
        given: its standard input.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COINGECKO_")}
    done = subprocess.run(
        command,
        cwd=folder,
        env=kept | {"PYTHONPATH": "", **(variables or {})},
        input=given,
        capture_output=True,
        text=True,
        check=False,
        timeout=PATIENCE,
    )
    assert done.returncode == 0, done.stdout[-3_000:] + done.stderr[-3_000:]
    return done.stdout
