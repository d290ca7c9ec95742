"""Options are checked before Beam starts and before the first call; the message names the option."""

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest
from apache_beam.options.pipeline_options import GoogleCloudOptions, SetupOptions, StandardOptions

from beam_pipelines.job import options as o
from coinbeam.batch.jobs import JOBS, JobSpec
from coinbeam.batch.options import DateOptions, Options, SnapshotOptions
from coinbeam.batch.universe import UniverseSpec
from coinbeam.errors import SettingsError
from coinbeam.settings import Environment, MarketSource, Period, Settings, Universe

NOW = datetime(2026, 11, 20, 19, 30, tzinfo=UTC)


def given(model: type[Options], *argv: str) -> Options:
    return o.read_options(o.beam_options(argv, model), model)


def job(settings: Settings, *argv: str) -> o.JobRequest:
    return o.read_job(given(SnapshotOptions, "--output=/tmp/x", *argv), settings, lambda: NOW)


def market(settings: Settings, *argv: str) -> o.MarketRequest:
    return o.read_market(given(SnapshotOptions, "--output=/tmp/x", *argv), settings)


@pytest.fixture
def local(make_settings: Callable[..., Settings]) -> Settings:
    return make_settings()


@pytest.mark.parametrize(
    "argv",
    [[], ["--runner=DirectRunner"], ["--runner=direct"], ["--runner=FnApiRunner"], ["--runner", "DirectRunner"]],
)
def test_the_local_runner_is_one_runner_by_name_whatever_it_is_called(argv: list[str]) -> None:
    options = o.beam_options(argv, SnapshotOptions)
    assert options.view_as(StandardOptions).runner == "FnApiRunner"
    assert o.is_local_runner(options)


def test_dataflow_and_its_options_pass_through_without_the_main_session() -> None:
    options = o.beam_options(
        ["--runner=DataflowRunner", "--project=p", "--region=r", "--labels=a=b", "--no_use_public_ips"], SnapshotOptions
    )
    assert options.view_as(StandardOptions).runner == "DataflowRunner"
    assert options.view_as(GoogleCloudOptions).project == "p"
    assert options.view_as(SetupOptions).save_main_session is False
    assert not o.is_local_runner(options)


def test_the_defaults_are_the_present_interval_and_the_settings(local: Settings) -> None:
    request = job(local)
    assert request.snapshot_at == datetime(2026, 11, 20, tzinfo=UTC)
    assert not request.snapshot_given
    assert (request.source, request.glob, request.landing) == (MarketSource.SIMULATOR, None, "/tmp/x")
    assert request.batch_id(UniverseSpec()) == "20261120T0000Z-usd-all"
    assert market(local).universe == UniverseSpec()


def test_an_hourly_snapshot_starts_at_its_hour(local: Settings) -> None:
    request = job(local, "--period=hourly")
    assert (request.period, request.snapshot_at) == (Period.HOURLY, datetime(2026, 11, 20, 19, tzinfo=UTC))


def test_an_offset_is_turned_into_utc(local: Settings) -> None:
    assert job(local, "--snapshot_at=2026-01-02T02:00:00+02:00").snapshot_at == datetime(2026, 1, 2, tzinfo=UTC)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        pytest.param(["--snapshot_at=yesterday"], "--snapshot_at", id="an instant that is none"),
        pytest.param(["--snapshot_at=2026-01-02T03:00:00Z"], "--snapshot_at", id="an instant inside a day"),
        pytest.param(["--source=nowhere"], "--source", id="an unknown source"),
        pytest.param(["--period=weekly"], "--period", id="an unknown period"),
        pytest.param(["--quote_currency=USD"], "--quote_currency", id="a currency in capitals"),
        pytest.param(["--batch_id=../x"], "--batch_id", id="a batch that leaves its folder"),
        pytest.param(["--calls_per_minute=0"], "--calls_per_minute", id="no calls at all"),
        pytest.param(["--calls_per_minute=nan"], "--calls_per_minute", id="a rate that is no number"),
        pytest.param(["--output="], "--output", id="no output"),
    ],
)
def test_a_wrong_common_option_is_named(local: Settings, argv: list[str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        job(local, *argv)


@pytest.mark.parametrize(
    ("argv", "named"),
    [
        pytest.param(["--universe=some"], "--universe", id="an unknown universe"),
        pytest.param(["--universe=ids"], "ids is empty", id="ids without ids"),
        pytest.param(["--universe=category"], "category is empty", id="category without a category"),
        pytest.param(["--universe=category", "--category=a/b"], "category is 'a/b'", id="a category that is a path"),
        pytest.param(["--universe=top", "--top_n=0"], "--top_n", id="the top nothing"),
        pytest.param(["--ids=bitcoin"], "--ids", id="ids for the whole market"),
        pytest.param(["--per_page=251"], "--per_page", id="more rows than the API gives"),
        pytest.param(["--per_page=ten"], "--per_page", id="a page size in words"),
        pytest.param(["--fetch_shards=99"], "--fetch_shards", id="too many shards"),
    ],
)
def test_a_wrong_market_option_is_named(local: Settings, argv: list[str], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        market(local, *argv)


@pytest.mark.parametrize(
    "argv", [["--snapshotat=2026-01-02"], ["--snapshot=2026-01-02"], ["--max_details=3"], ["stray"]]
)
def test_an_unknown_option_is_refused_and_not_dropped(argv: list[str]) -> None:
    with pytest.raises(SettingsError, match=argv[0].partition("=")[0]):
        o.beam_options(argv, SnapshotOptions)


def test_each_universe_keeps_its_selection(local: Settings) -> None:
    assert market(local, "--universe=top", "--top_n=300").universe == UniverseSpec(Universe.TOP, top_n=300)
    assert market(local, "--universe=ids", "--ids=bitcoin, ethereum,bitcoin").universe.ids == ("bitcoin", "ethereum")
    assert market(local, "--universe=category", "--category=layer-1").universe.label == "category-layer-1"


@pytest.mark.parametrize("source", ["simulator", "auto"])
def test_a_simulated_source_is_refused_where_the_warehouse_is_shared(
    make_settings: Callable[..., Settings], source: str
) -> None:
    with pytest.raises(SettingsError, match="--source"):
        job(make_settings(environment=Environment.PRODUCTION), f"--source={source}")


@pytest.mark.parametrize("glob", ["gs://b/landing/markets/*/*", "page.json", "./here", "*"])
def test_a_path_is_a_glob_to_replay(local: Settings, glob: str) -> None:
    assert (job(local, f"--source={glob}").source, job(local, f"--source={glob}").glob) == (None, glob)


def test_the_calendar_ends_with_the_fifth_year_ahead() -> None:
    assert o.read_dates(given(DateOptions, "--output=/tmp/x"), NOW) == (date(2013, 1, 1), date(2031, 12, 31))


@pytest.mark.parametrize(
    "argv", [["--from_date=2013"], ["--to_date=0001-01-01"], ["--from_date=2026-02-30"], ["--from_date=2099-01-01"]]
)
def test_a_wrong_date_is_named(argv: list[str]) -> None:
    with pytest.raises(SettingsError, match=argv[0].partition("=")[0]):
        o.read_dates(given(DateOptions, "--output=/tmp/x", *argv), NOW)


@pytest.mark.parametrize("job", JOBS.values(), ids=JOBS.keys())
def test_every_option_explains_itself(job: JobSpec) -> None:
    assert all(len(field.description or "") > 20 for field in job.options.model_fields.values())


def test_a_wrong_option_is_answered_with_what_it_is(local: Settings) -> None:
    with pytest.raises(SettingsError) as refused:
        market(local, "--per_page=251")
    assert str(refused.value) == (
        "--per_page='251' should be less than or equal to 250. "
        "It is: Rows asked for per call, 1 to 250. Default: market.per_page."
    )


def test_an_option_of_two_jobs_is_the_same_in_both() -> None:
    declared: dict[str, set[str]] = {}
    for spec in JOBS.values():
        for name, field in spec.options.model_fields.items():
            declared.setdefault(name, set()).add(f"{field.annotation} {field.description}")
    assert {name for name, forms in declared.items() if len(forms) > 1} == set()


def test_an_option_may_be_typed_as_the_command_line_has_it(local: Settings) -> None:
    request = job(local, "--quote-currency=eur", "--batch-id=b")
    assert (request.quote_currency, request.batch) == ("eur", "b")
