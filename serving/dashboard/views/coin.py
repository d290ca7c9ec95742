"""One coin: key figures, and its price with all that is made of it."""

from typing import Any

import pandas as pd
import streamlit as st

from serving.dashboard import coin, figures, formats
from serving.dashboard.context import Context
from serving.dashboard.market import coins, names

_DEFAULT_RANGE = "90"


def show(context: Context) -> None:
    """Show the page."""
    known = context.made(names)
    wanted = st.query_params.get("id") or _largest(context)
    if wanted is None:
        st.title("Coin")
        st.info("There is no coin yet: `coinbeam run` brings some.")
        return
    _show_choice(context, known, wanted)
    if wanted not in context.bundle.numbers:
        st.title("Unknown coin")
        st.info(
            f"{known[wanted]} is listed, but has no price in this warehouse yet."
            if wanted in known
            else f"No coin has the id `{wanted}`. Ids are those of CoinGecko, such as `bitcoin`; the page Market "
            "finds them."
        )
        return
    _show_coin(context, wanted, known.get(wanted, wanted))


def _largest(context: Context) -> str | None:
    every = context.made(coins, context.currency)
    return None if every.empty else str(every["asset_id"][0])


def _show_choice(context: Context, known: dict[str, str], wanted: str) -> None:
    every = context.made(coins, context.currency)["asset_id"].tolist()
    options = every if wanted in every else [wanted, *every]
    chosen = st.selectbox(
        "Coin", options, index=options.index(wanted), format_func=lambda one: f"{known.get(one, one)} ({one})"
    )
    if chosen != wanted:
        context.open_coin(chosen)


def _show_coin(context: Context, asset_id: str, name: str) -> None:
    newest = context.made(coin.row, "latest_prices", context.currency, asset_id)
    symbol = (newest.get("symbol") or "").upper()
    st.title(f"{name} {symbol}".strip())
    chosen = st.segmented_control(
        "Days",
        list(coin.RANGES),
        default=_DEFAULT_RANGE,
        required=True,
        key="days",
        bind="query-params",
    )
    span = coin.RANGES[chosen or _DEFAULT_RANGE]
    first = coin.since(span, context.now)
    days = context.made(coin.days, context.currency, asset_id, first)
    prices = days["price"]
    if days.empty or (span is not None and span <= coin.HOURLY_DAYS):
        prices = context.made(coin.prices, context.currency, asset_id, first)
    _show_figures(context, asset_id, newest, days)
    if prices.dropna().empty:
        st.info("There is no price in these days. A longer range may have some.")
        return
    st.plotly_chart(
        figures.coin_chart(days, prices, context.currency, context.colours),
        config=figures.CONFIG,
        alt=f"Price, averages, signals, volume, strength, volatility and drawdown of {name}",
    )
    st.caption(
        "Averages, strength and volatility are of closed days at 00:00 UTC; a day without a price is a gap in the "
        "line. Marks are the days on which a signal changed."
    )
    with st.expander("The days as a table"):
        st.dataframe(_table(days, context.currency), alt=f"The days of {name}")


def _show_figures(context: Context, asset_id: str, newest: dict[str, Any], days: pd.DataFrame) -> None:
    currency = context.currency
    seen = context.made(coin.snapshot, currency, asset_id)
    past = context.made(coin.row, "asset_stats", currency, asset_id)
    today = days.iloc[-1].to_dict() if len(days) else {}
    price, cap, volume, strength = st.columns(4)
    change = newest.get("price_change_percentage_24h")
    price.metric(
        "Price",
        formats.price(newest.get("price"), currency),
        None if formats.is_missing(change) else f"{change:+,.2f}%",
        help=f"As of {formats.instant(newest.get('price_at'))}; the change is of 24 hours",
    )
    rank = newest.get("market_cap_rank")
    cap.metric("Market cap" + (f", rank {rank}" if rank else ""), formats.amount(newest.get("market_cap"), currency))
    volume.metric("Volume, 24 h", formats.amount(newest.get("total_volume"), currency))
    rsi = today.get("rsi_14d")
    strength.metric("RSI, 14 days", formats.MISSING if formats.is_missing(rsi) else f"{rsi:.1f}")
    facts = coin.facts(currency, seen, past, today)
    for column, (title, known) in zip(st.columns(len(facts)), facts.items(), strict=True):
        lines = [f"**{title}**", *(f":gray[{name}] {_escaped(text)}" for name, text in known.items())]
        column.markdown("  \n".join(lines))


def _escaped(text: str) -> str:
    """A text that Markdown leaves as it is: two dollars would be a formula."""
    return text.replace("$", "\\$").replace("_", "\\_")


def _table(days: pd.DataFrame, currency: str) -> "pd.io.formats.style.Styler":
    rows = pd.DataFrame(
        {
            "Day": days.index.strftime("%Y-%m-%d"),
            "Price": days["price"].to_numpy(),
            "Average, 7 days": days["sma_7d"].to_numpy(),
            "Average, 30 days": days["sma_30d"].to_numpy(),
            "RSI": days["rsi_14d"].to_numpy(),
            "Signal": days["signal"].to_numpy(),
            "Volume": days["total_volume"].to_numpy(),
        }
    ).iloc[::-1]
    style = rows.style.format(
        lambda value: formats.price(value, currency), subset=["Price", "Average, 7 days", "Average, 30 days"]
    )
    style = style.format(lambda value: formats.amount(value, currency), subset=["Volume"])
    return style.format(lambda value: formats.MISSING if formats.is_missing(value) else f"{value:.1f}", subset=["RSI"])
