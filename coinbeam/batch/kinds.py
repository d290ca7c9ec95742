"""The kinds of batches: which job makes one, what it stages, and what its publish makes visible."""

from dataclasses import dataclass
from datetime import date, datetime

from coinbeam.batch.digest import digest
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, FETCH_FEAR_GREED, FETCH_MARKET_HISTORY, POPULATE_DATE_DIM, JobSpec
from coinbeam.batch.tables import ASSETS, DAILY_FACT, DATES, FEAR_GREED_FACT, RATES_FACT, REJECTS, SNAPSHOT_FACT


@dataclass(frozen=True)
class Feed:
    """One kind of batch.

    Attributes:
        fact: the table that it fills, by contract name.
        job: the Beam job whose report counts its rows.
        date_column: the date of a row of the fact; what the marts are recomputed by.
        staged: tables that a batch stages.
        published: tables that the publish changes, dimensions first: inside the transaction the fact must already find
            its keys.
        feeds_marts: whether the marts are recomputed for its dates.
        is_audited: whether a publish needs rows that passed an audit; those that we compute ourselves do not.
    """

    fact: str
    job: JobSpec
    date_column: str
    staged: tuple[str, ...]
    published: tuple[str, ...]
    feeds_marts: bool = True
    is_audited: bool = True


SNAPSHOTS = Feed(
    SNAPSHOT_FACT,
    FETCH_CRYPTO_DATA,
    "snapshot_date",
    (SNAPSHOT_FACT, RATES_FACT, ASSETS, DATES, REJECTS),
    ("source_dim", "time_dim", DATES, ASSETS, RATES_FACT, SNAPSHOT_FACT),
)
HISTORY = Feed(DAILY_FACT, FETCH_MARKET_HISTORY, "date", (DAILY_FACT, REJECTS), ("source_dim", DAILY_FACT))
SENTIMENT = Feed(FEAR_GREED_FACT, FETCH_FEAR_GREED, "date", (FEAR_GREED_FACT, REJECTS), ("source_dim", FEAR_GREED_FACT))
CALENDAR = Feed(DATES, POPULATE_DATE_DIM, "date", (DATES,), (DATES,), feeds_marts=False, is_audited=False)

FEEDS = (SNAPSHOTS, HISTORY, SENTIMENT, CALENDAR)


@dataclass(frozen=True)
class Batch:
    """A batch on its way through staging.

    Attributes:
        batch_id: its name; the same for every run over the same input.
        run_id: the run that works on it.
        instant: what it stands for, aware; the date of its records.
        first_date: first date of its rows; with the last one the range to which every statement prunes.
        holds_all: whether a rerun has all that the batch ever had; of files a person may bring others later.
        started_at: ISO 8601 instant of the plan of the run; a run of the same name elsewhere started at another one.
    """

    feed: Feed
    batch_id: str
    run_id: str
    instant: datetime
    first_date: date
    last_date: date
    started_at: str = ""
    holds_all: bool = True

    @property
    def attempt(self) -> str:
        """Identifier of this run of the batch: what it stages belongs to it alone."""
        return digest(self.batch_id, self.run_id, self.started_at, length=12)

    @property
    def folder(self) -> str:
        """Path of its files in the bucket."""
        return batch_folder(self.batch_id)


def batch_folder(batch: str) -> str:
    """Path of the files of a batch in the bucket."""
    return f"batches/{batch}"
