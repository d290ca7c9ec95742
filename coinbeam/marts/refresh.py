"""The marts: recomputed for what publishes touched since the last refresh, and never from the beginning.

A publish leaves a row in ``crypto_ops.publication``. A refresh takes the rows that wait, compares the facts with
``market_daily`` on the dates they name, recomputes each touched asset from its first changed day on, and marks the
rows, all in one transaction: a refresh that was cut short leaves everything as it was, and running it again is safe.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT, TRADE_WINDOW_FACT
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import Stage, load_contract
from coinbeam.contracts.bigquery import literal
from coinbeam.contracts.instants import FIRST_DATE
from coinbeam.contracts.model import SQL_ROOT
from coinbeam.errors import TerminalError, WriteConflictError
from coinbeam.marts.plan import LOOK_BACK_DAYS, Latest, MartPlan, Publication, Range, Touched, hull, joined
from coinbeam.marts.specs import MARTS, MartSpec, Scope
from coinbeam.quality import Audit, Result, check_published, guards, refuse_if_blocked
from coinbeam.settings import Settings
from coinbeam.sources.alternative_me import bands
from coinbeam.sql_template import render
from coinbeam.warehouse.client import Warehouse

MOST_PUBLICATIONS = 1_000
"""Publications of one refresh, oldest first; the text of a script has a limit."""

_FOLDER = SQL_ROOT / "crypto_marts"
_MARKET_FACTS = frozenset({SNAPSHOT_FACT, DAILY_FACT})
_DAY = timedelta(days=1)
_OVERTAKEN = "a publish overtook the plan"


@dataclass(frozen=True)
class Refresh:
    """What a refresh did: publishes taken, rows written by mart, first and last day recomputed, seconds it took."""

    publications: int
    rows: dict[str, int]
    dates: Range | None
    seconds: float


class Marts:
    """Keeps the marts in step with the facts, with the thresholds of the settings for their signals."""

    def __init__(self, warehouse: Warehouse, settings: Settings, clock: Clock = utc_now) -> None:
        self._warehouse, self._settings, self._clock = warehouse, settings, clock

    def pending(self) -> list[Publication]:
        """The publishes that wait for a refresh, oldest first, at most ``MOST_PUBLICATIONS``."""
        rows = self._warehouse.rows(
            f"SELECT {', '.join(Publication.model_fields)} FROM {self._warehouse.names()['publication']} "
            f"WHERE refreshed_at IS NULL ORDER BY published_at, batch_id, table_name LIMIT {MOST_PUBLICATIONS}"
        )
        return [Publication(**row) for row in rows]

    def plan(self) -> MartPlan | None:
        """What the next refresh does, or None when nothing waits. Nothing is written."""
        waiting = self.pending()
        if not waiting:
            return None
        market = joined((p.first_date, p.last_date) for p in waiting if p.table_name in _MARKET_FACTS)
        sentiment = joined((p.first_date, p.last_date) for p in waiting if p.table_name == FEAR_GREED_FACT)
        days = ((p.first_date, p.last_date + _DAY) for p in waiting if p.table_name == TRADE_WINDOW_FACT)
        touched, latest = self._touched(market) if market else (None, None)
        return MartPlan(
            publications=tuple(waiting),
            market=market,
            sentiment=sentiment,
            touched=touched,
            latest=latest,
            refreshed_at=self._clock(),
            renamed=self._renamed(),
            trades=joined(days, _DAY),
        )

    def _renamed(self) -> int:
        return int(self._warehouse.rows(self._render("renamed.sql"))[0]["renamed"])

    def _touched(self, market: Sequence[Range]) -> tuple[Touched | None, Latest | None]:
        [whole] = _literals([hull(market)])
        [row] = self._warehouse.rows(self._render("plan.sql", ranges=_literals(market), hull=whole))
        names = ("first_date", "last_date", "last_changed", "look_back_from")
        touched = Touched(assets=row["assets"], **{name: row[name] for name in names}) if row["assets"] else None
        days = [row[name] for name in ("first_latest", "last_latest") if row[name]]
        unknown = row["unknown"] or []
        if unknown:
            bounds = _bounds((FIRST_DATE, hull(market)[1]))
            [found] = self._warehouse.rows(self._render("newest.sql", **bounds), assets=unknown)
            days += [found["first_seen"] or hull(market)[0]]
        return touched, Latest(first=min(days), last=max(*days, hull(market)[1]), lost=row["lost"]) if days else None

    def script(self, plan: MartPlan) -> str:
        """The refresh as one transaction with literal dates, after the tables that it needs for itself; its last
        statement answers with the rows by mart.
        """
        scopes = self._scopes(plan)
        steps = [self._render("scratch.sql", scratch=_scratch()), "BEGIN TRANSACTION;"]
        if plan.market:
            [reach] = scopes[Scope.TOUCHED] or [{}]
            steps.append(self._render("touch.sql", ranges=_literals(plan.market)))
            steps.append(self._render("check.sql", is_market=plan.touched is not None, **reach))
        for mart in MARTS:
            for file, scope in mart.scripts.items():
                steps += [self._render(f"{mart.name}/{file}", **values) for values in scopes[scope]]
        steps += [self._taken_step(plan), *self._guards(plan, scopes), "COMMIT TRANSACTION;"]
        counted = [self._render(f"{m.name}/report.sql", **values) for m in MARTS for values in scopes[m.reported]]
        return "\n\n".join([*steps, "\nUNION ALL\n".join(counted or ["SELECT 'none' AS mart, 0 AS n"]) + ";"])

    def _guards(self, plan: MartPlan, scopes: Mapping[Scope, Any]) -> list[str]:
        """What ends the transaction when a rule of severity error is broken in what it wrote."""
        changed = [load_contract(mart.name) for mart in MARTS if any(scopes[s] for s in mart.scripts.values())]
        if not changed:
            return []
        audit = Audit.of_dates("refresh", *plan.dates, plan.refreshed_at)
        return guards(self._warehouse, changed, audit, of_references=False)

    def _scopes(self, plan: MartPlan) -> dict[Scope, list[dict[str, Any]]]:
        """What each run of a script is given, by scope."""
        touched, latest = plan.touched, plan.latest
        names = ("first_date", "last_date", "look_back_from")
        reach = {name: literal(getattr(touched, name)) for name in names} if touched else {}
        if touched:
            reach["day_before"] = literal(touched.first_date - timedelta(days=1))
            reach["day_after"] = literal(touched.last_date + timedelta(days=1))
        days = {"is_market": touched is not None, "sentiment_ranges": _literals(plan.sentiment)}
        newest = {"first_latest": literal(latest.first), "last_latest": literal(latest.last)} if latest else {}
        return {
            Scope.RENAMED: [{}] if plan.renamed else [],
            Scope.TOUCHED: [reach] if touched else [],
            Scope.SLICES: [{**reach, **_bounds(bounds)} for bounds in touched.slices] if touched else [],
            Scope.LATEST: [{"ranges": _literals(plan.market), "lost": latest.lost, **newest}] if latest else [],
            Scope.SENTIMENT: [_bounds(bounds) for bounds in plan.sentiment],
            Scope.TRADES: [_bounds(bounds) for bounds in plan.trades],
            Scope.DAYS: [{**days, **_bounds(plan.overview)}] if plan.overview else [],
        }

    def _taken_step(self, plan: MartPlan) -> str:
        taken = [(literal(p.batch_id), literal(p.table_name), literal(p.published_at)) for p in plan.publications]
        return self._render("taken.sql", publications=taken, refreshed_at=literal(plan.refreshed_at))

    def _render(self, path: str, **values: Any) -> str:
        folder, _, file = path.rpartition("/")
        columns = ", ".join(column.name for column in load_contract(folder).columns) if folder else ""
        return render(
            _FOLDER / folder / file,
            **self._warehouse.names(),
            columns=columns,
            look_back=LOOK_BACK_DAYS,
            bands=bands(),
            late_after_seconds=self._settings.market.late_after_seconds,
            signals=self._settings.signals,
            **values,
        )

    def refresh(self) -> Refresh:
        """Bring the marts in step with everything published so far; does nothing when nothing waits.

        Raises:
            WriteConflictError: a publish or another refresh was faster; nothing was written, try again.
            PublishBlockedError: a rule of severity error is broken in what was computed; nothing was written.
            TerminalError: a statement failed; nothing was written.
            TransientError: the warehouse does not answer, or not in time.
        """
        started, taken, dates = time.monotonic(), 0, []
        rows: dict[str, int] = {}
        while plan := self.plan():
            for name, count in self._run(plan).items():
                rows[name] = rows.get(name, 0) + count
            taken += len(plan.publications)
            dates += [(plan.touched.first_date, plan.touched.last_date)] if plan.touched else []
            if len(plan.publications) < MOST_PUBLICATIONS:
                break
        return Refresh(taken, rows, hull(dates) if dates else None, time.monotonic() - started)

    def verify(self, plan: MartPlan, run_id: str) -> list[Result]:
        """Run the rules of the marts' contracts on the dates of a refresh, and record what they found.

        Raises:
            PublishBlockedError: a rule of severity error is broken; readers see it already.
        """
        audit = Audit.of_dates(run_id, *plan.dates, self._clock())
        newest = {mart.name: _newest(plan, mart) for mart in MARTS}
        results = check_published(self._warehouse, [load_contract(mart.name) for mart in MARTS], audit, newest)
        refuse_if_blocked(results, Stage.PUBLISHED)
        return results

    def _run(self, plan: MartPlan) -> dict[str, int]:
        try:
            return {row["mart"]: row["n"] for row in self._warehouse.rows(self.script(plan)) if row["n"]}
        except TerminalError as error:
            if _OVERTAKEN in error.message:
                raise WriteConflictError(
                    "A publish came between the plan of the marts and their refresh.", "Try again."
                ) from error
            raise


def _newest(plan: MartPlan, mart: MartSpec) -> date | None:
    """The last date of which a refresh brought prices into a mart; the index brings none, a late snapshot no day."""
    if mart.reported is Scope.LATEST:
        return plan.latest.last if plan.latest else None
    if mart.reported is Scope.TRADES:
        return plan.trades[-1][1] if plan.trades else None
    return plan.touched.last_changed if plan.touched else None


def _scratch() -> dict[str, str]:
    """The columns of each table that a refresh has for itself, as DDL writes them."""
    asset = {"asset_id": "STRING", "quote_currency": "STRING"}
    days = {c.name: c.type for c in load_contract("market_daily").columns}
    known = ("date", "price", "market_cap", "total_volume", "price_source", "observed_at", "source_id", "batch_id")
    tables = {
        "marts_changed": asset | {"is_gone": "BOOL"} | {name: days[name] for name in known},
        "marts_touched": asset | {"first_date": "DATE", "last_date": "DATE"},
        "marts_renamed": asset | {"symbol": "STRING", "name": "STRING"},
        "marts_recomputed": days,
        "marts_scope": asset,
        "marts_latest": asset | {"last_date": "DATE"},
        "marts_days": {"date": "DATE"},
    }
    return {table: ", ".join(f"{name} {kind}" for name, kind in columns.items()) for table, columns in tables.items()}


def _literals(ranges: Iterable[Range]) -> list[tuple[str, str]]:
    return [(literal(first), literal(last)) for first, last in ranges]


def _bounds(bounds: Range) -> dict[str, str]:
    return {"first_date": literal(bounds[0]), "last_date": literal(bounds[1])}
