"""Which page a failure names: one that is there, for a class of error that is there."""

import pytest

from coinbeam import errors
from coinbeam.ops.incidents import GAP, Failure
from coinbeam.ops.runbooks import OTHERS, RUNBOOKS, alert_of
from coinbeam.settings import ROOT, AlertSettings, Settings
from coinbeam.sources.rate import BudgetExceededError, CallsSpentError
from tests.temporary import temporary_settings


def subclasses(kind: type) -> set[str]:
    """Names of all classes below one that are imported."""
    return {name for one in kind.__subclasses__() for name in ({one.__name__} | subclasses(one))}


@pytest.fixture
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings with an address of the runbooks."""
    made = temporary_settings(tmp_path_factory.mktemp("state"))
    return made.model_copy(update={"alerts": AlertSettings(runbooks="https://example.com/runbooks/")})


def test_every_page_is_there_and_every_class_exists() -> None:
    assert [
        page for page in {*RUNBOOKS.values(), OTHERS} if not (ROOT / "docs" / "runbooks" / f"{page}.md").exists()
    ] == []
    of_calls = {BudgetExceededError.__name__, CallsSpentError.__name__}
    assert set(RUNBOOKS) - {GAP} - subclasses(errors.CoinbeamError) - of_calls == set()


@pytest.mark.parametrize(("kind", "page"), [("PublishBlockedError", "blocked_publish"), ("KeyError", "README")])
def test_an_alert_names_the_batch_and_the_page(kind: str, page: str, settings: Settings) -> None:
    failure = Failure("etl", "audit", kind, "a title", "why", "run", "batch-1")
    made = alert_of(failure, settings, "https://log")
    assert (made.title, made.link) == ("a title", "https://log")
    assert made.text == f"why\nBatch batch-1, environment local. Runbook: https://example.com/runbooks/{page}.md"


def test_a_failure_before_there_was_a_batch_names_the_environment(settings: Settings) -> None:
    made = alert_of(Failure("etl", "plan_batch", "KeyError", "a title", "why", "run"), settings)
    assert made.text.startswith("why\nEnvironment local. Runbook: ")
