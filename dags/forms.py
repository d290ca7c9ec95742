"""The trigger forms of the DAGs, as Airflow shows them: made from the models of `coinbeam.feeds.forms`."""

from typing import Any

from airflow.sdk import Param

from coinbeam.feeds.forms import Form, currencies, form_defaults
from coinbeam.settings import Settings

_SCHEMA = ("type", "format", "minimum", "maximum", "enum")
"""What a field of Airflow's form takes over from JSON Schema."""


def form_params(form: type[Form], settings: Settings) -> dict[str, Param]:
    """The fields of a form with their types, bounds, choices, and the defaults of the environment."""
    choices = {"quote_currency": currencies(settings)}
    schema, defaults = form.model_json_schema(), form_defaults(form, settings)
    params = {}
    for name, field in schema["properties"].items():
        known = _flat(field, schema.get("$defs", {}))
        known |= {"enum": choices[name]} if name in choices else {}
        about, kept = form.model_fields[name], {key: known[key] for key in _SCHEMA if key in known}
        params[name] = Param(defaults[name], title=about.title, description=about.description, **kept)
    return params


def _flat(field: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    """The schema of a field without references; one that may be empty has a list of types, as Airflow reads it."""
    if "$ref" in field:
        return dict(definitions[field["$ref"].rpartition("/")[2]])
    if "anyOf" in field:
        [kind] = [_flat(part, definitions) for part in field["anyOf"] if part != {"type": "null"}]
        return kind | {"type": ["null", kind["type"]]}
    return field
