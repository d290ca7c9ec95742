"""The market: its size, its breadth, and its largest coins."""

import pandas as pd
import streamlit as st

from serving.dashboard import figures, formats
from serving.dashboard.context import Context
from serving.dashboard.market import MOST_COINS, coins, matching, overview, sparklines, sums
from serving.dashboard.palette import Palette

_TABLE_PIXELS = 620
_CHANGES = {
    "price_change_percentage_1h": "1 h",
    "price_change_percentage_24h": "24 h",
    "price_change_percentage_7d": "7 d",
}


def show(context: Context) -> None:
    """Show the page."""
    st.title("Market")
    days = context.made(overview, context.currency)
    every = context.made(coins, context.currency)
    if len(days):
        _show_overview(context, days)
    elif len(every):
        _show_sums(context, sums(every), None)
        st.caption("Sums over the newest price of each coin: the market has no closed day yet.")
    _show_coins(context, every)


def _show_overview(context: Context, days: pd.DataFrame) -> None:
    now = days.iloc[-1]
    _show_sums(context, now, days.iloc[-2] if len(days) > 1 else None)
    st.caption(
        f"The market at 00:00 UTC of {formats.day(now['date'])}, over the {formats.count(now['covered_assets'])} coins "
        "with a market cap; changes since the day before."
    )
    if len(days) > 1:
        alt = "Line of the market cap of all coins, day by day"
        chart = figures.market_chart(days, context.currency, context.colours)
        st.plotly_chart(chart, config=figures.CONFIG, alt=alt)


def _show_sums(context: Context, now: pd.Series, before: pd.Series | None) -> None:
    currency = context.currency
    first, second, third, fourth, fifth, sixth = st.columns(6)
    first.metric(
        "Market cap", formats.amount(now["total_market_cap"], currency), _change(now, before, "total_market_cap")
    )
    second.metric("Volume, 24 h", formats.amount(now["total_volume"], currency), _change(now, before, "total_volume"))
    third.metric("Bitcoin", formats.share(now["bitcoin_dominance_percentage"]), help="Share of the market cap")
    fourth.metric("Ethereum", formats.share(now["ethereum_dominance_percentage"]), help="Share of the market cap")
    fifth.metric("Advancers ▲", formats.count(now["advancers"]), help="Coins whose price rose since the day before")
    sixth.metric("Decliners ▼", formats.count(now["decliners"]), help="Coins whose price fell since the day before")


def _change(now: pd.Series, before: pd.Series | None, column: str) -> str | None:
    """The change of a sum since the day before, when both are known."""
    if before is None or formats.is_missing(now[column]) or formats.is_missing(before[column]) or not before[column]:
        return None
    return f"{100 * (now[column] / before[column] - 1):+,.2f}%"


def _show_coins(context: Context, every: pd.DataFrame) -> None:
    st.header("Coins")
    find, pick = st.columns(2)
    text = (
        find.text_input("Find", key="find", bind="query-params", placeholder="Name, symbol or id", type="search") or ""
    )
    found = matching(every, text)
    shown = found.head(MOST_COINS).reset_index(drop=True)
    if shown.empty:
        st.info(f"No coin is called {text!r}." if text else "There is no coin yet: `coinbeam run` brings some.")
        return
    names = dict(zip(shown["asset_id"], shown["name"], strict=True))
    picked = pick.selectbox(
        "Open",
        list(names),
        index=None,
        format_func=lambda one: f"{names[one]} ({one})",
        placeholder="A coin of the table",
    )
    chosen = st.dataframe(
        _styled(table(context, shown), context),
        hide_index=True,
        height=_TABLE_PIXELS if len(shown) > 16 else "content",
        on_select="rerun",
        selection_mode="single-row",
        column_config={
            "Rank": st.column_config.NumberColumn(width=55),
            "Name": st.column_config.TextColumn(width=165),
            "Price": st.column_config.NumberColumn(width=110),
            "Last 7 days": st.column_config.LineChartColumn(width=115),
        },
        key="coins",
        alt="Table of coins, the largest first",
    )
    st.caption(
        f"{formats.count(len(shown))} of {formats.count(len(found))} coins. Tick a row to open its page; Age is that "
        "of the price."
    )
    rows = chosen["selection"]["rows"]
    if picked or rows:
        context.open_coin(picked or shown["asset_id"][rows[0]])


def table(context: Context, shown: pd.DataFrame) -> pd.DataFrame:
    """The columns of the table of coins, under the heads that people read."""
    names = zip(shown["name"], shown["symbol"].fillna("").str.upper(), strict=True)
    return pd.DataFrame(
        {
            "Rank": shown["market_cap_rank"],
            "Name": [name if name.upper() == symbol else f"{name} {symbol}".strip() for name, symbol in names],
            "Price": shown["price"],
            **{head: shown[name] for name, head in _CHANGES.items()},
            "Market cap": shown["market_cap"],
            "Volume, 24 h": shown["total_volume"],
            "Last 7 days": sparklines(context.bundle, context.currency, shown["asset_id"].tolist()),
            "Age": [formats.age(context.now - moment) for moment in shown["price_at"]],
        }
    )


def _styled(rows: pd.DataFrame, context: Context) -> "pd.io.formats.style.Styler":
    currency = context.currency
    style = rows.style.format(formats.count, subset=["Rank"])
    style = style.format(lambda value: formats.price(value, currency), subset=["Price"])
    style = style.format(lambda value: formats.amount(value, currency), subset=["Market cap", "Volume, 24 h"])
    return coloured(style, list(_CHANGES.values()), context.colours)


def coloured(style: "pd.io.formats.style.Styler", columns: list[str], colours: Palette) -> "pd.io.formats.style.Styler":
    """Changes with their arrow and sign, in the colour of their direction."""

    def css(value: float) -> str:
        of_arrow = {"▲": colours.up, "▼": colours.down}
        colour = of_arrow.get(formats.percent(value)[0])
        return f"color: {colour}" if colour else ""

    return style.format(formats.percent, subset=columns).map(css, subset=columns)
