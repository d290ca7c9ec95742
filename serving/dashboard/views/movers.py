"""What rose and fell most, and what is new among the largest."""

import pandas as pd
import streamlit as st

from serving.dashboard import figures, formats
from serving.dashboard.context import Context
from serving.dashboard.market import entrants, movers
from serving.dashboard.views.market import coloured

_SPANS = ("1", "7", "30")
_DRAWN = 10
"""So many of each direction are drawn; the tables have all."""


def show(context: Context) -> None:
    """Show the page."""
    st.title("Movers")
    chosen = st.segmented_control(
        "Change over days",
        _SPANS,
        default=_SPANS[0],
        required=True,
        key="over",
        bind="query-params",
    )
    found = context.made(movers, context.currency, int(chosen or _SPANS[0]))
    if found.empty:
        st.info("Nothing moved: a change needs a price on both of its days. `coinbeam backfill` brings past days.")
    else:
        _show_movers(context, found)
    st.header("New among the largest")
    _show_entrants(context)


def _show_movers(context: Context, found: pd.DataFrame) -> None:
    drawn = found[found["position"] <= _DRAWN]
    ordered = drawn.sort_values("price_change_percentage", ascending=False)
    names = [f"{name or asset_id}" for name, asset_id in zip(ordered["name"], ordered["asset_id"], strict=True)]
    st.plotly_chart(
        figures.movers_chart(names, ordered["price_change_percentage"].tolist(), context.colours),
        config=figures.CONFIG,
        alt="Bars of what rose, to the right, and of what fell, to the left",
    )
    st.caption(f"Up to 00:00 UTC of {formats.day(found['date'].iloc[0])}, among the largest coins of that day.")
    for column, title, direction in zip(st.columns(2), ("Gainers ▲", "Losers ▼"), ("up", "down"), strict=True):
        with column:
            st.subheader(title)
            _show_rows(context, found[found["direction"] == direction], direction)


def _show_rows(context: Context, rows: pd.DataFrame, key: str) -> None:
    if rows.empty:
        st.info("None.")
        return
    shown = pd.DataFrame(
        {
            "Rank": rows["market_cap_rank"],
            "Name": rows["name"].fillna(rows["asset_id"]),
            "Price": rows["price"],
            "Change": rows["price_change_percentage"],
            "Volume": rows["total_volume"],
        }
    )
    style = shown.style.format(lambda value: formats.price(value, context.currency), subset=["Price"])
    style = style.format(lambda value: formats.amount(value, context.currency), subset=["Volume"])
    style = style.format(formats.count, subset=["Rank"])
    _open_chosen(context, coloured(style, ["Change"], context.colours), rows["asset_id"].tolist(), key)


def _show_entrants(context: Context) -> None:
    rows = context.made(entrants, context.currency)
    if rows.empty:
        st.info("None entered the largest 10, 25, 50, 100 or 250 on the newest day.")
        return
    shown = pd.DataFrame(
        {
            "Name": rows["name"].fillna(rows["asset_id"]),
            "Now among the largest": rows["top"],
            "Rank": rows["market_cap_rank"],
            "Rank the day before": rows["previous_rank"],
            "Price": rows["price"],
            "Market cap": rows["market_cap"],
        }
    )
    style = shown.style.format(lambda value: formats.price(value, context.currency), subset=["Price"])
    style = style.format(lambda value: formats.amount(value, context.currency), subset=["Market cap"])
    style = style.format(formats.count, subset=["Rank the day before"])
    _open_chosen(context, style, rows["asset_id"].tolist(), "entrants")


def _open_chosen(context: Context, style: "pd.io.formats.style.Styler", asset_ids: list[str], key: str) -> None:
    chosen = st.dataframe(style, hide_index=True, on_select="rerun", selection_mode="single-row", key=key)
    rows = chosen["selection"]["rows"]
    if rows:
        context.open_coin(asset_ids[rows[0]])
