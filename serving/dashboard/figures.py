"""Charts. Each is made of numbers alone; the page gives it the colours of its mode."""

from collections.abc import Sequence
from dataclasses import dataclass
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


@dataclass(frozen=True)
class Panel:
    """A chart below that of the price, with the same days.

    Attributes:
        lines: columns of a day by the name of their line.
        form: of its numbers, as d3 writes it.
        height: beside that of the price, which is 1.
    """

    title: str
    lines: dict[str, str]
    form: str
    height: float = 0.32

    def is_empty(self, days: pd.DataFrame) -> bool:
        """Whether it would show nothing."""
        return bool(days[list(self.lines.values())].isna().all(axis=None))


_VOLUME = Panel("Volume, 24 h", {"Volume": "total_volume"}, "", 0.28)
_STRENGTH = Panel("RSI, 14 days", {"RSI": "rsi_14d"}, ".1f")
_VOLATILITY = Panel(
    "Volatility of the returns, a year",
    {"Volatility, 7 days": "realized_volatility_7d", "Volatility, 30 days": "realized_volatility_30d"},
    ".0%",
)
_DRAWDOWN = Panel("Drawdown from the highest price here", {"Drawdown": "drawdown_percentage"}, ".1f")
_PRICE_PIXELS = 400


def coin_chart(days: pd.DataFrame, prices: pd.Series, currency: str, colours: Palette) -> go.Figure:
    """Price with its averages and signals, and below it volume, strength, volatility and drawdown, as far as there are
    any.
    """
    panels = [one for one in (_VOLUME, _STRENGTH, _VOLATILITY, _DRAWDOWN) if not one.is_empty(days)]
    figure = make_subplots(
        rows=1 + len(panels),
        shared_xaxes=True,
        vertical_spacing=0.05,
        row_heights=[1.0, *(panel.height for panel in panels)],
        subplot_titles=["", *(panel.title for panel in panels)],
    )
    _draw_price(figure, days, prices, currency, colours)
    for row, panel in enumerate(panels, 2):
        _draw_panel(figure, row, panel, days, currency, colours)
    figure.update_annotations(xanchor="left", x=0, font_size=13)  # the titles of the panels
    figure.update_xaxes(type="date")
    figure.update_yaxes(exponentformat="none", row=1, col=1)
    figure.update_layout(hovermode="x unified", separators=".,")
    return _finished(figure, round(_PRICE_PIXELS * (1.2 + sum(1.35 * panel.height for panel in panels))))


def _draw_price(figure: go.Figure, days: pd.DataFrame, prices: pd.Series, currency: str, colours: Palette) -> None:
    for name, values, colour, dash, width in (
        ("Price", prices, colours.line, "solid", 2.2),
        ("Average of 7 days", days["sma_7d"], colours.fast, "dash", 1.5),
        ("Average of 30 days", days["sma_30d"], colours.slow, "dot", 1.8),
    ):
        if values.notna().any():
            figure.add_scatter(
                x=values.index,
                y=values,
                customdata=[formats.price(value, currency) for value in values],
                hovertemplate="%{customdata}",
                name=name,
                mode="lines" if len(values) > 1 else "markers",
                line={"color": colour, "dash": dash, "width": width},
                marker_size=9,
                row=1,
                col=1,
            )
    for signal, value, label, symbol, colour in (
        ("signal", "BUY", "Turns to BUY", "triangle-up", colours.rise),
        ("signal", "SELL", "Turns to SELL", "triangle-down", colours.fall),
        ("combined_signal", "POTENTIAL_BUY", "Turns to POTENTIAL_BUY", "star-triangle-up", colours.rise),
        ("combined_signal", "POTENTIAL_SELL", "Turns to POTENTIAL_SELL", "star-triangle-down", colours.fall),
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
                marker={"symbol": symbol, "size": 9 if signal == "signal" else 13, "color": colour},
                row=1,
                col=1,
            )


def _draw_panel(figure: go.Figure, row: int, panel: Panel, days: pd.DataFrame, currency: str, colours: Palette) -> None:
    place = {"row": row, "col": 1}
    if panel is _VOLUME:
        amounts = [formats.amount(value, currency) for value in days["total_volume"]]
        figure.add_bar(
            x=days.index,
            y=days["total_volume"],
            customdata=amounts,
            hovertemplate="%{customdata}",
            name="Volume",
            marker={"color": colours.quiet, "opacity": 0.7},
            showlegend=False,
            **place,
        )
        figure.update_yaxes(exponentformat="B", nticks=4, **place)
        return
    unit = "%" if panel is _DRAWDOWN else ""
    styles = ((colours.fast, "dash"), (colours.slow, "dot")) if len(panel.lines) > 1 else ((colours.line, "solid"),)
    for (name, column), (colour, dash) in zip(panel.lines.items(), styles, strict=True):
        figure.add_scatter(
            x=days.index,
            y=days[column],
            name=name,
            hovertemplate=f"%{{y:{panel.form}}}{unit}",
            mode="lines",
            fill="tozeroy" if panel is _DRAWDOWN else None,
            line={"color": colour, "dash": dash, "width": 1.6},
            showlegend=False,
            **place,
        )
    if panel is _STRENGTH:
        figure.update_yaxes(range=[0, 100], tickvals=[_OVERSOLD, 50, _OVERBOUGHT], **place)
        for bound in (_OVERSOLD, _OVERBOUGHT):
            figure.add_hline(y=bound, line={"color": colours.quiet, "dash": "dot", "width": 1}, **place)
    elif panel is _VOLATILITY:
        figure.update_yaxes(tickformat=".0%", rangemode="tozero", nticks=4, **place)
    else:
        figure.update_yaxes(ticksuffix="%", nticks=4, **place)


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
            annotation_position="outside right",
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
    return _finished(figure, 460).update_layout(margin_r=96)


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
        legend={"orientation": "h", "yanchor": "bottom", "y": 1.02, "x": 0, "font_size": 12},
        uirevision="kept",  # a zoom survives the next version
    )
    return figure
