"""The two files that Terraform reads: what they hold, and that one that is there stays."""

import dataclasses
import shutil
from pathlib import Path

import hcl2
import pytest

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT
from deploy.project import files
from deploy.project.order import Order


@pytest.fixture
def order(tmp_path: Path) -> Order:
    """An order for a checkout that holds Terraform's variables alone."""
    (tmp_path / "infra").mkdir()
    shutil.copy(ROOT / "infra" / "variables.tf", tmp_path / "infra")
    return Order("acme-project", alert_email="team@example.com", github="acme/coinbeam", root=tmp_path)


def answers(question: str) -> str:
    """What a person types; numbers where they are asked for."""
    return "42" if "gh api" in question else "typed@example.com"


def test_every_variable_that_terraform_requires_is_given(order: Order) -> None:
    files.write(order, answers)
    given = hcl2.loads((order.infra / files.VARIABLES).read_text(encoding="utf-8"))
    required = {name for name, default in files.declared(order.infra).items() if default is None}
    assert required
    assert required <= set(given)
    assert files.text_in(order.infra / files.VARIABLES, "project") == "acme-project"
    assert files.state_bucket(order) == "acme-project-terraform-state"


def test_what_is_terraforms_default_is_not_repeated(order: Order) -> None:
    files.write(order, answers)
    assert "region" not in (order.infra / files.VARIABLES).read_text(encoding="utf-8")


def test_another_region_is_said(tmp_path: Path, order: Order) -> None:
    other = Order("acme-project", region="europe-west1", alert_email="a@b.c", github="a/b", root=tmp_path)
    files.write(other, answers)
    assert files.text_in(order.infra / files.VARIABLES, "region") == "europe-west1"


def test_a_file_that_is_there_stays_as_it_is(order: Order) -> None:
    (order.infra / files.BACKEND).write_text('bucket = "of-my-own"\nprefix = "p"\n')
    files.write(order, answers)
    assert files.state_bucket(order) == "of-my-own"
    assert files.missing(order) == []


def test_the_files_of_another_project_are_refused(order: Order) -> None:
    (order.infra / files.VARIABLES).write_text('project = "other-project"\n')
    with pytest.raises(TerminalError, match="project = other-project, and the command says acme-project"):
        files.missing(order)


@pytest.mark.parametrize(
    ("said", "given"),
    [
        pytest.param('profile = "small"', {}, id="the small profile, and Composer is ordered"),
        pytest.param("", {"profile": "small"}, id="Composer by default, and the small profile is ordered"),
        pytest.param('region = "europe-west1"', {}, id="another region"),
        pytest.param('coingecko_plan = "demo"', {}, id="another plan"),
    ],
)
def test_files_that_contradict_the_command_are_refused(said: str, given: dict[str, str], order: Order) -> None:
    (order.infra / files.VARIABLES).write_text(f'project = "acme-project"\n{said}\n')
    with pytest.raises(TerminalError, match="and the command says"):
        files.missing(dataclasses.replace(order, **given))


def test_nothing_that_is_optional_is_asked_for(order: Order) -> None:
    def nobody(question: str) -> str:
        raise AssertionError(question)

    files.write(dataclasses.replace(order, github=None), nobody)
    given = hcl2.loads((order.infra / files.VARIABLES).read_text(encoding="utf-8"))
    assert set(given) == {"project", "alert_email"}


def test_a_repository_is_given_with_its_numbers(order: Order) -> None:
    files.write(order, answers)
    given = hcl2.loads((order.infra / files.VARIABLES).read_text(encoding="utf-8"))
    assert {key: str(value).strip('"') for key, value in given["github"].items()} == {
        "owner": "acme", "name": "coinbeam", "id": "42", "owner_id": "42",
    }  # fmt: skip


def test_what_is_no_number_is_refused(order: Order) -> None:
    with pytest.raises(TerminalError, match=r"'forty' is no number.*gh api repos/acme/coinbeam --jq .id"):
        files.write(order, lambda _: "forty")
    assert not (order.infra / files.VARIABLES).exists()


def test_a_bucket_of_the_state_of_another_name_is_told_to_terraform(order: Order) -> None:
    (order.infra / files.BACKEND).write_text('bucket = "of-my-own"\nprefix = "p"\n')
    files.write(order, answers)
    assert files.text_in(order.infra / files.VARIABLES, "state_bucket") == "of-my-own"


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        pytest.param(Order("Acme"), "is no project id", id="a name instead of an id"),
        pytest.param(Order("acme-project", profile="tiny"), "no profile 'tiny'", id="an unknown profile"),
        pytest.param(Order("acme-project", plan="gold"), "no plan 'gold'", id="an unknown plan"),
        pytest.param(Order("acme-project", github="coinbeam"), "no repository", id="a repository without its owner"),
        pytest.param(
            Order("acme-project", state_project="acme-project"), "reach every bucket", id="the state beside Composer"
        ),
        pytest.param(
            Order("acme-" + "project" * 3), "STATE_PROJECT=", id="no room for the name of the state's project"
        ),
        pytest.param(
            Order("acme-project", profile="small", state_project="acme-project"), None, id="the small profile"
        ),
        pytest.param(Order("acme-project"), None, id="nothing"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_asked(order: Order, fault: str | None) -> None:
    assert (order.fault() or "") == "" if fault is None else fault in str(order.fault())
