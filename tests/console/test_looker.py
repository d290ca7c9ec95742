"""The commands for Looker Studio, through the real entry."""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from console import looker as module
from console.looker_studio import BEGIN, END, fields
from tests.console.conftest import Coinbeam


@pytest.fixture(autouse=True)
def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a deployment; nothing is asked of it."""
    for name, value in {"ENV": "production", "GOOGLE__PROJECT": "market-data-1", "STORAGE__BUCKET": "bucket"}.items():
        monkeypatch.setenv(f"COINBEAM_{name}", value)


def test_the_link_is_alone_on_the_output(coinbeam: Coinbeam) -> None:
    ended = coinbeam("looker-link")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("\n") == 1
    assert parse_qs(urlsplit(ended.out.strip()).query)["ds.market_daily.projectId"] == ["market-data-1"]


def test_every_option_reaches_the_link(coinbeam: Coinbeam) -> None:
    chosen = ("--table", "asset_stats", "--table", "latest_prices")
    ended = coinbeam(
        "looker-link", *chosen, "--report-id", "abc", "--project", "other-project", "--billing-project", "payer-1"
    )
    found = parse_qs(urlsplit(ended.out.strip()).query)
    assert {name.split(".")[1] for name in found if name.startswith("ds.")} == {"asset_stats", "latest_prices"}
    assert (found["c.reportId"], found["ds.asset_stats.projectId"]) == (["abc"], ["other-project"])
    assert found["ds.latest_prices.billingProjectId"] == ["payer-1"]


def test_a_table_that_readers_may_not_see_is_misuse(coinbeam: Coinbeam) -> None:
    ended = coinbeam("looker-link", "--table", "crypto_asset_dim")
    assert ended.code == 2
    assert "readers may not query" in ended.err


def test_the_fields_are_printed(coinbeam: Coinbeam) -> None:
    ended = coinbeam("looker-fields")
    assert (ended.code, ended.out) == (0, f"{fields()}\n")


def test_the_fields_are_written_between_their_marks(
    coinbeam: Coinbeam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = tmp_path / "guide.md"
    guide.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(module, "GUIDE", guide)
    assert coinbeam("looker-fields", "--write").code == 0
    assert guide.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\n{fields()}\n\n{END}\nafter\n"
