"""The wire between a Beam job and its DAG: everything that both must know of a job, once.

A job is started as ``python -m beam_pipelines.<name>``, or as the Flex Template of that name. It asks its endpoints,
lands each answer below ``landing/<folder>/``, and leaves in ``--output`` its batch files, its report, and when it
failed its reason. Each batch file is loaded into the staging table of one table.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from coinbeam.batch.options import AssetOptions, DateOptions, HistoryOptions, JobOptions, SnapshotOptions, TradeOptions
from coinbeam.batch.tables import (
    ASSETS,
    DAILY_FACT,
    DATES,
    FEAR_GREED_FACT,
    RATES_FACT,
    REJECTS,
    SNAPSHOT_FACT,
    TRADE_WINDOW_PANE,
)

DONE, FAILED, MISUSE, REFUSED = 0, 1, 2, 3
"""Exit codes of a job. ``MISUSE``: a wrong option or setting. ``REFUSED``: no retry mends it. ``FAILED``: it may."""

LOCAL_RUNNER = "FnApiRunner"
"""What runs a pipeline on one machine, by name: ``DirectRunner`` would first try to download the Prism binary and,
where it cannot, fall back to this one in silence, so that a laptop and a closed CI would use different runners.
"""

STREAM_RUNNER = "BundleBasedDirectRunner"
"""What runs a stream on one machine, by name: the only runner that fires windows without a download; decision 19."""

MARKETS, COINS_LIST, COINS, MARKET_CHART, FEAR_GREED = "markets", "coins_list", "coins", "market_chart", "fear_greed"
EXCHANGE_RATES = "exchange_rates"
"""The folders of landing, each for one endpoint."""

KNOWN_ASSETS_FILE = "known_assets.csv"
"""In the folder of a snapshot, for the option ``--known_assets``: assets whose details the warehouse has."""

PIECES_FILE = "pieces.json"
"""In the folder of a batch of history, for the option ``--pieces``: the calls to make."""

REJECTS_PATTERN = "rejected_*.ndjson"
"""The refused records of all jobs of a batch."""

RATES_REJECTS = "rates_"
"""Before the stamp in the name of the refused rates, which lie beside the refused rows of the same job."""


@dataclass(frozen=True)
class JobSpec:
    """One job.

    Attributes:
        name: entry module below ``beam_pipelines``, also the name of its task and its Flex Template.
        files: patterns of its batch files by the table that each loads; ``*`` stands for the batch's stamp or name.
        options: what it takes on its command line.
        endpoints: folder of landing by path of the API; empty for a job that asks nobody.
    """

    name: str
    description: str
    files: Mapping[str, str]
    options: type[JobOptions]
    endpoints: Mapping[str, str] = field(default_factory=dict)

    def file(self, table: str, part: str = "*") -> str:
        """Name of the batch file that a table loads; without ``part``, the batch's stamp or name, its pattern."""
        return self.files[table].replace("*", part)

    def report_path(self, folder: str) -> str:
        """Where the job leaves what it read and wrote, as one JSON object, in the folder of the batch."""
        return f"{folder}/report_{self.name}.json"

    def failure_path(self, folder: str) -> str:
        """Where the job leaves why it failed, in one line."""
        return f"{folder}/failure_{self.name}.txt"


FETCH_CRYPTO_DATA = JobSpec(
    name="fetch_crypto_data",
    description="One snapshot of the crypto market: ask CoinGecko page by page, land the exact bytes, and write the "
    "valid rows as one CSV, the exchange rates as another one.",
    files={SNAPSHOT_FACT: "crypto_*.csv", RATES_FACT: "exchange_rates_*.csv", REJECTS: REJECTS_PATTERN},
    options=SnapshotOptions,
    endpoints={"coins/markets": MARKETS, "exchange_rates": EXCHANGE_RATES},
)

POPULATE_CRYPTO_ASSET_DIM = JobSpec(
    name="populate_crypto_asset_dim",
    description="The asset dimension: the list of all coins, and details of those that need them most within the "
    "budget of calls.",
    files={ASSETS: "asset_dim.csv", REJECTS: "rejected_assets.ndjson"},
    options=AssetOptions,
    endpoints={"coins/list": COINS_LIST, "coins/{id}": COINS},
)

POPULATE_DATE_DIM = JobSpec(
    name="populate_date_dim",
    description="The calendar dimension: one row per date of a range, as one CSV. It asks nobody and is the same on "
    "every machine.",
    files={DATES: "date_dim.csv"},
    options=DateOptions,
)

FETCH_MARKET_HISTORY = JobSpec(
    name="fetch_market_history",
    description="Daily history of single assets: ask CoinGecko for pieces of it, land the exact bytes, and write one "
    "row for each closed day as one CSV.",
    files={DAILY_FACT: "history_*.csv", REJECTS: "rejected_history.ndjson"},
    options=HistoryOptions,
    endpoints={"coins/{id}/market_chart/range": MARKET_CHART},
)

FETCH_FEAR_GREED = JobSpec(
    name="fetch_fear_greed",
    description="The Fear & Greed index of alternative.me: ask for the whole of it, land the exact bytes, and write "
    "one row for each day.",
    files={FEAR_GREED_FACT: "fear_greed.csv", REJECTS: "rejected_fear_greed.ndjson"},
    options=JobOptions,
    endpoints={"fng": FEAR_GREED},
)

TRADE_WINDOWS = JobSpec(
    name="trade_windows",
    description="Trades in windows of 60 s: from the topic as they come, or again from what was landed.",
    files={TRADE_WINDOW_PANE: "trade_windows_*.ndjson", REJECTS: REJECTS_PATTERN},
    options=TradeOptions,
)

JOBS: Mapping[str, JobSpec] = {
    job.name: job
    for job in (
        FETCH_CRYPTO_DATA,
        POPULATE_CRYPTO_ASSET_DIM,
        POPULATE_DATE_DIM,
        FETCH_MARKET_HISTORY,
        FETCH_FEAR_GREED,
        TRADE_WINDOWS,
    )
}
"""All jobs by name."""
