"""The two files that Terraform reads: what they hold, and that one that is there stays."""

import shutil
import subprocess
from pathlib import Path

import hcl2
import pytest

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT
from deploy.project import files
from deploy.project.order import Order

BILLING = "0A1B2C-3D4E5F-678901"


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
    files.write(order, BILLING, answers)
    given = hcl2.loads((order.infra / files.VARIABLES).read_text(encoding="utf-8"))
    required = {name for name, default in files.declared(order.infra).items() if default is None}
    assert required
    assert required <= set(given)
    assert files.text_in(order.infra / files.VARIABLES, "project") == "acme-project"
    assert files.state_bucket(order) == "acme-project-terraform-state"


def test_what_is_terraforms_default_is_not_repeated(order: Order) -> None:
    files.write(order, BILLING, answers)
    assert "region" not in (order.infra / files.VARIABLES).read_text(encoding="utf-8")


def test_another_region_is_said(tmp_path: Path, order: Order) -> None:
    other = Order("acme-project", region="europe-west1", alert_email="a@b.c", github="a/b", root=tmp_path)
    files.write(other, BILLING, answers)
    assert files.text_in(order.infra / files.VARIABLES, "region") == "europe-west1"


def test_a_file_that_is_there_stays_as_it_is(order: Order) -> None:
    (order.infra / files.BACKEND).write_text('bucket = "of-my-own"\nprefix = "p"\n')
    files.write(order, BILLING, answers)
    assert files.state_bucket(order) == "of-my-own"
    assert files.missing(order) == []


def test_the_files_of_another_project_are_refused(order: Order) -> None:
    (order.infra / files.VARIABLES).write_text('project = "other-project"\n')
    with pytest.raises(TerminalError, match="other-project, not acme-project"):
        files.missing(order)


def test_the_repository_is_that_of_the_clone(tmp_path: Path, order: Order) -> None:
    subprocess.run(["git", "init", "--quiet"], cwd=tmp_path, check=True, timeout=30)
    remote = ["git", "remote", "add", "origin", "git@github.com:some-body/coin.beam.git"]
    subprocess.run(remote, cwd=tmp_path, check=True, timeout=30)
    files.write(Order("acme-project", alert_email="a@b.c", root=order.root), BILLING, answers)
    text = (order.infra / files.VARIABLES).read_text(encoding="utf-8")
    assert 'owner = "some-body", name = "coin.beam"' in text


@pytest.mark.parametrize(
    ("order", "fault"),
    [
        pytest.param(Order("Acme"), "is no project id", id="a name instead of an id"),
        pytest.param(Order("acme-project", profile="tiny"), "no profile 'tiny'", id="an unknown profile"),
        pytest.param(Order("acme-project", plan="gold"), "no plan 'gold'", id="an unknown plan"),
        pytest.param(Order("acme-project"), None, id="nothing"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_asked(order: Order, fault: str | None) -> None:
    assert (order.fault() or "") == "" if fault is None else fault in str(order.fault())
