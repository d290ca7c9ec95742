"""The plan of a snapshot, and what its jobs need; its other steps are those of every batch."""

import csv
import io
import json
from collections.abc import Mapping
from dataclasses import asdict
from datetime import timedelta
from fnmatch import fnmatch
from typing import Any

from coinbeam.batch.identity import file_stamp, parse_batch_id
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, KNOWN_ASSETS_FILE, MARKETS, POPULATE_CRYPTO_ASSET_DIM, RATES_REJECTS
from coinbeam.batch.kinds import Batch, batch_folder
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import ASSETS, REJECTS
from coinbeam.batch.universe import top_n
from coinbeam.clock import format_instant, parse_instant
from coinbeam.contracts import Rule, Severity, load_contract
from coinbeam.errors import SettingsError
from coinbeam.feeds.market import choose_market, counting_for
from coinbeam.feeds.plan import Mode, job_options
from coinbeam.feeds.snapshot.plan import (
    SnapshotPlan,
    asset_calls,
    check_affordable,
    decide_mode,
    estimate,
    fetch_calls,
    mode_reason,
    rate_shares,
    refuse_foreign_source,
)
from coinbeam.feeds.snapshot.request import SnapshotRequest
from coinbeam.feeds.steps import BatchSteps
from coinbeam.landing.layout import COMPLETE_NAME, MANIFEST_NAME, folder, read_manifest, without_simulator
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.quality.rules import IDS_ANSWERED, ids_answered, rates_answered, top_filled
from coinbeam.settings import MarketSource, Universe
from coinbeam.sources.rate import quota
from coinbeam.sources.registry import COINGECKO, COINGECKO_SIMULATOR, FILES, SIMULATED

MISSING_BATCHES = 3
"""So many published batches without an answer for a configured id are no chance."""

_LONG_AGO_DAYS = 60
_MOST_NAMED = 5


class SnapshotSteps(BatchSteps[SnapshotPlan]):
    """The steps of a snapshot."""

    def plan(self, request: SnapshotRequest, run_id: str, runner: str) -> SnapshotPlan:
        """Decide what the run does, before anything is changed anywhere.

        Raises:
            SettingsError: the request contradicts the settings or the honest-time rule.
            BudgetExceededError: the month's credits do not pay for it.
        """
        now, settings = self.clock(), self.settings
        landing, manifest = self._landing(request)
        is_whole = self.bucket.read_text(f"{landing}/{COMPLETE_NAME}") is not None
        if request.landed and not is_whole:
            problem = f"{request.batch_id} was not landed as a whole, so there is nothing to replay."
            raise SettingsError(problem, self._landed_instead())
        mode = decide_mode(request, now, settings, manifest is not None and is_whole)
        if mode == Mode.REPLAY:
            refuse_foreign_source(settings, None if request.files else manifest)
        source, source_id, banner = self._source(mode, request, landing)
        costs = estimate(
            settings,
            request.universe,
            self.calls_this_month(),
            fetches=mode == Mode.FETCH,
            per_minute=quota(settings, source_id).calls_per_minute,
        )
        if source_id != COINGECKO_SIMULATOR.id:
            check_affordable(costs, settings)
        common = job_options(settings, request.batch_id, request.snapshot_at, source)
        fetch_rate, assets_rate = self._rates(request, source_id) if mode == Mode.FETCH else ({}, {})
        return SnapshotPlan(
            batch_id=request.batch_id,
            run_id=run_id,
            snapshot_at=format_instant(request.snapshot_at),
            first_date=f"{request.snapshot_at:%Y-%m-%d}",
            stamp=file_stamp(request.snapshot_at, settings.market.period),
            mode=mode.value,
            reason=mode_reason(mode, request, now, was_begun=manifest is not None),
            universe=request.label,
            quote_currency=request.quote_currency,
            fetch_options=common | selection(request) | {"quote_currency": request.quote_currency} | fetch_rate,
            assets_options=common | assets_rate | {"known_assets": f"{common['output']}/{KNOWN_ASSETS_FILE}"},
            source_id=source_id,
            runner=runner,
            output=common["output"],
            started_at=format_instant(now),
            estimate=asdict(costs),
            banner=banner,
            refetch=request.refetch,
        )

    def _landing(self, request: SnapshotRequest) -> tuple[str, BatchManifest | None]:
        """Where the pages of a request were landed, those of a real source first, and what their manifest says; without
        a manifest where they would be.

        A local run that insists on real prices, or on simulated ones, does not replay the others.
        """
        insists = self.settings.market.source if self.settings.is_local else MarketSource.AUTO
        unwanted = {MarketSource.LIVE: True, MarketSource.SIMULATOR: False}.get(insists)
        places = [folder("", MARKETS, request.batch_id, source.id) for source in (COINGECKO, COINGECKO_SIMULATOR)]
        for place in places:
            text = self.bucket.read_text(f"{place}/{MANIFEST_NAME}")
            manifest = read_manifest(text) if text else None
            if manifest and (manifest.source_id in SIMULATED) is not unwanted:
                return place, manifest
        return places[0], None

    def _landed_instead(self) -> str:
        """What could be replayed, in a sentence: the newest batches that were landed whole."""
        marked = [path.split("/") for path in self.bucket.names(f"landing/{MARKETS}/") if path.endswith(COMPLETE_NAME)]
        names = {without_simulator(name) for _, _, name, _ in marked}
        newest = ", ".join(sorted(names, reverse=True)[:_MOST_NAMED])
        return f"Landed whole are, the newest first: {newest}." if newest else "Nothing was: `coinbeam run` lands."

    def _source(self, mode: Mode, request: SnapshotRequest, landing: str) -> tuple[str, str | None, str]:
        """The ``--source`` of the jobs, the source id where it is known before the run, and a banner."""
        if mode is Mode.REPLAY:
            return request.files or self.bucket.uri(f"{landing}/*"), FILES.id if request.files else None, ""
        if mode is Mode.GAP:
            return "", None, ""
        chosen = choose_market(self.settings, self.warehouse)
        return chosen.kind, COINGECKO.answering(chosen.kind), chosen.banner or ""

    def _rates(self, request: SnapshotRequest, source_id: str | None) -> tuple[dict[str, str], dict[str, str]]:
        """The options that divide the rate limit, less the share of backfills, between the two parallel jobs."""
        shares = rate_shares(
            quota(self.settings, source_id).calls_per_minute * (1 - self.settings.history.rate_share),
            fetch_calls(self.settings, request.universe),
            asset_calls(self.settings),
        )
        fetch, assets = ({"calls_per_minute": str(share), "call_ledger": "on"} for share in shares)
        return fetch, assets

    def calls_this_month(self) -> int:
        """Calls to the live API that count against the present month, by the ledger; 0 while there is none."""
        return CallLedger(self.warehouse, self.settings, self.clock).usage(COINGECKO.id).used

    def prepare(self, plan: SnapshotPlan) -> list[str]:
        """Lay out the batch; for a fetch, write for its job which assets have details, and since when."""
        changes = super().prepare(plan)
        self._clear_other_stamps(plan)
        if plan.mode == Mode.FETCH:
            table = self.warehouse.table(load_contract(ASSETS))
            known = self.warehouse.rows(
                f"SELECT asset_id, details_at FROM `{table}` "
                "WHERE is_current AND details_at IS NOT NULL "
                f"AND {counting_for(plan.source_id)} ORDER BY asset_id"
            )
            text = io.StringIO()
            lines = csv.writer(text, quoting=csv.QUOTE_ALL, lineterminator="\n")  # an id may hold what CSV means
            lines.writerow(("asset_id", "details_at"))
            lines.writerows((row["asset_id"], format_instant(row["details_at"])) for row in known)
            self.bucket.write_text(f"{batch_folder(plan.batch_id)}/{KNOWN_ASSETS_FILE}", text.getvalue())
        return changes

    def landed_places(self, plan: SnapshotPlan) -> list[str]:
        """Those of the pages, of the rates, of the coin list and of the details."""
        return self.places_of(plan, FETCH_CRYPTO_DATA) + self.places_of(plan, POPULATE_CRYPTO_ASSET_DIM)

    def walk_rules(self, batch: Batch, report: Mapping[str, Any]) -> list[Rule]:
        """A top N has N assets, and what was asked for was answered: every id, and the exchange rates."""
        rules = [ids_answered(missing)] if (missing := report.get("ids_missing")) else []
        if report.get("rates_asked") and not report.get("rates_valid"):
            rules.append(rates_answered(batch.batch_id))
        if number := top_n(parse_batch_id(batch.batch_id).universe):
            left_out = sum(int(report.get(name) or 0) for name in ("rows_unpriced", "rows_rejected", "rows_lost"))
            rules.append(top_filled(max(0, number - left_out), Severity(self.settings.quality.incomplete)))
        return rules

    def standing_fault(self, plan: SnapshotPlan) -> str | None:
        """Configured ids that none of the newest batches of their selection was answered for."""
        configured = set(self.settings.market.ids)
        if plan.mode != Mode.FETCH or not configured or self.settings.market.universe is not Universe.IDS:
            return None
        names = self.warehouse.names()
        day = parse_instant(plan.snapshot_at).date()
        rows = self.warehouse.rows(
            "SELECT b.batch_id, MAX_BY(q.failing_sample, q.checked_at) AS missing FROM ("
            f"SELECT batch_id, started_at FROM {names['latest_ingestion_batch']} "
            "WHERE snapshot_date BETWEEN @since AND @day AND status = 'published' AND universe = @universe "
            f"AND quote_currency = @currency ORDER BY snapshot_at DESC LIMIT {MISSING_BATCHES}) AS b "
            f"LEFT JOIN {names['quality_result']} AS q ON b.batch_id = q.batch_id AND q.rule = '{IDS_ANSWERED}' "
            "AND q.checked_at >= b.started_at AND q.checked_date BETWEEN @since AND @day GROUP BY b.batch_id",
            since=day - timedelta(days=_LONG_AGO_DAYS),
            day=day,
            universe=plan.universe,
            currency=plan.quote_currency,
        )
        if len(rows) < MISSING_BATCHES:
            return ""
        always = configured.intersection(*(json.loads(row["missing"] or "[]") for row in rows))
        if not always:
            return ""
        return (
            f"The source has not answered for {', '.join(sorted(always))} in the newest {MISSING_BATCHES} batches. "
            "Correct market.ids: an id is mistyped, or the asset was renamed or taken off the list."
        )

    def _clear_other_stamps(self, plan: SnapshotPlan) -> None:
        """Delete batch files that an earlier attempt wrote under the stamp of another period: a load by their pattern
        would take both, and a reject would count twice.
        """
        kept = {*POPULATE_CRYPTO_ASSET_DIM.files.values(), *self._files(plan.stamp)}
        for path in self.bucket.names(f"{plan.batch.folder}/"):
            name = path.rpartition("/")[2]
            if name not in kept and any(fnmatch(name, pattern) for pattern in self._files("*")):
                self.bucket.delete(path)

    def _files(self, stamp: str) -> list[str]:
        """The batch files of the snapshot with a stamp."""
        stamped = [FETCH_CRYPTO_DATA.file(table, stamp) for table in FETCH_CRYPTO_DATA.files]
        return [*stamped, FETCH_CRYPTO_DATA.file(REJECTS, f"{RATES_REJECTS}{stamp}")]


def selection(request: SnapshotRequest) -> dict[str, str]:
    """The job options that select the universe of a request."""
    if request.landed:
        return {}  # the landed pages are the selection
    universe = request.universe
    chosen = {
        Universe.TOP: {"top_n": str(universe.top_n)},
        Universe.IDS: {"ids": ",".join(universe.ids)},
        Universe.CATEGORY: {"category": universe.category or ""},
    }
    return {"universe": universe.kind.value, **chosen.get(universe.kind, {})}
