"""Terraform where it is installed: one initialised copy of our files, and the deployment that it evaluates."""

from pathlib import Path

import pytest

from tests.infra import terraform
from tests.infra.deployment import SMALL, Deployment, evaluate
from tests.infra.terraform import Workspace


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    """A copy that must not be changed."""
    if terraform.executable() is None:
        pytest.skip("terraform is not on this machine")
    return Workspace.create(tmp_path_factory.mktemp("terraform") / "copy")


@pytest.fixture
def spoilt(workspace: Workspace, tmp_path: Path) -> Workspace:
    """A copy of one's own, for deliberate mistakes."""
    return workspace.copy(tmp_path / "spoilt")


@pytest.fixture(scope="session")
def deployment(workspace: Workspace) -> Deployment:
    """What an apply would make."""
    return evaluate(workspace)


@pytest.fixture(scope="session")
def small(workspace: Workspace) -> Deployment:
    """What an apply of the small profile would make."""
    return evaluate(workspace, SMALL)
