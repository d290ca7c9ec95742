"""The languages in which Cloud Monitoring and Cloud Logging are asked, as far as we speak them, parsed strictly.

Filters of metrics: https://cloud.google.com/monitoring/api/v3/filters. Queries of logs, and the expressions that take a
value out of a line: https://cloud.google.com/logging/docs/view/logging-query-language. PromQL:
https://cloud.google.com/monitoring/promql.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from lark import Lark, Transformer, Tree
from lark.exceptions import UnexpectedInput


class QueryError(Exception):
    """A query is not what its language allows; the text says where."""


@dataclass(frozen=True)
class MetricFilter:
    """What a filter chooses.

    Attributes:
        metric: type of the metric.
        resource: type of the resource; empty where the filter names none.
        labels: allowed values by ``metric`` or ``resource`` and the name of a label.
    """

    metric: str
    resource: str
    labels: Mapping[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)


_METRIC = Lark(
    r"""
    start: clause ("AND" clause)*
    clause: KIND ".type" "=" STRING -> type
          | KIND ".labels." NAME "=" (STRING | "one_of(" STRING ("," STRING)* ")") -> label
    KIND: "metric" | "resource"
    NAME: /[a-z][a-z0-9_]*/
    STRING: /"[^"\\]+"/
    %ignore " "
    """,
    parser="lalr",
)


def metric_filter(text: str) -> MetricFilter:
    """Parse the filter of a metric.

    Raises:
        QueryError: it is none, names something twice, or chooses no metric.
    """
    types: dict[str, str] = {}
    labels: dict[tuple[str, str], tuple[str, ...]] = {}
    for clause in _parse(_METRIC, text).children:
        kind, *rest = (str(token).strip('"') for token in clause.children)
        key: Any = kind if clause.data == "type" else (kind, rest[0])
        if key in types or key in labels:
            raise QueryError(f"{key} is named twice in {text!r}")
        if clause.data == "type":
            types[kind] = rest[0]
        else:
            labels[key] = tuple(rest[1:])
    if "metric" not in types:
        raise QueryError(f"no metric.type in {text!r}")
    return MetricFilter(types["metric"], types.get("resource", ""), labels)


@dataclass(frozen=True)
class Entry:
    """An entry of a log.

    Attributes:
        fields: by their names in a query, such as ``resource.type`` and ``textPayload``.
        log_id: the log that it is in.
        severity: as Cloud Logging orders them.
    """

    fields: Mapping[str, str]
    log_id: str = ""
    severity: str = "DEFAULT"


SEVERITIES = ("DEFAULT", "DEBUG", "INFO", "NOTICE", "WARNING", "ERROR", "CRITICAL", "ALERT", "EMERGENCY")

# AND and OR never stand side by side without parentheses: OR binds more tightly there than anywhere else.
_LOG = Lark(
    r"""
    ?start: term | term ("AND" term)+ -> every | term ("OR" term)+ -> any
    ?term: "(" start ")"
         | FIELD "=" STRING -> equals
         | TEXT "=~" STRING -> finds
         | "severity" ">=" SEVERITY -> at_least
         | "log_id(" STRING ")" -> in_log
    FIELD: "resource.type" | /resource\.labels\.[a-z_]+/
    TEXT: "textPayload" | "jsonPayload.message"
    SEVERITY: /[A-Z]+/
    STRING: /"[^"\\]+"/
    %ignore " "
    """,
    parser="lalr",
)


@lru_cache(maxsize=256)
def log_filter(text: str) -> Tree[Any]:
    """Parse a query of logs.

    Raises:
        QueryError: it is none, or holds an expression or a severity that there is not.
    """
    tree = _parse(_LOG, text)
    for found in tree.find_data("finds"):
        expression(_text(found.children[1]))
    for found in tree.find_data("at_least"):
        if found.children[0] not in SEVERITIES:
            raise QueryError(f"{found.children[0]} is no severity in {text!r}")
    return tree


def finds(text: str, entry: Entry) -> bool:
    """Whether a query of logs finds an entry."""
    return bool(_Finding(entry).transform(Tree("whole", [log_filter(text)])))


class _Finding(Transformer[Any, bool]):
    """Judges a query, from the inside outwards."""

    def __init__(self, entry: Entry) -> None:
        super().__init__()
        self._entry = entry

    def whole(self, judged: list[bool]) -> bool:
        return judged[0]

    every = staticmethod(all)
    any = staticmethod(any)

    def equals(self, said: list[str]) -> bool:
        return self._entry.fields.get(said[0]) == _text(said[1])

    def finds(self, said: list[str]) -> bool:
        return expression(_text(said[1])).search(self._entry.fields.get(said[0], "")) is not None

    def at_least(self, said: list[str]) -> bool:
        return SEVERITIES.index(self._entry.severity) >= SEVERITIES.index(said[0])

    def in_log(self, said: list[str]) -> bool:
        return self._entry.log_id == _text(said[0])


@lru_cache(maxsize=256)
def expression(text: str) -> re.Pattern[str]:
    """A regular expression that means the same in RE2 and here.

    Raises:
        QueryError: it is none, has a backslash, of which nobody knows how many the query eats, or what RE2 lacks.
    """
    if "\\" in text or "(?" in text:
        raise QueryError(f"{text!r} has a backslash or an extension, and RE2 may read it in another way")
    try:
        return re.compile(text)
    except re.error as error:
        raise QueryError(f"{text!r} is no regular expression: {error}") from None


_EXTRACTOR = re.compile(r'REGEXP_EXTRACT\((textPayload), "([^"]+)"\)')


def extracted(extractor: str, entry: Entry) -> str | None:
    """What an extractor takes out of an entry, or None where it finds nothing.

    Raises:
        QueryError: it is no extractor with one group.
    """
    parsed = _EXTRACTOR.fullmatch(extractor)
    if not parsed:
        raise QueryError(f"{extractor!r} is no extractor")
    pattern = expression(parsed[2])
    if pattern.groups != 1:
        raise QueryError(f"{extractor!r} has {pattern.groups} groups, and not one")
    found = pattern.search(entry.fields.get(parsed[1], ""))
    return found[1] if found else None


@dataclass(frozen=True)
class Increase:
    """What a query in PromQL counts: the increase of a metric over some time, over a limit."""

    metric: str
    resource: str
    seconds: int
    above: float


_PROMQL = Lark(
    r"""
    start: "sum(increase(" "{" matcher ("," matcher)* "}" "[" DURATION "]" "))" ">" NUMBER
    matcher: STRING "=" STRING
    STRING: /"[^"\\]+"/
    DURATION: /[0-9]+[smhd]/
    NUMBER: /[0-9]+(\.[0-9]+)?/
    %ignore " "
    """,
    parser="lalr",
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def promql(text: str) -> Increase:
    """Parse a condition in PromQL.

    Raises:
        QueryError: it is none of the form that we use, or names its metric or its resource not once.
    """
    *matchers, duration, limit = _parse(_PROMQL, text).children
    pairs = [tuple(_text(token) for token in matcher.children) for matcher in matchers]
    if sorted(name for name, _ in pairs) != ["__name__", "monitored_resource"]:
        raise QueryError(f"{text!r} does not name one metric and one resource, and nothing else")
    names = dict(pairs)
    seconds = int(duration[:-1]) * _SECONDS[duration[-1]]
    return Increase(names["__name__"], names["monitored_resource"], seconds, float(limit))


def _text(token: Any) -> str:
    return str(token)[1:-1]


def _parse(language: Lark, text: str) -> Any:
    try:
        return language.parse(text)
    except UnexpectedInput as error:
        raise QueryError(f"{text!r} cannot be read after {error.pos_in_stream} characters") from None
