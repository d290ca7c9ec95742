"""The columnar path and the point-by-point specification are one rule: same days, same values bit for bit, same
refusals.
"""

import json
import struct
from collections import Counter
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.batch_files.rejects import Refused
from beam_pipelines.history.chart import PieceBody, read_chart
from beam_pipelines.history.rules import DAY_MS, HistoryRules
from beam_pipelines.history.specification import Accepted, Dropped, RawPoint, Window, judge_point, stamp_fault
from coinbeam.batch.manifest import BatchManifest
from coinbeam.landing.layout import LandedBody

LANDED_AT = datetime(2026, 1, 11, 0, 40, tzinfo=UTC)
START = 1767225600000 - 2 * DAY_MS

stamps = st.one_of(
    st.integers(0, 14).map(lambda day: START + day * DAY_MS),
    st.integers(0, 14 * DAY_MS).map(lambda offset: START + offset),
    st.integers(0, 14 * DAY_MS).map(lambda offset: float(START + offset)),
    st.sampled_from(
        [None, True, "x", 0, -1, 1767225600, 1767225600000.5, 2**53, 2**64, 10**400, float("inf"), float("nan"), [1]]
    ),
)
values = st.one_of(
    st.floats(),
    st.floats(1e-12, 1e12),
    st.integers(-5, 10**20),
    st.sampled_from([None, None, 0, -0.0, -1e-9, 5e-324, 1.797e308, 2**64, 10**400, True, "1.5", [1.0], {"a": 1}]),
)
usual_values = st.one_of(st.floats(1e-12, 1e12), st.integers(1, 10**15))


@st.composite
def charts(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly charts as the API sends them; some with odd values, some with series that do not fit together."""
    kind = draw(st.integers(0, 3))
    size = draw(st.integers(0, 12))
    own_stamps = [
        draw(stamps if kind else st.integers(0, 14 * DAY_MS).map(lambda offset: START + offset)) for _ in range(size)
    ]
    names = ("prices", "market_caps", "total_volumes")
    chart: dict[str, Any] = {
        name: [[stamp, draw(values if kind > 1 else usual_values)] for stamp in own_stamps] for name in names
    }
    if kind == 3:
        for name in names:
            if draw(st.booleans()):
                chart[name] = draw(st.permutations(chart[name]))[draw(st.integers(0, 2)) :]
            if draw(st.integers(0, 4)) == 0:
                chart[name] = [*chart[name], draw(st.sampled_from(["x", [1], [START, 1, 2], None, {}]))]
        if draw(st.integers(0, 4)) == 0:
            del chart[draw(st.sampled_from(names[1:]))]
    return {"data": chart} if draw(st.booleans()) else chart


def raw_points(body: bytes) -> list[RawPoint]:
    """The points of a body, read in the plainest way."""
    chart = json.loads(body, parse_int=lambda digits: int(digits) if len(digits) <= 400 else float(digits))
    chart = chart.get("data", chart)
    others: list[dict[Any, Any]] = []
    for name in ("market_caps", "total_volumes"):
        pairs = [e for e in chart.get(name) or [] if isinstance(e, list) and len(e) == 2 and type(e[0]) in {int, float}]
        others.append(dict(reversed(pairs)))
    points = []
    for element in chart["prices"]:
        if not isinstance(element, list) or len(element) != 2:
            points.append(RawPoint(None, (), element, is_point=False))
        else:
            found = [other.get(element[0]) if type(element[0]) in {int, float} else None for other in others]
            points.append(RawPoint(element[0], (element[1], *found)))
    return points


def by_specification(
    body: bytes, rules: HistoryRules, window: Window, is_foreign: bool
) -> tuple[Any, Counter[str], list[Any]]:
    """Rows, counts and rejects of a body by the specification alone."""
    points = raw_points(body)
    if is_foreign:
        readable = [int(point.stamp) for point in points if point.is_point and stamp_fault(point.stamp, window) is None]
        newest = max(readable, default=0)
        window = Window(
            window.first, window.last, window.last_settled, window.latest, newest if newest % DAY_MS else None
        )
    accepted, counts, rejects = [], Counter(points_read=len(points)), []
    for number, point in enumerate(points):
        match judge_point(point, rules, window):
            case Accepted(stamp, found):
                accepted.append((stamp, number, found))
            case Dropped(count):
                counts[count] += 1
            case Refused(reason, column, _):
                counts["rows_rejected"] += 1
                rejects.append((number, reason, column))
    accepted.sort(key=lambda entry: entry[:2])
    if is_foreign and len(accepted) > 1:
        first, second = accepted[0][0], accepted[1][0]
        if first % DAY_MS > 3_600_000 and second - first < DAY_MS // 2:  # hours that begin in the middle of a day
            counts["points_outside"] += sum(entry[0] // DAY_MS == first // DAY_MS for entry in accepted)
            accepted = [entry for entry in accepted if entry[0] // DAY_MS != first // DAY_MS]
    days: dict[int, Any] = {}
    for stamp, _, found in accepted:
        days.setdefault(stamp // DAY_MS, (stamp, *map(bits, found)))
    counts["rows_superseded"] = len(accepted) - len(days)
    return list(days.values()), counts, rejects


def bits(value: float | None) -> bytes | None:
    return None if value is None or value != value else struct.pack("<d", value)


@settings(max_examples=600, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(chart=charts(), is_foreign=st.booleans(), compact=st.booleans())
def test_both_paths_agree_on_any_chart(
    chart: Any, is_foreign: bool, compact: bool, rules: HistoryRules, batch: BatchManifest
) -> None:
    body = json.dumps(chart, separators=(",", ":") if compact else None).encode()
    range_ = (None, None) if is_foreign else (date(2026, 1, 1), date(2026, 1, 10))
    piece = PieceBody("bitcoin", "file" if is_foreign else "coingecko", *range_, "body")
    landed = LandedBody("body", body, LANDED_AT)
    rows, counts, rejects = by_specification(
        body, rules, piece.window(landed, rules, batch.snapshot_at.date()), is_foreign
    )
    found = read_chart(landed, piece, batch, rules)
    assert [(reject.row_number, reject.reason, reject.column_name) for reject in found.rejects] == rejects
    assert [
        (stamp, *map(bits, values))
        for stamp, *values in zip(found.stamps.tolist(), *found.values.tolist(), strict=True)
    ] == rows
    assert +counts == Counter({name: count for name, count in (+found.counts).items() if name != "values_unmatched"})


@settings(max_examples=200)
@given(
    cells=st.lists(
        st.tuples(
            st.integers(0, 14 * 86_400), *[st.sampled_from(["", "0", "1.5", "9.7e-10", "-1", "x", "1e999", " 2 "])] * 3
        )
    )
)
def test_both_paths_agree_on_any_export(cells: list[Any], rules: HistoryRules, batch: BatchManifest) -> None:
    start = datetime.fromtimestamp(START / 1_000, UTC)
    lines = [f"{start + timedelta(seconds=cell[0]):%Y-%m-%d %H:%M:%S} UTC,{','.join(cell[1:])}" for cell in cells]
    body = "\n".join(["snapped_at,price,market_cap,total_volume", *lines]).encode()
    number: Callable[[str], Any] = lambda text: None if not text else "x" if text == "x" else float(text)  # noqa: E731
    columns = [[[START + cell[0] * 1_000, number(cell[index].strip())] for cell in cells] for index in (1, 2, 3)]
    piece, landed = PieceBody("bitcoin", "coingecko_export", None, None, "body"), LandedBody("body", body, LANDED_AT)
    window = piece.window(landed, rules, batch.snapshot_at.date())
    stamps_once = len({cell[0] for cell in cells}) == len(cells)  # a chart joins by stamp, an export by line
    if stamps_once:
        chart = json.dumps(dict(zip(("prices", "market_caps", "total_volumes"), columns, strict=True))).encode()
        rows, counts, rejects = by_specification(chart, rules, window, True)
        found = read_chart(landed, piece, batch, rules)
        assert [(reject.row_number, reject.reason, reject.column_name) for reject in found.rejects] == rejects
        assert [
            (stamp, *map(bits, given))
            for stamp, *given in zip(found.stamps.tolist(), *found.values.tolist(), strict=True)
        ] == rows
        assert +counts == +found.counts
