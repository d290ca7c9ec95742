"""A table mart is a folder and one row, in both directions; a new one needs nothing else."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinbeam.contracts import load_all, model
from coinbeam.marts import refresh
from coinbeam.marts.refresh import Marts
from coinbeam.marts.specs import MARTS, MartSpec, Scope
from coinbeam.warehouse.client import Warehouse
from tests.coinbeam.marts.test_script import PLANS
from tests.temporary import temporary_settings

FOLDER = model.SQL_ROOT / "crypto_marts"


def test_every_folder_of_a_table_mart_has_a_row_and_every_row_its_folder() -> None:
    tables = {c.name for c in load_all().values() if c.dataset == "crypto_marts" and not c.is_view}
    assert tables == {mart.name for mart in MARTS}
    for mart in MARTS:
        assert {path.name for path in (FOLDER / mart.name).glob("*.sql")} == {*mart.scripts, "report.sql"}


@pytest.fixture
def more_sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of sql/ that may be added to."""
    root = tmp_path / "sql"
    shutil.copytree(model.SQL_ROOT, root)
    monkeypatch.setattr(model, "SQL_ROOT", root)
    monkeypatch.setattr(refresh, "_FOLDER", root / "crypto_marts")
    load_all.cache_clear()
    yield root
    load_all.cache_clear()


def test_a_new_mart_is_a_folder_and_a_row(more_sql: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = more_sql / "crypto_marts" / "asset_days"
    folder.mkdir()
    contract = (FOLDER / "asset_stats" / "contract.yaml").read_text(encoding="utf-8")
    (folder / "contract.yaml").write_text(contract.replace("asset_stats", "asset_days"), encoding="utf-8")
    (folder / "refresh.sql").write_text("INSERT INTO {{ asset_days }} ({{ columns }}) SELECT {{ columns }} FROM x;")
    (folder / "report.sql").write_text("SELECT 'asset_days' AS mart, COUNT(*) AS n FROM {{ asset_days }}")
    load_all.cache_clear()
    added = MartSpec("asset_days", {"refresh.sql": Scope.TOUCHED}, Scope.TOUCHED)
    monkeypatch.setattr(refresh, "MARTS", (*MARTS, added))
    settings = temporary_settings(tmp_path / "state")
    script = Marts(Warehouse(settings), settings).script(PLANS["everything"])
    assert script.count("asset_days` (") == 1
    assert "SELECT 'asset_days' AS mart" in script
    assert "asset_days" not in Marts(Warehouse(settings), settings).script(PLANS["the index alone"])
