"""The link to a report: every parameter is one of the Linking API, every source a mart of the contracts, and nothing is
left unencoded. The commands that print it and the fields, through the real entry.
"""

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from coinbeam.contracts import Contract, load_all, load_contract
from coinbeam.errors import ContractError, SettingsError
from coinbeam.settings import Environment, GoogleSettings, Settings, WarehouseSettings
from console import looker
from console.looker import (
    BEGIN,
    END,
    ENDPOINT,
    GUIDE,
    MARTS,
    aggregation,
    fields,
    report_link,
    with_fields,
)
from tests.console.conftest import Coinbeam
from tests.temporary import temporary_settings

PARAMETERS = {
    "c": {"reportId", "pageId", "mode", "explain"},
    "r": {"reportName", "measurementId", "keepMeasurementId"},
    "ds": {
        *("connector", "datasourceName", "keepDatasourceName", "refreshFields"),
        *("type", "projectId", "datasetId", "tableId", "billingProjectId", "isPartitioned"),
    },
}
"""The parameters of the Linking API for a BigQuery table, by its reference of March 2026."""
REQUIRED = {"connector", "type", "projectId", "datasetId", "tableId"}
"""Those without which a data source cannot replace that of a template."""


def parameters(url: str) -> dict[str, str]:
    """The parameters of a link, decoded."""
    parts = urlsplit(url)
    assert f"{parts.scheme}://{parts.netloc}{parts.path}" == ENDPOINT
    return {name: value for name, [value] in parse_qs(parts.query, strict_parsing=True).items()}


def unknown(url: str) -> list[str]:
    """The parameters that the Linking API does not have."""
    split = [(name, *name.split(".")) for name in parameters(url)]
    return [
        name
        for name, kind, *rest in split
        if rest[-1] not in PARAMETERS.get(kind, set()) or len(rest) != (2 if kind == "ds" else 1)
    ]


def production(**changes: object) -> Settings:
    """Settings of a deployment."""
    given = {"environment": Environment.PRODUCTION, "google": GoogleSettings(project="market-data-1")}
    return temporary_settings(Path("unused")).model_copy(update={**given, **changes})


def test_a_link_has_one_complete_source_for_each_mart() -> None:
    url = report_link(production())
    found = parameters(url)
    assert unknown(url) == []
    for table in MARTS:
        source = {name.split(".")[2]: value for name, value in found.items() if name.startswith(f"ds.{table}.")}
        assert set(source) >= REQUIRED
        expected = {
            "projectId": "market-data-1",
            "datasetId": "crypto_marts",
            "tableId": table,
            "connector": "bigQuery",
            "type": "TABLE",
        }
        assert expected.items() <= source.items()
    assert "c.reportId" not in found
    assert "ds.market_daily.billingProjectId" not in found


def test_a_misspelt_parameter_would_be_found() -> None:
    url = report_link(production())
    assert unknown(url.replace("tableId", "table")) == [f"ds.{table}.table" for table in MARTS]
    assert unknown(url.replace("r.reportName", "r.name")) == ["r.name"]
    assert unknown(url.replace("ds.market_daily.type", "ds.type")) == ["ds.type"]


def test_only_partitioned_tables_take_their_partition_as_the_date_range() -> None:
    found = parameters(report_link(production()))
    partitioned = {name.split(".")[1] for name in found if name.endswith("isPartitioned")}
    assert partitioned == {"market_daily"}, "BigQuery refuses its queries without; a view is not partitioned itself"


def test_a_report_may_be_copied_and_paid_for_by_another_project() -> None:
    link = report_link(production(), ["latest_prices", "latest_prices"], "0B_U5RNpwhcE6", billing_project="analysts-1")
    found = parameters(link)
    assert found["c.reportId"] == "0B_U5RNpwhcE6"
    assert found["ds.latest_prices.billingProjectId"] == "analysts-1"
    assert {name.split(".")[1] for name in found if name.startswith("ds.")} == {"latest_prices"}


def test_the_marts_are_found_under_their_real_names() -> None:
    found = parameters(report_link(production(warehouse=WarehouseSettings(marts_dataset="gold"))))
    assert found["ds.market_daily.datasetId"] == "gold"


def test_names_are_encoded() -> None:
    link = report_link(production(), ["asset_stats"], name="A & B=1")
    assert parameters(link)["r.reportName"] == "A & B=1"
    assert "A+%26+B%3D1" in link


def test_a_local_warehouse_needs_the_name_of_a_project() -> None:
    local = production(environment=Environment.LOCAL)
    with pytest.raises(SettingsError, match=r"on this machine.*--project"):
        report_link(local)
    assert parameters(report_link(local, project="market-data-1"))["ds.asset_stats.projectId"] == "market-data-1"


@pytest.mark.parametrize(
    ("given", "named"),
    [
        pytest.param({"project": "my project"}, "'my project' is no project", id="a project with a space"),
        pytest.param(
            {"billing_project": "x&y"}, "'x&y' is no billing project", id="a billing project with an ampersand"
        ),
        pytest.param(
            {"report_id": "https://lookerstudio.google.com/x"},
            "is no report id",
            id="an address instead of a report id",
        ),
        pytest.param(
            {"tables": ["crypto_asset_dim"]},
            "crypto_asset_dim is in crypto_data, which readers may not query",
            id="a dimension",
        ),
    ],
)
def test_a_wrong_name_is_refused_before_anybody_follows_the_link(given: dict[str, str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        report_link(production(), **given)  # type: ignore[arg-type]


def test_an_unknown_table_is_refused() -> None:
    with pytest.raises(ContractError, match="no contract for 'prices'"):
        report_link(production(), ["prices"])


MART_CONTRACTS = [load_contract(name) for name in MARTS]
every_mart = pytest.mark.parametrize("contract", MART_CONTRACTS, ids=lambda contract: contract.name)


@every_mart
def test_only_numbers_are_aggregated_and_prices_are_never_summed(contract: Contract) -> None:
    for column in contract.columns:
        chosen = aggregation(column)
        assert bool(chosen) == (column.type in {"INT64", "FLOAT64"}), column.name
        if "currency" in column.unit or "percent" in column.unit:
            assert chosen in {"", "AVG"}, column.name


def test_counts_of_assets_are_summed() -> None:
    overview = load_contract("market_overview")
    assert {c.name for c in overview.columns if aggregation(c) == "SUM"} == {
        "assets",
        "covered_assets",
        "advancers",
        "decliners",
        "unchanged",
    }


def test_the_guide_lists_the_fields_as_the_contracts_have_them() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert with_fields(text) == text, "run `coinbeam looker-fields --write`"


def test_a_field_that_drifted_would_be_found() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    drifted = text.replace("| `rsi_14d` | Number |", "| `rsi_14` | Number |")
    assert drifted != text
    assert with_fields(drifted) == text


def test_every_column_of_every_mart_is_a_field() -> None:
    told = fields()
    assert [
        name for c in MART_CONTRACTS for name in (column.name for column in c.columns) if f"| `{name}` |" not in told
    ] == []
    assert {c.name for c in load_all().values() if c.dataset == "crypto_marts"} >= set(MARTS)


@pytest.mark.parametrize("text", ["no place", f"{BEGIN} and no end", f"{END} and no beginning"])
def test_a_guide_without_a_place_for_the_fields_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="lacks the lines"):
        with_fields(text)


@pytest.fixture
def deployment(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment of a deployment; nothing is asked of it."""
    for name, value in {"ENV": "production", "GOOGLE__PROJECT": "market-data-1", "STORAGE__BUCKET": "bucket"}.items():
        monkeypatch.setenv(f"COINBEAM_{name}", value)


@pytest.mark.usefixtures("deployment")
def test_the_link_is_alone_on_the_output(coinbeam: Coinbeam) -> None:
    ended = coinbeam("looker-link")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out.count("\n") == 1
    assert parse_qs(urlsplit(ended.out.strip()).query)["ds.market_daily.projectId"] == ["market-data-1"]


@pytest.mark.usefixtures("deployment")
def test_every_option_reaches_the_link(coinbeam: Coinbeam) -> None:
    chosen = ("--table", "asset_stats", "--table", "latest_prices")
    ended = coinbeam(
        "looker-link", *chosen, "--report-id", "abc", "--project", "other-project", "--billing-project", "payer-1"
    )
    found = parse_qs(urlsplit(ended.out.strip()).query)
    assert {name.split(".")[1] for name in found if name.startswith("ds.")} == {"asset_stats", "latest_prices"}
    assert (found["c.reportId"], found["ds.asset_stats.projectId"]) == (["abc"], ["other-project"])
    assert found["ds.latest_prices.billingProjectId"] == ["payer-1"]


@pytest.mark.usefixtures("deployment")
def test_a_table_that_readers_may_not_see_is_misuse(coinbeam: Coinbeam) -> None:
    ended = coinbeam("looker-link", "--table", "crypto_asset_dim")
    assert ended.code == 2
    assert "readers may not query" in ended.err


@pytest.mark.usefixtures("deployment")
def test_the_fields_are_printed(coinbeam: Coinbeam) -> None:
    ended = coinbeam("looker-fields")
    assert (ended.code, ended.out) == (0, f"{fields()}\n")


@pytest.mark.usefixtures("deployment")
def test_the_fields_are_written_between_their_marks(
    coinbeam: Coinbeam, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    guide = tmp_path / "guide.md"
    guide.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    monkeypatch.setattr(looker, "GUIDE", guide)
    assert coinbeam("looker-fields", "--write").code == 0
    assert guide.read_text(encoding="utf-8") == f"before\n{BEGIN}\n\n{fields()}\n\n{END}\nafter\n"
