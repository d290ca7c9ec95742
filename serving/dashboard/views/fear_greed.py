"""The Fear & Greed index: its present value and its days."""

from datetime import timedelta

import pandas as pd
import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from serving.dashboard import coin, figures, formats
from serving.dashboard.context import Context
from serving.dashboard.market import fear_greed


def show(context: Context) -> None:
    """Show the page."""
    st.title("Fear & Greed")
    index = context.made(fear_greed)
    if index.empty:
        st.info("There is no index yet: `coinbeam fear-greed` brings it.")
        return
    newest = index.iloc[-1]
    now, week, month, year = st.columns(4)
    _show_value(now, "Now", newest)
    for column, label, days in (
        (week, "A week before", 7),
        (month, "A month before", 30),
        (year, "A year before", 365),
    ):
        past = index[index["date"] == newest["date"] - timedelta(days=days)]
        _show_value(column, label, None if past.empty else past.iloc[0])
    chosen = st.segmented_control(
        "Days",
        list(coin.RANGES),
        default="365",
        required=True,
        key="days",
        bind="query-params",
    )
    span = coin.RANGES[chosen or "365"]
    kept = index if span is None else index[index["date"] > newest["date"] - timedelta(days=span)]
    st.plotly_chart(
        figures.fear_greed_chart(kept, context.colours),
        config=figures.CONFIG,
        alt="Line of the index over its five bands",
    )
    st.caption(f"0 is extreme fear, 100 extreme greed. The newest value is of {formats.day(newest['date'])}, UTC.")


def _show_value(column: DeltaGenerator, label: str, day: pd.Series | None) -> None:
    if day is None:
        column.metric(label, formats.MISSING)
    else:
        column.metric(label, int(day["value"]), day["classification"], delta_color="off", delta_arrow="off")
