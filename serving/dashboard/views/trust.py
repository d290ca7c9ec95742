"""Whether the numbers deserve trust, for whoever is on call."""

from typing import Any

import pandas as pd
import streamlit as st

from serving.dashboard import formats, trust
from serving.dashboard.context import Context
from serving.dashboard.market import MOST_COINS

_STATES = {"fresh": "✓ fresh", "stale": "! stale", "too old": "✕ too old", "empty": "✕ empty", "missing": "✕ missing"}


def show(context: Context) -> None:
    """Show the page."""
    st.title("Trust")
    blocks = context.made(trust.status)
    found = context.made(trust.quality)
    broken = found[found["status"] != "passed"]
    complaints = trust.complaints(blocks, int((broken["status"] != "warning").sum()), context.now)
    if complaints:
        st.error("Needs a look: " + "; ".join(complaints) + ".", icon=":material/error:")
    else:
        st.success("Every table is fresh, no batch is unresolved, no rule failed.", icon=":material/check_circle:")
    if not blocks:
        st.info(
            "This version was made by an older release and says nothing of the warehouse. `coinbeam bundle` makes one."
        )
    for block in blocks:
        if block["title"] == trust.FRESHNESS:
            _show_freshness(context, block)
    _show_quality(found, broken)
    _show_gaps(context)
    others = [block for block in blocks if block["title"] != trust.FRESHNESS]
    for block in others:
        if block["rows"]:
            _show_block(block["title"], block["rows"], block["columns"])
    empty = [block["title"].lower() for block in others if not block["rows"]]
    if empty:
        st.subheader("Empty")
        st.write(f"There is nothing in: {', '.join(empty)}.")
    _show_version(context)


def _show_freshness(context: Context, block: dict[str, Any]) -> None:
    rows = trust.freshness(block["rows"], context.now)
    told = [row | {"state": _STATES.get(row["state"], row["state"])} for row in rows]
    _show_block(block["title"], told, block["columns"])
    st.caption(f"Ages as of {formats.instant(context.now)}; the tables are those of the version that is shown.")


def _show_block(title: str, rows: list[dict[str, Any]], columns: list[str]) -> None:
    st.subheader(title)
    st.dataframe(trust.cells(rows, columns), hide_index=True, alt=title)


def _show_quality(found: pd.DataFrame, broken: pd.DataFrame) -> None:
    st.subheader("Quality")
    st.write(
        f"{formats.count(len(found))} results in the last days: {formats.count(len(found) - len(broken))} passed, "
        f"{formats.count((broken['status'] == 'warning').sum())} warned, "
        f"{formats.count((broken['status'] != 'warning').sum())} failed."
        if len(found)
        else "No rule ran in the last days."
    )
    if broken.empty:
        return
    shown = pd.DataFrame(
        {
            "Checked": [formats.instant(moment) for moment in broken["checked_at"]],
            "Status": ["! warning" if status == "warning" else f"✕ {status}" for status in broken["status"]],
            "Table": broken["table_name"],
            "Rule": broken["rule"],
            "Found": [formats.MISSING if formats.is_missing(value) else f"{value:,g}" for value in broken["value"]],
            "Wanted": broken["threshold"],
            "Sample": [trust.sample(text) for text in broken["failing_sample"]],
            "Meaning": broken["message"],
            "Batch": broken["batch_id"],
        }
    )
    st.dataframe(shown, hide_index=True, alt="Rules that warned or failed, the newest first")


def _show_gaps(context: Context) -> None:
    st.subheader("Days without a price")
    found = context.made(trust.gaps, context.currency, context.now.date())
    if found.empty and not any(grid.kind == "charts" for grid in context.bundle.manifest.grids):
        st.write("No day is held yet.")
        return
    if found.empty:
        st.write("None: every coin has a price on every day from its first one on.")
        return
    st.write(
        f"{formats.count(found['days'].sum())} days of {formats.count(found['asset_id'].nunique())} coins, after the "
        "first day of each and up to the newest day of the market; the longest stretches first."
    )
    shown = found.head(MOST_COINS).rename(columns=formats.title)
    st.dataframe(shown, hide_index=True, alt="Stretches of days without a price")


def _show_version(context: Context) -> None:
    manifest = context.bundle.manifest
    rows = {
        "Version": manifest.version,
        "Batch": manifest.batch_id,
        "Refreshed": formats.instant(manifest.refreshed_at),
        "Built": formats.instant(manifest.built_at),
        "Files": formats.count(len(manifest.files)),
        "Size": f"{formats.amount(sum(entry.size for entry in manifest.files.values()))}B",
        "Sources": ", ".join(sorted(context.origin.source_ids)) or formats.MISSING,
    }
    st.subheader("Version")
    st.dataframe(
        pd.DataFrame(rows.items(), columns=["What", "Value"]), hide_index=True, alt="The version that is shown"
    )
