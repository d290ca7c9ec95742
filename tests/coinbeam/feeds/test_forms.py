"""A form says what may be asked, once; what nobody fills comes from the settings and passes its own checks."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from coinbeam.errors import SettingsError
from coinbeam.feeds.forms import (
    BackfillForm,
    Form,
    IndexForm,
    SnapshotForm,
    StreamForm,
    check_currency,
    currencies,
    form_defaults,
)
from coinbeam.settings import LARGEST_TOP
from local.simulator.currencies import CURRENCIES as SIMULATED
from tests.temporary import temporary_settings

FORMS = (SnapshotForm, BackfillForm, IndexForm, StreamForm)


@pytest.mark.parametrize("form", FORMS)
def test_a_form_that_nobody_fills_is_valid(tmp_path: Path, form: type[Form]) -> None:
    assert form.model_validate(form_defaults(form, temporary_settings(tmp_path))).model_fields_set == set(
        form.model_fields
    )


@pytest.mark.parametrize(
    ("field", "value"), [("top_n", LARGEST_TOP + 1), ("calls_per_day", 0), ("quote_currency", "US$"), ("stray", 1)]
)
def test_what_is_out_of_bounds_is_refused(tmp_path: Path, field: str, value: object) -> None:
    with pytest.raises(ValidationError, match=field):
        BackfillForm.model_validate({**form_defaults(BackfillForm, temporary_settings(tmp_path)), field: value})


def test_a_backfill_asks_for_no_more_assets_than_it_can_pay_and_shows_its_plan_first(tmp_path: Path) -> None:
    given = temporary_settings(tmp_path)
    wide = given.model_copy(update={"market": given.market.model_copy(update={"top_n": 5_000})})
    assert form_defaults(BackfillForm, wide)["top_n"] == 250
    assert form_defaults(BackfillForm, wide)["dry_run"]
    assert form_defaults(SnapshotForm, wide)["top_n"] == 5_000
    assert not form_defaults(SnapshotForm, wide)["dry_run"]


def test_every_front_door_has_one_list_of_currencies(tmp_path: Path) -> None:
    settings = temporary_settings(tmp_path)
    assert set(currencies(settings)) == set(SIMULATED)
    check_currency("myr", settings)
    with pytest.raises(SettingsError, match="quote_currency is 'xyz'"):
        check_currency("xyz", settings)
