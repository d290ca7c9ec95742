"""What a test needs, as marks: `make check` leaves out what starts emulators or Airflow, and what takes long."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any

import pytest

HEAVY = frozenset({"cloud", "airflow", "browser", "slow", "clients"})
"""Marks of the tests that `make check` leaves out; `make unit` names the same."""

FIXTURES = {
    "local_cloud": pytest.mark.cloud,
    "emulator": pytest.mark.cloud,
    "migrated_airflow": pytest.mark.airflow,
    "composer_python": pytest.mark.slow,
    "checkov": pytest.mark.slow,
    "workspace": pytest.mark.slow,  # Terraform with its provider
    "report": pytest.mark.slow,  # a benchmark
}
"""What a fixture starts is what its tests need. A test that starts a process without a fixture is marked by hand."""

REFUSED = frozenset(
    {"local", "local.supervisor", "local.emulators.bigquery", "local.emulators.storage", "bqemulator", "airflow"}
)
"""Modules that a test without such a mark may not start as a process."""

_watching = False


def mark(item: pytest.Item) -> None:
    """Mark a test by what its fixtures start."""
    for fixture in FIXTURES.keys() & getattr(item, "fixturenames", ()):
        item.add_marker(FIXTURES[fixture])


@contextmanager
def held_to_its_marks(item: pytest.Item) -> Iterator[None]:
    """Refuse processes of emulators and of Airflow while a test without a mark runs."""
    global _watching
    _watching = HEAVY.isdisjoint(marker.name for marker in item.iter_markers())
    try:
        yield
    finally:
        _watching = False


def _refuse(event: str, arguments: tuple[Any, ...]) -> None:
    """An audit hook of Python: it sees every process before it starts, whichever code starts it."""
    if event != "subprocess.Popen" or not _watching:
        return
    words = arguments[1].split() if isinstance(arguments[1], str) else " ".join(map(str, arguments[1])).split()
    started = REFUSED.intersection(after for word, after in pairwise(words) if word == "-m")
    assert not started, f"A test with none of the marks {', '.join(sorted(HEAVY))} starts {', '.join(started)}."


sys.addaudithook(_refuse)
