"""Settings: a wrong one is named before the first call, a secret is never shown, and the environment wins over the
file.
"""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from requests.utils import should_bypass_proxies

from coinbeam import settings as module
from coinbeam.errors import SettingsError
from coinbeam.settings import (
    ROOT,
    Environment,
    MarketSource,
    Settings,
    config_file,
    exempt_loopback,
    load_settings,
)

KEY = "CG-sentinelSENTINEL1234567890"
WEBHOOK = "https://hooks.example/services/T000/B000/sentinelsecret"


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No variable of the machine reaches these tests, and nothing that they read stays cached."""
    for name in [name for name in os.environ if name.startswith(("COINBEAM_", "COINGECKO_"))]:
        monkeypatch.delenv(name)
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()


def production(monkeypatch: pytest.MonkeyPatch) -> None:
    """The variables that a deployment sets."""
    monkeypatch.setenv("COINBEAM_ENV", "production")
    monkeypatch.setenv("COINBEAM_GOOGLE__PROJECT", "some-project")
    monkeypatch.setenv("COINBEAM_STORAGE__BUCKET", "some-bucket")


def refusal() -> str:
    """The text of the error that the settings end in."""
    with pytest.raises(SettingsError) as caught:
        load_settings()
    return str(caught.value)


@pytest.mark.parametrize("name", sorted(path.stem for path in (ROOT / "config").glob("*.yaml")))
def test_every_environment_of_the_config_folder_loads(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    production(monkeypatch)
    monkeypatch.setenv("COINBEAM_ENV", name)
    assert load_settings().environment == name


def test_local_is_the_environment_when_none_is_named() -> None:
    settings = load_settings()
    assert settings.environment is Environment.LOCAL
    assert settings.is_local
    assert settings.bucket_uri == "gs://coinbeam"
    assert settings.simulator_url == "http://127.0.0.1:9080/api/v3"


def test_settings_are_read_once_per_process() -> None:
    assert load_settings() is load_settings()


def test_a_variable_wins_over_the_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_settings().market.source is MarketSource.AUTO
    load_settings.cache_clear()
    monkeypatch.setenv("COINBEAM_MARKET__SOURCE", "simulator")
    settings = load_settings()
    assert settings.market.source is MarketSource.SIMULATOR
    assert settings.market.quote_currency == "usd", "the rest of the section still comes from the file"


def test_a_keyword_wins_over_a_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_STORAGE__BUCKET", "from-variable")
    assert Settings(storage={"bucket": "from-keyword"}).storage.bucket == "from-keyword"  # type: ignore[arg-type]


def test_a_list_is_given_to_a_variable_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_MARKET__IDS", '["bitcoin", "ethereum"]')
    assert load_settings().market.ids == ("bitcoin", "ethereum")


@pytest.mark.parametrize(
    ("variable", "value", "named"),
    [
        pytest.param("COINBEAM_MARKET__SOURCE", "binance", "market.source", id="an unknown market source"),
        pytest.param("COINBEAM_MARKET__PERIOD", "weekly", "market.period", id="an unknown period"),
        pytest.param("COINBEAM_MARKET__PER_PAGE", "251", "market.per_page", id="a page larger than the API gives"),
        pytest.param("COINBEAM_MARKET__FETCH_SHARDS", "0", "market.fetch_shards", id="no shard"),
        pytest.param("COINBEAM_MARKET__TOP_N", "many", "market.top_n", id="a word for a number"),
        pytest.param("COINBEAM_MARKET__QUOTE_CURRENCY", "US$", "market.quote_currency", id="a malformed currency"),
        pytest.param("COINBEAM_MARKET__SORCE", "live", "market.sorce", id="a misspelt name in a section"),
        pytest.param("COINBEAM_MARKETS__SOURCE", "live", "COINBEAM_MARKETS__SOURCE", id="a misspelt section"),
        pytest.param("COINBEAM_MARKET__IDS", "bitcoin,ethereum", "market", id="a list that is not JSON"),
        pytest.param("COINBEAM_MARKET", "all", "market", id="a word for a section"),
        pytest.param("COINBEAM_MARKET__UNIVERSE", "ids", "market.ids is empty", id="the universe of ids without ids"),
        pytest.param(
            "COINBEAM_MARKET__UNIVERSE", "category", "market.category", id="the universe of a category without one"
        ),
        pytest.param("COINBEAM_COINGECKO__PLAN", "platinum", "coingecko.plan", id="an unknown plan"),
        pytest.param("COINBEAM_COINGECKO__MAX_ATTEMPTS", "0", "coingecko.max_attempts", id="a client that never tries"),
        pytest.param(
            "COINBEAM_COINGECKO__READ_TIMEOUT_SECONDS", "inf", "coingecko.read_timeout_seconds", id="an endless timeout"
        ),
        pytest.param("COINBEAM_QUALITY__MAX_REJECT_SHARE", "5", "quality.max_reject_share", id="a share above one"),
        pytest.param(
            "COINBEAM_QUALITY__MAX_REJECT_SHARE", "nan", "quality.max_reject_share", id="a share that is no number"
        ),
        pytest.param(
            "COINBEAM_WAREHOUSE__DATA_DATASET", "crypto-data", "warehouse.data_dataset", id="a dataset BigQuery refuses"
        ),
        pytest.param("COINBEAM_STORAGE__BUCKET", "b", "storage.bucket", id="a bucket name too short"),
        pytest.param("COINBEAM_GOOGLE__PROJECT", "", "google.project", id="an empty project"),
        pytest.param(
            "COINBEAM_COMPOSER__AIRFLOW_URL", "airflow", "composer.airflow_url", id="an address without a scheme"
        ),
        pytest.param("COINBEAM_RUNNER", "spark", "runner", id="an unknown runner"),
        pytest.param(
            "COINBEAM_LINEAGE__TRANSPORT",
            "https://lineage",
            "lineage: ",
            id="a lineage transport that is an address only",
        ),
        pytest.param(
            "COINBEAM_LINEAGE__TRANSPORT",
            '{"url": "https://lineage"}',
            "lineage: ",
            id="a lineage transport without a type",
        ),
        pytest.param("COINBEAM_LOCAL__PORTS__BIGQUERY", "9023", "local.ports", id="two services on one port"),
        pytest.param("COINBEAM_LOCAL__PORTS__STORAGE", "70000", "local.ports.storage", id="a port that does not exist"),
        pytest.param("COINBEAM_ENVIRONMENT", "moon", "environment", id="an unknown kind of environment"),
    ],
)
def test_a_wrong_setting_fails_and_is_named(
    variable: str, value: str, named: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, value)
    text = refusal()
    assert named in text
    assert "COINBEAM_" in text, "the remedy says how settings are given"


def test_all_wrong_settings_are_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_MARKET__TOP_N", "0")
    monkeypatch.setenv("COINBEAM_RUNNER", "spark")
    text = refusal()
    assert "market.top_n" in text
    assert "runner" in text


def test_an_unknown_environment_is_refused_with_those_that_exist(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_ENV", "staging")
    text = refusal()
    assert "'staging'" in text
    assert "local, production" in text


@pytest.mark.parametrize("source", ["simulator", "auto"])
def test_production_knows_only_the_live_market(source: str, monkeypatch: pytest.MonkeyPatch) -> None:
    production(monkeypatch)
    assert load_settings().market.source is MarketSource.LIVE
    load_settings.cache_clear()
    monkeypatch.setenv("COINBEAM_MARKET__SOURCE", source)
    assert f"market.source is {source}" in refusal()


@pytest.mark.parametrize("missing", ["COINBEAM_GOOGLE__PROJECT", "COINBEAM_STORAGE__BUCKET"])
def test_production_does_not_start_without_its_project_and_bucket(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    production(monkeypatch)
    monkeypatch.delenv(missing)
    assert missing.removeprefix("COINBEAM_").lower().replace("__", ".").partition(".")[0] in refusal()


def test_production_refuses_the_project_of_the_emulators(monkeypatch: pytest.MonkeyPatch) -> None:
    production(monkeypatch)
    monkeypatch.setenv("COINBEAM_GOOGLE__PROJECT", "local")
    assert "google.project is 'local'" in refusal()


@pytest.mark.parametrize("variable", ["COINGECKO_API_KEY", "COINBEAM_COINGECKO__API_KEY"])
def test_the_api_key_comes_from_the_environment(variable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variable, KEY)
    key = load_settings().coingecko.api_key
    assert key is not None
    assert key.get_secret_value() == KEY


def test_the_key_of_our_own_variable_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINGECKO_API_KEY", "CG-other")
    monkeypatch.setenv("COINBEAM_COINGECKO__API_KEY", KEY)
    key = load_settings().coingecko.api_key
    assert key is not None
    assert key.get_secret_value() == KEY


def test_reading_the_key_leaves_the_environment_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINGECKO_API_KEY", KEY)
    before = dict(os.environ)
    load_settings()
    assert dict(os.environ) == before


def test_a_key_that_was_taken_away_is_gone_at_the_next_read(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINGECKO_API_KEY", KEY)
    load_settings()
    monkeypatch.delenv("COINGECKO_API_KEY")
    load_settings.cache_clear()
    assert load_settings().coingecko.api_key is None


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        pytest.param("COINBEAM_RUNNER", "spark", id="another setting is wrong"),
        pytest.param("COINBEAM_COINGECKO__MAX_ATTEMPTS", "none", id="a neighbour of the key is wrong"),
        pytest.param("COINBEAM_COINGECKO", f"{{{KEY}", id="the whole section is malformed JSON that holds the key"),
        pytest.param("COINBEAM_ALERTS", f"[{WEBHOOK}", id="the alert section is malformed JSON that holds the webhook"),
        pytest.param("COINBEAM_ALERTS__TIMEOUT_SECONDS", "0", id="a neighbour of the webhook is wrong"),
        pytest.param("COINBEAM_COINGECKO__API_KEY__X", KEY, id="a section where the key belongs"),
    ],
)
def test_no_refusal_shows_a_secret(variable: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if not variable.startswith("COINBEAM_COINGECKO__API_KEY"):
        monkeypatch.setenv("COINGECKO_API_KEY", KEY)
    monkeypatch.setenv("COINBEAM_ALERTS__WEBHOOK_URL", WEBHOOK)
    monkeypatch.setenv(variable, value)
    with pytest.raises(SettingsError) as caught:
        load_settings()
    text = f"{caught.value!s} {caught.value!r}"
    assert "sentinel" not in text.lower()
    assert caught.value.__suppress_context__, "a traceback must not print the error that holds the value"


def test_settings_never_print_a_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINGECKO_API_KEY", KEY)
    monkeypatch.setenv("COINBEAM_ALERTS__WEBHOOK_URL", WEBHOOK)
    settings = load_settings()
    shown = f"{settings!s} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert "sentinel" not in shown.lower()


def test_no_configuration_file_holds_a_secret() -> None:
    for path in (ROOT / "config").iterdir():
        text = path.read_text(encoding="utf-8").lower()
        assert "api_key:" not in text, path
        assert "webhook" not in text, path


def test_a_file_that_is_not_yaml_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "local.yaml").write_text("environment: [local")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert "local.yaml is not readable YAML" in refusal()


def test_an_unknown_name_in_the_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    text = config_file().read_text(encoding="utf-8")
    (tmp_path / "config" / "local.yaml").write_text(text + "\nmarkets: {source: live}\n")
    monkeypatch.setattr(module, "ROOT", tmp_path)
    assert "markets" in refusal()


def test_each_paid_or_demo_plan_names_its_header_and_its_host() -> None:
    for name, limits in module.DEFAULT_PLANS.items():
        host = limits.base_url.host
        assert (host == "pro-api.coingecko.com") == (name in {"basic", "analyst"})
        assert limits.key_header == {"pro-api.coingecko.com": "x-cg-pro-api-key"}.get(host or "", limits.key_header)
        assert (limits.key_header is None) == (name == "keyless")


def test_settings_cannot_be_changed_after_they_were_read() -> None:
    with pytest.raises(ValueError):
        load_settings().market.top_n = 1


def test_what_a_deployment_says_wins_over_the_file_and_loses_to_a_variable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = tmp_path / "deployment.json"
    deployed.write_text(
        json.dumps({"release": "abc1234", "google": {"project": "acme"}, "storage": {"bucket": "acme-coinbeam"}})
    )
    monkeypatch.setattr(module, "deployment_file", lambda: deployed)
    monkeypatch.setenv("COINBEAM_ENV", "production")
    monkeypatch.setenv("COINBEAM_STORAGE__BUCKET", "another-bucket")
    settings = load_settings()
    assert (settings.release, settings.google.project, settings.google.region) == ("abc1234", "acme", "us-central1")
    assert settings.template_folder == "gs://another-bucket/releases/abc1234/templates"


def test_a_wrong_deployment_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    deployed = tmp_path / "deployment.json"
    deployed.write_text('{"release": "Not A Release"}')
    monkeypatch.setattr(module, "deployment_file", lambda: deployed)
    assert "release" in refusal()


@pytest.mark.parametrize("proxy", ["HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"])
@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param({}, "127.0.0.1,localhost,::1", id="no exemption"),
        pytest.param({"NO_PROXY": "corp.example"}, "corp.example,127.0.0.1,localhost,::1", id="another host"),
        pytest.param({"no_proxy": "localhost, x"}, "localhost,x,127.0.0.1,::1", id="a part of it"),
        pytest.param({"no_proxy": "*"}, "*", id="everything"),
        pytest.param({"no_proxy": "a", "NO_PROXY": "b,a"}, "a,b,127.0.0.1,localhost,::1", id="both spellings"),
    ],
)
def test_a_proxy_is_never_asked_for_this_machine(proxy: str, given: dict[str, str], expected: str) -> None:
    environment = {proxy: "http://proxy.example:3128", **given}
    exempt_loopback(environment)
    assert (environment["no_proxy"], environment["NO_PROXY"]) == (expected, expected)


def test_without_a_proxy_the_environment_stays_as_it_is() -> None:
    environment = {"PATH": "/bin"}
    exempt_loopback(environment)
    assert environment == {"PATH": "/bin"}


def test_reading_the_settings_exempts_this_process_and_its_children(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://proxy.example:3128")
    monkeypatch.setenv("no_proxy", "")
    monkeypatch.setenv("NO_PROXY", "")
    load_settings()
    assert should_bypass_proxies("http://127.0.0.1:9050/healthz", no_proxy=None)
    assert not should_bypass_proxies("http://api.coingecko.com/", no_proxy=None)
