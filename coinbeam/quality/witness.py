"""The witness: our newest prices against those of CoinPaprika. It records a warning and never publishes a price."""

from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import timedelta

from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import Rule, Severity, Stage, load_contract
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.landing.bucket import Bucket
from coinbeam.landing.layout import object_name, pack, page_stem
from coinbeam.quality.audit import SAMPLE_SIZE, Audit, Auditor, Result, Status
from coinbeam.settings import Settings, WitnessSettings
from coinbeam.sources.choose import choose_source
from coinbeam.sources.coinpaprika import CoinPaprikaClient, Ticker, read_tickers
from coinbeam.sources.registry import COINGECKO, COINPAPRIKA
from coinbeam.warehouse.client import Warehouse

RULE = Rule(
    name="price_witness",
    query="",
    severity=Severity.WARNING,
    description="No price of the largest assets deviates from that of CoinPaprika beyond witness.tolerance.",
    column="current_price",
    stage=Stage.PUBLISHED,
)
RANK_REACH = 50
"""Two sources count supplies differently: the ranks of one asset may lie so far apart, or half of the rank."""
NEWEST_DAYS = 2
"""The newest snapshot is looked for so many days back."""


@dataclass(frozen=True)
class Matching:
    """Which of our assets is which of theirs; no asset is in two of the pairs.

    ``ambiguous`` counts those of theirs with several candidates, or that share one; ``unmatched`` those without any.
    """

    pairs: tuple[tuple[Ticker, Ticker], ...]
    ambiguous: int
    unmatched: int


def match(ours: Sequence[Ticker], theirs: Sequence[Ticker]) -> Matching:
    """Pair assets of one symbol, one name and nearby ranks. What could be two assets is left out and counted."""
    named: dict[tuple[str, str], list[Ticker]] = defaultdict(list)
    for one in ours:
        named[_identity(one)].append(one)
    candidates = [
        [one for one in named[_identity(other)] if abs(one.rank - other.rank) <= max(RANK_REACH, other.rank // 2)]
        for other in theirs
    ]
    wanted = Counter(one.id for found in candidates for one in found)
    pairs = [
        (found[0], other)
        for found, other in zip(candidates, theirs, strict=True)
        if len(found) == 1 and wanted[found[0].id] == 1
    ]
    unmatched = sum(not found for found in candidates)
    return Matching(tuple(pairs), len(theirs) - len(pairs) - unmatched, unmatched)


def _identity(ticker: Ticker) -> tuple[str, str]:
    return ticker.symbol.casefold(), "".join(letter for letter in ticker.name.casefold() if letter.isalnum())


def compare(ours: Sequence[Ticker], theirs: Sequence[Ticker], settings: WitnessSettings) -> Result:
    """How many prices deviate. Pairs whose observations lie too far apart are left out and counted.

    Where nothing could be compared the rule could not run: silence is no agreement.
    """
    matching = match(ours, sorted(theirs, key=lambda ticker: ticker.rank)[: settings.top_n])
    reach = timedelta(minutes=settings.max_age_minutes)
    fresh = [(one, other) for one, other in matching.pairs if abs(one.observed_at - other.observed_at) <= reach]
    deviations = {one.id: one.price / other.price - 1 for one, other in fresh}
    outside = (asset for asset in deviations if abs(deviations[asset]) > settings.tolerance)
    beyond = sorted(outside, key=lambda asset: -abs(deviations[asset]))
    counted = (
        f"{len(fresh)} compared, {matching.ambiguous} ambiguous, {matching.unmatched} without a match, "
        f"{len(matching.pairs) - len(fresh)} observed too far apart; tolerance {settings.tolerance:.1%}."
    )
    if not fresh:
        return Result(SNAPSHOT_FACT, RULE, Status.ERROR, None, f"The rule could not run: {counted}")
    status = Status.WARNING if beyond else Status.PASSED
    sample = tuple(f"{asset} {deviations[asset]:+.1%}" for asset in beyond[:SAMPLE_SIZE])
    return Result(SNAPSHOT_FACT, RULE, status, float(len(beyond)), f"{RULE.description} {counted}", sample)


class Witness:
    """Asks the witness, lands its answer in the bucket, compares it with the warehouse, and records the result."""

    def __init__(self, warehouse: Warehouse, bucket: Bucket, clock: Clock = utc_now) -> None:
        self._warehouse, self._bucket, self._clock = warehouse, bucket, clock
        self._settings: Settings = warehouse.settings

    def check(self, run_id: str) -> Result:
        """One comparison, recorded under a run.

        Raises:
            SettingsError: the witness is off, or our prices are not in US dollars.
            ApiError: it does not answer; the text says what to do.
            TerminalError: there is no snapshot to compare, or the answer is not what it was.
        """
        if not self._settings.witness.enabled:
            raise SettingsError("The witness is off.", "Set witness.enabled to true (COINBEAM_WITNESS__ENABLED=true).")
        if (currency := self._settings.market.quote_currency) != "usd":
            problem = f"The witness compares US dollars, and market.quote_currency is {currency}."
            raise SettingsError(problem, "Set witness.enabled to false.")
        source = choose_source(self._settings)
        ours = self._newest(COINGECKO.answering(source.kind))
        url = source.beside("/v1", self._settings.witness.url)
        with closing(CoinPaprikaClient(self._settings.coingecko, url, clock=self._clock)) as client:
            answer = client.tickers()
        batch = f"{answer.received_at:%Y%m%dT%H%M%S%fZ}-{COINPAPRIKA.answering(source.kind)}"
        path = f"landing/{COINPAPRIKA.endpoints[0]}/{batch}/{object_name(page_stem(1))}"
        uri = self._bucket.write_bytes(path, pack(answer.body, answer.received_at))
        result = compare(ours, read_tickers(answer.body, uri), self._settings.witness)
        day, now = answer.received_at.date(), self._clock()
        audit = Audit(batch, run_id, answer.received_at, Stage.PUBLISHED, day, day, now)
        Auditor(self._warehouse, audit).record([result], now)
        return result

    def _newest(self, source_id: str) -> list[Ticker]:
        """The ranked prices of our newest snapshot from a source."""
        since = (self._clock() - timedelta(days=NEWEST_DAYS)).date()
        sql = _NEWEST.format(table=self._warehouse.table(load_contract(SNAPSHOT_FACT)))
        rows = self._warehouse.rows(sql, since=since, source=source_id)
        if not rows:
            problem = f"There is no snapshot of {source_id} in US dollars since {since}."
            raise TerminalError(problem, "Run crypto_etl_dag first.")
        return [Ticker(**row) for row in rows]


_NEWEST = """
SELECT asset_id AS id, symbol, name, market_cap_rank AS rank, current_price AS price, observed_at
FROM `{table}`
WHERE snapshot_date >= @since AND quote_currency = 'usd' AND source_id = @source
  AND market_cap_rank IS NOT NULL AND symbol IS NOT NULL AND name IS NOT NULL AND observed_at IS NOT NULL
QUALIFY snapshot_at = MAX(snapshot_at) OVER ()
"""
