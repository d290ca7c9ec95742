"""Query parameters of a BigQuery script, written into its text as typed literals.

BigQuery binds named parameters in every statement of a script. bqemulator 1.4.0 binds them in single statements only
and refuses such a script, so the launcher inlines them first.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

from sqlglot import Token, TokenType
from sqlglot.dialects.bigquery import BigQuery

Parameter = Mapping[str, Any]
"""A ``QueryParameter`` of the REST API: ``name``, ``parameterType``, ``parameterValue``."""

_VERBATIM = frozenset({"INT64", "INTEGER", "BOOL", "BOOLEAN"})


def inline_parameters(script: str, parameters: Sequence[Parameter]) -> str:
    """The script with every ``@name`` of a parameter replaced by a literal of the parameter's type.

    Names inside strings and comments, system variables (``@@error``) and unknown names stay as they are.

    Args:
        script: BigQuery SQL of any number of statements.
        parameters: the parameters of the job; positional ones have no name and are not supported.
    """
    literals = {
        p["name"].lower(): literal(p["parameterType"], p.get("parameterValue", {})) for p in parameters if p.get("name")
    }
    pieces, end = [], 0
    for sign, name in pairwise(BigQuery().tokenize(script)):
        if _is_reference(script, sign, name) and name.text.lower() in literals:
            pieces += [script[end : sign.start], literals[name.text.lower()]]
            end = name.end + 1
    return "".join([*pieces, script[end:]])


def _is_reference(script: str, sign: Token, name: Token) -> bool:
    """Whether the two tokens are ``@name``, and not a part of ``@@name``."""
    is_sign = sign.token_type is TokenType.PARAMETER and not script.endswith("@", 0, sign.start)
    return bool(is_sign and name.start == sign.end + 1)


def literal(parameter_type: Mapping[str, Any], value: Mapping[str, Any]) -> str:
    """A BigQuery literal for a REST parameter value; a scalar without a value is a typed NULL."""
    kind = str(parameter_type["type"]).upper()
    if kind == "ARRAY":
        element = parameter_type["arrayType"]
        items = ", ".join(literal(element, item) for item in value.get("arrayValues", []))
        return f"ARRAY<{element['type']}>[{items}]"
    text = value.get("value")
    if text is None:
        return f"CAST(NULL AS {kind})"
    return _SCALARS.get(kind, _cast(kind))(str(text))


def _quoted(text: str) -> str:
    """A BigQuery string literal; its escapes are those of JSON as long as no surrogate pair is written."""
    return json.dumps(text, ensure_ascii=False)


def _cast(kind: str) -> Callable[[str], str]:
    return lambda text: f"CAST({_quoted(text)} AS {kind})"


_SCALARS: dict[str, Callable[[str], str]] = {"STRING": _quoted, **dict.fromkeys(_VERBATIM, str)}
