"""The forms of the DAGs by name, filled as Airflow's interface would fill them."""

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


def form_of(dag_id: str, given: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Every field of the form of a DAG, given or by default; Airflow holds the values to the schema of the form.

    Raises:
        SettingsError: there is no such DAG, or its form has no such field.
    """
    if dag_id not in FORMS:
        raise SettingsError(f"There is no DAG {dag_id!r} here.", f"Known: {', '.join(FORMS)}.")
    form = FORMS[dag_id]
    known = form_defaults(form, settings) if form else {}
    if unknown := sorted(given.keys() - known.keys()):
        raise SettingsError(
            f"The form of {dag_id} has no {', '.join(unknown)}.", f"Its fields: {', '.join(known) or 'none'}."
        )
    return {**known, **given}
