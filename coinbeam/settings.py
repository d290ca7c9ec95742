"""Every setting, typed: one YAML file per environment in ``config/``, then ``COINBEAM_<SECTION>__<NAME>`` variables."""

import json
import os
from collections.abc import MutableMapping
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, ValidationError, model_validator
from pydantic_settings import (
    BaseSettings,
    InitSettingsSource,
    JsonConfigSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)
from pydantic_settings import SettingsError as UnreadableSettingError
from yaml import YAMLError

from coinbeam.errors import SettingsError

ROOT = Path(__file__).resolve().parent.parent
"""The shipped tree: checkout, Composer and container have ``config/``, ``sql/`` and ``dags/`` beside this package."""

STATE = ROOT / ".coinbeam"
"""Everything that a run on one machine leaves behind: emulator data, Airflow's home, logs, process ids."""


class Environment(StrEnum):
    """Where the warehouse lives."""

    LOCAL = "local"
    PRODUCTION = "production"


class MarketSource(StrEnum):
    """Where prices come from. ``AUTO`` is for the local environment only: live if it answers, else the simulator."""

    LIVE = "live"
    SIMULATOR = "simulator"
    AUTO = "auto"


class Period(StrEnum):
    """How often a snapshot is taken."""

    DAILY = "daily"
    HOURLY = "hourly"


class Universe(StrEnum):
    """Which assets a snapshot covers."""

    ALL = "all"
    TOP = "top"
    IDS = "ids"
    CATEGORY = "category"


class Runner(StrEnum):
    """What executes a Beam job."""

    LOCAL = "local"
    DATAFLOW = "dataflow"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class GoogleSettings(_Section):
    """The Google Cloud project and its service accounts."""

    project: str = Field(min_length=1, description="Project id")
    location: str = Field("US", description="BigQuery and bucket location")
    region: str = Field("us-central1", description="Region of Dataflow jobs")
    dataflow_service_account: str | None = Field(None, description="Service account of Dataflow workers")
    stream_service_account: str | None = Field(
        None, description="Service account of the streaming job; unset: that of the other workers"
    )


DatasetName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]{1,1024}$")]
"""What BigQuery accepts as a dataset id; it is also written into SQL."""


class WarehouseSettings(_Section):
    """Dataset names and limits of queries."""

    data_dataset: DatasetName = "crypto_data"
    staging_dataset: DatasetName = "crypto_staging"
    ops_dataset: DatasetName = "crypto_ops"
    marts_dataset: DatasetName = "crypto_marts"
    query_timeout_seconds: Annotated[float, Field(gt=0)] = 120.0
    maximum_bytes_billed: Annotated[int, Field(gt=0)] = 100 * 2**30


class StorageSettings(_Section):
    """The bucket that holds landing and batch files."""

    bucket: str = Field(min_length=3)


LARGEST_TOP = 50_000
"""More assets than the market has; a larger number is a slip."""
LARGEST_PAGE = 250
"""Most rows of a page of ``/coins/markets``. Source: CoinGecko's reference of the endpoint."""
MOST_CALLS_PER_DAY = 500_000
CURRENCY_FORM = "[a-z]{2,5}"
"""The form of a currency code; it becomes part of paths and SQL."""

TopN = Annotated[int, Field(ge=1, le=LARGEST_TOP)]
PageSize = Annotated[int, Field(ge=1, le=LARGEST_PAGE)]
Shards = Annotated[int, Field(ge=1, le=16)]
Details = Annotated[int, Field(ge=0)]
CallsPerDay = Annotated[int, Field(ge=1, le=MOST_CALLS_PER_DAY)]
Currency = Annotated[str, Field(pattern=f"^{CURRENCY_FORM}$")]


class MarketSettings(_Section):
    """What is fetched, and how often."""

    source: MarketSource = MarketSource.LIVE
    period: Period = Period.DAILY
    universe: Universe = Universe.ALL
    top_n: TopN = 250
    ids: tuple[str, ...] = ()
    category: str | None = None
    quote_currency: Currency = "usd"
    per_page: PageSize = LARGEST_PAGE
    fetch_shards: Shards = 4
    max_details: Details = 50
    exchange_rates: bool = Field(True, description="Whether a snapshot asks for exchange rates, by one call more")
    late_after_minutes: float = Field(
        120.0,
        ge=0,
        le=1_440,
        description="A snapshot that was taken later than so many minutes after midnight stands for no day of "
        "market_daily",
    )

    @property
    def late_after_seconds(self) -> int:
        """``late_after_minutes`` in whole seconds, as the SQL takes it."""
        return round(60 * self.late_after_minutes)


class PlanLimits(_Section):
    """What one CoinGecko plan allows. Published figures disagree between sources, so they are configuration."""

    base_url: HttpUrl
    key_header: str | None = None
    calls_per_minute: Annotated[float, Field(gt=0)]
    calls_per_month: Annotated[int, Field(gt=0)]
    history_days: Annotated[int, Field(gt=0)]


_PUBLIC_URL = HttpUrl("https://api.coingecko.com/api/v3")
_PRO_URL = HttpUrl("https://pro-api.coingecko.com/api/v3")
_DEMO_HEADER, _PRO_HEADER = "x-cg-demo-api-key", "x-cg-pro-api-key"

DEFAULT_PLANS: dict[str, PlanLimits] = {
    name: PlanLimits(base_url=url, key_header=header, calls_per_minute=minute, calls_per_month=month, history_days=days)
    for name, url, header, minute, month, days in (
        ("keyless", _PUBLIC_URL, None, 5, 10_000, 365),
        ("demo", _PUBLIC_URL, _DEMO_HEADER, 30, 10_000, 365),
        ("basic", _PRO_URL, _PRO_HEADER, 250, 100_000, 730),
        ("analyst", _PRO_URL, _PRO_HEADER, 500, 500_000, 4_700),
    )
}


class PatienceSettings(_Section):
    """How long and how often a client asks, of every source."""

    connect_timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    read_timeout_seconds: Annotated[float, Field(gt=0)] = 30.0
    max_attempts: Annotated[int, Field(ge=1, le=10)] = 5
    max_wait_seconds: Annotated[float, Field(gt=0)] = 900.0


class CoinGeckoSettings(PatienceSettings):
    """The API plan, its key and the patience of the client."""

    plan: str = "keyless"
    plans: dict[str, PlanLimits] = Field(default_factory=lambda: dict(DEFAULT_PLANS))
    api_key: SecretStr | None = Field(None, description="From COINGECKO_API_KEY, never from a file")
    api_key_secret: str | None = Field(None, description="Secret Manager version, projects/P/secrets/S/versions/V")
    probe_timeout_seconds: Annotated[float, Field(gt=0)] = 3.0

    @property
    def limits(self) -> PlanLimits:
        """The limits of the configured plan."""
        return self.plans[self.plan]


class QualitySettings(_Section):
    """When an audit stops the publish."""

    max_reject_share: Annotated[float, Field(ge=0, le=1)] = 0.05
    min_listed_share: Annotated[float, Field(ge=0, le=1)] = 0.8
    clock_skew_seconds: Annotated[float, Field(ge=0)] = 300.0
    incomplete: Literal["error", "warning"] = Field(
        "warning", description="What a top N with fewer than N assets is; error stops its publish"
    )
    observed_tolerance_hours: float = Field(
        24.0, ge=0, description="How far from its instant the rows of a file may have been observed"
    )
    check_days: int = Field(7, ge=1, le=400, description="Newest days of a table that `coinbeam quality check` reads")


class HistorySettings(_Section):
    """How years of daily history are asked for, and where the Fear & Greed index is."""

    piece_days: Annotated[int, Field(ge=1, le=5_000, description="Most days that one call asks for")] = 365
    chunk_pieces: Annotated[int, Field(ge=1, le=1_000, description="Pieces of one batch of a backfill")] = 40
    max_parallel: Annotated[int, Field(ge=1, le=16, description="Batches of a backfill at the same time")] = 2
    calls_per_day: CallsPerDay = Field(300, description="Most calls that backfills spend on one UTC day, by default")
    rate_share: float = Field(0.2, gt=0, lt=1, description="Share of the rate that backfills use; snapshots: the rest")
    settle_minutes: float = Field(35.0, ge=0, description="How long after midnight the point of a day is ready")
    fear_greed_url: HttpUrl = HttpUrl("https://api.alternative.me/fng/")


class WitnessSettings(_Section):
    """The second source that our prices are compared with."""

    enabled: bool = False
    url: HttpUrl = HttpUrl("https://api.coinpaprika.com/v1")
    top_n: Annotated[int, Field(ge=1, le=2_000, description="Compared assets, by rank at the witness")] = 200
    tolerance: Annotated[float, Field(gt=0, lt=1, description="Largest deviation, as a share of the witness's")] = 0.05
    max_age_minutes: Annotated[float, Field(gt=0, description="Most minutes between the two observations")] = 90.0


class SignalSettings(_Section):
    """Thresholds of the signals and movers in the marts. Signals describe; they advise nobody."""

    min_volatility: float = Field(0.0, ge=0, description="BUY only above this volatility_7d, in quote currency")
    min_volatility_percentage: float = Field(
        0.0, ge=0, description="BUY only above this volatility_7d in percent of sma_7d, whatever a coin costs"
    )
    fear_below: int = Field(25, ge=0, le=100, description="Index below which `combined_signal` may be POTENTIAL_BUY")
    greed_above: int = Field(75, ge=0, le=100, description="Index above which `combined_signal` may be POTENTIAL_SELL")
    movers: int = Field(5, ge=1, le=50, description="Assets named as gainers and as losers of a day")
    movers_among: int = Field(250, ge=1, description="Movers are sought among so many largest assets")
    dominance_among: int = Field(
        100, ge=1, description="Dominance is a share of the market only on days that cover at least so many assets"
    )


class AlertSettings(_Section):
    """Where an alert goes: always the log, and a webhook when one is set."""

    webhook_url: SecretStr | None = None
    timeout_seconds: Annotated[float, Field(gt=0)] = 10.0
    runbooks: str = Field("docs/runbooks", description="Where an alert says that the runbooks are: a folder, or a URL")


class LineageSettings(_Section):
    """OpenLineage events: what each task read and wrote, told by Airflow's provider."""

    enabled: bool = True
    namespace: str = Field("coinbeam", min_length=1, description="OpenLineage namespace of our jobs")
    transport: SecretStr | None = Field(
        None,
        description='OpenLineage transport, a JSON object such as {"type": "http", "url": "https://..."}; it may '
        "hold a key. Unset: a file below local.state_dir on one machine, none elsewhere",
    )

    @model_validator(mode="after")
    def _readable(self) -> "LineageSettings":
        try:
            known = self.transport is None or "type" in dict(json.loads(self.transport.get_secret_value()))
        except (TypeError, ValueError):
            known = False
        if not known:
            raise ValueError("transport is not a JSON object with a type")
        return self


LabelValue = Annotated[str, Field(pattern=r"^[a-z0-9_-]{0,63}$")]


class DataflowSettings(_Section):
    """How Dataflow jobs are launched: their Flex Templates, machines, network and labels."""

    machine_type: str = "n1-standard-2"
    max_workers: Annotated[int, Field(ge=1, le=1_000)] = 4
    use_public_ips: bool = False
    subnetwork: str | None = Field(None, description="regions/R/subnetworks/S; unset: the default network")
    template_folder: str | None = Field(
        None, pattern="^gs://", description="Folder of the Flex Templates; unset: that of this release in the bucket"
    )
    image: str | None = Field(
        None, description="Container image of the workers, that of the release; unset: Beam's own"
    )
    labels: dict[str, LabelValue] = Field(
        default_factory=lambda: {"app": "coinbeam"}, description="Labels of every job, by which its cost is found"
    )
    poll_seconds: Annotated[int, Field(ge=1, le=600, description="Seconds between two looks at a running job")] = 30


class RetrySettings(_Section):
    """How often a failed task is tried again, when its error deserves it."""

    retries: Annotated[int, Field(ge=0, le=10)] = 2
    delay_seconds: Annotated[float, Field(ge=0)] = 30.0


class ComposerSettings(_Section):
    """The Airflow web server that `coinbeam run --mode cloud` triggers."""

    airflow_url: HttpUrl | None = None
    run_timeout_seconds: Annotated[float, Field(gt=0)] = 3_600.0


class SignIn(StrEnum):
    """Who may open the dashboard: whoever reaches it, users of an OpenID Connect provider, or users of Identity-Aware
    Proxy.
    """

    NONE = "none"
    OIDC = "oidc"
    IAP = "iap"


class ServingSettings(_Section):
    """What readers outside of the warehouse get: the bundle, the API and the dashboard."""

    api_port: Annotated[int, Field(ge=1, le=65_535, description="Port of `coinbeam serve`")] = 8000
    dashboard_port: Annotated[int, Field(ge=1, le=65_535, description="Port of `coinbeam dashboard`")] = 8501
    keep_versions: Annotated[int, Field(ge=2, le=1_000, description="Newest versions of the bundle that are kept")] = 5
    poll_seconds: Annotated[float, Field(gt=0, description="Seconds between two looks for a newer version")] = 5.0
    cache_dir: Path | None = Field(
        None, description="Where readers keep copies of the bundle's files; unset: serving/ below local.state_dir"
    )
    stale_after_minutes: float | None = Field(
        None, gt=0, description="Refuse answers for now when the newest prices are older; unset: answer, and say so"
    )
    keys_required: bool | None = Field(
        None, description="Whether a call needs a key; unset: everywhere but on loopback"
    )
    calls_per_minute: Annotated[int, Field(ge=1, description="Calls of one key, unless it has a limit of its own")] = (
        600
    )
    cors_origins: tuple[str, ...] = Field((), description="Origins whose pages may read the API; none by default")
    sign_in: SignIn = Field(SignIn.NONE, description="Who may open the dashboard: none, oidc or iap")
    iap_audience: str | None = Field(None, description="Audience of the signed assertions of Identity-Aware Proxy")
    iap_keys_url: HttpUrl = Field(
        HttpUrl("https://www.gstatic.com/iap/verify/public_key-jwk"), description="Where the proxy publishes its keys"
    )
    oidc_viewers: tuple[str, ...] = Field(
        (), description="Who may look after a sign-in by OpenID Connect: addresses, or @domain; empty: whoever signs in"
    )
    secrets_file: Path | None = Field(
        None, description="File of Streamlit's secrets with the section auth; unset: .streamlit/secrets.toml"
    )
    cloud_bucket: str | None = Field(
        None, min_length=3, description="Bucket of a deployment that the dashboard of one machine can show, too"
    )

    @model_validator(mode="after")
    def _proven(self) -> "ServingSettings":
        if self.sign_in is SignIn.IAP and not self.iap_audience:
            raise ValueError("sign_in is iap, but iap_audience is not set: an assertion of any other service would do")
        return self


Symbol = Annotated[str, Field(pattern="^[A-Z0-9]{2,20}$")]
"""A pair as Binance writes it; it becomes part of addresses, filters and object names."""

PRICE_SYMBOL = r"[^\s:,/]+:[a-z]{2,10}"
PriceSymbol = Annotated[str, Field(pattern=f"^{PRICE_SYMBOL}$")]
"""An asset, by its id at CoinGecko, and the currency in which its price is polled."""


class StreamSettings(_Section):
    """Live trades: which symbols, from where, and through which topic."""

    symbols: tuple[Symbol, ...] = Field(("BTCUSDT", "ETHUSDT"), min_length=1, max_length=200)
    source: MarketSource = Field(MarketSource.AUTO, description="live: Binance; simulator; auto: whichever answers")
    assets: dict[Symbol, str] = Field(
        {}, description="Asset of a symbol, where the best ranked of its ticker is not meant"
    )
    topic: str = Field("trades", description="Topic of the messages")
    subscription: str = Field("trade-windows", description="Subscription of the pipeline; it retains what was acked")
    price_subscription: str = Field("price-windows", description="The same, of a local stream of polled prices")
    bundle_trades: Annotated[int, Field(ge=1, le=1_000, description="Most trades of a message")] = 500
    bundle_seconds: Annotated[float, Field(gt=0, le=10, description="Longest time that a message waits for more")] = 1.0
    waiting_trades: Annotated[
        int, Field(ge=1_000, description="Most trades in memory before the socket is not read")
    ] = 200_000
    silence_seconds: Annotated[float, Field(gt=0, description="Silence of one symbol after which REST is asked")] = 60.0
    weight_per_minute: Annotated[int, Field(ge=4, le=6_000, description="Request weight that refills may use")] = 1_200
    seek_minutes: Annotated[
        int, Field(ge=1, le=1_440, description="How far before the newest window a restart reads")
    ] = 10
    stale_after_seconds: Annotated[float, Field(gt=0, description="Age of the newest window that is an incident")] = (
        300.0
    )
    landed_seconds: Annotated[
        float, Field(ge=0, description="How long after its publish a trade is landed at the latest")
    ] = 900.0
    prices: tuple[PriceSymbol, ...] = Field(
        ("bitcoin:usd", "ethereum:usd"),
        min_length=1,
        max_length=200,
        description="Assets and quote currencies whose prices are polled from CoinGecko, with --source=coingecko",
    )
    poll_seconds: Annotated[float, Field(ge=1, le=3_600, description="From one poll to the next")] = 60.0
    poll_share: Annotated[float, Field(gt=0, le=1, description="Share of a month's calls that polls may use")] = 0.5

    @model_validator(mode="after")
    def _distinct(self) -> "StreamSettings":
        if len(set(self.symbols)) != len(self.symbols) or len(set(self.prices)) != len(self.prices):
            raise ValueError("a symbol is named twice")
        return self


class LakehouseSettings(_Section):
    """Where the open tables are, and how long their past is kept."""

    catalog: Literal["sql", "rest"] = Field("sql", description="sql: a database; rest: an Iceberg REST catalog")
    uri: str | None = Field(None, description="Address of the catalog; unset: SQLite below local.state_dir")
    warehouse: str | None = Field(
        None, pattern="^gs://[^/]+", description="Where the files are; unset: lakehouse/ in the bucket"
    )
    namespace: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")] = "coinbeam"
    keep_days: Annotated[int, Field(ge=1, description="Days after which snapshots without a tag expire")] = 30
    keep_tags: int | None = Field(None, ge=1, description="Newest batches whose tags are kept; unset: all")
    compact_files: Annotated[int, Field(ge=2, description="Files of a closed month from which they are made one")] = 8


class PostgresSettings(_Section):
    """The PostgreSQL database that `coinbeam export postgres` fills."""

    dsn: SecretStr | None = Field(
        None, description="Connection string, which may hold a password; unset: the variables PGHOST, PGUSER and so on"
    )
    namespace: str = Field("coinbeam", pattern=r"^[a-z_][a-z0-9_]{0,62}$", description="Schema of the tables")


class PriceSettings(_Section):
    """List prices in US dollars, for the estimates. Source: public price pages of Google Cloud, us-central1."""

    dataflow_vcpu_hour: float = 0.056
    dataflow_gib_hour: float = 0.003557
    storage_gib_month: float = 0.020
    bigquery_tib_scanned: float = 6.25


class PortSettings(_Section):
    """Loopback ports of the local cloud."""

    bigquery: Annotated[int, Field(ge=1, le=65_535)] = 9050
    bigquery_grpc: Annotated[int, Field(ge=1, le=65_535)] = 9060
    storage: Annotated[int, Field(ge=1, le=65_535)] = 9023
    simulator: Annotated[int, Field(ge=1, le=65_535)] = 9080
    pubsub: Annotated[int, Field(ge=1, le=65_535)] = 8085
    airflow: Annotated[int, Field(ge=1, le=65_535)] = 8080

    @model_validator(mode="after")
    def _distinct(self) -> "PortSettings":
        ports = list(self.model_dump().values())
        if len(set(ports)) != len(ports):
            raise ValueError("two services share a port")
        return self


class SimulatorSettings(_Section):
    """The simulated market: the same seed gives the same market."""

    seed: int = 20_260_101
    coins: Annotated[int, Field(ge=1, le=200_000)] = 18_000
    faults: str = "none"
    calls_per_minute: Annotated[float, Field(gt=0)] = 60_000
    calls_per_month: Annotated[int, Field(gt=0)] = 100_000_000
    trades_per_second: Annotated[
        float, Field(gt=0, le=20_000, description="Of each symbol of the venue, as the mean of a day")
    ] = 5.0


class LocalSettings(_Section):
    """The cloud on one machine."""

    state_dir: Path = STATE
    ports: PortSettings = PortSettings()
    simulator: SimulatorSettings = SimulatorSettings()
    start_timeout_seconds: Annotated[float, Field(gt=0)] = 60.0


class Settings(BaseSettings):
    """All settings of one environment.

    Precedence, highest first: keyword arguments, ``COINBEAM_*`` variables (nested names joined by ``__``),
    ``COINGECKO_API_KEY``, ``config/deployment.json`` (what the deployment of this tree says; never in a checkout),
    ``config/<environment>.yaml``, the defaults here.
    """

    model_config = SettingsConfigDict(env_prefix="COINBEAM_", env_nested_delimiter="__", extra="forbid", frozen=True)

    environment: Environment
    google: GoogleSettings
    storage: StorageSettings
    warehouse: WarehouseSettings = WarehouseSettings()
    release: str = Field("development", pattern="^[a-z0-9][a-z0-9-]{0,40}$", description="Which release this is")
    market: MarketSettings = MarketSettings()
    coingecko: CoinGeckoSettings = CoinGeckoSettings()
    quality: QualitySettings = QualitySettings()
    history: HistorySettings = HistorySettings()
    witness: WitnessSettings = WitnessSettings()
    signals: SignalSettings = SignalSettings()
    alerts: AlertSettings = AlertSettings()
    lineage: LineageSettings = LineageSettings()
    dataflow: DataflowSettings = DataflowSettings()
    composer: ComposerSettings = ComposerSettings()
    serving: ServingSettings = ServingSettings()
    stream: StreamSettings = StreamSettings()
    lakehouse: LakehouseSettings = LakehouseSettings()
    postgres: PostgresSettings = PostgresSettings()
    retry: RetrySettings = RetrySettings()
    prices: PriceSettings = PriceSettings()
    runner: Runner = Runner.LOCAL
    local: LocalSettings = LocalSettings()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003 - the signature is pydantic's
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment variables above the environment's YAML file."""
        key = os.environ.get("COINGECKO_API_KEY")
        plain_key = InitSettingsSource(settings_cls, {"coingecko": {"api_key": key}} if key else {})
        deployed = JsonConfigSettingsSource(settings_cls, json_file=deployment_file())
        of_environment = YamlConfigSettingsSource(settings_cls, yaml_file=config_file())
        return init_settings, env_settings, plain_key, deployed, of_environment

    @model_validator(mode="after")
    def _consistent(self) -> "Settings":
        market, coingecko = self.market, self.coingecko
        if not self.is_local and market.source is not MarketSource.LIVE:
            allowed = "only the local environment may use anything other than live"
            raise ValueError(f"market.source is {market.source}, but {allowed}")
        if not self.is_local and self.google.project == "local":
            raise ValueError("google.project is 'local' outside the local environment")
        if coingecko.plan not in coingecko.plans:
            raise ValueError(f"coingecko.plan is {coingecko.plan!r}; known plans: {', '.join(sorted(coingecko.plans))}")
        if market.universe is Universe.IDS and not market.ids:
            raise ValueError("market.universe is ids, but market.ids is empty")
        if market.universe is Universe.CATEGORY and not market.category:
            raise ValueError("market.universe is category, but market.category is not set")
        return self

    @property
    def is_local(self) -> bool:
        """True when the warehouse is the emulator on this machine."""
        return self.environment is Environment.LOCAL

    @property
    def bucket_uri(self) -> str:
        """The bucket as ``gs://name``."""
        return f"gs://{self.storage.bucket}"

    @property
    def template_folder(self) -> str:
        """The folder of the Flex Templates that belong to this release."""
        return (self.dataflow.template_folder or f"{self.bucket_uri}/releases/{self.release}/templates").rstrip("/")

    @property
    def simulator_url(self) -> str:
        """Base URL of the simulated API, with the path of the real one."""
        return f"http://127.0.0.1:{self.local.ports.simulator}/api/v3"


def config_file() -> Path:
    """The YAML file of the environment named by ``COINBEAM_ENV`` (default ``local``).

    Raises:
        SettingsError: there is no such environment.
    """
    name = os.environ.get("COINBEAM_ENV", Environment.LOCAL.value)
    path = ROOT / "config" / f"{name}.yaml"
    if not path.is_file():
        known = ", ".join(sorted(p.stem for p in path.parent.glob("*.yaml")))
        problem = f"COINBEAM_ENV is {name!r}, but there is no {path.name} in config/."
        raise SettingsError(problem, f"Known environments: {known}.")
    return path


def deployment_file() -> Path:
    """What a deployment writes beside the YAML files: project, bucket, accounts and the name of the release.

    It belongs to the tree that is deployed, so that a DAG, its Flex Templates and their image can never disagree.
    """
    return ROOT / "config" / "deployment.json"


@lru_cache(maxsize=1)
def load_settings() -> Settings:
    """The settings of this process, read once.

    Raises:
        SettingsError: a setting is wrong; the message names it and never shows a secret.
    """
    _refuse_unknown_variables()
    exempt_loopback(os.environ)
    remedy = f"Mend it in {config_file().name} or by a COINBEAM_* variable."
    try:
        return Settings()
    except ValidationError as error:
        raise SettingsError(_explain(error), remedy) from None
    except UnreadableSettingError as error:
        # Only its own words: the error below it holds the value, which may be a secret.
        raise SettingsError(
            f"Wrong settings: {error}.", "A list or a section in a variable is written as JSON. " + remedy
        ) from None
    except (YAMLError, UnicodeDecodeError) as error:
        raise SettingsError(f"{config_file().name} is not readable YAML: {error}.", "Mend the line it names.") from None


LOOPBACK = ("127.0.0.1", "localhost", "::1")


def exempt_loopback(environment: MutableMapping[str, str]) -> None:
    """Keep requests to this machine from the proxy that the variables name: no emulator answers there. Every process
    reads its settings first, and its children inherit the exemption; requests to other hosts still go to the proxy.
    """
    if any(environment.get(name) for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")):
        given = ",".join(environment.get(name, "") for name in ("no_proxy", "NO_PROXY"))
        hosts = list(dict.fromkeys(host.strip() for host in given.split(",") if host.strip()))
        exempt = ",".join([*hosts, *(host for host in LOOPBACK if host not in hosts and "*" not in hosts)])
        environment.update({"no_proxy": exempt, "NO_PROXY": exempt})


def _refuse_unknown_variables() -> None:
    """A misspelt section would be ignored in silence; a misspelt name within a section is refused by its model."""
    known = {f"COINBEAM_{name.upper()}" for name in Settings.model_fields} | {"COINBEAM_ENV"}
    ours = (name for name in os.environ if name.upper().startswith("COINBEAM_"))
    unknown = sorted(name for name in ours if name.upper().partition("__")[0] not in known)
    if unknown:
        problem = f"Wrong settings: no setting is named {', '.join(unknown)}."
        raise SettingsError(problem, f"Known: {', '.join(sorted(known))}.")


def _explain(error: ValidationError) -> str:
    """One line per wrong setting, without the values, since a value may be a secret."""
    lines = (
        f"{'.'.join(str(part) for part in e['loc']) or 'settings'}: {e['msg']}"
        for e in error.errors(include_input=False, include_url=False)
    )
    return "Wrong settings: " + "; ".join(lines) + "."
