"""Charts. Each is made of numbers alone; the page gives it the colours of its mode."""

from collections.abc import Sequence
from itertools import pairwise

import pandas as pd
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from coinbeam.batch.tables import FEAR_GREED_FACT
from coinbeam.contracts import load_contract
from serving.dashboard import coin, formats
from serving.dashboard.palette import BANDS, Palette

CONFIG = {"displaylogo": False, "modeBarButtonsToRemove": ["lasso2d", "select2d"], "responsive": True}
"""What a reader may do with a chart."""

_OVERSOLD, _OVERBOUGHT = 30, 70
"""Bounds of the relative strength index. Source: Wilder, New Concepts in Technical Trading Systems, 1978."""

_PANELS = ("Price", "Volume, 24 h", "RSI, 14 days", "Volatility of the returns, a year", "Drawdown")
_HEIGHTS = (0.44, 0.13, 0.14, 0.15, 0.14)


def coin_chart(days: pd.DataFrame, prices: pd.Series, currency: str, colours: Palette) -> go.Figure:
    """Price with its averages and signals, and below it volume, strength, volatility and drawdown of the same days."""
    figure = make_subplots(
        rows=len(_PANELS),
        shared_xaxes=True,
        vertical_spacing=0.045,
        row_heights=_HEIGHTS,
        subplot_titles=_PANELS,
    )
    _draw_price(figure, days, prices, currency, colours)
    amounts = [formats.amount(value, currency) for value in days["total_volume"]]
    figure.add_bar(
        x=days.index,
        y=days["total_volume"],
        customdata=amounts,
        hovertemplate="%{customdata}",
        name="Volume",
        marker_color=colours.quiet,
        showlegend=False,
        row=2,
        col=1,
    )
    _draw_indicators(figure, days, colours)
    figure.update_annotations(xanchor="left", x=0, font_size=13)  # the titles of the panels
    figure.update_yaxes(exponentformat="B", tickfont_size=12)
    figure.update_yaxes(range=[0, 100], tickvals=[_OVERSOLD, 50, _OVERBOUGHT], row=3, col=1)
    figure.update_yaxes(tickformat=",.4~r", row=1, col=1)
    figure.update_yaxes(tickformat=".0%", rangemode="tozero", row=4, col=1)
    figure.update_yaxes(ticksuffix="%", row=5, col=1)
    figure.update_layout(hovermode="x unified", barmode="overlay")
    return _finished(figure, 920)


def _draw_price(figure: go.Figure, days: pd.DataFrame, prices: pd.Series, currency: str, colours: Palette) -> None:
    for name, values, colour, dash, width in (
        ("Price", prices, colours.line, "solid", 2.2),
        ("Average of 7 days", days["sma_7d"], colours.fast, "dash", 1.5),
        ("Average of 30 days", days["sma_30d"], colours.slow, "dot", 1.8),
    ):
        figure.add_scatter(
            x=values.index,
            y=values,
            customdata=[formats.price(value, currency) for value in values],
            hovertemplate="%{customdata}",
            name=name,
            mode="lines" if len(values) > 1 else "lines+markers",
            line={"color": colour, "dash": dash, "width": width},
            row=1,
            col=1,
        )
    for signal, value, label, symbol, colour in (
        ("signal", "BUY", "Signal turns to BUY", "triangle-up", colours.rise),
        ("signal", "SELL", "Signal turns to SELL", "triangle-down", colours.fall),
        ("combined_signal", "POTENTIAL_BUY", "With the index: potential buy", "star-triangle-up", colours.rise),
        ("combined_signal", "POTENTIAL_SELL", "With the index: potential sell", "star-triangle-down", colours.fall),
    ):
        turned = coin.turns(days, signal)
        turned = turned[turned[signal] == value]
        if len(turned):
            figure.add_scatter(
                x=turned.index,
                y=turned["price"],
                name=label,
                hovertemplate=label,
                mode="markers",
                marker={"symbol": symbol, "size": 10 if signal == "signal" else 13, "color": colour},
                row=1,
                col=1,
            )


def _draw_indicators(figure: go.Figure, days: pd.DataFrame, colours: Palette) -> None:
    for row, column, label, form, colour, dash in (
        (3, "rsi_14d", "RSI", ".1f", colours.line, "solid"),
        (4, "realized_volatility_7d", "Volatility, 7 days", ".0%", colours.fast, "dash"),
        (4, "realized_volatility_30d", "Volatility, 30 days", ".0%", colours.slow, "dot"),
        (5, "drawdown_percentage", "Drawdown", ".1f", colours.fall, "solid"),
    ):
        figure.add_scatter(
            x=days.index,
            y=days[column],
            name=label,
            hovertemplate=f"%{{y:{form}}}{'%' if row == 5 else ''}",
            mode="lines",
            fill="tozeroy" if row == 5 else None,
            line={"color": colour, "dash": dash, "width": 1.6},
            showlegend=False,
            row=row,
            col=1,
        )
    for bound in (_OVERSOLD, _OVERBOUGHT):
        figure.add_hline(y=bound, line={"color": colours.quiet, "dash": "dot", "width": 1}, row=3, col=1)


def market_chart(overview: pd.DataFrame, currency: str, colours: Palette) -> go.Figure:
    """The market cap of all coins."""
    figure = go.Figure()
    figure.add_scatter(
        x=overview["date"],
        y=overview["total_market_cap"],
        customdata=[formats.amount(value, currency) for value in overview["total_market_cap"]],
        hovertemplate="%{x|%Y-%m-%d}<br>%{customdata}<extra></extra>",
        mode="lines" if len(overview) > 1 else "markers",
        line={"color": colours.line, "width": 2.2},
    )
    figure.update_yaxes(exponentformat="B")
    return _finished(figure, 260)


def fear_greed_chart(index: pd.DataFrame, colours: Palette) -> go.Figure:
    """The index of each day over its bands."""
    figure = go.Figure()
    bands = load_contract(FEAR_GREED_FACT).by_name["classification"].bands
    bounds = pairwise([0, *(band.up_to for band in bands)])
    for band, (low, high), colour in zip(bands, bounds, BANDS, strict=True):
        figure.add_hrect(
            y0=low,
            y1=high,
            fillcolor=colour,
            opacity=0.16,
            line_width=0,
            layer="below",
            annotation={"text": band.name, "font_size": 12},
            annotation_position="inside left",
        )
    figure.add_scatter(
        x=index["date"],
        y=index["value"],
        customdata=index["classification"],
        hovertemplate="%{x|%Y-%m-%d}<br>%{y}, %{customdata}<extra></extra>",
        mode="lines" if len(index) > 1 else "markers",
        line={"color": colours.line, "width": 2},
    )
    figure.update_yaxes(range=[0, 100], tickvals=[0, *(band.up_to for band in bands)], showgrid=False)
    return _finished(figure, 460)


def movers_chart(names: Sequence[str], changes: Sequence[float], colours: Palette) -> go.Figure:
    """What rose to the right, what fell to the left, the largest rise at the top."""
    figure = go.Figure()
    figure.add_bar(
        orientation="h",
        y=list(range(len(names))),
        x=list(changes),
        text=[formats.percent(change) for change in changes],
        textposition="outside",
        cliponaxis=False,
        hovertemplate="%{text}<extra></extra>",
        marker_color=[colours.rise if change > 0 else colours.fall for change in changes],
    )
    widest = max((abs(change) for change in changes), default=1)
    figure.update_yaxes(tickvals=list(range(len(names))), ticktext=list(names), autorange="reversed", showgrid=False)
    figure.update_xaxes(ticksuffix="%", range=[-1.3 * widest, 1.3 * widest], zeroline=True)
    return _finished(figure, 120 + 30 * len(names))


def _finished(figure: go.Figure, height: int) -> go.Figure:
    figure.update_layout(
        height=height,
        margin={"l": 8, "r": 8, "t": 36, "b": 8},
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.03, "x": 0.12, "font_size": 12},
        uirevision="kept",  # a zoom survives the next version
    )
    return figure
