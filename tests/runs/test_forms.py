"""A form by texts: each field has the type that its form says, whatever its text looks like."""

import pytest

from coinbeam.errors import SettingsError
from coinbeam.settings import load_settings
from runs.airflow import BACKFILL_DAG, MARTS_DAG
from runs.forms import form_of


def test_an_asset_may_be_called_as_a_number_is() -> None:
    form = form_of(BACKFILL_DAG, {"assets": "888", "source": "1e5", "top_n": "12", "dry_run": "false"}, load_settings())
    assert {name: form[name] for name in ("assets", "source", "top_n", "dry_run")} == {
        "assets": "888",
        "source": "1e5",
        "top_n": 12,
        "dry_run": False,
    }


def test_an_empty_text_is_nothing() -> None:
    assert form_of(BACKFILL_DAG, {"assets": ""}, load_settings())["assets"] is None


@pytest.mark.parametrize(
    ("dag", "field", "text", "said"),
    [
        (BACKFILL_DAG, "dry_run", "no", "true or false"),
        (BACKFILL_DAG, "dry_run", "1", "true or false"),
        (BACKFILL_DAG, "top_n", "many", "whole number"),
        (BACKFILL_DAG, "top_n", "true", "whole number"),
        (BACKFILL_DAG, "assetes", "bitcoin", "has no assetes"),
        (MARTS_DAG, "assets", "bitcoin", "has no assets"),
        ("crypto_stream_dag", "action", "start", "no DAG"),
    ],
)
def test_what_a_form_does_not_take_is_refused_by_name(dag: str, field: str, text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        form_of(dag, {field: text}, load_settings())
