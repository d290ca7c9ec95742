"""The planner of backfills: pieces, batches, and how much of them today's calls pay for.

The plan of a backfill is written down when it is first made, at ``backfills/<backfill_id>/plan.json``, and every later
run of the same request works from it: its batches have the same names and the same pieces, so that a run that was cut
short at any moment and run again ends in the same tables as one that was not.
"""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, replace
from datetime import date, timedelta
from typing import Any

from google.cloud import bigquery

from coinbeam.batch.jobs import MARKET_CHART, PIECES_FILE
from coinbeam.batch.kinds import HISTORY, batch_folder
from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.feeds.history.batches import BackfillEstimate, BackfillPlan, HistoryBatch
from coinbeam.feeds.history.coverage import Coverage
from coinbeam.feeds.history.ledger import PieceLedger
from coinbeam.feeds.history.pieces import HistoryPiece, landed_piece, newest_closed_day, pieces, reach
from coinbeam.feeds.history.request import BackfillRequest
from coinbeam.feeds.snapshot.plan import DATAFLOW_MINUTES, dataflow_dollars
from coinbeam.landing.bucket import Bucket
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.settings import Settings
from coinbeam.sources.choose import choose_source
from coinbeam.sources.registry import COINGECKO, COINGECKO_SIMULATOR
from coinbeam.warehouse.client import Warehouse

BODY_BYTES_PER_DAY = 120
"""Mean size of one day in an answer of market_chart: three series of a stamp and a number."""

Batches = Mapping[str, list[HistoryPiece]]
"""The pieces of a backfill by batch id, in order."""


class BackfillPlanner:
    """Plans backfills; only `write_plan` changes anything.

    Args:
        settings: the environment.
        warehouse: facts and ledgers.
        bucket: landing and written plans.
        clock: source of "now".
    """

    def __init__(self, settings: Settings, warehouse: Warehouse, bucket: Bucket, clock: Clock = utc_now) -> None:
        self.settings, self._warehouse, self._bucket, self._clock = settings, warehouse, bucket, clock
        self._pieces = PieceLedger(warehouse, clock)
        self._calls = CallLedger(warehouse, settings, clock)

    def plan(self, request: BackfillRequest, run_id: str, runner: str) -> BackfillPlan:
        """Decide what the run does, before anything is changed in the warehouse.

        Raises:
            SettingsError: the request is wrong, or beyond the depth of the plan.
            TerminalError: no snapshot says which assets are the largest, or the budget allows no call.
        """
        if request.files:
            return self._files_plan(request, run_id, runner)
        chosen = choose_source(self.settings)
        source_id = COINGECKO.answering(chosen.kind)
        backfill_id = request.backfill_id(source_id)
        batches = self.written(backfill_id) or self._first_plan(request, backfill_id, source_id)
        open_batches = self._open(batches)
        landed = self._landed(request.quote_currency, source_id)
        costs = {name: sum(piece not in landed for piece in batch) for name, batch in open_batches.items()}
        today = self._affordable(costs, request, source_id)
        estimate = self._estimate(open_batches, costs, today, request, source_id)
        common = {"run_id": run_id, "backfill_id": backfill_id, "source_id": source_id, "runner": runner}
        return BackfillPlan(
            backfill_id=backfill_id,
            batches=[self._arguments(name, open_batches[name], chosen.kind, common) for name in today],
            batches_settled=len(batches) - len(open_batches),
            batches_waiting=len(open_batches) - len(today),
            what=f"{len({piece.asset_id for batch in batches.values() for piece in batch})} assets",
            first_date=str(request.first),
            last_date=str(request.last),
            quote_currency=request.quote_currency,
            estimate=asdict(estimate),
            banner=chosen.banner or "",
        )

    def _first_plan(self, request: BackfillRequest, backfill_id: str, source_id: str) -> dict[str, list[HistoryPiece]]:
        """The pieces of a backfill that nobody planned before, in batches."""
        if source_id == COINGECKO.id:
            reach(self.settings.coingecko, request.first, self._clock())
        newest = newest_closed_day(self._clock(), self.settings.history)
        if request.last > newest:
            raise SettingsError(
                f"The last day is {request.last}, but {newest} is the newest closed one.", "Choose a closed day."
            )
        wanted = self._wanted(request)
        settled = self._pieces.settled(request.quote_currency)
        todo = [piece for piece in wanted if piece not in settled]
        size = self.settings.history.chunk_pieces
        return {
            f"{backfill_id}-{number // size:04d}": todo[number : number + size] for number in range(0, len(todo), size)
        }

    def _wanted(self, request: BackfillRequest) -> list[HistoryPiece]:
        assets, days = self.assets(request), self.settings.history.piece_days
        ranges = {asset: [(request.first, request.last)] for asset in assets}
        if request.only_gaps:
            coverage = Coverage(self._warehouse).read(assets, request.quote_currency, request.first, request.last)
            ranges = {one.asset_id: [(gap.first, gap.last) for gap in one.gaps if not gap.is_known] for one in coverage}
        whole = {asset: pieces(asset, request.quote_currency, request.first, request.last, days) for asset in assets}
        return sorted(cut for asset in assets for piece in whole[asset] for cut in _cut(piece, ranges[asset]))

    def assets(self, request: BackfillRequest) -> list[str]:
        """The assets of a request: as given, or the largest of the newest snapshot.

        Raises:
            TerminalError: there is no snapshot to choose from.
        """
        if request.assets:
            return sorted(set(request.assets))
        fact = self._warehouse.table(load_contract(SNAPSHOT_FACT))
        newest = self._warehouse.rows(self._newest_snapshot(fact))[0]["day"] if self._warehouse.exists(fact) else None
        if newest is None:
            raise TerminalError(
                "No snapshot says which assets are the largest.", "Run crypto_etl_dag first, or name the assets by id."
            )
        sql = (
            f"SELECT asset_id, MAX(market_cap) AS cap FROM `{fact}` WHERE snapshot_date = @day AND quote_currency = "
            "@currency "
            "AND market_cap > 0 GROUP BY asset_id ORDER BY cap DESC, asset_id LIMIT @n"
        )
        parameters = [
            bigquery.ScalarQueryParameter("day", "DATE", newest),
            bigquery.ScalarQueryParameter("currency", "STRING", request.quote_currency),
            bigquery.ScalarQueryParameter("n", "INT64", request.top_n),
        ]
        return sorted(row["asset_id"] for row in self._warehouse.rows(sql, parameters))

    def _newest_snapshot(self, fact: str) -> str:
        since = self._clock().date() - timedelta(days=31)
        return f"SELECT MAX(snapshot_date) AS day FROM `{fact}` WHERE snapshot_date >= DATE '{since}'"

    def _open(self, batches: Mapping[str, list[HistoryPiece]]) -> dict[str, list[HistoryPiece]]:
        """The batches that hold a piece that is not settled."""
        currency = next((piece.quote_currency for batch in batches.values() for piece in batch), "")
        settled = self._pieces.settled(currency)
        return {name: batch for name, batch in batches.items() if not settled.issuperset(batch)}

    def _landed(self, quote_currency: str, source_id: str) -> set[HistoryPiece]:
        """The pieces whose answer lies in landing already, and so cost nothing."""
        found = map(landed_piece, self._bucket.names(f"landing/{MARKET_CHART}/{quote_currency}-{source_id}/"))
        return {landed.piece for landed in found if landed}

    def _affordable(self, costs: Mapping[str, int], request: BackfillRequest, source_id: str) -> list[str]:
        """The batches, in order, that today's calls pay for.

        Raises:
            TerminalError: not even one of them, although some are left.
        """
        spent = self._calls.spent_today(source_id, HISTORY.job.name)
        left = min(request.calls_per_day - spent, self._calls.usage(source_id).left)
        today: list[str] = []
        for name, calls in costs.items():
            if calls > left:
                break
            left -= calls
            today.append(name)
        if costs and not today:
            first = next(iter(costs.values()))
            raise TerminalError(
                f"The next batch takes {first} calls; backfills spent {spent} of {request.calls_per_day} today, and "
                f"{self._calls.usage(source_id).left} are left this month.",
                "Raise the calls per day, lower history.chunk_pieces for the next backfill, or run again tomorrow.",
            )
        return today

    def _estimate(
        self,
        left: Mapping[str, list[HistoryPiece]],
        costs: Mapping[str, int],
        today: Sequence[str],
        request: BackfillRequest,
        source_id: str,
    ) -> BackfillEstimate:
        calls, calls_today = sum(costs.values()), sum(costs[name] for name in today)
        days = sum(piece.days for batch in left.values() for piece in batch)
        return BackfillEstimate(
            pieces=sum(map(len, left.values())),
            calls=calls,
            calls_today=calls_today,
            days_of_quota=math.ceil(calls / request.calls_per_day),
            minutes=calls_today / self._rate(source_id),
            rows=days,
            landing_bytes=days * BODY_BYTES_PER_DAY,
            dollars=dataflow_dollars(self.settings, len(left) * DATAFLOW_MINUTES),
            credits_left=self._calls.usage(source_id).left,
        )

    def _rate(self, source_id: str) -> float:
        """Calls per minute of all batches of a backfill together: its share of the plan, so that snapshots keep
        theirs.
        """
        simulated = source_id == COINGECKO_SIMULATOR.id
        limit = (
            self.settings.local.simulator.calls_per_minute
            if simulated
            else self.settings.coingecko.limits.calls_per_minute
        )
        return max(1.0, math.floor(limit * self.settings.history.rate_share))

    def _arguments(
        self, name: str, batch: Sequence[HistoryPiece], kind: str, common: Mapping[str, Any]
    ) -> dict[str, dict[str, Any]]:
        """A batch and the options of its job."""
        one = HistoryBatch(
            batch_id=name,
            first_date=str(min(piece.first for piece in batch)),
            last_date=str(max(piece.last for piece in batch)),
            quote_currency=batch[0].quote_currency,
            pieces=len(batch),
            started_at=format_instant(self._clock()),
            **common,
        )
        output = self._bucket.uri(batch_folder(name))
        rate = math.floor(self._rate(str(one.source_id)) / self.settings.history.max_parallel)
        if rate < 1:
            raise SettingsError(
                f"{self.settings.history.max_parallel} batches at a time cannot share "
                f"{self._rate(str(one.source_id)):g} calls per minute.",
                "Lower history.max_parallel, or choose a larger coingecko.plan.",
            )
        options = {
            **self._common_options(one, kind, output),
            "pieces": f"{output}/{PIECES_FILE}",
            "calls_per_minute": str(rate),
            "call_ledger": "on",
        }
        return {"batch": asdict(one), "options": options}

    def _common_options(self, one: HistoryBatch, source: str, output: str) -> dict[str, str]:
        return {
            "source": source,
            "snapshot_at": format_instant(one.batch.instant),
            "batch_id": one.batch_id,
            "quote_currency": one.quote_currency,
            "output": output,
            "landing": self.settings.bucket_uri,
        }

    def _files_plan(self, request: BackfillRequest, run_id: str, runner: str) -> BackfillPlan:
        """One batch of everything that files hold, between the days asked for."""
        if not self.settings.is_local and not request.files.startswith(self.settings.bucket_uri):
            raise SettingsError(
                "The files are not in the bucket of this environment.",
                f"Copy them below {self.settings.bucket_uri} first.",
            )
        backfill_id = request.backfill_id("files")
        one = HistoryBatch(
            batch_id=f"{backfill_id}-{request.last:%Y%m%d}",
            run_id=run_id,
            backfill_id=backfill_id,
            first_date=str(request.first),
            last_date=str(request.last),
            quote_currency=request.quote_currency,
            pieces=0,
            source_id=None,
            runner=runner,
            started_at=format_instant(self._clock()),
        )
        options = self._common_options(one, request.files, self._bucket.uri(batch_folder(one.batch_id)))
        options |= {} if request.is_whole else {"from_date": one.first_date, "to_date": one.last_date}
        options |= {"asset_of": request.asset_of} if request.asset_of else {}
        options |= {"assets": ",".join(request.assets)} if request.assets and not request.asset_of else {}
        days = (request.last - request.first).days + 1
        left = self._calls.usage(COINGECKO.id).left
        estimate = BackfillEstimate(0, 0, 0, 0, 0.0, days, 0, dataflow_dollars(self.settings, DATAFLOW_MINUTES), left)
        batches = [{"batch": asdict(one), "options": options}]
        dates = (str(request.first), str(request.last))
        return BackfillPlan(
            backfill_id, batches, 0, 0, f"files {request.files}", *dates, request.quote_currency, asdict(estimate)
        )

    def write_plan(self, request: BackfillRequest) -> None:
        """Write a plan down for all later runs, and enter its pieces into the ledger; a written plan is never
        changed.
        """
        if request.files:
            return
        source_id = COINGECKO.answering(choose_source(self.settings).kind)
        backfill_id = request.backfill_id(source_id)
        written = self.written(backfill_id)
        batches = written or self._first_plan(request, backfill_id, source_id)
        self._pieces.enter(backfill_id, batches)
        if not written:
            text = json.dumps({name: [piece.to_dict() for piece in batch] for name, batch in batches.items()}, indent=1)
            self._bucket.write_text(_plan_path(backfill_id), text + "\n")

    def written(self, backfill_id: str) -> Batches | None:
        """The batches of a written plan; None when nobody planned it."""
        written = self._bucket.read_json(_plan_path(backfill_id))
        return {name: [HistoryPiece.from_dict(piece) for piece in batch] for name, batch in written.items()} or None


def _plan_path(backfill_id: str) -> str:
    return f"backfills/{backfill_id}/plan.json"


def _cut(piece: HistoryPiece, ranges: Iterable[tuple[date, date]]) -> list[HistoryPiece]:
    """A piece cut to the days that are wanted of it: one call from the first to the last of them; none when there are
    none.
    """
    inside = [
        (max(piece.first, first), min(piece.last, last))
        for first, last in ranges
        if first <= piece.last and last >= piece.first
    ]
    if not inside:
        return []
    return [replace(piece, first=min(first for first, _ in inside), last=max(last for _, last in inside))]
