"""A small simulated market behind a test client, its clock standing still."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import pytest
from fastapi.testclient import TestClient

from local.simulator.app import create_app
from local.simulator.faults import FaultOrder
from local.simulator.service import SimulatedApi, SimulatorOptions

NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)

Start = Callable[..., TestClient]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a simulator with some options; 600 coins at noon unless told otherwise."""
    with ExitStack() as stack:

        def build(
            monotonic: Callable[[], float] = lambda: 0.0, faults: dict[str, Any] | None = None, **options: Any
        ) -> TestClient:
            chosen = {"seed": 7, "coins": 600, "at": NOON, "order": FaultOrder(**(faults or {})), **options}
            api = SimulatedApi(SimulatorOptions(**chosen), monotonic=monotonic)
            return stack.enter_context(TestClient(create_app(api)))

        yield build


@pytest.fixture
def client(start: Start) -> TestClient:
    """A simulator without faults."""
    return start()


@pytest.fixture
def rows(client: TestClient) -> dict[str, dict[str, Any]]:
    """All rows of /coins/markets by id, with sparklines."""
    found: dict[str, dict[str, Any]] = {}
    for page in (1, 2, 3):
        query = {"vs_currency": "usd", "order": "id_asc", "per_page": 250, "page": page, "sparkline": True}
        found |= {row["id"]: row for row in client.get("/api/v3/coins/markets", params=query).json()}
    return found
