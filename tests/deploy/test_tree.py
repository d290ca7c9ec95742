"""What is shipped: the whole of what a DAG needs, and nothing that should stay at home."""

import dataclasses
import json
from pathlib import Path

import pytest

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT, Environment, GoogleSettings, Settings, StorageSettings
from deploy.tree import Manifest, collect, describe, shipped


def settings(release: str) -> Settings:
    """Settings that name a release."""
    return Settings(
        environment=Environment.LOCAL,
        google=GoogleSettings(project="local"),
        storage=StorageSettings(bucket="acme-x"),
        release=release,
    )


def test_code_contracts_and_settings_are_shipped() -> None:
    paths = set(shipped(ROOT))
    assert {"coinbeam/settings.py", "dags/crypto_etl_dag.py", "dags/batch_tasks.py"} < paths
    assert {path.partition("/")[0] for path in paths} == {"coinbeam", "dags", "config", "sql"}, (
        "not the operator's desk: the loader alone leaves `deploy/`, and is installed beside the releases"
    )
    assert {
        "config/production.yaml",
        "sql/crypto_data/date_dim/contract.yaml",
        "sql/crypto_data/date_dim/publish.sql",
    } < paths


@pytest.mark.parametrize(
    "stray",
    [
        "coinbeam/__pycache__/settings.py",
        "coinbeam/settings.pyc",
        "coinbeam/.env",
        "config/service-account.json",
        "config/key.pem",
        "config/.secret.yaml",
        "dags/notes.txt",
        "tests/test_x.py",
        "local/cloud.py",
        "beam_pipelines/job/command.py",
        ".env",
    ],
)
def test_nothing_else_is_shipped(tmp_path: Path, stray: str) -> None:
    for path in ("coinbeam/settings.py", stray):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text("x")
    assert list(shipped(tmp_path)) == ["coinbeam/settings.py"]


def test_a_link_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "config").mkdir()
    (tmp_path / "config" / "linked.yaml").symlink_to(tmp_path / "secret")
    assert list(shipped(tmp_path)) == []


def test_a_tree_that_was_not_configured_is_no_release(checkout: Path) -> None:
    with pytest.raises(TerminalError, match="not configured"):
        collect(settings("abc"), checkout)
    (checkout / "config" / "deployment.json").write_text("{}")
    with pytest.raises(TerminalError, match="not configured"):
        collect(settings("development"), checkout)


def test_the_manifest_is_the_same_for_the_same_tree_and_reads_back(checkout: Path) -> None:
    (checkout / "config" / "deployment.json").write_text("{}")
    (first, content), (second, _) = collect(settings("abc"), checkout), collect(settings("abc"), checkout)
    assert first.text == second.text
    assert Manifest.read(first.text, "here") == first
    assert [describe(path, body) for path, body in content.items()] == list(first.files)
    assert sum(file.size for file in first.files) == sum(map(len, content.values()))


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", json.dumps({"release": "a", "environment": "b", "files": [{"path": "x"}]})]
)
def test_what_is_no_manifest_is_said_to_be_none(text: str) -> None:
    with pytest.raises(TerminalError, match="somewhere is not the manifest of a release"):
        Manifest.read(text, "somewhere")


def test_a_digest_is_written_as_cloud_storage_writes_it() -> None:
    assert dataclasses.astuple(describe("a", b"hello")) == ("a", 5, "XUFAKrxLKna5cZ2REBfFkg==")
