"""The command line in this process, through its real entry."""

import os
from collections.abc import Callable
from dataclasses import dataclass

import pytest

from coinbeam.settings import load_settings
from console import main
from tests.coinbeam.conftest import stage

__all__ = ["stage"]


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    out: str
    err: str


Coinbeam = Callable[..., Ended]


@pytest.fixture
def coinbeam(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Coinbeam:
    """Run the command in this process through its real entry."""

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr("sys.argv", ["coinbeam", *arguments])
        load_settings.cache_clear()
        before = dict(os.environ)
        try:
            with pytest.raises(SystemExit) as ended:
                main()
        finally:
            os.environ.clear()  # --source sets a variable for the processes that a command starts
            os.environ.update(before)
        captured = capsys.readouterr()
        load_settings.cache_clear()
        return Ended(int(ended.value.code or 0), captured.out, captured.err)

    return run
