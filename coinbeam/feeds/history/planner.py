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
from itertools import chain
from typing import Any

from coinbeam.batch.jobs import MARKET_CHART, PIECES_FILE
from coinbeam.batch.kinds import HISTORY
from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.feeds.history.coverage import Coverage
from coinbeam.feeds.history.ledger import PieceLedger
from coinbeam.feeds.history.pieces import HistoryPiece, landed_piece, newest_closed_day, pieces, reach
from coinbeam.feeds.history.plan import BackfillEstimate, BackfillPlan, HistoryPlan
from coinbeam.feeds.history.refreshes import dollars as refresh_dollars
from coinbeam.feeds.history.refreshes import rows_read
from coinbeam.feeds.history.request import BackfillRequest
from coinbeam.feeds.known_assets import refuse_unknown
from coinbeam.feeds.market import choose_market, counting_for
from coinbeam.feeds.plan import DATAFLOW_MINUTES, Mode, dataflow_dollars, job_options
from coinbeam.landing.bucket import Bucket
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.settings import Settings
from coinbeam.sources.choose import RuntimeSource
from coinbeam.sources.rate import quota
from coinbeam.sources.registry import COINGECKO, FILES
from coinbeam.warehouse.client import Warehouse

BODY_BYTES_PER_DAY = 120
"""Mean size of one day in an answer of market_chart: three series of a stamp and a number."""

Batches = Mapping[str, list[HistoryPiece]]
"""The pieces of a backfill by batch id, in order."""


class BackfillPlanner:
    """Plans backfills; only `write_plan` changes anything."""

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
        chosen = None if request.files else choose_market(self.settings, self._warehouse)
        source_id = FILES.id if chosen is None else COINGECKO.answering(chosen.kind)
        named = [*request.assets, *request.told_assets]
        refuse_unknown(self._warehouse, named, "Ids are those of CoinGecko: see crypto_asset_dim.", source_id)
        if chosen is None:
            return self._files_plan(request, run_id, runner)
        if request.replay_batch:
            return self._replay_plan(request.replay_batch, run_id, runner, chosen)
        backfill_id = request.backfill_id(source_id)
        batches = self.written(backfill_id) or self._first_plan(request, backfill_id, source_id)
        left, costs = self._left(batches, request, source_id)
        today = self._affordable(costs, request, source_id)
        calls, calls_today = sum(costs.values()), sum(costs[name] for name in today)
        days = sum(piece.days for batch in left.values() for piece in batch)
        marts = self._marts_dollars(len(left), request.first, days)
        estimate = BackfillEstimate(
            pieces=sum(map(len, left.values())),
            calls=calls,
            calls_today=calls_today,
            days_of_quota=math.ceil(calls / request.calls_per_day),
            minutes=calls_today / self._rate(source_id),
            rows=days,
            landing_bytes=days * BODY_BYTES_PER_DAY,
            dollars=self._dollars(len(left), marts),
            marts_dollars=marts,
            credits_left=self._calls.usage(source_id).left,
        )
        run: dict[str, Any] = {"run_id": run_id, "universe": backfill_id, "source_id": source_id, "runner": runner}
        run["refetch"] = request.refetch
        return BackfillPlan(
            backfill_id=backfill_id,
            batches=[self._arguments(name, left[name], chosen.kind, run) for name in today],
            batches_settled=len(batches) - len(left),
            batches_waiting=len(left) - len(today),
            what=f"{len({piece.asset_id for batch in batches.values() for piece in batch})} assets",
            first_date=str(request.first),
            last_date=str(request.last),
            quote_currency=request.quote_currency,
            started_at=format_instant(self._clock()),
            estimate=asdict(estimate),
            banner=chosen.banner or "",
        )

    def _marts_dollars(self, batches: int, first: date, days: int) -> float:
        """List price of the refreshes that so many batches wake, which bring days of assets, the first of them this."""
        known = 0 if self.settings.is_local else rows_read(self._warehouse, first)
        return refresh_dollars(self.settings, batches, known, days)

    def _dollars(self, batches: int, marts: float) -> float:
        return dataflow_dollars(self.settings, batches * DATAFLOW_MINUTES) + marts

    def _left(
        self, batches: Batches, request: BackfillRequest, source_id: str
    ) -> tuple[dict[str, list[HistoryPiece]], dict[str, int]]:
        """The batches that are not settled, and the calls that each costs: what was landed costs none."""
        settled, landed = set[HistoryPiece](), set[HistoryPiece]()
        if not request.refetch:
            settled = self._pieces.settled(request.quote_currency, source_id)
            landed = self._landed(request.quote_currency, source_id)
        left = {name: batch for name, batch in batches.items() if not settled.issuperset(batch)}
        return left, {name: sum(piece not in landed for piece in batch) for name, batch in left.items()}

    def _first_plan(self, request: BackfillRequest, backfill_id: str, source_id: str) -> dict[str, list[HistoryPiece]]:
        """The pieces of a backfill that nobody planned before, in batches."""
        if source_id == COINGECKO.id:
            reach(self.settings.coingecko, request.first, self._clock())
        newest = newest_closed_day(self._clock(), self.settings.history)
        if request.last > newest:
            problem = f"The last day is {request.last}, but {newest} is the newest closed one."
            raise SettingsError(problem, "Choose a closed day.")
        settled, size = self._pieces.settled(request.quote_currency, source_id), self.settings.history.chunk_pieces
        todo = [piece for piece in self._wanted(request, source_id) if request.refetch or piece not in settled]
        return {f"{backfill_id}-{at // size:04d}": todo[at : at + size] for at in range(0, len(todo), size)}

    def _wanted(self, request: BackfillRequest, source_id: str) -> list[HistoryPiece]:
        assets, days = self.assets(request, source_id), self.settings.history.piece_days
        ranges = {asset: [(request.first, request.last)] for asset in assets}
        if request.only_gaps:
            between = request.first, request.last
            coverage = Coverage(self._warehouse).read(assets, request.quote_currency, *between, source_id)
            ranges = {one.asset_id: [(gap.first, gap.last) for gap in one.gaps if not gap.is_known] for one in coverage}
        whole = (pieces(asset, request.quote_currency, request.first, request.last, days) for asset in assets)
        return sorted(cut for piece in chain(*whole) for cut in _cut(piece, ranges[piece.asset_id]))

    def assets(self, request: BackfillRequest, source_id: str) -> list[str]:
        """The assets of a request: as given, or the largest of the newest snapshot that counts for the source.

        Raises:
            TerminalError: there is no snapshot to choose from.
        """
        if request.assets:
            return sorted(set(request.assets))
        fact = self._warehouse.table(load_contract(SNAPSHOT_FACT))
        since = self._clock().date() - timedelta(days=31)
        counts = counting_for(source_id)
        sql = f"SELECT MAX(snapshot_date) AS day FROM `{fact}` WHERE snapshot_date >= DATE '{since}' AND {counts}"
        newest = self._warehouse.rows(sql)[0]["day"] if self._warehouse.exists(fact) else None
        if newest is None:
            remedy = "Run crypto_etl_dag first (`coinbeam run`), or name the assets by id (--assets)."
            raise TerminalError("No snapshot says which assets are the largest.", remedy)
        sql = (
            f"SELECT asset_id, MAX(market_cap) AS cap FROM `{fact}` "
            f"WHERE snapshot_date = @day AND quote_currency = @currency AND market_cap > 0 AND {counts} "
            "GROUP BY asset_id ORDER BY cap DESC, asset_id LIMIT @n"
        )
        largest = self._warehouse.rows(sql, day=newest, currency=request.quote_currency, n=request.top_n)
        return sorted(row["asset_id"] for row in largest)

    def _affordable(self, costs: Mapping[str, int], request: BackfillRequest, source_id: str) -> list[str]:
        """The batches, in order, that today's calls pay for.

        Raises:
            TerminalError: not even one of them, although some are left.
        """
        spent = self._calls.usage(source_id, HISTORY.job.name).today
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

    def _rate(self, source_id: str) -> float:
        """Calls per minute of all batches of a backfill together: its share of the plan; snapshots keep theirs."""
        limit = quota(self.settings, source_id).calls_per_minute
        return max(1.0, math.floor(limit * self.settings.history.rate_share))

    def _arguments(
        self, name: str, batch: Sequence[HistoryPiece], kind: str, run: Mapping[str, Any], mode: Mode = Mode.FETCH
    ) -> dict[str, dict[str, Any]]:
        """A batch and the options of its job."""
        rate = self._rate(run["source_id"])
        share = math.floor(rate / self.settings.history.max_parallel)
        if share < 1:
            raise SettingsError(
                f"{self.settings.history.max_parallel} batches at a time cannot share {rate:g} calls per minute.",
                "Lower history.max_parallel, or choose a larger coingecko.plan.",
            )
        plan = self._batch_plan(
            batch_id=name,
            first=min(piece.first for piece in batch),
            last=max(piece.last for piece in batch),
            quote_currency=batch[0].quote_currency,
            mode=mode,
            pieces=len(batch),
            **run,
        )
        options = self._options(plan, kind)
        options |= {"pieces": f"{options['output']}/{PIECES_FILE}", "calls_per_minute": str(share), "call_ledger": "on"}
        return {"batch": plan.to_dict(), "options": options}

    def _batch_plan(self, *, first: date, last: date, mode: Mode, **values: Any) -> HistoryPlan:
        return HistoryPlan(
            snapshot_at=f"{last}T00:00:00Z",
            first_date=str(first),
            mode=mode.value,
            started_at=format_instant(self._clock()),
            **values,
        )

    def _options(self, plan: HistoryPlan, source: str) -> dict[str, str]:
        common = job_options(self.settings, plan.batch_id, plan.batch.instant, source)
        return common | {"quote_currency": plan.quote_currency}

    def _landed(self, quote_currency: str, source_id: str) -> set[HistoryPiece]:
        """The pieces that lie in landing."""
        places = self._bucket.names(f"landing/{MARKET_CHART}/{quote_currency}-{source_id}/")
        return {found.piece for found in map(landed_piece, places) if found}

    def _replay_plan(self, batch_id: str, run_id: str, runner: str, chosen: RuntimeSource) -> BackfillPlan:
        """One batch of an earlier backfill, from what it landed.

        Raises:
            SettingsError: nobody planned it, or not all of it is landed.
        """
        backfill_id = batch_id.rpartition("-")[0]
        batch = (self.written(backfill_id) or {}).get(batch_id)
        if not batch:
            remedy = "See `coinbeam rejects`; files are read again with --source=GLOB."
            raise SettingsError(f"{batch_id!r} is no batch of a backfill from a source.", remedy)
        quote_currency = batch[0].quote_currency
        source_id = COINGECKO.answering(chosen.kind)
        if missing := set(batch) - self._landed(quote_currency, source_id):
            problem = f"{len(missing)} of the {len(batch)} pieces of {batch_id} are not in the landing of {source_id}."
            raise SettingsError(problem, "Run the backfill again, which asks for them; or choose the source it had.")
        run = {"run_id": run_id, "universe": backfill_id, "source_id": source_id, "runner": runner}
        days = sum(piece.days for piece in batch)
        marts = self._marts_dollars(1, min(piece.first for piece in batch), days)
        estimate = BackfillEstimate(
            pieces=len(batch),
            rows=days,
            dollars=self._dollars(1, marts),
            marts_dollars=marts,
            credits_left=self._calls.usage(source_id).left,
        )
        return BackfillPlan(
            backfill_id=backfill_id,
            batches=[self._arguments(batch_id, batch, chosen.kind, run, Mode.REPLAY)],
            what=f"replay of {batch_id}",
            first_date=str(min(piece.first for piece in batch)),
            last_date=str(max(piece.last for piece in batch)),
            quote_currency=quote_currency,
            started_at=format_instant(self._clock()),
            estimate=asdict(estimate),
            banner=chosen.banner or "",
        )

    def _files_plan(self, request: BackfillRequest, run_id: str, runner: str) -> BackfillPlan:
        """One batch of everything that files hold, between the days asked for."""
        if not self.settings.is_local and not request.files.startswith(self.settings.bucket_uri):
            remedy = f"Copy them below {self.settings.bucket_uri} first."
            raise SettingsError("The files are not in the bucket of this environment.", remedy)
        backfill_id = request.backfill_id("files")
        plan = self._batch_plan(
            batch_id=f"{backfill_id}-{request.last:%Y%m%d}",
            run_id=run_id,
            universe=backfill_id,
            first=request.first,
            last=request.last,
            quote_currency=request.quote_currency,
            mode=Mode.REPLAY,
            pieces=0,
            source_id=None,
            runner=runner,
        )
        first_date, last_date = str(request.first), str(request.last)
        options = self._options(plan, request.files)
        options |= {} if request.is_whole else {"from_date": first_date, "to_date": last_date}
        options |= {"asset_of": request.asset_of} if request.asset_of else {}
        options |= {"time_zone": request.time_zone} if request.time_zone else {}
        options |= {"assets": ",".join(request.assets)} if request.assets else {}
        days = (request.last - request.first).days + 1
        marts = self._marts_dollars(1, request.first, days)
        estimate = BackfillEstimate(
            rows=days,
            dollars=self._dollars(1, marts),
            marts_dollars=marts,
            credits_left=self._calls.usage(COINGECKO.id).left,
        )
        return BackfillPlan(
            backfill_id=backfill_id,
            batches=[{"batch": plan.to_dict(), "options": options}],
            what=f"files {request.files}",
            first_date=first_date,
            last_date=last_date,
            quote_currency=request.quote_currency,
            started_at=format_instant(self._clock()),
            estimate=asdict(estimate),
        )

    def write_plan(self, request: BackfillRequest) -> None:
        """Write a plan down for all later runs and enter its pieces into the ledger; a written plan never changes."""
        if request.files or request.replay_batch:
            return
        source_id = COINGECKO.answering(choose_market(self.settings, self._warehouse).kind)
        backfill_id = request.backfill_id(source_id)
        written = self.written(backfill_id)
        batches = written or self._first_plan(request, backfill_id, source_id)
        self._pieces.enter(backfill_id, source_id, batches)
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
    """A piece cut to its wanted days: one call from the first to the last of them; none when there are none."""
    inside = [(first, last) for first, last in ranges if first <= piece.last and last >= piece.first]
    if not inside:
        return []
    firsts, lasts = zip(*inside, strict=True)
    return [replace(piece, first=max(piece.first, min(firsts)), last=min(piece.last, max(lasts)))]
