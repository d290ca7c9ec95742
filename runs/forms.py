"""The forms of the DAGs by name, filled as Airflow's interface would fill them."""

import json
from collections.abc import Mapping
from typing import Any

from coinbeam.errors import SettingsError
from coinbeam.feeds.forms import BackfillForm, Form, IndexForm, SnapshotForm, form_defaults
from coinbeam.settings import Settings
from runs.airflow import BACKFILL_DAG, FEAR_GREED_DAG, MARTS_DAG, SNAPSHOT_DAG, WITNESS_DAG

FORMS: dict[str, type[Form] | None] = {
    SNAPSHOT_DAG: SnapshotForm,
    BACKFILL_DAG: BackfillForm,
    FEAR_GREED_DAG: IndexForm,
    WITNESS_DAG: None,
    MARTS_DAG: None,
}
"""Every DAG that needs no streaming job, with its form."""


def form_of(dag_id: str, given: Mapping[str, str], settings: Settings) -> dict[str, Any]:
    """Every field of the form of a DAG, given as text or by default; Airflow holds values to the schema of the form.

    Raises:
        SettingsError: there is no such DAG, its form has no such field, or a number or a yes or no is none.
    """
    if dag_id not in FORMS:
        raise SettingsError(f"There is no DAG {dag_id!r} here.", f"Known: {', '.join(FORMS)}.")
    form = FORMS[dag_id]
    known = form_defaults(form, settings) if form else {}
    if unknown := sorted(given.keys() - known.keys()):
        raise SettingsError(
            f"The form of {dag_id} has no {', '.join(unknown)}.", f"Its fields: {', '.join(known) or 'none'}."
        )
    return {**known, **{name: _value(form, name, text) for name, text in given.items()}}


def _value(form: type[Form] | None, name: str, text: str) -> Any:
    """A text as the value of a field; empty: nothing. What looks like a number may be the id of an asset."""
    kind = form.model_fields[name].annotation if form else str
    if kind not in {bool, int}:
        return text or None
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if type(value) is not kind:
        raise SettingsError(f"{name} is {text!r}.", "It is true or false." if kind is bool else "It is a whole number.")
    return value
