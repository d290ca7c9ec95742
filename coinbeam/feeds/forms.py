"""The trigger forms of the DAGs, as models: what a person may ask of a run, with its bounds and its words.

Airflow's form, and what the command line fills it with, are made from them.
"""

import re
from collections.abc import Iterable
from datetime import date
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from coinbeam.contracts.values import is_id
from coinbeam.errors import SettingsError
from coinbeam.settings import CallsPerDay, Currency, Settings, TopN, Universe

FIAT = frozenset(
    re.findall(
        r"\w+",
        "usd aed ars aud bdt bhd brl cad chf clp cny czk dkk eur gbp gel hkd huf idr ils inr jpy "
        "krw kwd lkr mmk mxn myr ngn nok nzd php pkr pln rub sar sek sgd thb twd uah vef vnd zar",
    )
)
"""Fiat currencies that the source quotes and whose code is no other word; a coin's symbol may be a currency too."""

CURRENCIES = FIAT.union(
    re.findall(r"\w+", "try btc eth ltc bch bnb eos xrp xlm link dot yfi sol xdr xag xau bits sats")
)
"""Every currency that the source quotes; a deployment may add its own."""

MOST_BY_DEFAULT = 250
"""Assets of a backfill that names none: each takes calls of its own."""


QuoteCurrency = Annotated[
    Currency, Field(title="Quote currency", description="Currency of all prices, a lower-case code.")
]


Refetch = Annotated[
    bool,
    Field(
        title="Fetch again",
        description="Put what was landed aside, below archive/, and ask the source once more: for a source that "
        "answered wrongly and is healed.",
    ),
]


class Form(BaseModel):
    """A form: its fields have a title and a description, and no default, since the deployment decides."""

    model_config = ConfigDict(extra="forbid")


class SnapshotForm(Form):
    """What may be asked of a snapshot."""

    universe: Universe = Field(
        title="Universe", description="Which assets: the whole market, the top N, ids, or a category."
    )
    ids: str | None = Field(
        title="Asset ids", description="CoinGecko ids, separated by commas. Only for the universe 'ids'."
    )
    top_n: TopN = Field(title="Top N", description="How many assets by market cap. Only for the universe 'top'.")
    category: str | None = Field(
        title="Category", description="CoinGecko category id. Only for the universe 'category'."
    )
    quote_currency: QuoteCurrency
    replay_date: date | None = Field(
        title="Replay date", description="A past day whose landed pages are read again. Empty: the present interval."
    )
    replay_batch: str | None = Field(
        title="Replay batch",
        description="A landed batch by its id, e.g. 20260102T0000Z-usd-all. It decides instant, currency and assets.",
    )
    snapshot_at: str | None = Field(
        title="Snapshot instant",
        description="ISO 8601 instant, e.g. 2026-01-02T03:00:00Z, when a date is not enough. Empty: from the schedule.",
    )
    source: str | None = Field(
        title="Files to replay",
        description="A glob of API bodies to read instead of the API. Only into a local warehouse.",
    )
    refetch: Refetch
    dry_run: bool = Field(
        title="Dry run", description="Show the plan (calls, minutes, rows, dollars) and stop. Nothing is changed."
    )


class BackfillForm(Form):
    """What may be asked of a backfill."""

    assets: str | None = Field(
        title="Asset ids", description="CoinGecko ids, separated by commas. Empty: the top N of the newest snapshot."
    )
    top_n: TopN = Field(title="Top N", description="How many assets by market cap, when no ids are given.")
    from_date: date | None = Field(
        title="From", description="First day. Empty: as far back as one call of the plan reaches; for files everything."
    )
    to_date: date | None = Field(title="To", description="Last day, included. Empty: the newest closed day.")
    quote_currency: QuoteCurrency
    only_gaps: bool = Field(
        title="Only gaps", description="Ask only for days that have no row and that the source was never asked for."
    )
    source: str | None = Field(
        title="Files to read",
        description="A glob of landed bodies or CSV exports to read instead of asking; no call is made.",
    )
    asset_of: str | None = Field(
        title="Assets of the files",
        description="file=asset pairs, separated by commas, e.g. btc-usd-max.csv=bitcoin. Only for files that do not "
        "tell.",
    )
    time_zone: str | None = Field(
        title="Time zone of the files",
        description="The zone of stamps that name none: UTC, or an IANA name such as Europe/Berlin.",
    )
    replay_batch: str | None = Field(
        title="Replay batch",
        description="A batch of an earlier backfill by its id, read again from landing; no call is made. It decides "
        "assets and days.",
    )
    calls_per_day: CallsPerDay = Field(
        title="Calls per day",
        description="Most calls that backfills spend on one UTC day. The month's plan is a bound of its own.",
    )
    refetch: Refetch
    dry_run: bool = Field(
        title="Dry run", description="Show the plan (calls, days of quota, minutes, rows, dollars) and stop."
    )


class StreamAction(StrEnum):
    """What may be done with a streaming job: start it where none runs, put another release in its place, end it."""

    CHECK = "check"
    UPDATE = "update"
    STOP = "stop"


class StreamForm(Form):
    """What may be asked of the live trades."""

    date: Annotated[
        date | None,
        Field(title="Day", description="The UTC day to settle. Empty: the day before the run."),
    ]
    action: StreamAction = Field(
        title="Job",
        description="check: start the streaming job where none runs, and settle the day. update: put this release in "
        "its place. stop: drain it; the next check starts it again. The last two settle nothing.",
    )


class IndexForm(Form):
    """What may be asked of the Fear & Greed index."""

    source: str | None = Field(
        title="Files to read", description="A glob of landed bodies or CSV files (date,fng) to read instead of asking."
    )
    refetch: Refetch


def check_ids(ids: Iterable[str]) -> None:
    """Refuse texts that no source sends as ids.

    Raises:
        SettingsError: one of them is none.
    """
    if strange := [one for one in ids if not is_id(one)]:
        raise SettingsError(
            f"{', '.join(map(repr, strange))} is no id of an asset.", "Ids of CoinGecko look like bitcoin."
        )


def check_currency(currency: str, settings: Settings) -> None:
    """Refuse a quote currency that the forms do not offer, before anything starts.

    Raises:
        SettingsError: neither the source nor the deployment has it; the text lists those that there are.
    """
    if currency not in (known := currencies(settings)):
        raise SettingsError(f"quote_currency is {currency!r}.", f"Give one of: {', '.join(known)}.")


def currencies(settings: Settings) -> list[str]:
    """The quote currencies that a run may have, sorted: those of the source, and the deployment's own."""
    return sorted({*CURRENCIES, settings.market.quote_currency})


def form_defaults(form: type[Form], settings: Settings) -> dict[str, Any]:
    """What each field of a form is when nobody fills it: what the settings say, or empty."""
    market = settings.market
    said = {
        "universe": market.universe.value,
        "ids": ",".join(market.ids) or None,
        "top_n": min(market.top_n, MOST_BY_DEFAULT) if form is BackfillForm else market.top_n,
        "category": market.category,
        "quote_currency": market.quote_currency,
        "only_gaps": False,
        "refetch": False,
        "calls_per_day": settings.history.calls_per_day,
        "action": StreamAction.CHECK.value,
        "dry_run": form is BackfillForm,  # years of calls are looked at first
    }
    return {name: said.get(name) for name in form.model_fields}
